"""What an env shows and takes, as plain data; actions to vectors and back.

Inside the package an action is always one float32 vector `[..., A]`: the keys of the action space
sorted by name, discrete ones as one-hot, continuous ones raw (never clipped), concatenated. This
file alone knows how that vector and the action an env takes become each other.

    native                       keys                       vector
    Discrete(3)                  action                     [0 1 0]
    Box(2)                       action                     [x y]
    MultiDiscrete([3, 3])        action, shape (2,)         [0 1 0 | 1 0 0]
    MultiDiscrete([2, 3])        action/0, action/1         [1 0 | 0 0 1]
    Dict(b=Box(1), a=Discrete)   a, b                       [0 1 | x]
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from dreamer_plugin.errors import UsageError

Array = npt.NDArray[Any]
Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class ObsKey:
    """One observation.

    Args:
        name: its key in the env's Dict space.
        kind: `image` is uint8 `[H, W, C]`, `vector` float32 of any shape, `discrete` integers.
        shape: of one frame. classes: every value of a discrete observation is less than this.
    """

    name: str
    kind: Literal["image", "vector", "discrete"]
    shape: tuple[int, ...]
    classes: int = 0


@dataclass(frozen=True)
class ActionKey:
    """One part of an action.

    Args:
        name: its key in the action space; `action` where the space is no Dict.
        kind: `continuous` or `discrete`.
        shape: of the native value. classes: of each variable of a discrete key.
    """

    name: str
    kind: Literal["continuous", "discrete"]
    shape: tuple[int, ...]
    classes: int = 0

    @property
    def variables(self) -> int:
        """Independent variables, one distribution each."""
        return math.prod(self.shape)

    @property
    def size(self) -> int:
        """Numbers it takes in the encoded vector."""
        return self.variables * (self.classes if self.kind == "discrete" else 1)


@dataclass(frozen=True)
class NativeAction:
    """How one entry of the env's own action space is put together from keys.

    Args:
        name: its key in a Dict space, else `action`. dtype: of the native array or scalar.
        shape: of the native value. scalar: handed over as a NumPy scalar rather than an array.
        keys: names of the `ActionKey`s it consists of: one, or one per element.
        start: smallest value of each element, flat (discrete only).
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    keys: tuple[str, ...]
    start: tuple[int, ...] = ()
    scalar: bool = False


