"""TorchRL's Collector with our policy gives each env's stream the records of the light loop."""

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tensordict import TensorDict
from torchrl.envs import check_env_specs
from torchrl.envs.utils import ExplorationType, set_exploration_type

from dreamer_envs import maker
from dreamer_envs.vector import SerialVector
from dreamer_plugin.build import build_agent
from dreamer_plugin.config import compose
from dreamer_plugin.data.alignment import Aligner
from dreamer_plugin.data.collect import VectorCollector
from dreamer_plugin.data.noise import NoiseStreams
from dreamer_plugin.data.replay import make_replay
from dreamer_plugin.data.torchrl_collect import torchrl_collector
from dreamer_plugin.errors import UsageError
from dreamer_plugin.interop.env import dreamer_env
from dreamer_plugin.interop.modules import DreamerPolicy
from dreamer_plugin.spaces import Spaces

TINY = Path(__file__).parents[1] / "run" / "tiny.yaml"
SEED = 5


@pytest.fixture(params=["toy/catch", "toy/mixed", "gym/CartPole-v1"])
def made(request):
    """Agent, spaces and env maker of one env id."""
    env = maker(request.param)()
    spaces = Spaces.from_gym(env.observation_space, env.action_space)
    cfg = compose(request.param, config=[TINY], options={"seed": SEED}).config
    return build_agent(cfg, spaces), spaces, maker(request.param)


def replay_of(agent, spaces, num_envs):
    latent = agent.world.rssm.latent
    shape = {"deter": agent.world.rssm.core.deter, "stoch_shape": latent.storage_shape}
    return make_replay(spaces, num_envs, 500, 2, 8, **shape)


def stream(replay, env, count):
    """The first records of one env."""
    start = env << 40
    return replay.storage.get(torch.arange(start, start + count)[None])[0]


def light(agent, spaces, make, num_envs, steps, drawn=0):
    """Our own loop, after so many draws of every env's noise."""
    replay = replay_of(agent, spaces, num_envs)
    noise = NoiseStreams(SEED, num_envs, agent.noise_size)
    for _ in range(drawn):
        noise.draw(np.ones(num_envs, np.bool_))
    with SerialVector([make] * num_envs, SEED) as vector:
        loop = VectorCollector(vector, agent, replay, Aligner(num_envs, spaces), noise)
        for _ in range(steps):
            loop.step()
    return replay


def collected(agent, spaces, make, num_envs, steps, options=None, **of_env):
    replay = replay_of(agent, spaces, num_envs)
    policy = DreamerPolicy(agent, spaces, NoiseStreams(SEED, num_envs, agent.noise_size))
    env = dreamer_env([make] * num_envs, agent, spaces, SEED, **of_env)
    aligner, options = Aligner(num_envs, spaces), options or {}
    collector = torchrl_collector(
        env, policy, replay, aligner, 4 * num_envs, steps * num_envs, **options
    )
    for _ in collector:
        pass
    collector.shutdown()
    return replay


def test_envs_of_other_spaces_are_refused(made):
    agent, spaces, _ = made
    other = maker("toy/reach")
    with pytest.raises(UsageError, match="The env has .*; the agent knows"):
        dreamer_env([other], agent, spaces)


@pytest.mark.parametrize("num_envs", [1, 3])
def test_both_loops_fill_the_replay_alike(made, num_envs):
    ours = light(*made, num_envs, steps=64)
    theirs = collected(*made, num_envs, steps=64)
    ends = 0
    for env in range(num_envs):
        # An ended episode gives two records in one tick there, so that stream is ahead.
        count = min(ours.storage.heads[env], theirs.storage.heads[env])
        assert count >= 64
        a, b = stream(ours, env, count), stream(theirs, env, count)
        ends += int(a["is_last"].sum())
        for key in a.keys(True, True):
            assert torch.equal(a[key], b[key]), key
    assert ends >= num_envs  # episodes end and begin within what is compared


def test_the_env_keeps_its_specs(made):
    agent, spaces, make = made
    check_env_specs(dreamer_env([make], agent, spaces, SEED))


@pytest.mark.parametrize("made", ["gym/CartPole-v1"], indirect=True)
def test_random_actions_of_a_collector_are_encoded_actions(made):
    """CartPole's are one of two classes, and replay keeps what the env was given."""
    replay = collected(*made, 2, steps=8, options={"init_random_frames": 8})
    for env in range(2):
        actions = stream(replay, env, 7)["action"][:4]
        assert ((actions == 0) | (actions == 1)).all() and (actions.sum(-1) == 1).all()


@pytest.mark.parametrize("made", ["gym/CartPole-v1"], indirect=True)
def test_what_would_pad_or_falsify_the_replay_is_refused(made):
    with pytest.raises(UsageError, match="split_trajs=True pads episodes"):
        collected(*made, 1, steps=8, options={"split_trajs": True})
    with pytest.raises(UsageError, match="reset_at_each_iter=True cuts episodes"):
        collected(*made, 1, steps=8, options={"reset_at_each_iter": True})
    _, spaces, _ = made
    padded = TensorDict({"collector": {"mask": torch.ones(1, 2).bool()}}, [1])
    with pytest.raises(UsageError, match="leave split_trajs out"):
        Aligner(1, spaces).from_transitions(padded)
    several = replace(spaces, actions=spaces.actions * 2)
    with pytest.raises(UsageError, match="no random actions of action, action"):
        torchrl_collector(None, None, None, Aligner(1, several), 1, init_random_frames=1)


@pytest.mark.parametrize("made", ["gym/CartPole-v1"], indirect=True)
def test_a_policy_refuses_steps_in_time(made):
    agent, spaces, make = made
    policy = DreamerPolicy(agent, spaces, NoiseStreams(0, 2, agent.noise_size))
    rollout = dreamer_env([make] * 2, agent, spaces, SEED).rollout(3)
    with pytest.raises(UsageError, match=r"for \[N\] envs at a time, not for \[2, 3\]"):
        policy(rollout)


@pytest.mark.parametrize("made", ["gym/CartPole-v1"], indirect=True)
def test_a_policy_names_what_it_lacks(made):
    agent, spaces, make = made
    for size in (3, agent.noise_size + 1):
        with pytest.raises(UsageError, match=f"noise has {size} numbers .* {agent.noise_size}"):
            DreamerPolicy(agent, spaces, NoiseStreams(0, 2, size))
    policy = DreamerPolicy(agent, spaces, NoiseStreams(0, 2, agent.noise_size))
    start = dreamer_env([make] * 2, agent, spaces, SEED).reset()
    with pytest.raises(UsageError, match=r"lacks \['deter'\]; dreamer_env makes envs that have"):
        policy(start.exclude("deter"))
    with pytest.raises(UsageError, match="parameters are torch.float64, .* precision="):
        DreamerPolicy(copy.deepcopy(agent).double(), spaces, policy.noise)(start)


def test_modes_ignore_the_noise(made):
    agent, spaces, make = made
    actions = []
    for seed in (1, 2):
        policy = DreamerPolicy(agent, spaces, NoiseStreams(seed, 2, agent.noise_size))
        env = dreamer_env([make] * 2, agent, spaces, SEED)
        with set_exploration_type(ExplorationType.DETERMINISTIC):
            actions.append(env.rollout(6, policy, break_when_any_done=False)["action"])
    assert torch.equal(*actions)
