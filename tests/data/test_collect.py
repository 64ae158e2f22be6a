"""Both collection loops: the same records from the same seeds, statistics, and continuation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModuleBase

import dreamer_envs
from dreamer_envs.frames import env_seed
from dreamer_envs.vector import SerialVector
from dreamer_plugin.data.alignment import Aligner
from dreamer_plugin.data.collect import EpisodeStats, Policy, VectorCollector
from dreamer_plugin.data.noise import NoiseStreams
from dreamer_plugin.data.random_policy import RandomFirst, RandomPolicy
from dreamer_plugin.data.replay import RecordReplay, load_rb_state, make_replay, rb_state
from dreamer_plugin.data.torchrl_collect import torchrl_collector, torchrl_env
from dreamer_plugin.data.windows import STREAM
from dreamer_plugin.spaces import Spaces

Wrap = Callable[["Remembering"], Policy]

DETER, STOCH = 4, (3,)
STATE = ("deter", "stoch", "prev_action")


class Remembering(RandomPolicy):
    """Acts at random; its latents depend on all it saw, did and drew since the reset."""

    def __init__(self, spaces: Spaces) -> None:
        super().__init__(spaces, DETER, STOCH)

    def initial(self, batch: int) -> TensorDict:
        action = torch.zeros(batch, self.spaces.action_size)
        return super().initial(batch).clone().set("prev_action", action)

    def act(self, obs, is_first, state, noise, deterministic=False):
        action, _ = super().act(obs, is_first, state, noise)
        keep = (~is_first)[:, None]
        seen = sum(value.reshape(len(noise), -1).double().mean(1) for value in obs.values())
        did = (state["prev_action"] * keep * torch.arange(1, action.shape[1] + 1)).sum(1)
        new = (seen + did + noise.double().sum(1))[:, None].float()
        after = {
            "deter": state["deter"] * keep / 2 + new,
            "stoch": (state["stoch"] * keep + 1).to(torch.uint8),
            "prev_action": action,
        }
        return action, TensorDict(after, batch_size=[len(noise)])

    def latents(self, states: TensorDict) -> TensorDict:
        return states.select("deter", "stoch")


def randomly(policy: Remembering) -> RandomFirst:
    return RandomFirst(policy, policy.spaces.actions, until=lambda: False)


class CollectedPolicy(TensorDictModuleBase):
    """A policy as `torchrl_collect` describes it."""

    def __init__(self, policy: Policy, spaces: Spaces, noise: NoiseStreams) -> None:
        super().__init__()
        self.policy, self.noise = policy, noise
        self.in_keys = [*(("obs", key.name) for key in spaces.obs), "is_init", *STATE]
        self.out_keys = ["action", *(("next", key) for key in STATE)]

    def forward(self, tensordict: TensorDict) -> TensorDict:
        noise = torch.from_numpy(self.noise.draw(np.ones(len(tensordict), np.bool_)))
        is_first = tensordict["is_init"].squeeze(-1)
        obs = dict(tensordict["obs"].items())
        action, after = self.policy.act(obs, is_first, tensordict.select(*STATE), noise)
        tensordict["action"] = action
        for key in STATE:
            tensordict["next", key] = after[key]
        return tensordict


def build(
    env: str, num_envs: int, wrap: Wrap = lambda policy: policy, **options: Any
) -> tuple[VectorCollector, RecordReplay]:
    vector = SerialVector([dreamer_envs.maker(env)] * num_envs, seed=5)
    spaces = Spaces.from_gym(vector.observation_space, vector.action_space)
    policy = wrap(Remembering(spaces))
    rb = empty_replay(spaces, num_envs)
    aligner = Aligner(num_envs, spaces, **options)
    noise = NoiseStreams(5, num_envs, policy.noise_size)
    return VectorCollector(vector, policy, rb, aligner, noise), rb


def empty_replay(spaces: Spaces, num_envs: int) -> RecordReplay:
    return make_replay(spaces, num_envs, 2000, 2, 3, deter=DETER, stoch_shape=STOCH)


def stream(rb: RecordReplay, env: int, count: int) -> TensorDict:
    return rb[torch.arange(count) + env * STREAM]


@pytest.mark.parametrize("place", ["act", "extend"])
def test_episodes_end_where_a_step_failed_before_it_was_recorded(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The envs are a step ahead of the records then; a window over it would tell of one step."""
    loop, rb = build("toy/catch", 2)
    for _ in range(3):
        loop.step()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        owner = loop.policy if place == "act" else rb
        patch.setattr(owner, place, Mock(side_effect=KeyboardInterrupt))
        loop.step()
    loop.step()
    for env in range(2):
        assert stream(rb, env, 4)["is_first"].tolist() == [True, False, False, True]


