"""An environment of your own: a picture and a vector to see, a discrete and a continuous action.

    python examples/own_env.py --steps 20000

Any Gymnasium environment goes straight into `Dreamer`. Registered as a suite it has an id, on the
command line too if its package declares an entry point in the group `dreamer_envs.suites`.
"""

from __future__ import annotations

import argparse
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete

import dreamer_envs
from dreamer_plugin import Dreamer


class Lamp(gym.Env[dict[str, Any], dict[str, Any]]):
    """A lamp to be set to the brightness that a number asks for, and a switch to turn it on.

    The reward is one minus the distance to the wanted brightness.
    """

    observation_space = Dict(
        {"image": Box(0, 255, (48, 48, 3), np.uint8), "wanted": Box(0.0, 1.0, (1,), np.float32)}
    )
    action_space = Dict({"switch": Discrete(2), "change": Box(-1.0, 1.0, (1,), np.float32)})

    def __init__(self, length: int = 20) -> None:
        self.length = length

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """A dark lamp and a new wish."""
        super().reset(seed=seed)
        self.wanted = float(self.np_random.random())
        self.level, self.steps = 0.5, 0
        return self._see(0.0), {}

    def step(self, action: dict[str, Any]) -> Any:
        """Changes the lamp."""
        self.steps += 1
        self.level = float(np.clip(self.level + 0.2 * float(action["change"][0]), 0.0, 1.0))
        light = self.level if action["switch"] else 0.0
        late = self.steps >= self.length
        return self._see(light), 1.0 - abs(light - self.wanted), False, late, {}

    def _see(self, light: float) -> dict[str, Any]:
        image = np.full((48, 48, 3), int(255 * light), np.uint8)
        return {"image": image, "wanted": np.array([self.wanted], np.float32)}


def make(task: str, **options: Any) -> Lamp:
    """Builds `example/lamp`."""
    return Lamp(**options)


def main() -> None:
    """Runs the example."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1400)
    args = parser.parse_args()

    suite = dreamer_envs.SuiteSpec("example", "A lamp.", make, ("lamp",))
    dreamer_envs.register(suite)
    print("known by name:", dreamer_envs.make("example/lamp", length=5).action_space)

    agent = Dreamer(Lamp, size="1m", seed=0)
    agent.learn(total_timesteps=args.steps)
    print(f"mean return of 5 episodes: {agent.evaluate(episodes=5).mean:.2f} of at most 20")


if __name__ == "__main__":
    main()
