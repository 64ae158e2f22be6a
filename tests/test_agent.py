"""The agent as a whole: acting, updating, saving, and reduced precision."""

from __future__ import annotations

import copy
import re

import gymnasium as gym
import pytest
import torch
from tensordict import TensorDict
from torch.utils._python_dispatch import TorchDispatchMode

from dreamer_plugin.agent import Agent
from dreamer_plugin.build import build_agent
from dreamer_plugin.errors import UsageError
from dreamer_plugin.spaces import Spaces

from . import tiny


def _noise(agent: Agent, rows: int = 3, seed: int = 0) -> torch.Tensor:
    return torch.rand(rows, agent.noise_size, generator=torch.Generator().manual_seed(seed))


def _obs(rows: int = 3) -> dict[str, torch.Tensor]:
    return {"vector": torch.randn(rows, 3, generator=torch.Generator().manual_seed(1))}


NOT_FIRST = torch.zeros(3, dtype=torch.bool)


def test_acting_is_a_function_of_its_noise() -> None:
    agent = tiny.agent()
    state = agent.initial(3)
    one, after = agent.act(_obs(), NOT_FIRST, state, _noise(agent))
    two, again = agent.act(_obs(), NOT_FIRST, state, _noise(agent))
    assert one.equal(two) and all(after[k].equal(again[k]) for k in after.keys())
    assert one.shape == (3, 5) and not one.requires_grad
    other, _ = agent.act(_obs(), NOT_FIRST, state, _noise(agent, seed=5))
    assert not one.equal(other)


def test_first_frames_forget_the_state_row_by_row() -> None:
    agent = tiny.agent()
    _, state = agent.act(_obs(), NOT_FIRST, agent.initial(3), _noise(agent))
    first = torch.tensor([True, False, False])
    fresh, _ = agent.act(_obs(), NOT_FIRST, agent.initial(3), _noise(agent, seed=2))
    mixed, _ = agent.act(_obs(), first, state, _noise(agent, seed=2))
    old, _ = agent.act(_obs(), NOT_FIRST, state, _noise(agent, seed=2))
    assert torch.allclose(mixed[0], fresh[0], atol=1e-6)
    assert torch.allclose(mixed[1:], old[1:], atol=1e-6)
    assert not torch.allclose(old[0], fresh[0])


def test_rows_act_alone() -> None:
    """What one env does never depends on how many there are."""
    agent = tiny.agent()
    whole, _ = agent.act(_obs(), NOT_FIRST, agent.initial(3), _noise(agent))
    for row in range(3):
        cut = slice(row, row + 1)
        obs = {"vector": _obs()["vector"][cut]}
        alone, _ = agent.act(obs, NOT_FIRST[cut], agent.initial(1), _noise(agent)[cut])
        assert torch.allclose(alone, whole[cut], atol=1e-6)


def test_deterministic_acting_needs_no_noise() -> None:
    agent = tiny.agent()
    one, _ = agent.act(_obs(), NOT_FIRST, agent.initial(3), _noise(agent), deterministic=True)
    two, _ = agent.act(
        _obs(), NOT_FIRST, agent.initial(3), _noise(agent, seed=9), deterministic=True
    )
    assert one.equal(two)


def test_the_context_column_is_cut_off_and_actions_are_shifted() -> None:
    agent, batch = tiny.agent(), tiny.batch()
    inputs = agent.unroll_context(batch)
    assert inputs.batch_size == (3, 5)
    assert inputs["obs", "vector"].equal(batch["obs", "vector"][:, 1:])
    assert inputs["reward"].equal(batch["reward"][:, 1:])
    assert inputs["prev_action"].equal(batch["action"][:, :-1])
    assert inputs["start", "deter"][:, 0].equal(batch["deter"][:, 0])
    assert inputs["start", "stoch"][:, 0].argmax(-1).equal(batch["stoch"][:, 0].long())


def test_the_context_observation_is_not_trained_on() -> None:
    changed = tiny.batch()
    changed["obs", "vector"][:, 0] += 1.0
    changed["reward"][:, 0] += 1.0
    losses = [tiny.agent().update(b)[1] for b in (tiny.batch(), changed)]
    assert all(losses[0][k].equal(losses[1][k]) for k in losses[0])


