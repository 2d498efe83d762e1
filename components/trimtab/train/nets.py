"""The built-in networks: a body that ends in the embedding, and a linear head."""

from __future__ import annotations

import torch
from torch import nn

from trimtab.core.errors import ProjectError
from trimtab.train.params import Cnn, Linear, Mlp


class Net(nn.Module):
    """Preprocessed rows [n, *shape] to logits [n, k] or scaled values [n, 1].

    Attributes:
        body: layers up to the embedding [n, embedding].
        head: the last layer.
        embedding: width of the embedding; 0 where it is the input itself.
    """

    def __init__(self, body: nn.Sequential, width: int, outputs: int, embedding: int) -> None:
        super().__init__()
        self.body = body
        self.head = nn.Linear(width, outputs)
        self.embedding = embedding

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits or scaled values."""
        result: torch.Tensor = self.head(self.body(x))
        return result


def build(settings: Linear, shape: tuple[int, ...], outputs: int, name: str) -> Net:
    """The network of a built-in candidate, with fresh weights.

    Args:
        settings: of its kind.
        shape: of one preprocessed row, [d] or [channels, height, width].
        outputs: number of classes, or 1.
        name: the candidate's, for errors.

    Raises:
        ProjectError: a cnn without an image, or with more halvings than the image has.
    """
    if isinstance(settings, Cnn):
        return _cnn(settings, shape, outputs, name)
    width = 1
    for length in shape:
        width *= length
    if isinstance(settings, Mlp):
        layers: list[nn.Module] = [nn.Flatten()]
        for i, hidden in enumerate(settings.hidden):
            if i and settings.dropout:
                layers.append(nn.Dropout(settings.dropout))
            layers += [nn.Linear(width, hidden), nn.ReLU()]
            width = hidden
        return Net(nn.Sequential(*layers), width, outputs, embedding=width)
    return Net(nn.Sequential(nn.Flatten()), width, outputs, embedding=0)


def _cnn(settings: Cnn, shape: tuple[int, ...], outputs: int, name: str) -> Net:
    if len(shape) != 3:
        raise ProjectError(
            f"candidate {name!r} is a cnn, and the model's input is no image", object=f"candidates.{name}",
            expected="one feature, of kind image", got=f"{shape[0]} values a row", hint="use mlp or linear",
        )  # fmt: skip
    before, height, width = shape
    if min(height, width) < 2 ** len(settings.channels):
        raise ProjectError(
            f"candidate {name!r} halves the image more often than it can", object=f"candidates.{name}.params.channels",
            expected=f"an image of at least {2 ** len(settings.channels)} pixels a side", got=f"{height} x {width}",
            hint="name fewer channels, or use mlp",
        )  # fmt: skip
    layers: list[nn.Module] = []
    for i, channels in enumerate(settings.channels):
        # One convolution at full size (the costly one), two at each smaller size. The largest of four comes before
        # normalisation and ReLU, which then have a quarter to do.
        count = 2 if i else 1
        for number in range(count):
            # No bias: the normalisation that follows has one.
            layers.append(nn.Conv2d(before, channels, 3, padding=1, bias=False))
            if number == count - 1:
                layers.append(nn.MaxPool2d(2))
            layers += [nn.BatchNorm2d(channels), nn.ReLU()]
            before = channels
        height, width = height // 2, width // 2
    layers.append(nn.Flatten())
    if settings.dropout:
        layers.append(nn.Dropout(settings.dropout))
    layers += [nn.Linear(before * height * width, settings.hidden), nn.ReLU()]
    return Net(nn.Sequential(*layers), settings.hidden, outputs, embedding=settings.hidden)
