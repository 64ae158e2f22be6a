"""Layers by hand, and their initial values."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from dreamer_plugin.errors import UsageError
from dreamer_plugin.nets.layers import (
    MLP,
    BlockLinear,
    LayerNorm,
    Linear,
    RMSNorm,
    Style,
    Unit,
    init_weight,
)
from dreamer_plugin.nets.vision import Conv, ConvStage


def test_rms_norm_by_hand() -> None:
    norm = RMSNorm(2)
    x = torch.tensor([3.0, 4.0])
    expected = x / math.sqrt(12.5 + 1e-4)
    assert torch.allclose(norm(x), expected)
    assert norm(torch.zeros(2)).tolist() == [0.0, 0.0]


def test_layer_norm_by_hand() -> None:
    expected = torch.tensor([-1.0, 1.0]) / math.sqrt(1 + 1e-4)
    assert torch.allclose(LayerNorm(2)(torch.tensor([1.0, 3.0])), expected)


@pytest.mark.parametrize("norm", [RMSNorm, LayerNorm])
def test_norms_compute_in_float32_and_keep_the_type(norm: type) -> None:
    module, x = norm(64), torch.randn(5, 64) * 100
    out = module(x.bfloat16())
    assert out.dtype == torch.bfloat16
    assert torch.equal(out, module(x.bfloat16().float()).bfloat16())


def test_block_linear_is_a_block_diagonal_matrix() -> None:
    layer = BlockLinear(6, 4, 2)
    torch.nn.init.normal_(layer.bias)
    x = torch.randn(3, 5, 6)
    dense = torch.block_diag(*layer.weight)
    assert torch.allclose(layer(x), x @ dense + layer.bias, atol=1e-6)


def test_a_block_layer_without_bias_is_the_matrix_alone() -> None:
    layer = BlockLinear(6, 4, 2, bias=False)
    x = torch.randn(3, 6)
    assert torch.allclose(layer(x), x @ torch.block_diag(*layer.weight), atol=1e-6)
    assert [name for name, _ in layer.named_parameters()] == ["weight"]


def test_the_order_in_memory_changes_no_weight() -> None:
    layers = []
    for inputs_first in (False, True):
        torch.manual_seed(0)
        layers.append(BlockLinear(800, 400, 8, inputs_first=inputs_first))
    usual, first = (layer.weight for layer in layers)
    assert torch.equal(usual, first) and usual.is_contiguous()
    assert first.transpose(0, 1).is_contiguous()  # in/G G out/G


def test_learning_keeps_the_order_in_memory() -> None:
    """Gradients and averages in another order would be read across."""
    layer = BlockLinear(8, 8, 2, inputs_first=True)
    again = copy.deepcopy(layer)
    again.load_state_dict({name: value.contiguous() for name, value in layer.state_dict().items()})
    again(torch.randn(3, 8)).sum().backward()
    assert again.weight.grad is not None
    assert again.weight.grad.stride() == again.weight.stride() == layer.weight.stride()


@pytest.mark.parametrize(("sizes", "name"), [((5, 4), "in_features 5"), ((4, 5), "out_features 5")])
def test_block_sizes_must_divide(sizes: tuple[int, int], name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is not divisible by 2 blocks"):
        BlockLinear(*sizes, 2)


def test_initial_deviation_counts_the_whole_input_of_a_block_layer() -> None:
    torch.manual_seed(0)
    # 40000 draws: the deviation's own error is below 0.4 %.
    for layer, fan in ((Linear(400, 100), 400), (BlockLinear(800, 400, 8), 800)):
        assert layer.weight.std().item() == pytest.approx(1 / math.sqrt(fan), rel=0.02)
        assert layer.weight.abs().max() <= 2 * 1.1369 / math.sqrt(fan)
        assert not layer.bias.any()


def test_outscale_scales_and_zero_is_exact() -> None:
    torch.manual_seed(0)
    small, none = Linear(400, 100, 0.01), Linear(400, 100, 0.0)
    assert small.weight.std().item() == pytest.approx(0.01 / 20, rel=0.02)
    assert not none.weight.any()


def test_an_mlp_without_layers_is_the_identity() -> None:
    mlp = MLP(3, 0, 8)
    x = torch.randn(2, 3)
    assert torch.equal(mlp(x), x) and mlp.out_features == 3
    assert MLP(3, 2, 8).out_features == 8


def test_the_average_fan_counts_inputs_and_outputs() -> None:
    """Standard deviation 1 / sqrt((8 + 24) / 2) = 1/4 instead of 1 / sqrt(8)."""
    weights = {}
    for fan in ("in", "avg"):
        torch.manual_seed(0)
        weights[fan] = torch.empty(4000)
        init_weight(weights[fan], 8, 24, fan)
    assert weights["avg"].std().item() == pytest.approx(0.25, rel=0.05)
    assert weights["in"].std().item() == pytest.approx(1 / math.sqrt(8), rel=0.05)
    ratio = weights["avg"] / weights["in"]
    assert torch.allclose(ratio, torch.full_like(ratio, math.sqrt(8) / 4))


@pytest.mark.parametrize(
    ("make", "fan_in", "fan_out"),
    [
        (lambda fan: Linear(8, 24, fan=fan), 8, 24),
        (lambda fan: BlockLinear(8, 24, 2, fan), 8, 24),
        (lambda fan: Conv(2, 6, 4, 2, fan), 2 * 16, 6 * 16),
    ],
)
def test_layers_know_their_fans(make: object, fan_in: int, fan_out: int) -> None:
    weights = []
    for fan in ("in", "avg"):
        torch.manual_seed(0)
        weights.append(make(fan).weight)  # type: ignore[operator]
    expected = weights[0] * math.sqrt(fan_in / ((fan_in + fan_out) / 2))
    assert torch.allclose(weights[1], expected)


@pytest.mark.parametrize(
    ("make", "connections"),
    [
        (lambda: Linear(100, 300, fan="glorot"), 100 + 300),
        (lambda: Linear(100, 300, 0.5, "glorot"), (100 + 300) / 0.5**2),
        (lambda: BlockLinear(240, 160, 2, "glorot"), 240 + 160),  # all of both, no block's share
        (lambda: Conv(20, 60, 4, 2, "glorot"), (20 + 60) * 16),
    ],
)
def test_glorot_is_uniform_up_to_its_limit(make: object, connections: float) -> None:
    """Keras' default: limit sqrt(6 / (in + out)), so the moments of even draws within it.

    Of the 19200 draws of the smallest layer the mean deviates by 0.0042 limits, the second moment
    by 0.6 % and the fourth by 1.0 %.
    """
    torch.manual_seed(0)
    layer = make()  # type: ignore[operator]
    scaled = layer.weight.detach() / math.sqrt(6 / connections)
    assert 0.999 < scaled.max() <= 1.0001 and -1.0001 <= scaled.min() < -0.999
    assert scaled.mean().item() == pytest.approx(0.0, abs=0.015)
    assert scaled.square().mean().item() == pytest.approx(1 / 3, rel=0.02)
    assert scaled.pow(4).mean().item() == pytest.approx(1 / 5, rel=0.03)
    assert not layer.bias.any()


def test_glorot_with_outscale_zero_is_zero() -> None:
    assert not Linear(3, 4, 0.0, "glorot").weight.any()


def test_a_style_reaches_every_unit() -> None:
    style = Style(norm="layer", eps=1e-3, act="elu", fan="avg")
    for unit in (Unit(3, 4, style), MLP(3, 2, 4, style)[1]):
        assert (unit[0].fan, type(unit[1]), unit[1].eps) == ("avg", LayerNorm, 1e-3)
        assert type(unit[2]) is torch.nn.ELU
    stage = ConvStage(Conv(1, 2, 3), style=style)
    assert type(stage.norm.norm) is LayerNorm and type(stage.norm.act) is torch.nn.ELU
    for bias in ("always", "unnormed"):
        without = MLP(3, 1, 4, Style(norm="none", bias=bias))
        assert {name for name, _ in without.named_parameters()} == {"0.0.weight", "0.0.bias"}
    assert Unit(3, 4, Style(bias="unnormed"))[0].bias is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"norm": "layr"}, "Unknown nets.norm 'layr'. Did you mean 'layer'?"),
        ({"act": "gelu"}, "Unknown nets.act 'gelu'."),
        ({"fan": "out"}, "Unknown nets.fan 'out'."),
        ({"conv_act": "rely"}, "Unknown nets.conv_act 'rely'. Did you mean 'relu'?"),
    ],
)
def test_unknown_styles_name_the_valid_words(words: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        Style(**words)
    assert str(caught.value).startswith(message)


def test_a_compiler_gets_products_and_biases_apart() -> None:
    """A CPU copies a bias to all rows before it multiplies; a fused kernel adds it for nothing."""
    layer, x = Linear(5, 3), torch.randn(2, 4, 5)
    torch.nn.init.normal_(layer.bias)
    seen: list[str] = []

    def keep(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Any:
        linear, added = (node for node in graph.graph.nodes if node.op == "call_function")
        seen.extend([str(len(linear.args)), added.target.__name__])
        return graph.forward

    compiled = torch.compile(layer, backend=keep)
    torch.testing.assert_close(compiled(x), F.linear(x, layer.weight, layer.bias))
    assert seen == ["2", "add"]  # input and weight
    exported = torch.export.export(layer, (x,)).graph
    assert len([node for node in exported.nodes if node.op == "call_function"]) == 1
