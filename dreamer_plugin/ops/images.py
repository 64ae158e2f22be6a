"""How alike two images are."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

WINDOW, SIGMA = 11, 1.5  # pixels
K1, K2 = 0.01, 0.03
BEST_PSNR = 100.0  # dB, that of equal images, which would be infinite


def psnr(image: Tensor, truth: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB, at most `BEST_PSNR`.

    Args:
        image, truth: `[..., H, W, C]` from 0 to 1.

    Returns:
        `[...]`, `-10 log10` of the mean squared error of each image.
    """
    mse = ((image - truth) ** 2).mean((-3, -2, -1))
    return -10 * torch.log10(mse.clamp(min=10 ** (-BEST_PSNR / 10)))


def ssim(image: Tensor, truth: Tensor) -> Tensor:
    """Structural similarity: 1 for equal images, about 0 for unrelated ones.

    Of every window that lies inside the image, weighted by a Gaussian, the local means m, variances
    v and covariance c give `(2 m1 m2 + C1)(2 c + C2) / ((m1^2 + m2^2 + C1)(v1 + v2 + C2))`; the
    result is the mean over windows and channels. An image smaller than the window is one window.

    Source: Wang et al. 2004, "Image quality assessment: from error visibility to structural
    similarity", eq. 13 with its constants; scikit-image's `structural_similarity` computes the same
    with `gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1`.

    Args:
        image, truth: `[..., H, W, C]` from 0 to 1.

    Returns:
        `[...]`.
    """
    *batch, height, width, channels = image.shape
    x, y = (each.movedim(-1, -3).flatten(0, -3).unsqueeze(1) for each in (image, truth))
    rows, columns = (_gaussian(min(WINDOW, size), image) for size in (height, width))
    stacked = torch.cat([x, y, x * x, y * y, x * y])
    local = F.conv2d(F.conv2d(stacked, rows.view(1, 1, -1, 1)), columns.view(1, 1, 1, -1))
    mean_x, mean_y, xx, yy, xy = local.chunk(5)
    var_x, var_y, cov = xx - mean_x**2, yy - mean_y**2, xy - mean_x * mean_y
    c1, c2 = K1**2, K2**2
    alike = (2 * mean_x * mean_y + c1) * (2 * cov + c2)
    alike = alike / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))
    return alike.mean((1, 2, 3)).reshape(*batch, channels).mean(-1)


def _gaussian(size: int, like: Tensor) -> Tensor:
    """Weights `[size]` that sum to 1."""
    middle = (size - 1) / 2
    weights = [math.exp(-((i - middle) ** 2) / (2 * SIGMA**2)) for i in range(size)]
    window = like.new_tensor(weights)
    return window / window.sum()
