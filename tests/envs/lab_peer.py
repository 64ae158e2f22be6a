"""A stand-in for the module `deepmind_lab`, as strict as its documentation.

Source: google-deepmind/lab, docs/users/python_api.md and actions.md. What is not allowed there,
such as looking at a level that is over, raises here.
"""

from __future__ import annotations

import sys

import numpy as np

LIMITS = np.array([512, 512, 1, 1, 1, 1, 1])
LOWEST = np.array([-512, -512, -1, -1, 0, 0, 0])
LENGTH = 20  # frames of an episode


class Lab:
    """One level; the picture's red is the number of frames, its green the seed."""

    made: list[Lab] = []

    def __init__(self, level, observations, config=None, renderer="software"):
        assert isinstance(level, str) and renderer in ("software", "hardware")
        assert all(isinstance(text, str) for text in [*(config or {}), *(config or {}).values()])
        assert set(observations) <= {"RGB_INTERLEAVED", "INSTR"}
        self.level, self.names, self.config, self.renderer = level, observations, config, renderer
        self.frames, self.running, self.seed, self.actions = 0, False, None, []
        self.closed = False
        Lab.made.append(self)

    def reset(self, episode=-1, seed=None):
        assert not self.closed and (seed is None or 0 <= seed < 2**31)
        self.frames, self.running, self.seed = 0, True, seed

    def is_running(self):
        return self.running

    def step(self, action, num_steps=1):
        if not self.running:
            raise RuntimeError("Environment in wrong status for call to step()")
        assert action.dtype == np.intc and action.shape == (7,)
        assert (LOWEST <= action).all() and (action <= LIMITS).all()
        self.actions.append(action.tolist())
        self.frames += num_steps
        self.running = self.frames < LENGTH
        return 0.5 * num_steps

    def observations(self):
        if not self.running:
            raise RuntimeError("Environment in wrong status for call to observations()")
        height, width = int(self.config["height"]), int(self.config["width"])
        image = np.zeros((height, width, 3), np.uint8)
        image[..., 0], image[..., 1] = self.frames, self.seed % 256
        seen = {"RGB_INTERLEAVED": image, "INSTR": "Get the red_hat, now!"}
        return {name: seen[name] for name in self.names}

    def close(self):
        self.closed = True


def install():
    """Stands in for the module in this process."""
    sys.modules["deepmind_lab"] = sys.modules[__name__]
