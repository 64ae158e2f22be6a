"""A head of your own: rewards with an absolute error, which rare large ones do not pull away.

    python examples/own_head.py --steps 5000

A head turns states `[..., F]` into anything with `pred()` and `loss(target)`. It stands in the
agent before the losses are made; dreams take their rewards from it at once.
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor, nn
from torchrl.objectives import SoftUpdate

from dreamer_plugin.config import compose
from dreamer_plugin.interop.losses import DreamerLoss
from dreamer_plugin.run.envs import source_of
from dreamer_plugin.run.parts import build_parts
from dreamer_plugin.run.training import Training


class Laplace:
    """What the head returns: a median `[...]`."""

    def __init__(self, median: Tensor) -> None:
        self.median = median

    def pred(self) -> Tensor:
        """The reward to expect."""
        return self.median

    def loss(self, target: Tensor) -> Tensor:
        """Negative log-likelihood up to a constant, of each reward."""
        return (self.median - target).abs()


class MedianHead(nn.Sequential):
    """Two layers on states of size `features`."""

    def __init__(self, features: int) -> None:
        super().__init__(nn.Linear(features, 64), nn.SiLU(), nn.Linear(64, 1))

    def forward(self, feat: Tensor) -> Laplace:
        """`[..., F] ->` output over `[...]`."""
        return Laplace(super().forward(feat).squeeze(-1))


def main() -> None:
    """Runs the example."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1000)
    args = parser.parse_args()
    options = {"size": "1m", "run.prefill": 32, "replay.batch_length": 16}
    cfg = compose("gym/Pendulum-v1", config=["v3"], options=options).config
    with Training(cfg, build_parts(cfg, source_of(cfg))) as training:
        agent, replay = training.parts.agent, training.parts.replay
        agent.world.reward = MedianHead(agent.world.rssm.feat_size)
        loss = DreamerLoss(agent)
        slow = SoftUpdate(loss.actor_critic, tau=0.02)
        optimizer = torch.optim.Adam(loss.parameters(), lr=1e-4)
        while training.step < args.steps:
            training.collect()
            for _ in range(training.progress.owed):
                out = loss(batch := replay.sample())
                optimizer.zero_grad()
                sum(out.values()).backward()
                optimizer.step()
                slow.step()
                replay.write_back(batch["index"], agent.latents(batch["states"]))
    print({name: round(value.item(), 3) for name, value in out.items()})


if __name__ == "__main__":
    main()
