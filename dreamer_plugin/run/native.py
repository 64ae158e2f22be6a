"""A user's own observations and actions, to and from the form the agent knows.

    raw observation, one or a batch  --observe-->  {name: [N, ...]}
    encoded actions [N, A]           --act------>  native action, one or a batch

The conversions are those of `dreamer_envs.wrap`, run on an env that consists of its spaces alone:
acting needs no simulator, and training and acting cannot drift apart.
"""

from __future__ import annotations

from collections import OrderedDict  # a plain dict would be sorted by Gymnasium
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

import dreamer_envs
from dreamer_plugin.errors import UsageError
from dreamer_plugin.spaces import Spaces

Array = npt.NDArray[Any]
Space = spaces.Space[Any]


class NativeForm:
    """The spaces of an env as its user sees them.

    Args:
        observation: space of raw observations. action: space of native actions.

    Raises:
        UsageError, dreamer_envs.errors.UnsupportedSpaceError: when no agent can use them.
    """

    def __init__(self, observation: Space, action: Space) -> None:
        self.observation, self.action = observation, action
        self._inner = _SpacesOnly(observation, action)
        self._env = dreamer_envs.wrap(self._inner)
        self.spaces = Spaces.from_gym(self._env.observation_space, self._env.action_space)

    def observe(self, obs: Any) -> tuple[dict[str, Array], bool]:
        """Convert one raw observation or a batch of them.

        Returns:
            `{name: [N, *shape]}`, and whether it was a batch.

        Raises:
            UsageError: when the observation has neither the shape of one nor of a batch.
        """
        if isinstance(self.observation, spaces.Dict) and not isinstance(obs, Mapping):
            names = list(self.observation.spaces)
            if len(names) > 1:
                raise UsageError(f"The observation must be a dict with {', '.join(names)}.")
            obs = {names[0]: obs}
        rows = _rows(self.observation, obs, "observation")
        converted = [self._env.reset(options={"obs": row})[0] for row in rows or [obs]]
        return {name: np.stack([c[name] for c in converted]) for name in converted[0]}, bool(rows)

    def act(self, actions: Array, batched: bool) -> Any:
        """Native action of every row of `[N, A]`, stacked, or of the only row."""
        native = [self._native(self.spaces.decode_action(row)) for row in actions]
        return _stack(native) if batched else native[0]

    def to_dict(self) -> dict[str, Any]:
        """As plain data and arrays."""
        return {"observation": _describe(self.observation), "action": _describe(self.action)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> NativeForm:
        """The inverse of `to_dict`."""
        return cls(_rebuild(data["observation"]), _rebuild(data["action"]))

    def _native(self, action: Any) -> Any:
        self._env.step(action)
        return self._inner.action


class _SpacesOnly(gym.Env[Any, Any]):
    """Shows the observation it is told to and remembers the action it is given."""

    def __init__(self, observation: Space, action: Space) -> None:
        self.observation_space, self.action_space = observation, action
        self.obs: Any = None
        self.action: Any = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        self.obs = (options or {})["obs"]
        return self.obs, {}

    def step(self, action: Any) -> Any:
        self.action = action
        return self.obs, 0.0, False, False, {}


def _rows(space: Space, value: Any, name: str) -> list[Any]:
    """The rows of a batch, nothing when `value` is a single one."""
    if isinstance(space, spaces.Dict):
        parts = _parts(dict(space.items()), value, name)
        return [dict(zip(parts, row, strict=True)) for row in zip(*parts.values(), strict=True)]
    if isinstance(space, spaces.Tuple):
        given = dict(enumerate(value)) if isinstance(value, (tuple, list)) else value
        parts = _parts(dict(enumerate(space)), given, name)
        return list(zip(*parts.values(), strict=True))
    shape = tuple(space.shape or ())
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise UsageError(f"The {name} is ragged: one has shape {shape}.") from error
    if array.shape == shape:
        return []
    if array.shape[1:] == shape and array.ndim == len(shape) + 1:
        return list(array)
    raise UsageError(f"The {name} has shape {array.shape}; one has {shape}, a batch (N, *{shape}).")


def _parts(known: Mapping[Any, Space], value: Any, name: str) -> dict[Any, list[Any]]:
    """The rows of each part of a nested value."""
    if not isinstance(value, Mapping) or set(known) - set(value):
        found = f"has {list(value)}" if isinstance(value, Mapping) else f"is {value!r:.60}"
        raise UsageError(f"The {name} {found}; one has the parts {list(known)}.")
    columns = {key: _rows(sub, value[key], f"{name} {key!r}") for key, sub in known.items()}
    counts = {key: len(rows) for key, rows in columns.items()}
    if len(set(counts.values())) > 1:
        raise UsageError(f"The {name} has as many rows in each part as {counts}.")
    return columns


def _stack(rows: list[Any]) -> Any:
    if isinstance(rows[0], Mapping):
        return {key: _stack([row[key] for row in rows]) for key in rows[0]}
    return np.stack(rows)


def _describe(space: Space) -> dict[str, Any]:
    if isinstance(space, spaces.Dict):
        parts = [[key, _describe(sub)] for key, sub in space.items()]
        return {"kind": "dict", "parts": parts}
    if isinstance(space, spaces.Tuple):
        return {"kind": "tuple", "parts": [_describe(sub) for sub in space]}
    if isinstance(space, spaces.Box):
        return {"kind": "box", "low": space.low, "high": space.high, "dtype": str(space.dtype)}
    if isinstance(space, spaces.Discrete):
        return {"kind": "discrete", "n": int(space.n), "start": int(space.start)}
    if isinstance(space, spaces.MultiDiscrete):
        return {
            "kind": "multidiscrete",
            "nvec": space.nvec,
            "start": space.start,
            "dtype": str(space.dtype),
        }
    if isinstance(space, spaces.MultiBinary):
        return {"kind": "multibinary", "shape": list(space.shape)}
    raise UsageError(f"The space {space} cannot be saved.")


def _rebuild(data: Mapping[str, Any]) -> Space:
    kind = data["kind"]
    if kind == "dict":
        return spaces.Dict(OrderedDict((key, _rebuild(sub)) for key, sub in data["parts"]))
    if kind == "tuple":
        return spaces.Tuple([_rebuild(sub) for sub in data["parts"]])
    if kind == "box":
        return spaces.Box(data["low"], data["high"], dtype=np.dtype(data["dtype"]))
    if kind == "discrete":
        return spaces.Discrete(data["n"], start=data["start"])
    if kind == "multidiscrete":
        dtype = np.dtype(data["dtype"])
        return spaces.MultiDiscrete(data["nvec"], dtype=dtype, start=data["start"])
    return spaces.MultiBinary(data["shape"])