# The two loops.


@pytest.mark.parametrize("num_envs", [1, 3])
@pytest.mark.parametrize("env", ["toy/catch", "toy/mixed", "gym/CartPole-v1"])
def test_both_loops_give_the_same_records(env: str, num_envs: int) -> None:
    check_both_loops(env, num_envs)


def test_they_do_so_too_while_actions_are_random() -> None:
    check_both_loops("toy/mixed", 2, randomly)


def check_both_loops(env: str, num_envs: int, wrap: Wrap = lambda policy: policy) -> None:
    steps = 60
    light, expected = build(env, num_envs, wrap)
    for _ in range(steps):
        light.step()
    spaces, policy = light.aligner.spaces, light.policy
    got = empty_replay(spaces, num_envs)
    collector = torchrl_collector(
        torchrl_env(
            [dreamer_envs.maker(env)] * num_envs,
            [env_seed(5, i) for i in range(num_envs)],
            spaces,
            DETER,
            STOCH,
        ),
        CollectedPolicy(policy, spaces, NoiseStreams(5, num_envs, policy.noise_size)),
        got,
        Aligner(num_envs, spaces),
        frames_per_batch=7 * num_envs,
        total_frames=63 * num_envs,
    )
    for batch in collector:
        assert batch is None  # everything went to the replay
    collector.shutdown()
    for i in range(num_envs):
        ours, theirs = stream(expected, i, steps), stream(got, i, steps)
        assert (ours == theirs).all()
        assert ours["is_last"].any() and ours["is_first"].sum() > 1
        ends = ours["is_last"]
        assert not ours["deter"][ends].any() and not ours["action"][ends].any()
        assert ours["deter"][~ends].any(1).all()


# The light loop.


def test_episodes_are_counted() -> None:
    light, rb = build("toy/catch", 2)
    episodes = [episode for _ in range(27) for episode in light.step()]
    # A ball falls for 8 steps: 9 frames an episode, so 27 calls are three of them.
    assert [(e.env, e.length) for e in episodes] == [(0, 8), (1, 8)] * 3
    assert {e.ret for e in episodes} <= {-1.0, 1.0}
    for env in range(2):
        rewards = stream(rb, env, 27)["reward"].reshape(3, 9).sum(1).tolist()
        assert rewards == [e.ret for e in episodes if e.env == env]


def test_every_call_gives_one_record_per_env() -> None:
    light, rb = build("gym/CartPole-v1", 3)
    for count in range(1, 40):
        light.step()
        assert rb.storage.heads == [count] * 3
    records = stream(rb, 1, 39)
    # A reset follows every last frame, and nothing else.
    assert torch.equal(records["is_first"][1:], records["is_last"][:-1])


def test_a_restored_loop_goes_on_exactly() -> None:
    light, rb = build("toy/catch", 3)
    for _ in range(13):
        light.step()
    saved = (light.state_dict(), light.vector.state_dict(), rb_state(rb))
    again, rb_again = build("toy/catch", 3)
    again.load_state_dict(saved[0])
    again.vector.load_state_dict(saved[1])
    load_rb_state(rb_again, saved[2])
    ends: list[list[EpisodeStats]] = [[], []]
    for _ in range(20):
        ends[0] += light.step()
        ends[1] += again.step()
    assert ends[0] == ends[1] and ends[0]
    for env in range(3):
        assert (stream(rb, env, 33) == stream(rb_again, env, 33)).all()


def test_a_loop_restored_without_its_envs_ends_the_open_episodes() -> None:
    light, rb = build("toy/catch", 1)
    for _ in range(5):
        light.step()
    light.truncate_open()
    light.step()
    assert stream(rb, 0, 6)["is_first"].tolist() == [True, *[False] * 4, True]
    window = rb[torch.arange(2, 6)[None]][0]  # as a sample shows it
    assert window["is_last"].tolist() == [False, False, True, False]
    assert not window["is_terminal"].any()
    episodes = [episode for _ in range(8) for episode in light.step()]
    assert [episode.length for episode in episodes] == [8]  # nothing of the old one is counted


