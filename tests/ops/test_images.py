"""Likeness of images against a library's numbers and against hand calculation."""

import math

import pytest
import torch

from dreamer_plugin.ops.images import BEST_PSNR, psnr, ssim


def waves() -> tuple[torch.Tensor, torch.Tensor]:
    """Two images `[20, 24, 3]` given by a formula."""
    i = torch.arange(20 * 24 * 3, dtype=torch.float64).reshape(20, 24, 3)
    image = (torch.sin(0.37 * i) + 1) / 2
    return image.float(), ((torch.sin(0.37 * i + 0.4) + 1) / 2 * 0.8).float()


def test_as_scikit_image():
    """Computed with scikit-image 0.25.2 on the same images: structural_similarity with
    gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1, channel_axis=-1."""
    image, other = waves()
    assert float(ssim(image, other)) == pytest.approx(0.8770835796252952, abs=2e-6)
    assert float(ssim(image, 1 - image)) == pytest.approx(-0.9924477875286994, abs=2e-6)
    assert float(psnr(image, other)) == pytest.approx(15.108650420134492, abs=1e-5)


def test_flat_images_by_hand():
    # Without variance only the means count: (2 a b + C1) / (a^2 + b^2 + C1) with C1 = 0.01^2.
    a, b = torch.full((16, 16, 1), 0.4), torch.full((16, 16, 1), 0.6)
    assert float(ssim(a, b)) == pytest.approx((0.48 + 1e-4) / (0.52 + 1e-4), rel=1e-4)
    assert float(psnr(a, b)) == pytest.approx(-10 * math.log10(0.04), rel=1e-5)


def test_equal_images_are_as_like_as_can_be():
    image, _ = waves()
    assert float(ssim(image, image)) == pytest.approx(1, abs=1e-6)
    assert float(psnr(image, image)) == pytest.approx(BEST_PSNR)


def test_each_image_of_a_batch_by_itself():
    image, other = waves()
    batch = torch.stack([torch.stack([image, other]), torch.stack([other, image])])
    values = ssim(batch, image.expand_as(batch))
    assert values.shape == psnr(batch, image.expand_as(batch)).shape == (2, 2)
    torch.testing.assert_close(values[0, 1], ssim(other, image))
    torch.testing.assert_close(values[1, 1], torch.tensor(1.0))


def test_an_image_smaller_than_the_window():
    image, other = (x[:5, :8] for x in waves())
    assert -1 <= float(ssim(image, other)) < 1
    assert float(ssim(image, image)) == pytest.approx(1, abs=1e-6)


def test_no_images_have_no_similarity() -> None:
    assert ssim(torch.zeros(0, 5, 16, 16, 3), torch.zeros(0, 5, 16, 16, 3)).shape == (0, 5)
