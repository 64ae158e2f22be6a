"""Doubling maps by one convolution of the small map: `UpConv` in values and gradients, cheaper.

After nearest-neighbour doubling, neighbouring taps of a filter often see the same pixel. The taps
that do are added up first; each of the four places (i, j) of an output within a pixel of the small
map then has a small filter of its own, and all four are the channels of one convolution.

    row 2r + i of the output, taps of a filter of 5        pixel   r-1       r         r+1
                                                           i = 0   k0 + k1   k2 + k3   k4
                                                           i = 1   k0        k1 + k2   k3 + k4

A filter of 5x5 over the doubled map takes 100 products per pixel of the small one, here 36. Borders
agree: a doubled map is zero outside exactly where the small one is.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def subpixel_conv(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`[N, cin, H, W] -> [N, cout, 2H, 2W]`.

    Args:
        weight: `[cout, cin, K, K]`, K odd. bias: `[cout]`.
    """
    folded = fold(weight)  # 4*cout cin k k
    bias = None if bias is None else bias.repeat(4)
    small = F.conv2d(x, folded, bias, padding=folded.shape[-1] // 2)
    n, _, h, w = small.shape
    places = small.permute(0, 2, 3, 1).unflatten(-1, (2, 2, -1))  # N h w i j cout
    rows = places.transpose(2, 3).reshape(n, 2 * h, 2 * w, -1)  # in runs of both j, all channels
    return rows.permute(0, 3, 1, 2)


def fold(weight: Tensor) -> Tensor:
    """Filters of the doubled map to those of the small one.

    Args:
        weight: `[cout, cin, K, K]`, K odd.

    Returns:
        `[4*cout, cin, k, k]` with `k = 2 * ceil((K-1) / 4) + 1`, all channels of a place together.
    """
    with torch.autocast(weight.device.type, enabled=False):  # sums of taps are rounded once
        taps = _seen_by(weight.shape[-1], weight.device).to(weight)
        folded = torch.einsum("ocab,iua,jvb->ijocuv", weight, taps, taps)
    return folded.flatten(0, 2)


def _seen_by(kernel: int, device: torch.device) -> Tensor:
    """Which tap of a filter sees which pixel: `[2, k, K]`, place, pixel, tap."""
    half = kernel // 2
    reach = (half + 1) // 2
    # Made where it is needed: a copy from the host would be waited for in every update.
    places, taps = torch.arange(2, device=device), torch.arange(kernel, device=device)
    pixels = torch.arange(-reach, reach + 1, device=device)
    seen = torch.div(places[:, None] + taps - half, 2, rounding_mode="floor")  # 2 K
    return seen.unsqueeze(1) == pixels[:, None]
