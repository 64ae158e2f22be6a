"""A module that registers an env with Gymnasium when it is imported."""

import gymnasium as gym

gym.register("Odd-v0", "odd_envs:Plain")
