"""Images as a few numbers that a drift test can read, without a model.

A grid of at most 16 by 16 means, then its lowest cosine (DCT-II) coefficients: brightness, slopes, coarse shape; and
contrast and fine detail, which those leave out. The basis is fixed, not fitted to the reference, so reference and
window are treated alike and the tests keep their level.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from trimtab.monitoring.losses import Floats

GRID = 16
# Orders of the cosine basis that are kept in each direction: those with order sum below this.
ORDER = 4


def names() -> list[str]:
    """Names of the summaries, in the order of `summaries`' columns."""
    return ["contrast", "detail", *(("brightness" if i == j == 0 else f"shape {i}.{j}") for i, j in _orders())]


def summaries(images: npt.ArrayLike, shape: Sequence[int]) -> Floats:
    """Summaries of images.

    Args:
        images: flat images [n, height * width * channels].
        shape: (height, width) or (height, width, channels).

    Returns:
        Numbers [n, 12], columns as `names`.
    """
    height, width = int(shape[0]), int(shape[1])
    flat = np.asarray(images, np.float64)
    pixels = flat.reshape(len(flat), height, width, -1).mean(axis=3)
    grid = np.einsum("gh,nhw,kw->ngk", _pool(height), pixels, _pool(width), optimize=True)
    spectrum = np.einsum("gh,nhw,kw->ngk", _cosine(grid.shape[1]), grid, _cosine(grid.shape[2]), optimize=True)
    low = [spectrum[:, i, j] if i < spectrum.shape[1] and j < spectrum.shape[2] else np.zeros(len(flat))
           for i, j in _orders()]  # fmt: skip
    contrast = pixels.std(axis=(1, 2))
    down = np.abs(np.diff(pixels, axis=1)).mean(axis=(1, 2)) if height > 1 else np.zeros(len(flat))
    across = np.abs(np.diff(pixels, axis=2)).mean(axis=(1, 2)) if width > 1 else np.zeros(len(flat))
    return np.stack([contrast, down + across, *low], axis=1)


def _orders() -> list[tuple[int, int]]:
    return [(i, j) for i in range(ORDER) for j in range(ORDER) if i + j < ORDER]


@functools.cache
def _pool(length: int) -> Floats:
    """Matrix [min(length, GRID), length] of means over neighbouring pixels."""
    cells = min(length, GRID)
    at = np.arange(length) * cells // length
    matrix = (at[None, :] == np.arange(cells)[:, None]).astype(np.float64)
    return np.asarray(matrix / matrix.sum(axis=1, keepdims=True))


@functools.cache
def _cosine(length: int) -> Floats:
    """Orthonormal DCT-II matrix [length, length]."""
    k, i = np.arange(length)[:, None], np.arange(length)[None, :]
    matrix = np.sqrt(2 / length) * np.cos(np.pi * (i + 0.5) * k / length)
    matrix[0] /= np.sqrt(2)
    return np.asarray(matrix, np.float64)
