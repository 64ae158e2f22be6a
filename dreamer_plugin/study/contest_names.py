"""Which agents can be compared, without what they need."""

from __future__ import annotations

from dreamer_plugin.study.ablations import ABLATIONS

WITHOUT = "dreamer-without-"  # begins the names of V3 without one part
DREAMERS = {  # name -> presets
    "dreamer": ["v3"],
    "dreamer-v1": ["v1"],
    "dreamer-v2": ["v2"],
    **{f"{WITHOUT}{part}": ["v3", each.preset] for part, each in ABLATIONS.items()},
}
# Name -> package, class, and which actions it takes.
BASELINES = {
    "ppo": ("stable_baselines3", "PPO", "any"),
    "a2c": ("stable_baselines3", "A2C", "any"),
    "dqn": ("stable_baselines3", "DQN", "discrete"),
    "sac": ("stable_baselines3", "SAC", "continuous"),
    "td3": ("stable_baselines3", "TD3", "continuous"),
    "ddpg": ("stable_baselines3", "DDPG", "continuous"),
    "tqc": ("sb3_contrib", "TQC", "continuous"),
    "trpo": ("sb3_contrib", "TRPO", "any"),
    "qrdqn": ("sb3_contrib", "QRDQN", "discrete"),
}
AGENTS = (*DREAMERS, *BASELINES)
