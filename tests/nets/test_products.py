"""Float32 products of an update: another library, the same exactness, and no trace outside."""

from __future__ import annotations

import pytest
import torch

from dreamer_plugin.nets import products
from dreamer_plugin.nets.products import fast_products

CPU = torch.device("cpu")


def test_the_setting_ends_with_the_update(monkeypatch):
    monkeypatch.setattr(products, "onednn_is_exact_and_faster", lambda: True)
    before = torch.get_float32_matmul_precision()
    with pytest.raises(RuntimeError, match="inside"), fast_products(CPU, torch.float32):
        assert torch.get_float32_matmul_precision() == "medium"
        raise RuntimeError("inside")
    assert torch.get_float32_matmul_precision() == before


@pytest.mark.parametrize(
    ("device", "precision", "faster"),
    [
        (torch.device("cuda"), torch.float32, True),  # there the word would mean TF32 or less
        (CPU, torch.bfloat16, True),
        (CPU, torch.float32, False),
    ],
)
def test_elsewhere_nothing_changes(monkeypatch, device, precision, faster):
    monkeypatch.setattr(products, "onednn_is_exact_and_faster", lambda: faster)
    before = torch.get_float32_matmul_precision()
    with fast_products(device, precision):
        assert torch.get_float32_matmul_precision() == before


@pytest.mark.skipif(not products.onednn_is_exact_and_faster(), reason="not such a processor")
def test_products_stay_exact_to_float32():
    """Bound: sums of 2048 products of float32, against float64; bfloat16 would miss by 4e-3."""
    rng = torch.Generator().manual_seed(0)
    a, b = (torch.randn(256, 2048, generator=rng) for _ in range(2))
    exact = a.double() @ b.double().t()
    with fast_products(CPU, torch.float32):
        error = ((a @ b.t()).double() - exact).abs().max() / exact.abs().max()
    assert error < 3e-6
