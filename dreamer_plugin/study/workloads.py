"""The workloads of the benchmark: an observation, six continuous actions, a size of the agent.

    name         observation            size
    proprio1m    vector [24]            1m      and so for every other size
    vision12m    image [64, 64, 3]      12m     likewise
    tiny         vector [24]            widths that take milliseconds, for tests

Everything else is the default agent's: batches of 16 x 64 records and one of context, a horizon of
15, every loss. Records are noise, sampled from a real replay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import torch
from tensordict import TensorDict
from torch import Tensor

from dreamer_plugin import keys
from dreamer_plugin.config import Config, compose
from dreamer_plugin.config.presets import SIZES
from dreamer_plugin.data.fields import Field
from dreamer_plugin.data.replay import RecordReplay
from dreamer_plugin.errors import UsageError, nearest
from dreamer_plugin.run.envs import EnvSource
from dreamer_plugin.run.parts import build_parts
from dreamer_plugin.run.training import Training

ACTIONS = 6
EPISODE = 200  # records between two resets
OBSERVATIONS: dict[str, gym.Space[Any]] = {
    "proprio": gym.spaces.Box(-np.inf, np.inf, (24,), np.float32),
    "vision": gym.spaces.Box(0, 255, (64, 64, 3), np.uint8),
}
_NARROW = {
    "model.deter": 32,
    "model.hidden": 16,
    "model.units": 16,
    "model.groups": 4,
    "model.classes": 4,
    "replay.batch_size": 4,
    "replay.batch_length": 16,
    "behavior.imag_horizon": 5,
}


@dataclass(frozen=True)
class Workload:
    """What is timed.

    Args:
        name: of the table above. observation: `proprio` or `vision`. size: of the agent.
        settings: dotted name -> value, where the default agent's do not hold.
    """

    name: str
    observation: str
    size: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    def config(self, overrides: Sequence[str], options: Mapping[str, Any]) -> Config:
        """The agent's settings.

        Args:
            overrides: `key=value` texts. options: dotted name -> value.
        """
        plain = {"size": self.size, "env.num_envs": 1, "replay.capacity": 4096, **self.settings}
        given = [text.partition("=")[0].strip() for text in overrides]
        mine = {name: value for name, value in plain.items() if name not in given}
        return compose(overrides=overrides, options=mine | dict(options)).config

    def source(self) -> EnvSource:
        """Envs with the workload's spaces."""
        return EnvSource([lambda: NoiseEnv(OBSERVATIONS[self.observation])])

    def training(self, cfg: Config, records: int = 0) -> Training:
        """Everything a run has, its replay filled with noise; close it after use.

        Args:
            records: in the replay; by default as many as give 128 windows.
        """
        training = Training(cfg, build_parts(cfg, self.source()))
        length = cfg.replay.batch_length + cfg.replay.context
        fill(training.parts.replay, max(records, length + 128), cfg.model.classes, cfg.seed)
        return training


def find(name: str) -> Workload:
    """The workload of a name.

    Raises:
        UsageError: naming the nearest.
    """
    known = {"tiny": Workload("tiny", "proprio", "1m", _NARROW)}
    known |= {
        f"{kind}{size}": Workload(f"{kind}{size}", kind, size)
        for kind in OBSERVATIONS
        for size in SIZES
    }
    if name not in known:
        sizes = " ".join(SIZES)
        raise UsageError(f"{nearest(name, known, 'workload')} proprio or vision, and {sizes}.")
    return known[name]


class NoiseEnv(gym.Env[dict[str, npt.NDArray[Any]], npt.NDArray[np.float32]]):
    """An env that costs nothing: always the same noise, and no end.

    Args:
        space: of its one observation.
    """

    action_repeat = 1

    def __init__(self, space: gym.Space[Any]) -> None:
        self.observation_space = gym.spaces.Dict({"obs": space})  # type: ignore[assignment]
        self.action_space = gym.spaces.Box(-1, 1, (ACTIONS,), np.float32)
        space.seed(0)
        self._obs = {"obs": space.sample()}

    def reset(self, **_: Any) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
        """The noise."""
        return self._obs, {}

    def step(
        self, action: npt.NDArray[np.float32]
    ) -> tuple[dict[str, npt.NDArray[Any]], float, bool, bool, dict[str, Any]]:
        """The noise and no reward."""
        return self._obs, 0.0, False, False, {}


def fill(replay: RecordReplay, records: int, classes: int, seed: int = 0) -> None:
    """Extend a replay of one env by records of noise, in episodes that a time limit ends.

    Args:
        records: how many. classes: of a latent variable.
    """
    rng = torch.Generator().manual_seed(seed)
    for at in range(0, records, EPISODE):
        count = min(EPISODE, records - at)
        rows: dict[str, Any] = {keys.OBS: {}}
        for each in replay.storage.fields:
            value = _noise(each, count, classes, rng)
            if isinstance(each.key, tuple):
                rows[each.key[0]][each.key[1]] = value
            else:
                rows[each.key] = value
        rows[keys.IS_FIRST][0] = rows[keys.IS_LAST][-1] = True
        rows[keys.OBS] = TensorDict(rows[keys.OBS], batch_size=[count])
        replay.extend(TensorDict(rows, batch_size=[count]), env=[0] * count)


def _noise(each: Field, count: int, classes: int, rng: torch.Generator) -> Tensor:
    """Values of one field, `[count, *shape]`; flags are not set."""
    shape = (count, *each.shape)
    if each.dtype == torch.bool:
        return torch.zeros(shape, dtype=torch.bool)
    if not each.dtype.is_floating_point:
        high = classes if each.key == keys.STOCH else 256
        return torch.randint(0, high, shape, generator=rng, dtype=each.dtype)
    if each.key == keys.ACTION:
        return 2 * torch.rand(shape, generator=rng) - 1
    return torch.randn(shape, generator=rng).tanh().to(each.dtype)
