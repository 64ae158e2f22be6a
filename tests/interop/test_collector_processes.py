"""TorchRL's collectors and envs in other processes: the records of the light loop, and weights."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torchrl.collectors import MultiAsyncCollector, MultiSyncCollector
from torchrl.weight_update import MultiProcessWeightSyncScheme, SharedMemWeightSyncScheme

from dreamer_envs import maker
from dreamer_plugin.build import build_agent
from dreamer_plugin.config import compose
from dreamer_plugin.data.alignment import Aligner
from dreamer_plugin.data.noise import NoiseStreams
from dreamer_plugin.interop.env import dreamer_env
from dreamer_plugin.interop.modules import DreamerPolicy
from dreamer_plugin.spaces import Spaces
from tests.interop.test_collector import SEED, TINY, collected, light, replay_of, stream

pytestmark = pytest.mark.slow  # a process imports TorchRL for seconds
ENV, WORKERS, EACH = "toy/catch", 2, 2
COUNT = WORKERS * EACH
KINDS = {
    MultiSyncCollector: SharedMemWeightSyncScheme,
    MultiAsyncCollector: MultiProcessWeightSyncScheme,
}


def built(seed=SEED):
    env = maker(ENV)()
    spaces = Spaces.from_gym(env.observation_space, env.action_space)
    return build_agent(compose(ENV, config=[TINY], options={"seed": seed}).config, spaces), spaces


def policy(worker):
    """A policy of other weights, which it is to get from the trained one."""
    agent, spaces = built(seed=SEED + 1 + worker)
    return DreamerPolicy(agent, spaces, NoiseStreams(SEED, EACH, agent.noise_size, worker * EACH))


def env(worker):
    return dreamer_env([maker(ENV)] * EACH, *built(), SEED, first=worker * EACH)


def multi(kind, agent, spaces, frames):
    """A collector of two workers with two envs each."""
    together = kind is MultiSyncCollector
    return kind(
        [partial(env, worker) for worker in range(WORKERS)],
        DreamerPolicy(agent, spaces, NoiseStreams(SEED, COUNT, agent.noise_size)),
        policy_factory=[partial(policy, worker) for worker in range(WORKERS)],
        frames_per_batch=(COUNT if together else EACH) * 8,
        total_frames=frames,
        weight_sync_schemes={"policy": KINDS[kind]()},
        **({"cat_results": 0} if together else {}),
    )


def same_records(ours, theirs, at_least):
    for number in range(COUNT):
        count = min(ours.storage.heads[number], theirs.storage.heads[number])
        assert count >= at_least
        a, b = stream(ours, number, count), stream(theirs, number, count)
        assert a["is_last"].any()
        # Two rows at once are multiplied in another order than four.
        torch.testing.assert_close(a["deter"], b["deter"])
        for key in a.exclude("deter").keys(True, True):
            assert torch.equal(a[key], b[key]), key


@pytest.mark.parametrize("kind", KINDS)
def test_workers_fill_the_replay_like_the_light_loop(kind):
    agent, spaces = built()
    replay, aligner = replay_of(agent, spaces, COUNT), Aligner(COUNT, spaces)
    collector = multi(kind, agent, spaces, frames=COUNT * 48)
    try:
        for data in collector:
            replay.extend(aligner.from_transitions(data))
    finally:
        collector.shutdown()
    # These collectors call the policy once to see what it writes: the noise is one draw further.
    ours = light(agent, spaces, maker(ENV), COUNT, 64, drawn=1)
    same_records(ours, replay, at_least=16)  # of asynchronous workers one may be ahead


@pytest.mark.parametrize("kind", KINDS)
def test_workers_act_with_new_weights_once_they_are_sent(kind):
    agent, spaces = built()
    last = next(m for m in agent.behavior.actor.modules() if getattr(m, "out_features", 0) == 3)
    collector = multi(kind, agent, spaces, frames=COUNT * 64)
    chosen = []
    try:
        for number, data in enumerate(collector):
            chosen.append(data["action"].argmax(-1))
            if number == 1:
                with torch.no_grad():
                    last.bias.copy_(torch.tensor([0.0, 50.0, 0.0]))
                collector.update_policy_weights_()
    finally:
        collector.shutdown()
    assert any(not (batch == 1).all() for batch in chosen[:2])
    # A batch of each asynchronous worker was under way with the old ones.
    assert all((batch == 1).all() for batch in chosen[2 + WORKERS :]) and len(chosen) > 6


def test_a_parallel_env_gives_the_records_of_a_serial_one():
    agent, spaces = built()
    made = agent, spaces, maker(ENV)
    theirs = collected(*made, COUNT, steps=32, processes=True)
    same_records(light(*made, COUNT, 32), theirs, at_least=32)
