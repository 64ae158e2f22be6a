"""A very small agent and batches for it, for tests that need all parts at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from tensordict import TensorDict
from torch import nn

from dreamer_plugin.agent import Agent
from dreamer_plugin.build import build_agent
from dreamer_plugin.config.schema import Config
from dreamer_plugin.spaces import Spaces

OBS = gym.spaces.Dict({"vector": gym.spaces.Box(-1, 1, (3,), np.float32)})
ACTIONS = gym.spaces.Dict(
    {"move": gym.spaces.Box(-1, 1, (2,), np.float32), "tool": gym.spaces.Discrete(3)}
)


def spaces() -> Spaces:
    """A vector to see; a continuous and a discrete key to act with (A = 5)."""
    return Spaces.from_gym(OBS, ACTIONS)


def config(change: Callable[[Config], None] | None = None) -> Config:
    """Official defaults at a width where an update takes milliseconds."""
    cfg = Config(precision="float32")
    model = cfg.model
    model.deter, model.hidden, model.units = 16, 8, 8
    model.groups, model.classes, model.blocks = 4, 4, 2
    cfg.world.reward.bins = cfg.behavior.critic.bins = 41
    cfg.behavior.imag_horizon = 4
    cfg.optim.lr, cfg.optim.warmup = 1e-3, 0
    if change is not None:
        change(cfg)
    return consistent(cfg)


def consistent(cfg: Config) -> Config:
    """Without the replay value loss where returns are not of arrival, unless it has a new scale."""
    if cfg.behavior.returns != "arrival" and cfg.loss_scales.repval == Config().loss_scales.repval:
        cfg.loss_scales.repval = 0.0
    return cfg


def setting(**values: Any) -> Callable[[Config], None]:
    """A change of a config: `behavior__actor__unimix=0.01`."""

    def apply(cfg: Config) -> None:
        for name, value in values.items():
            *sections, key = name.split("__")
            part: Any = cfg
            for section in sections:
                part = getattr(part, section)
            assert hasattr(part, key), name
            setattr(part, key, value)

    return apply


def agent(change: Callable[[Config], None] | None = None, seed: int = 0) -> Agent:
    """An agent whose output layers are not zero, so that every loss has a gradient."""
    made = build_agent(config(change), spaces())
    disturb(made, seed)
    return made


def disturb(module: nn.Module, seed: int = 0) -> None:
    """Add noise to every parameter, in place."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for param in module.parameters():
            param.add_(0.1 * torch.randn(param.shape, generator=generator))


def batch(rows: int = 3, length: int = 5, seed: int = 0) -> TensorDict:
    """Records `[rows, 1 + length]` without an end of an episode."""
    rng = torch.Generator().manual_seed(seed)
    shape = [rows, 1 + length]
    move = torch.randn(*shape, 2, generator=rng)
    tool = nn.functional.one_hot(torch.randint(0, 3, shape, generator=rng), 3).float()
    no = torch.zeros(shape, dtype=torch.bool)
    data = {
        "obs": TensorDict({"vector": torch.randn(*shape, 3, generator=rng)}, shape),
        "action": torch.cat([move, tool], -1),
        "reward": torch.randn(shape, generator=rng),
        "is_first": no.clone(),
        "is_last": no.clone(),
        "is_terminal": no.clone(),
        "deter": torch.randn(*shape, 16, generator=rng),
        "stoch": torch.randint(0, 4, (*shape, 4), generator=rng, dtype=torch.uint8),
    }
    return TensorDict(data, shape)


IMAGE = gym.spaces.Dict(
    {
        "image": gym.spaces.Box(0, 255, (48, 48, 3), np.uint8),
        "vector": gym.spaces.Box(-1, 1, (3,), np.float32),
    }
)


def image_agent(change: Callable[[Config], None] | None = None) -> Agent:
    """An agent that sees an image and a vector, with the actions of `agent`."""
    cfg = config(change)
    cfg.model.depth, cfg.world.decoder.image_blocks = 2, 2
    made = build_agent(cfg, Spaces.from_gym(IMAGE, ACTIONS))
    disturb(made)
    return made


def image_batch(rows: int = 3, length: int = 5, seed: int = 0) -> TensorDict:
    """`batch` with noise for images."""
    made = batch(rows, length, seed)
    rng = torch.Generator().manual_seed(seed)
    shape = (rows, 1 + length, 48, 48, 3)
    made["obs", "image"] = torch.randint(0, 256, shape, dtype=torch.uint8, generator=rng)
    return made