@dataclass(frozen=True)
class Spaces:
    """Observations in the order of the env's Dict space, actions sorted by name.

    Args:
        obs: keys of the observation. actions: keys of the encoded action.
        native: how the env's action is built; without it actions can be read but not decoded.
        dict_action: the env takes a dictionary.
    """

    obs: tuple[ObsKey, ...]
    actions: tuple[ActionKey, ...]
    native: tuple[NativeAction, ...] = ()
    dict_action: bool = False

    @classmethod
    def from_gym(cls, obs_space: gym.Space[Any], action_space: gym.Space[Any]) -> Spaces:
        """Read the spaces of an env as `dreamer_envs.make` or `dreamer_envs.wrap` returns it.

        Raises:
            UsageError: names the key that no part of the agent can read or act on, and why.
        """
        if not isinstance(obs_space, gym.spaces.Dict) or not obs_space.spaces:
            raise UsageError(
                f"the observation space is {obs_space}, not a Dict with at least one key; "
                "pass the env through dreamer_envs.wrap(env)"
            )
        obs = tuple(_obs_key(name, space) for name, space in obs_space.spaces.items())
        as_dict = isinstance(action_space, gym.spaces.Dict)
        entries = action_space.spaces if as_dict else {"action": action_space}  # type: ignore[attr-defined]
        parts = [_action_keys(name, entries[name]) for name in sorted(entries)]
        keys = sorted((key for _, some in parts for key in some), key=lambda key: key.name)
        if not sum(key.size for key in keys):
            raise UsageError(f"the action space {action_space} leaves nothing to decide")
        if len({key.name for key in keys}) < len(keys):
            names = [key.name for key in keys]
            raise UsageError(f"two action keys have one name in {names}: rename one in the env")
        return cls(obs, tuple(keys), tuple(native for native, _ in parts), as_dict)

    def observed(self) -> str:
        """The observations in words."""
        return ", ".join(f"{key.name} {key.kind} {list(key.shape)}" for key in self.obs)

    def acted(self) -> str:
        """The actions in words."""
        return ", ".join(f"{key.name} {key.kind} {key.size}" for key in self.actions)

    def __str__(self) -> str:
        return f"observations {self.observed()} and actions {self.acted()}"

    def refuse_other(self, env: Spaces) -> None:
        """See that an agent that knows these spaces can play an env.

        Raises:
            UsageError: with the spaces of both.
        """
        if (self.obs, self.actions) != (env.obs, env.actions):
            raise UsageError(f"The env has {env}; the agent knows {self}.")

    @property
    def images(self) -> list[ObsKey]:
        """What is seen as images, in order."""
        return [key for key in self.obs if key.kind == "image"]

    @property
    def action_size(self) -> int:
        """A, the length of an encoded action."""
        return sum(key.size for key in self.actions)

    @cached_property
    def _slices(self) -> dict[str, tuple[ActionKey, slice]]:
        ends = np.cumsum([key.size for key in self.actions]).tolist()
        cuts = zip(self.actions, ends, strict=True)
        return {key.name: (key, slice(end - key.size, end)) for key, end in cuts}

    def encode_action(self, native: Any) -> Float32:
        """The env's action, or a batch of them, as vectors.

        Args:
            native: as the action space has it, every array with the same leading axes in front.

        Returns:
            float32 `[..., A]`.

        Raises:
            UsageError: when a part is missing, or a shape or a discrete value does not fit the
                space.
        """
        parts: dict[str, Float32] = {}
        for entry in self._native():
            if self.dict_action and entry.name not in native:
                raise UsageError(f"the action lacks {entry.name!r}; it has {sorted(native)}")
            value = np.asarray(native[entry.name] if self.dict_action else native)
            parts |= self._encode_entry(entry, value)
        rows = [parts[key.name] for key in self.actions]
        if len({row.shape[:-1] for row in rows}) > 1:
            told = {name: part.shape[:-1] for name, part in parts.items()}
            raise UsageError(f"all parts of actions need the same leading axes, got {told}")
        return np.concatenate(rows, -1)

    def decode_action(self, vector: Float32) -> Any:
        """One encoded action `[A]` as the env takes it.

        Discrete parts take the largest entry; continuous ones are handed over as they are, float32.
        """
        if vector.shape != (self.action_size,):
            raise UsageError(
                f"an encoded action has shape ({self.action_size},), not {vector.shape}"
            )
        decoded = {entry.name: self._decode_entry(entry, vector) for entry in self._native()}
        return decoded if self.dict_action else decoded["action"]

    def to_dict(self) -> dict[str, Any]:
        """As JSON-able data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Spaces:
        """The inverse of `to_dict`, also after a trip through JSON."""

        def rebuild(kind: Any, rows: Sequence[Mapping[str, Any]]) -> Any:
            fixed = (
                {k: tuple(v) if isinstance(v, list) else v for k, v in r.items()} for r in rows
            )
            return tuple(kind(**row) for row in fixed)

        return cls(
            rebuild(ObsKey, data["obs"]),
            rebuild(ActionKey, data["actions"]),
            rebuild(NativeAction, data["native"]),
            bool(data["dict_action"]),
        )

    def _native(self) -> tuple[NativeAction, ...]:
        if not self.native:
            raise UsageError("these Spaces do not know the env's action space; use Spaces.from_gym")
        return self.native

    def _encode_entry(self, entry: NativeAction, value: Array) -> dict[str, Float32]:
        event = len(entry.shape)
        batch = value.shape[: value.ndim - event]
        if value.shape[value.ndim - event :] != entry.shape or value.ndim < event:
            raise UsageError(
                f"action {entry.name!r} ends in shape {entry.shape} in this env, got {value.shape}"
            )
        flat = value.reshape(*batch, math.prod(entry.shape))
        if not entry.start:
            return {entry.keys[0]: flat.astype(np.float32)}
        index = flat - np.asarray(entry.start)
        per_key = np.split(index, len(entry.keys), -1)
        keys = (self._slices[name][0] for name in entry.keys)
        parts = list(zip(keys, per_key, strict=True))
        for key, part in parts:
            # Asked so that NaN, which compares with nothing, is none of the classes.
            if not ((part >= 0) & (part < key.classes) & (part == np.floor(part))).all():
                raise UsageError(
                    f"action {key.name!r} has {key.classes} classes, whole numbers from "
                    f"{min(entry.start)} on; got {flat.tolist()}"
                )
        return {key.name: _one_hot(key, part) for key, part in parts}

    def _decode_entry(self, entry: NativeAction, vector: Float32) -> Any:
        cuts = [self._slices[name] for name in entry.keys]
        if not entry.start:
            return vector[cuts[0][1]].astype(entry.dtype).reshape(entry.shape)
        chosen = [vector[cut].reshape(-1, key.classes).argmax(-1) for key, cut in cuts]
        flat = np.concatenate(chosen) + np.asarray(entry.start)
        value = flat.astype(entry.dtype).reshape(entry.shape)
        return value[()] if entry.scalar else value


def _obs_key(name: str, space: gym.Space[Any]) -> ObsKey:
    """Read one entry of the observation space, or say why nothing can encode it."""
    if 0 in (space.shape or ()):
        raise UsageError(f"observation {name!r} is {space}: it holds no number; leave it out")
    if isinstance(space, gym.spaces.Box):
        if space.dtype == np.uint8 and len(space.shape) == 3:
            return ObsKey(name, "image", space.shape)
        if space.dtype is not None and np.issubdtype(space.dtype, np.floating):
            return ObsKey(name, "vector", space.shape)
        why = "a Box must be an image (uint8, [H, W, C]) or hold floats"
        raise UsageError(
            f"observation {name!r} is {space}: {why}; pass it to dreamer_envs.wrap(env)"
        )
    if isinstance(space, gym.spaces.Discrete):
        starts, sizes, shape = [int(space.start)], [int(space.n)], ()
    elif isinstance(space, gym.spaces.MultiDiscrete):
        starts, sizes = space.start.ravel().tolist(), space.nvec.ravel().tolist()
        shape = tuple(space.nvec.shape)
    elif isinstance(space, gym.spaces.MultiBinary):
        return ObsKey(name, "discrete", space.shape, 2)
    else:
        kinds = "Box, Discrete, MultiDiscrete and MultiBinary"
        raise UsageError(f"observation {name!r} is {space}: only {kinds} can be encoded")
    if any(starts):
        raise UsageError(
            f"observation {name!r} is {space}: subtract its start, values count from 0"
        )
    return ObsKey(name, "discrete", shape, max(sizes))


def _action_keys(name: str, space: gym.Space[Any]) -> tuple[NativeAction, list[ActionKey]]:
    """Read one entry of the action space, or say why no policy can act on it."""
    if isinstance(space, gym.spaces.Box):
        if space.dtype is None or not np.issubdtype(space.dtype, np.floating):
            raise UsageError(f"action {name!r} is {space}: a Box of integers; use MultiDiscrete")
        key = ActionKey(name, "continuous", space.shape)
        return NativeAction(name, "float32", space.shape, (name,)), [key]
    if isinstance(space, gym.spaces.Discrete):
        key = ActionKey(name, "discrete", (), int(space.n))
        native = NativeAction(name, "int64", (), (name,), (int(space.start),), scalar=True)
        return native, [key]
    if isinstance(space, gym.spaces.MultiBinary):
        starts = (0,) * math.prod(space.shape)
        key = ActionKey(name, "discrete", space.shape, 2)
        return NativeAction(name, "int8", space.shape, (name,), starts), [key]
    if isinstance(space, gym.spaces.MultiDiscrete):
        return _multi_discrete_keys(name, space)
    kinds = "Box, Discrete, MultiDiscrete, MultiBinary and one Dict of these"
    raise UsageError(f"action {name!r} is {space}: only {kinds} can be acted on")


def _multi_discrete_keys(
    name: str, space: gym.spaces.MultiDiscrete
) -> tuple[NativeAction, list[ActionKey]]:
    """One key where every variable has the same number of classes, else one key per variable."""
    shape: tuple[int, ...] = tuple(space.nvec.shape)
    sizes = [int(n) for n in space.nvec.ravel()]
    starts = tuple(int(s) for s in space.start.ravel())
    if len(set(sizes)) == 1:
        keys = [ActionKey(name, "discrete", shape, sizes[0])]
    else:
        # Padded with zeros, so that sorting by name keeps the order of the dimensions.
        width = len(str(len(sizes) - 1))
        keys = [ActionKey(f"{name}/{i:0{width}}", "discrete", (), n) for i, n in enumerate(sizes)]
    names = tuple(key.name for key in keys)
    return NativeAction(name, str(space.dtype), shape, names, starts), keys


def _one_hot(key: ActionKey, index: Array) -> Float32:
    """Integers `[..., variables]` as one-hot vectors `[..., variables * classes]`."""
    hot = np.eye(key.classes, dtype=np.float32)[index.astype(np.int64)]
    return hot.reshape(*index.shape[:-1], key.size)
