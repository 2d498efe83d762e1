"""Small changes to images in training that leave their meaning alone."""

from __future__ import annotations

import torch
from torch.nn import functional

TURN = 0.17  # radians, about 10 degrees
SCALE = 0.12
SHEAR = 0.15
SHIFT = 0.125  # of half the image's side: half a pixel of 8


def jitter(x: torch.Tensor) -> torch.Tensor:
    """Turn, scale, shear and shift each image [n, channels, height, width] a little, by torch's own generator."""
    n = len(x)
    turn, shear = (torch.rand(n, device=x.device) * 2 - 1) * TURN, (torch.rand(n, device=x.device) * 2 - 1) * SHEAR
    scale = 1 + (torch.rand(n, 2, device=x.device) - 0.5) * 2 * SCALE
    theta = torch.zeros(n, 2, 3, device=x.device, dtype=x.dtype)
    theta[:, 0, 0] = torch.cos(turn) * scale[:, 0]
    theta[:, 0, 1] = shear - torch.sin(turn)
    theta[:, 1, 0] = torch.sin(turn)
    theta[:, 1, 1] = torch.cos(turn) * scale[:, 1]
    theta[:, :, 2] = (torch.rand(n, 2, device=x.device) * 2 - 1) * SHIFT
    grid = functional.affine_grid(theta, list(x.shape), align_corners=False)
    # Zeros come in from outside: the low end of a declared range, else the mean colour.
    return functional.grid_sample(x, grid, padding_mode="zeros", align_corners=False)
