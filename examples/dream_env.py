"""TorchRL's own PPO learns inside the dream of a world model, which learns from real frames first.

python examples/dream_env.py --steps 4000 --rounds 50
"""

from __future__ import annotations

import argparse

import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModule
from tensordict.nn.distributions import NormalParamExtractor
from torchrl.modules import MLP, ProbabilisticActor, TanhNormal, ValueOperator
from torchrl.objectives import ClipPPOLoss
from torchrl.objectives.value import GAE

from dreamer_plugin.config import compose
from dreamer_plugin.interop.world_env import WorldModelEnv
from dreamer_plugin.run.envs import source_of
from dreamer_plugin.run.parts import build_parts
from dreamer_plugin.run.training import Training

DREAMS, HORIZON = 32, 15


def learned_world(steps: int) -> Training:
    """A short run on the real env."""
    options = {"size": "1m", "run.steps": steps, "run.prefill": 16, "replay.batch_length": 16}
    cfg = compose("gym/Pendulum-v1", config=["v3"], options=options).config
    training = Training(cfg, build_parts(cfg, source_of(cfg)))
    while training.step < steps:
        training.collect()
        while training.progress.owed:
            training.update(training.parts.replay.sample())
    return training


def main() -> None:
    """Runs the example."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=20)
    args = parser.parse_args()
    training = learned_world(args.steps)
    parts, latent = training.parts, training.parts.agent.world.rssm.latent

    def starts(count: int) -> TensorDict:
        """States that the agent was in."""
        seen = parts.replay.sample()[:, 1:].select("deter", "stoch").reshape(-1)[:count]
        return seen.set("stoch", latent.from_storage(seen["stoch"]))

    env = WorldModelEnv(parts.agent.world, parts.native.spaces, DREAMS, HORIZON, starts)
    size, actions = env.observation_spec["observation"].shape[-1], env.action_spec.shape[-1]
    net = torch.nn.Sequential(MLP(size, 2 * actions, num_cells=[64, 64]), NormalParamExtractor())
    actor = ProbabilisticActor(
        TensorDictModule(net, ["observation"], ["loc", "scale"]),
        in_keys=["loc", "scale"],
        distribution_class=TanhNormal,
        return_log_prob=True,
    )
    critic = ValueOperator(MLP(size, 1, num_cells=[64, 64]), ["observation"])
    loss, advantage = ClipPPOLoss(actor, critic), GAE(gamma=0.99, lmbda=0.95, value_network=critic)
    optimizer = torch.optim.Adam(loss.parameters(), lr=3e-4)
    for _ in range(args.rounds):
        with torch.no_grad():  # PPO learns from what was played, not through it
            dreams = env.rollout(HORIZON, actor, break_when_any_done=False)
            advantage(dreams)
        for _ in range(4):
            out = loss(dreams)
            optimizer.zero_grad()
            sum(value for name, value in out.items() if name.startswith("loss_")).backward()
            optimizer.step()
    training.close()
    print(f"mean dreamed reward {dreams['next', 'reward'].mean():.3f}")


if __name__ == "__main__":
    main()
