"""The fast pool against the readable one: the same values and gradients, to the bit."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

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
    for pool in (readable, max_pool):
        leaf = x.clone().requires_grad_()
        pooled = pool(leaf)
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