def test_evaluation_keeps_no_records() -> None:
    light, _ = build("toy/catch", 2)
    quiet = VectorCollector(
        light.vector, light.policy, None, light.aligner, light.noise, deterministic=True
    )
    assert [len(quiet.step()) for _ in range(9)] == [0] * 8 + [2]


def test_random_actions_are_uniform() -> None:
    vector = SerialVector([dreamer_envs.maker("toy/mixed")], seed=0)
    spaces = Spaces.from_gym(vector.observation_space, vector.action_space)
    policy = RandomPolicy(spaces, DETER, STOCH)
    noise = torch.rand(3000, policy.noise_size, generator=torch.Generator().manual_seed(0))
    actions, _ = policy.act({}, torch.zeros(3000), policy.initial(3000), noise)
    check_uniform(spaces, actions)


def check_uniform(spaces: Spaces, actions: torch.Tensor) -> None:
    at = 0
    for key in spaces.actions:
        part = actions[:, at : at + key.size]
        at += key.size
        if key.kind == "discrete":
            # 1/K each; the standard error of a share over 1600 draws or more is below 0.0125.
            assert (
                part.reshape(len(part), -1, key.classes).mean(0) - 1 / key.classes
            ).abs().max() < 0.05
        else:
            # Uniform on [-1, 1): standard deviation 0.577, of the mean at most 0.0145.
            assert part.min() >= -1 and part.max() < 1 and part.mean().abs() < 0.05
            assert abs(part.std() - 0.577) < 0.03


# Random at first.


class Steady(Remembering):
    """Sees and remembers as its base does, and always chooses what is all zeros but the first."""

    def act(self, obs, is_first, state, noise, deterministic=False):
        _, after = super().act(obs, is_first, state, noise)
        action = torch.zeros_like(after["prev_action"])
        action[:, 0] = 1
        return action, after.set("prev_action", action)


def test_random_actions_come_first_and_are_those_of_the_records() -> None:
    made = [0]
    light, rb = build(
        "toy/mixed",
        2,
        lambda p: RandomFirst(Steady(p.spaces), p.spaces.actions, lambda: made[0] >= 900),
    )
    while made[0] < 950:
        light.step()
        made[0] += 1
        assert np.array_equal(light._state["prev_action"].numpy(), light.actions)
    records = torch.stack([stream(rb, env, 950) for env in range(2)])
    acted = ~records["is_last"]
    check_uniform(light.aligner.spaces, records["action"][:, :900][acted[:, :900]])
    late = records["action"][:, 900:][acted[:, 900:]]
    assert late[:, 0].eq(1).all() and not late[:, 1:].any()
    assert not torch.equal(records["action"][0, :50], records["action"][1, :50])


def test_random_actions_are_a_function_of_the_seed_and_go_on_exactly() -> None:
    light, rb = build("toy/mixed", 2, randomly)
    other, rb_other = build("toy/mixed", 2, randomly)
    for _ in range(20):
        light.step()
    for _ in range(9):
        other.step()
    again, rb_again = build("toy/mixed", 2, randomly)
    again.load_state_dict(other.state_dict())
    again.vector.load_state_dict(other.vector.state_dict())
    load_rb_state(rb_again, rb_state(rb_other))
    for _ in range(11):
        again.step()
    for env in range(2):
        assert (stream(rb, env, 20) == stream(rb_again, env, 20)).all()


def test_the_policy_decides_as_if_it_had_always_been_alone() -> None:
    """Its noise is its own: with the same past, its actions are those without random ones."""
    plain, rb_plain = build("toy/catch", 2)
    late, rb_late = build(
        "toy/catch", 2, lambda p: RandomFirst(p, p.spaces.actions, until=lambda: True)
    )
    assert late.noise.size == plain.noise.size + 1  # one discrete variable
    frames = torch.zeros(2, 1)
    noise = torch.rand(2, late.noise.size, generator=torch.Generator().manual_seed(0))
    first, state = torch.ones(2, dtype=torch.bool), plain.policy.initial(2)
    ours = plain.policy.act({"f": frames}, first, state, noise[:, : plain.noise.size])
    theirs = late.policy.act({"f": frames}, first, state, noise)
    assert torch.equal(ours[0], theirs[0]) and (ours[1] == theirs[1]).all()