def test_an_update_moves_every_trained_parameter() -> None:
    agent = tiny.agent()
    before = {k: v.detach().clone() for k, v in agent.named_parameters()}
    latents, metrics = agent.update(tiny.batch())
    still = [k for k, v in agent.named_parameters() if v.equal(before[k])]
    assert still == []
    assert agent.updates == 1
    assert latents.batch_size == (3, 5)
    assert latents["deter"].shape == (3, 5, 16) and latents["stoch"].dtype == torch.uint8
    assert all(value.ndim == 0 and not value.requires_grad for value in metrics.values())
    assert {f"loss/{name}" for name in agent.scales} <= metrics.keys()


def test_latents_to_store_are_those_that_acting_gives() -> None:
    agent = tiny.agent()
    _, state = agent.act(_obs(), NOT_FIRST, agent.initial(3), _noise(agent))
    stored = agent.latents(state)
    assert stored["deter"].equal(state["deter"])
    assert agent.world.rssm.latent.from_storage(stored["stoch"]).equal(state["stoch"])


@pytest.mark.parametrize("name", ["reward", "policy", "dyn"])
def test_an_observation_may_not_have_the_name_of_a_loss(name: str) -> None:
    obs = gym.spaces.Dict({name: tiny.OBS["vector"]})
    with pytest.raises(UsageError, match=f"'{name}' has the name of a loss: rename it"):
        build_agent(tiny.config(), Spaces.from_gym(obs, tiny.ACTIONS))


@pytest.mark.parametrize("odd", ["extra", "reward"])
def test_losses_and_scales_must_have_the_same_names(odd: str) -> None:
    agent = tiny.agent()
    if odd == "extra":
        agent.scales["extra"] = 1.0
    else:
        del agent.scales["reward"]
    with pytest.raises(ValueError, match=re.escape(f"differ in ['{odd}']")):
        agent.update(tiny.batch())


def test_a_single_start_leaves_the_replay_value_loss_nothing() -> None:
    with pytest.raises(UsageError, match=r"imag_last=1 .* behavior\.imag_last=2"):
        tiny.agent(lambda cfg: setattr(cfg.behavior, "imag_last", 1))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"behavior__imag_skip": 70}, "imag_skip=70 leave no step to dream from of replay.*=64"),
        ({"behavior__imag_skip": 64}, "behavior.imag_skip=62 or less"),
        ({"behavior__imag_skip": 63}, "no pair of steps .* or loss_scales.repval=0"),
        ({"behavior__imag_horizon": 1, "behavior__returns": "departure"}, "take 2 or more"),
        (
            {"behavior__returns": "departure", "loss_scales__repval": 0.5},
            "loss_scales.repval=0.5 teaches values of arrival",
        ),
        ({"behavior__horizon": 0.99}, "0.99 must be more than 1 step; .* is behavior.horizon=100"),
        ({"behavior__horizon": 1.0}, "behavior.horizon=1 must be more than 1 step$"),
        ({"optim__schedule": "linear"}, "needs optim.anneal, .* more than optim.warmup=0, got 0"),
        ({"optim__schedule": "cosine", "optim__warmup": 5, "optim__anneal": 5}, "got 5"),
    ],
)
def test_settings_that_teach_nothing_or_what_is_wrong_are_refused(values, words) -> None:
    with pytest.raises(UsageError, match=words):
        tiny.agent(tiny.setting(**values))


def test_a_loaded_state_is_a_copy() -> None:
    one, other = tiny.agent(), tiny.agent(seed=1)
    one.update(tiny.batch())
    other.load_training_state(one.training_state())
    before = {name: value.clone() for name, value in one.training_state().items()}
    other.update(tiny.batch(seed=3))
    after = one.training_state()
    assert all(after[name].equal(value) for name, value in before.items())


