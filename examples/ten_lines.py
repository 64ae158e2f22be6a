"""An environment in ten lines: a point on a line that is to be brought to zero.

python examples/ten_lines.py --steps 5000
"""

from __future__ import annotations

import argparse

import gymnasium as gym
import numpy as np

from dreamer_plugin import Dreamer


class Line(gym.Env):
    """Shows where the point is; the action moves it."""

    observation_space = action_space = gym.spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed=None, options=None):  # noqa: D102
        super().reset(seed=seed)
        self.at, self.steps = self.np_random.uniform(-1, 1, 1).astype(np.float32), 0
        return self.at, {}

    def step(self, action):  # noqa: D102
        self.at, self.steps = np.clip(self.at + action / 4, -1, 1), self.steps + 1
        return self.at, -abs(float(self.at[0])), False, self.steps == 20, {}


def main() -> None:
    """Runs the example."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1400)
    agent = Dreamer(Line, size="1m", seed=0)
    agent.learn(total_timesteps=parser.parse_args().steps)
    print(f"mean return of 5 episodes: {agent.evaluate(episodes=5).mean:.2f} of at most 0")


if __name__ == "__main__":
    main()
