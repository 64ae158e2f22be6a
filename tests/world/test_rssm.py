"""What flows into a state, what must not, and how latents are stored."""

from __future__ import annotations

import math

import pytest
import torch

from dreamer_plugin.world.cores import BlockGRU
from dreamer_plugin.world.latent import CategoricalLatent
from dreamer_plugin.world.rssm import RSSM

B, T, E, A = 2, 6, 5, 3


@pytest.fixture
def rssm() -> RSSM:
    torch.manual_seed(0)
    latent = CategoricalLatent(4, 4)
    return RSSM(BlockGRU(16, 16, A, 8, blocks=2), latent, E, 8)


def _inputs() -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(1)
    return {
        "embed": torch.randn(B, T, E, generator=rng),
        "prev_action": torch.randn(B, T, A, generator=rng),
        "is_first": torch.zeros(B, T, dtype=torch.bool),
        "noise": torch.rand(B, T, 4, generator=rng),
        "deter": torch.randn(B, 16, generator=rng),
        "stoch": torch.rand(B, 4, 4, generator=rng),
    }


def _observe(rssm: RSSM, given: dict[str, torch.Tensor]) -> torch.Tensor:
    """Posterior parameters `[B, T, S, K]`."""
    start = given["deter"], given["stoch"]
    steps = (given[k] for k in ("embed", "prev_action", "is_first"))
    return rssm.observe(*steps, start, given["noise"])["post"]


def _changed(name: str, t: int) -> dict[str, torch.Tensor]:
    given = _inputs()
    given[name] = given[name].clone()
    given[name][:, t] += 1.0
    return given


@pytest.mark.parametrize("name", ["embed", "prev_action"])
@pytest.mark.parametrize("t", [0, 3])
def test_inputs_count_from_their_own_step_on(rssm: RSSM, name: str, t: int) -> None:
    """The first action and the first observation too."""
    plain, moved = _observe(rssm, _inputs()), _observe(rssm, _changed(name, t))
    assert torch.equal(plain[:, :t], moved[:, :t])
    assert all(not torch.equal(plain[:, s], moved[:, s]) for s in range(t, T))


def test_the_start_state_counts(rssm: RSSM) -> None:
    for name in ("deter", "stoch"):
        given = _inputs()
        given[name] = given[name] + 1.0
        assert not torch.equal(_observe(rssm, _inputs())[:, 0], _observe(rssm, given)[:, 0])


@pytest.mark.parametrize("name", ["embed", "noise", "deter", "stoch", "prev_action"])
def test_nothing_crosses_the_begin_of_an_episode(rssm: RSSM, name: str) -> None:
    """Row 0 begins anew at step 3: all before is forgotten, the action that led there too."""
    given = _inputs()
    given["is_first"][0, 3] = True
    other = dict(given)
    other[name] = given[name].clone()
    if name in ("deter", "stoch"):
        other[name] += 1.0
    elif name == "prev_action":
        other[name][:, :4] += 1.0
    else:
        other[name][:, :3] = 1 - other[name][:, :3]
    one, two = _observe(rssm, given), _observe(rssm, other)
    assert torch.equal(one[0, 3:], two[0, 3:])
    assert not torch.equal(one[1, 3:], two[1, 3:])  # where nothing began, it is not forgotten


def test_a_begin_starts_from_the_initial_state(rssm: RSSM) -> None:
    given = _inputs()
    given["is_first"][:, 0] = True
    zero = given | dict(zip(("deter", "stoch"), rssm.initial(B), strict=True))
    zero["prev_action"] = given["prev_action"].clone()
    zero["prev_action"][:, 0] = 0
    zero["is_first"] = torch.zeros_like(given["is_first"])
    assert torch.equal(_observe(rssm, given), _observe(rssm, zero))


def test_a_begin_forgets_also_what_is_not_finite(rssm: RSSM) -> None:
    given = _inputs()
    given["is_first"][:, 0] = True
    odd = {name: torch.full_like(given[name], math.nan) for name in ("deter", "stoch")}
    odd["prev_action"] = given["prev_action"].clone()
    odd["prev_action"][:, 0] = math.inf
    assert torch.equal(_observe(rssm, given | odd), _observe(rssm, given))


def test_no_gradient_crosses_a_begin(rssm: RSSM) -> None:
    given = _inputs()
    given["is_first"][:, 3] = True
    given["embed"].requires_grad_()
    _observe(rssm, given)[:, 3:].square().sum().backward()
    assert not given["embed"].grad[:, :3].any() and given["embed"].grad[:, 3:].any()


def test_observing_and_dreaming_share_the_core(rssm: RSSM) -> None:
    """With the prior in the posterior's place, both make the same step."""
    given = _inputs()
    start = given["deter"], given["stoch"]
    states = rssm.observe(
        given["embed"], given["prev_action"], given["is_first"], start, given["noise"]
    )
    deter, stoch = rssm.imagine_step(*start, given["prev_action"][:, 0], given["noise"][:, 0])
    assert torch.allclose(deter, states["deter"][:, 0])
    drawn = rssm.latent.sample(states["prior"][:, 0], given["noise"][:, 0])
    assert torch.allclose(stoch, drawn)


def test_features_are_deter_then_stoch(rssm: RSSM) -> None:
    deter, stoch = torch.randn(B, 16), torch.randn(B, 4, 4)
    assert torch.equal(rssm.feat(deter, stoch), torch.cat([deter, stoch.flatten(1)], -1))
    assert rssm.feat_size == 32


def test_absolute_posterior_ignores_the_recurrent_state() -> None:
    rssm = RSSM(BlockGRU(16, 16, A, 8, blocks=2), CategoricalLatent(4, 4), E, 8, absolute=True)
    embed = torch.randn(B, E)
    assert torch.equal(rssm.post(torch.zeros(B, 16), embed), rssm.post(torch.ones(B, 16), embed))


def test_free_nats_floor_the_loss() -> None:
    rssm = RSSM(BlockGRU(16, 16, A, 8, blocks=2), CategoricalLatent(4, 4), E, 8, free_nats=50.0)
    given = _inputs()
    start = given["deter"], given["stoch"]
    states = rssm.observe(
        given["embed"], given["prev_action"], given["is_first"], start, given["noise"]
    )
    losses = rssm.kl(states)
    assert losses.keys() == {"dyn", "rep"}
    assert all(torch.equal(loss, torch.full((B, T), 50.0)) for loss in losses.values())


def test_stored_latents_come_back_whole() -> None:
    latent = CategoricalLatent(4, 256)
    stoch = latent.sample(latent.params(torch.randn(3, 5, 4 * 256)), torch.rand(3, 5, 4))
    stored = latent.to_storage(stoch)
    assert stored.dtype == latent.storage_dtype == torch.uint8
    assert stored.shape == (3, 5, *latent.storage_shape)
    assert torch.equal(latent.from_storage(stored), stoch)


@pytest.mark.parametrize("classes", [1, 257])
def test_class_counts_that_do_not_fit_a_byte_are_refused(classes: int) -> None:
    with pytest.raises(ValueError, match=f"2..256 .* got {classes}"):
        CategoricalLatent(4, classes)


def test_the_mode_is_the_likeliest_class() -> None:
    latent = CategoricalLatent(1, 3)
    params = latent.params(torch.tensor([[0.0, 2.0, 1.0]]))
    assert latent.mode(params).tolist() == [[[0.0, 1.0, 0.0]]]
    assert params.exp().sum(-1).item() == pytest.approx(1.0)
