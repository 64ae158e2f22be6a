"""All of TorchRL's but the policy and the losses: its collector, buffer, sampler and target update.

python examples/own_loop.py --frames 5000
"""

from __future__ import annotations

import argparse

import torch
from torchrl.collectors import Collector
from torchrl.data import LazyTensorStorage, ReplayBuffer, SliceSampler
from torchrl.objectives import SoftUpdate

import dreamer_envs
from dreamer_plugin import Dreamer
from dreamer_plugin.data.alignment import from_slices
from dreamer_plugin.data.noise import NoiseStreams
from dreamer_plugin.interop.env import dreamer_env
from dreamer_plugin.interop.losses import DreamerLoss
from dreamer_plugin.interop.modules import DreamerPolicy
from dreamer_plugin.spaces import Spaces

LENGTH, BATCH, UPDATES = 16, 8, 5  # steps and rows of a batch, batches per 50 frames


def main() -> None:
    """Runs the example."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--env", default="gym/Pendulum-v1")
    parser.add_argument("--frames", type=int, default=1000)
    args = parser.parse_args()

    make = dreamer_envs.maker(args.env)
    one = make()
    spaces = Spaces.from_gym(one.observation_space, one.action_space)
    agent = Dreamer(args.env, size="1m", seed=0).agent
    collector = Collector(
        dreamer_env([make], agent, spaces),
        DreamerPolicy(agent, spaces, NoiseStreams(0, 1, agent.noise_size)),
        frames_per_batch=50,
        total_frames=args.frames,
    )
    sampler = SliceSampler(
        slice_len=LENGTH, end_key=("next", "done"), init_key=None, truncated_key=None
    )
    buffer = ReplayBuffer(
        storage=LazyTensorStorage(args.frames), sampler=sampler, batch_size=BATCH * LENGTH
    )

    loss = DreamerLoss(agent)
    slow = SoftUpdate(loss.actor_critic, tau=0.02)
    optimizer = torch.optim.Adam(loss.parameters(), lr=1e-4)
    rssm = agent.world.rssm
    latents = {"deter": rssm.core.deter, "stoch_shape": rssm.latent.storage_shape}
    for data in collector:
        buffer.extend(data.reshape(-1))
        for _ in range(UPDATES):
            out = loss(from_slices(buffer.sample(), LENGTH, **latents))
            optimizer.zero_grad()
            sum(out.values()).backward()
            torch.nn.utils.clip_grad_norm_(loss.parameters(), 100)
            optimizer.step()
            slow.step()
    collector.shutdown()
    print(f"{len(buffer)} frames,", {name: round(value.item(), 3) for name, value in out.items()})


if __name__ == "__main__":
    main()
