"""The dense core and learned starts, by hand."""

from __future__ import annotations

import math

import pytest
import torch

from dreamer_plugin.nets.layers import Style
from dreamer_plugin.world.cores import GRU, PlainGRU
from dreamer_plugin.world.latent import CategoricalLatent
from dreamer_plugin.world.rssm import RSSM

D, SK, A, HIDDEN = 4, 6, 3, 5


@pytest.fixture
def core() -> GRU:
    torch.manual_seed(0)
    return GRU(D, SK, A, HIDDEN)


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_a_gru_without_weights_keeps_most_of_its_state(core: GRU) -> None:
    """Gates of 0: nothing is written, and a share sigmoid(-1) = 0.2689 is forgotten."""
    torch.nn.init.zeros_(core.gates.weight)
    deter = torch.tensor([[1.0, -2.0, 0.5, 0.0]])
    after = core(deter, torch.randn(1, SK), torch.randn(1, A))
    assert torch.allclose(after, (1 - 0.268941) * deter, atol=1e-5)


def test_gates_are_reset_candidate_update_over_the_whole_state(core: GRU) -> None:
    """With a constant norm: h' = u tanh(sigmoid(r) c) + (1 - u) h, u = sigmoid(update - 1)."""
    torch.nn.init.zeros_(core.norm.weight)
    reset, candidate, update = [0.0, 1.0, 2.0, 3.0], [1.0, -1.0, 0.5, 2.0], [1.0, 0.0, 2.0, -1.0]
    core.norm.bias.data = torch.tensor([*reset, *candidate, *update])
    deter = [1.0, -1.0, 0.0, 2.0]
    after = core(torch.tensor([deter]), torch.zeros(1, SK), torch.zeros(1, A))
    for i, value in enumerate(after[0].tolist()):
        u = _sigmoid(update[i] - 1)
        expected = u * math.tanh(_sigmoid(reset[i]) * candidate[i]) + (1 - u) * deter[i]
        assert value == pytest.approx(expected, abs=1e-6)


def test_one_norm_spans_all_three_gates(core: GRU) -> None:
    gates = core.gates(torch.randn(7, D + HIDDEN))
    normed = core.norm(gates)
    assert normed.shape == (7, 3 * D)
    assert torch.allclose(normed.mean(-1), torch.zeros(7), atol=1e-5)
    thirds = normed.unflatten(-1, (3, D)).mean(-1)
    assert (thirds.abs() > 1e-2).any()  # a norm of each gate would make these zero


def test_the_core_is_dense_and_sees_every_input(core: GRU) -> None:
    inputs = [torch.randn(1, n, requires_grad=True) for n in (D, SK, A)]
    core(inputs[0], inputs[1], core.embed_action(inputs[2])).sum().backward()
    assert all(bool((x.grad != 0).all()) for x in inputs)
    shapes = {name: tuple(p.shape) for name, p in core.named_parameters()}
    assert shapes["gates.weight"] == (3 * D, D + HIDDEN)
    assert shapes["inputs.0.weight"] == (HIDDEN, SK + A)
    assert core.embed_action(torch.tensor([[3.0, -0.5, 1.0]])).tolist() == [[1.0, -0.5, 1.0]]


def test_the_update_bias_is_a_number() -> None:
    """Without weights the share that is forgotten is sigmoid of it."""
    core = GRU(D, SK, A, HIDDEN, update_bias=2.0)
    torch.nn.init.zeros_(core.gates.weight)
    after = core(torch.ones(1, D), torch.zeros(1, SK), torch.zeros(1, A))
    assert torch.allclose(after, torch.full((1, D), 1 - _sigmoid(2.0)))


def test_a_plain_gru_is_that_of_torch() -> None:
    """Its weights in `torch.nn.GRUCell` of the installed torch, after the same input layer."""
    torch.manual_seed(0)
    core, cell = (
        PlainGRU(D, SK, A, HIDDEN, Style(norm="none", act="elu")),
        torch.nn.GRUCell(HIDDEN, D),
    )
    for param in core.parameters():
        torch.nn.init.normal_(param)
    own = core.gates.weight, core.gates.bias, core.recurrent.weight, core.recurrent.bias
    names = ("weight_ih", "bias_ih", "weight_hh", "bias_hh")
    cell.load_state_dict({name: x.detach() for name, x in zip(names, own, strict=True)})
    deter, stoch, action = torch.randn(7, D), torch.randn(7, SK), torch.rand(7, A)
    x = torch.nn.functional.elu(core.inputs[0](torch.cat([stoch, action], -1)))
    assert torch.allclose(core(deter, stoch, action), cell(x, deter), atol=1e-6)


def test_recurrent_weights_of_a_plain_gru_start_orthogonal() -> None:
    weight = PlainGRU(D, SK, A, HIDDEN).recurrent.weight
    assert torch.allclose(weight.T @ weight, torch.eye(D), atol=1e-5)


def _rssm(learned: bool) -> RSSM:
    torch.manual_seed(0)
    latent = CategoricalLatent(2, 3)
    style = Style(norm="layer")
    return RSSM(GRU(D, SK, A, HIDDEN, style), latent, 5, HIDDEN, learned_start=learned, style=style)


def test_a_learned_start_is_tanh_of_a_parameter_and_the_mode_of_the_prior_there() -> None:
    rssm = _rssm(learned=True)
    assert rssm.start is not None
    rssm.start.data = torch.tensor([0.5, -1.0, 2.0, 0.0])
    deter, stoch = rssm.initial(2)
    assert torch.allclose(deter, torch.tensor([0.462117, -0.761594, 0.964028, 0.0]).expand(2, 4))
    likeliest = rssm.latent.params(rssm.prior(deter)).argmax(-1)
    assert stoch.shape == (2, 2, 3) and stoch.argmax(-1).equal(likeliest)
    stoch[..., 0].sum().backward()  # straight through the mode, into the start
    assert rssm.start.grad is not None and bool((rssm.start.grad != 0).all())


@pytest.mark.parametrize("learned", [True, False])
def test_only_first_rows_go_back_to_the_start(learned: bool) -> None:
    rssm = _rssm(learned)
    if rssm.start is not None:
        torch.nn.init.ones_(rssm.start)
    deter, stoch = torch.randn(3, D), torch.rand(3, 2, 3)
    is_first = torch.tensor([False, True, False])
    after = rssm.reset(deter, stoch, is_first)
    for new, old, fresh in zip(after, (deter, stoch), rssm.initial(1), strict=True):
        assert torch.equal(new[1], fresh[0])
        assert torch.equal(new[[0, 2]], old[[0, 2]])
    assert bool(after[0][1].any()) is learned
