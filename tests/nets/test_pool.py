"""The fast pool against the readable one: the same values and gradients, to the bit."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dreamer_plugin.nets import pool
from dreamer_plugin.nets.pool import max_pool


def readable(x: Tensor) -> Tensor:
    return x.unflatten(-1, (-1, 2)).unflatten(-3, (-1, 2)).amax((-3, -1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("channels_last", [True, False])
def test_same_values_and_gradients(dtype, channels_last):
    # Few distinct values make ties of two, three and four; half are exact in both types.
    x = torch.randint(0, 3, (6, 3, 6, 8), generator=torch.Generator().manual_seed(0)).to(dtype)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    x = x.contiguous(memory_format=layout)
    upstream = torch.randn(6, 3, 3, 4, generator=torch.Generator().manual_seed(1)).to(dtype)
    results = []
    for form in (readable, max_pool):
        leaf = x.clone().requires_grad_()
        pooled = form(leaf)
        pooled.backward(upstream)
        results.append((pooled.detach(), leaf.grad))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


def test_compiles_without_a_break():
    # The tracer refuses what it cannot follow, forward and backward; no code is generated here.
    compiled = torch.compile(max_pool, backend="aot_eager", fullgraph=True)
    leaf = torch.randn(1, 2, 4, 4, requires_grad=True)
    compiled(leaf).sum().backward()
    assert leaf.grad.count_nonzero() == leaf.numel() / 4


def test_the_form_for_other_devices_compiles():
    """A GPU's compiler is handed the plain operations, which must be traceable and the same."""
    x = torch.randint(0, 3, (5, 3, 6, 8)).float().contiguous(memory_format=torch.channels_last)
    pooled, grad = pool._pool(x), torch.randn(5, 3, 3, 4)
    for function, given in ((pool._pool, (x,)), (pool._spread, (x, pooled, grad))):
        compiled = torch.compile(function, backend="aot_eager", fullgraph=True)
        assert torch.equal(compiled(*given), function(*given))
    assert torch.equal(pool._spread(x, pooled, grad), pool._in_pieces(x, pooled, grad))


def test_pieces_are_cut_between_images(monkeypatch):
    x, grad = torch.randn(7, 2, 4, 4), torch.randn(7, 2, 2, 2)
    whole = pool._in_pieces(x, pool._pool(x), grad)
    for numbers in (1, 64, 100):  # one image, two, three
        monkeypatch.setattr(pool, "_PIECE", numbers)
        assert torch.equal(pool._in_pieces(x, pool._pool(x), grad), whole)


def test_no_images():
    x = torch.zeros(0, 2, 4, 4, requires_grad=True)
    max_pool(x).sum().backward()
    assert x.grad.shape == x.shape


@pytest.mark.parametrize("channels_last", [True, False])
def test_what_a_compiler_is_told_of_the_operators_is_true(channels_last):
    x = torch.randn(3, 2, 4, 6)
    x = x.contiguous(memory_format=torch.channels_last) if channels_last else x
    known = ("test_schema", "test_faketensor")
    torch.library.opcheck(pool._pooled, (x,), test_utils=known)
    pooled = pool._pool(x)
    torch.library.opcheck(pool._in_pieces, (x, pooled, torch.ones(3, 2, 2, 3)), test_utils=known)
