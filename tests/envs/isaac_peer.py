"""Stand-ins for the modules of Isaac Lab, with the calls of its documentation.

Source: isaac-sim/IsaacLab, isaaclab/envs/manager_based_rl_env.py: batches of tensors, and a step
that ends an episode already shows the next one.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces

ID = "Isaac-Standin-v0"
NAMES = ("isaaclab", "isaaclab.app", "isaaclab_tasks", "isaaclab_tasks.utils")


class Task(gym.Env):
    """Three steps long; its number is 10 times the episode's, and the step's."""

    metadata = {"render_modes": [None, "human", "rgb_array"]}

    def __init__(self, cfg, render_mode=None):
        self.cfg, self.render_mode = cfg, render_mode
        self.single_observation_space = spaces.Dict(
            {
                "policy": spaces.Box(-np.inf, np.inf, (2,)),
                "sight": spaces.Dict({"rgb": spaces.Box(0, 255, (20, 20, 3), np.uint8)}),
            }
        )
        self.single_action_space = spaces.Box(-np.inf, np.inf, (1,))
        self.observation_space = self.action_space = spaces.Discrete(2)  # batches; nobody looks
        self.episode, self.time, self.seeds = -1, 0, []

    def reset(self, seed=None, options=None):
        self.seeds.append(seed)
        if seed is not None:
            self.episode = -1
        return self._begin(), {}

    def step(self, action):
        assert isinstance(action, torch.Tensor) and action.shape == (1, 1)
        assert action.dtype == torch.float32
        self.time += 1
        over = self.time == 3
        ends = torch.tensor([over and not self.cfg.cut]), torch.tensor([over and self.cfg.cut])
        seen = self._begin() if over else self._seen()
        return seen, action[:, 0] * 2, *ends, {}

    def render(self):
        return np.full((8, 8, 3), self.time, np.uint8)

    def _begin(self):
        self.episode, self.time = self.episode + 1, 0
        return self._seen()

    def _seen(self):
        number = 10.0 * self.episode + self.time
        return {
            "policy": torch.full((1, 2), number, dtype=torch.float64),
            "sight": {"rgb": torch.full((1, 20, 20, 3), self.time, dtype=torch.uint8)},
        }


def modules(asked):
    """Isaac Lab's modules by name; what is asked of them goes to `launched` and `parsed`."""
    found = {name: ModuleType(name) for name in NAMES}
    for name, module in found.items():
        module.__spec__ = ModuleSpec(name, None)

    def launch(settings):
        asked.launched.append(settings)
        return SimpleNamespace(app="running")

    def parse(task, device="cuda:0", num_envs=None):
        assert asked.launched, "the simulator must run before this module works"
        asked.parsed.append((task, device, num_envs))
        return SimpleNamespace(cut=asked.cut)

    found["isaaclab.app"].AppLauncher = launch
    found["isaaclab_tasks.utils"].parse_env_cfg = parse
    return found


def register():
    """Gives Gymnasium the task, as importing `isaaclab_tasks` does."""
    gym.register(ID, entry_point=Task, disable_env_checker=True, order_enforce=False)


def install():
    """Stands in for the modules in this process."""
    sys.modules.update(modules(SimpleNamespace(launched=[], parsed=[], cut=False)))
    register()
