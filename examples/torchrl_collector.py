"""A TorchRL `Collector` fills the replay, and the agent learns from it, in a loop of your own.

    python examples/torchrl_collector.py --env gym/CartPole-v1 --frames 20000

The policy is a `TensorDictModule`, the environments are a TorchRL environment, the replay is a
TorchRL `ReplayBuffer`: each can be used with other parts of TorchRL.
"""

from __future__ import annotations

import argparse

import dreamer_envs
from dreamer_plugin import Dreamer
from dreamer_plugin.data.alignment import Aligner
from dreamer_plugin.data.noise import NoiseStreams
from dreamer_plugin.data.ratio import TrainRatio
from dreamer_plugin.data.replay import make_replay, write_back
from dreamer_plugin.data.torchrl_collect import torchrl_collector
from dreamer_plugin.interop.env import dreamer_env
from dreamer_plugin.interop.modules import DreamerPolicy
from dreamer_plugin.spaces import Spaces

NUM_ENVS, BATCH, LENGTH = 2, 4, 16


def main() -> None:
    """Runs the example."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--env", default="gym/CartPole-v1")
    parser.add_argument("--frames", type=int, default=200)
    args = parser.parse_args()

    make = dreamer_envs.maker(args.env)
    one = make()
    spaces = Spaces.from_gym(one.observation_space, one.action_space)
    agent = Dreamer(args.env, size="1m", seed=0).agent

    latent, deter = agent.world.rssm.latent, agent.world.rssm.core.deter
    stored = {"stoch_shape": latent.storage_shape, "stoch_dtype": latent.storage_dtype}
    replay = make_replay(spaces, NUM_ENVS, 10_000, BATCH, LENGTH, deter=deter, **stored)
    collector = torchrl_collector(
        dreamer_env([make] * NUM_ENVS, agent, spaces),
        DreamerPolicy(agent, spaces, NoiseStreams(0, NUM_ENVS, agent.noise_size)),
        replay,
        Aligner(NUM_ENVS, spaces),
        frames_per_batch=10 * NUM_ENVS,
        total_frames=args.frames,
    )

    ratio, frames, metrics = TrainRatio(32, BATCH * LENGTH), 0, {}
    for _ in collector:
        frames += 10 * NUM_ENVS
        if replay.windows < BATCH:
            continue
        for _ in range(ratio.updates(frames)):
            batch = replay.sample()
            latents, metrics = agent.update(batch)
            write_back(replay, batch["index"][:, 1:], latents)
    collector.shutdown()
    losses = {name: float(value) for name, value in metrics.items() if name.startswith("loss")}
    print(f"{frames} frames, {agent.updates} updates, {losses}")


if __name__ == "__main__":
    main()