@pytest.mark.parametrize(
    ("odd", "words"),
    [
        ("missing", "square and momentum"),
        ("reshaped", "fits no parameter"),
        ("unknown", "nothing of shape .* fits no parameter"),
        ("odd", "^square.* is not finite"),
        ("uncounted", "number of updates is missing"),
    ],
)
def test_slots_that_do_not_fit_are_refused(odd, words) -> None:
    agent = tiny.agent()
    agent.update(tiny.batch())
    state = dict(agent.training_state())
    name = next(key for key in state if key.startswith("optimizer.square.") and state[key].ndim > 1)
    value = state.pop(name)
    state |= {
        "missing": {},
        "reshaped": {name: value.flatten()},
        "unknown": {name: value, "optimizer.square.world.nothing": value},
        "odd": {name: torch.full_like(value, torch.nan)},
        "uncounted": {name: value},
    }[odd]
    if odd == "uncounted":
        del state["optimizer.updates"]
    other = tiny.agent(seed=1)
    before = {key: kept.clone() for key, kept in other.training_state().items()}
    with pytest.raises(ValueError, match=words):
        other.load_training_state(state)
    after = other.training_state()
    assert before.keys() == after.keys() and all(after[key].equal(before[key]) for key in before)


@pytest.mark.parametrize("kind", ["laprop", "adam"])
def test_an_agent_without_its_averages_learns_on_as_fast_as_a_new_one(kind) -> None:
    """A steady gradient moves by the rate at each step, since both averages are bias-corrected."""
    agent = tiny.agent(tiny.setting(optim__kind=kind, optim__agc=0.0, optim__eps=1e-12))
    for _ in range(3):
        agent.update(tiny.batch())
    kept = {k: v for k, v in agent.training_state().items() if k.count(".") < 2}
    kept |= agent.state_dict()
    agent.load_training_state(kept)
    assert agent.updates == 3 and not agent.optimizer.state
    param = agent.world.reward.layer.linear.weight
    for _ in range(4):
        before = param.detach().clone()
        agent.optimizer.zero_grad()
        param.grad = torch.ones_like(param)
        agent.optimizer.step()
        torch.testing.assert_close(before - param, torch.full_like(param, 1e-3), rtol=1e-3, atol=0)
    other = tiny.agent(tiny.setting(optim__kind=kind, optim__agc=0.0, optim__eps=1e-12))
    other.load_training_state(agent.training_state())
    assert (other.optimizer.begun, other.updates) == (3, 7)


def test_imag_last_dreams_from_the_last_steps_only() -> None:
    agent = tiny.agent(lambda cfg: setattr(cfg.behavior, "imag_last", 2))
    each = agent.losses(agent.unroll_context(tiny.batch())).each
    assert each["policy"].shape == (3 * 2, 4)
    assert each["repval"].shape == (3, 1)
    agent.update(tiny.batch())


def test_training_goes_on_bit_by_bit_after_a_reload() -> None:
    agent = tiny.agent()
    for seed in range(3):
        agent.update(tiny.batch(seed=seed))
    saved = {k: v.clone() for k, v in agent.training_state().items()}
    other = tiny.agent(seed=4)
    other.update(tiny.batch(seed=7))
    other.load_training_state(saved)
    results = [a.update(tiny.batch(seed=3)) for a in (agent, other)]
    assert all(results[0][1][k].equal(results[1][1][k]) for k in results[0][1])
    assert results[0][0]["deter"].equal(results[1][0]["deter"])
    states = agent.training_state(), other.training_state()
    assert states[0].keys() == states[1].keys()
    assert all(states[0][k].equal(states[1][k]) for k in states[0])


class _Reads(TorchDispatchMode):
    """Notes how many operations came before each number that the host reads."""

    def __init__(self) -> None:
        super().__init__()
        self.count, self.at = 0, list[int]()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten._local_scalar_dense.default:
            self.at.append(self.count)
        self.count += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"behavior__actor__gradient": "dynamics", "world__learned_start": True},
        {"optim__kind": "adam", "optim__groups": "separate", "optim__clip": 9.0, "optim__agc": 0.0},
    ],
)
def test_an_update_reads_nothing_before_all_of_it_is_handed_over(values) -> None:
    """A read makes the host wait for the device: only the verdict at the end is read."""
    agent = tiny.agent(tiny.setting(**values))
    batch = tiny.batch()
    agent.update(batch)
    counted, known = _Reads(), list[int]()

    def updating(*given):
        updated = Agent.update_on_device(*given)
        known.append(counted.count)
        return updated

    agent.updating = updating
    with counted:
        agent.update(batch)
    assert counted.at == known and known[0] > 100


