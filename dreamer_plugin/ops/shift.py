"""Random shifts of images, an augmentation."""

from __future__ import annotations

import torch
from torch import Tensor


def shifted(images: Tensor, noise: Tensor, most: int) -> Tensor:
    """Move images by whole pixels; what comes in at an edge repeats that edge.

    Each row of the batch moves by one pair of numbers, uniform in -most..most, at all of its times:
    what `most` repeated pixels around it, cut at a random corner, come to. Source: random shift of
    DrQ-v2 (facebookresearch/drqv2 @ c0c650b, `drqv2.py`), there for every image on its own.

    Args:
        images: `[B, T, H, W, C]` of any type. noise: `[B, 2]` uniform in [0, 1), down and right.
        most: pixels.

    Returns:
        `[B, T, H, W, C]` of the same type.
    """
    height, width = images.shape[2:4]
    offset = (noise * (2 * most + 1)).long() - most  # B 2
    rows = _moved(height, offset[:, :1])  # B H
    columns = _moved(width, offset[:, 1:])  # B W
    batch = torch.arange(len(images), device=images.device)[:, None, None]
    picked = images[batch, :, rows[:, :, None], columns[:, None, :]]  # B H W T C
    return picked.movedim(3, 1).contiguous()


def _moved(size: int, offset: Tensor) -> Tensor:
    """Where each pixel of a side comes from, `[B, size]`."""
    places = torch.arange(size, device=offset.device) + offset
    return places.clamp(0, size - 1)
