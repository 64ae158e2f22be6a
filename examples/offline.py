"""Offline: a fixed TorchRL buffer in its own layout, our losses, an optimiser of torch.

python examples/offline.py --frames 2000 --updates 500
"""

from __future__ import annotations

import argparse

import torch
from torchrl.data import LazyTensorStorage, ReplayBuffer, SliceSampler
from torchrl.envs import GymEnv, InitTracker, StepCounter, TransformedEnv
from torchrl.objectives import SoftUpdate

from dreamer_plugin import Dreamer
from dreamer_plugin.data.alignment import from_slices
from dreamer_plugin.interop.losses import DreamerLoss

LENGTH, BATCH = 16, 8


def recorded(frames: int) -> ReplayBuffer:
    """Random play, stored as TorchRL stores it; a real data set would stand here."""
    sampler = SliceSampler(
        slice_len=LENGTH, end_key=("next", "done"), init_key=None, truncated_key=None
    )
    buffer = ReplayBuffer(
        storage=LazyTensorStorage(frames), sampler=sampler, batch_size=BATCH * LENGTH
    )
    env = TransformedEnv(GymEnv("Pendulum-v1"), StepCounter(max_steps=50))
    env = TransformedEnv(env, InitTracker())
    while len(buffer) < frames:
        buffer.extend(env.rollout(50))
    return buffer


def main() -> None:
    """Runs the example."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=2000)
    parser.add_argument("--updates", type=int, default=200)
    args = parser.parse_args()
    buffer = recorded(args.frames)
    agent = Dreamer("gym/Pendulum-v1", size="1m", seed=0).agent
    rssm = agent.world.rssm
    latents = {"deter": rssm.core.deter, "stoch_shape": rssm.latent.storage_shape}

    loss = DreamerLoss(agent)
    slow = SoftUpdate(loss.actor_critic, tau=0.02)
    optimizer = torch.optim.Adam(loss.parameters(), lr=1e-4)
    for _ in range(args.updates):
        slices = buffer.sample()
        batch = from_slices(slices, LENGTH, **latents, obs_keys={"vector": "observation"})
        out = loss(batch)
        optimizer.zero_grad()
        sum(out.values()).backward()
        torch.nn.utils.clip_grad_norm_(loss.parameters(), 100)
        optimizer.step()
        slow.step()
    print({name: round(value.item(), 3) for name, value in out.items()})


if __name__ == "__main__":
    main()