def test_an_update_is_the_same_under_guard(monkeypatch) -> None:
    """Steps that ask the flag on the device are those that ask nothing, to the bit."""
    plain, guarded = tiny.agent(), tiny.agent()
    step, follow = plain.optimizer.step, plain.behavior.follow
    monkeypatch.setattr(plain.optimizer, "step", lambda finite, numbers: step())
    monkeypatch.setattr(plain.behavior, "follow", lambda finite: follow())
    for seed in (1, 2):
        plain.update(tiny.batch(seed=seed))
        guarded.update(tiny.batch(seed=seed))
    theirs = guarded.training_state()
    assert all(value.equal(theirs[name]) for name, value in plain.training_state().items())


def test_a_state_of_another_agent_is_refused() -> None:
    saved = tiny.agent(lambda cfg: setattr(cfg.model, "units", 12)).training_state()
    with pytest.raises(RuntimeError, match=r"weights are of another agent, the first .*\[12"):
        tiny.agent().load_training_state(saved)
    short = tiny.agent().training_state()
    del short["world.rssm.core.gates.bias"]
    with pytest.raises(RuntimeError, match=r"first world.*gates\.bias: missing"):
        tiny.agent().load_training_state(short)
    agent = tiny.agent(lambda cfg: setattr(cfg, "seed", 3))
    before = {name: value.clone() for name, value in agent.training_state().items()}
    odd = tiny.agent().training_state() | {"optimizer.square.world.reward.x": torch.zeros(1)}
    for state, error in ((saved, RuntimeError), (short, RuntimeError), (odd, ValueError)):
        with pytest.raises(error):
            agent.load_training_state(state)
        after = agent.training_state()  # a refused state changes nothing
        assert all(value.equal(after[name]) for name, value in before.items())


def test_a_copied_agent_learns_on() -> None:
    agent = tiny.agent()
    agent.update(tiny.batch())
    copied = copy.deepcopy(agent)
    assert copied.updates == 1
    for each in (agent, copied):
        each.update(tiny.batch(seed=1))
    theirs = copied.training_state()
    assert all(value.equal(theirs[name]) for name, value in agent.training_state().items())


def test_equal_seeds_give_equal_agents_and_updates() -> None:
    one, two = tiny.agent(), tiny.agent()
    for seed in range(2):
        first, second = one.update(tiny.batch(seed=seed)), two.update(tiny.batch(seed=seed))
        assert all(first[1][k].equal(second[1][k]) for k in first[1])


def test_bfloat16_loss_is_near_float32() -> None:
    """Within 2 % in the total, and no more than rounding in every loss of the model."""
    totals, each = [], []
    for precision in ("float32", "bfloat16"):
        agent = tiny.agent(lambda cfg, p=precision: setattr(cfg, "precision", p))
        batch = agent.unroll_context(tiny.batch(rows=8, length=16))
        losses = agent.losses(batch)
        totals.append(losses.total.item())
        each.append({k: v.float().mean().item() for k, v in losses.each.items()})
        assert all(value.dtype == torch.float32 for value in losses.each.values())
        assert losses.states["post"].dtype == torch.float32
    assert totals[1] == pytest.approx(totals[0], rel=0.02)
    for name in ("vector", "reward", "cont", "dyn", "rep"):
        assert each[1][name] == pytest.approx(each[0][name], rel=0.05), name


def test_bfloat16_updates_keep_float32_parameters_and_gradients() -> None:
    agent = tiny.agent(lambda cfg: setattr(cfg, "precision", "bfloat16"))
    latents, metrics = agent.update(tiny.batch())
    assert {p.dtype for p in agent.parameters()} == {torch.float32}
    assert {p.grad.dtype for p in agent.parameters() if p.grad is not None} == {torch.float32}
    assert latents["deter"].dtype == torch.float32
    assert all(value.isfinite() for value in metrics.values())


def test_records_of_all_dtypes_are_read() -> None:
    """Latents stored in bfloat16 start training in float32."""
    agent, batch = tiny.agent(), tiny.batch()
    batch["deter"] = batch["deter"].bfloat16()
    assert isinstance(batch, TensorDict)
    assert agent.unroll_context(batch)["start", "deter"].dtype == torch.float32
    agent.update(batch)
