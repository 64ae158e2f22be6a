"""What the processes of a vector share: arrays in one block of memory, and spaces as JSON."""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces

from dreamer_envs import state
from dreamer_envs.frames import Frames

Field = tuple[str, tuple[int, ...], np.dtype[Any]]  # name, shape, dtype
Arrays = dict[str, np.ndarray]

ALIGN = 64  # bytes; arrays begin on cache lines of their own


def layout(observation: spaces.Dict, action: spaces.Space[Any], num_envs: int) -> list[Field]:
    """Arrays that carry the frames and the actions of N envs."""
    leaves = [(f"obs/{key}", sub) for key, sub in observation.spaces.items()]
    leaves += [(f"action/{key}", sub) for key, sub in action_leaves(action).items()]
    fields = [(name, (num_envs, *(sub.shape or ())), np.dtype(sub.dtype)) for name, sub in leaves]
    flags = [
        (name, (num_envs,), np.dtype(np.bool_)) for name in ("is_first", "is_last", "terminated")
    ]
    numbers = [("reward", (num_envs,), np.dtype(np.float32))]
    return [*fields, *numbers, *flags, ("success", (num_envs,), np.dtype(np.int8))]


def nbytes(fields: Sequence[Field]) -> int:
    """Size of the block for these arrays."""
    return sum(_padded(shape, dtype) for _, shape, dtype in fields)


def carve(block: mmap.mmap, fields: Sequence[Field]) -> Arrays:
    """Views of the arrays in a block."""
    arrays, offset = {}, 0
    for name, shape, dtype in fields:
        arrays[name] = np.frombuffer(block, dtype, int(np.prod(shape)), offset).reshape(shape)
        offset += _padded(shape, dtype)
    return arrays


def _padded(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    return -(-int(np.prod(shape)) * dtype.itemsize // ALIGN) * ALIGN


def new_block(size: int) -> Any:
    """An open file without a name, so that nothing is left after a crash; in memory if possible."""
    file = tempfile.TemporaryFile(dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)  # fails here, not by a signal at the first write
    else:
        os.ftruncate(file.fileno(), size)
    return file


def as_frames(arrays: Arrays) -> Frames:
    """Frames that are views of the arrays."""
    obs = {
        name.removeprefix("obs/"): array
        for name, array in arrays.items()
        if name.startswith("obs/")
    }
    reward, first, last = arrays["reward"], arrays["is_first"], arrays["is_last"]
    present, success = np.ones(len(last), np.bool_), arrays["success"]
    return Frames(obs, reward, first, last, arrays["terminated"], present, success)


def action_leaves(space: spaces.Space[Any]) -> dict[str, spaces.Space[Any]]:
    """Flat parts of an action space; a space that is no `Dict` has one part without a name."""
    if not isinstance(space, spaces.Dict):
        return {"": space}
    parts = ((key, action_leaves(sub)) for key, sub in space.spaces.items())
    return {
        f"{key}/{name}" if name else key: leaf for key, subs in parts for name, leaf in subs.items()
    }


def write_action(
    space: spaces.Space[Any], arrays: Arrays, row: int, action: Any, prefix: str = ""
) -> None:
    """Puts a native action into its row."""
    if isinstance(space, spaces.Dict):
        for key, sub in space.spaces.items():
            write_action(sub, arrays, row, action[key], f"{prefix}/{key}" if prefix else key)
    else:
        arrays[f"action/{prefix}"][row] = action


def read_action(space: spaces.Space[Any], arrays: Arrays, row: int, prefix: str = "") -> Any:
    """The native action in a row, as a copy."""
    if isinstance(space, spaces.Dict):
        keys = {key: f"{prefix}/{key}" if prefix else key for key in space.spaces}
        return {key: read_action(space[key], arrays, row, name) for key, name in keys.items()}
    return arrays[f"action/{prefix}"][row].copy()


def encode_spaces(
    observation: spaces.Space[Any], action: spaces.Space[Any], can_save: bool
) -> bytes:
    """What a worker tells about its env."""
    described = {
        "observation": _encode(observation),
        "action": _encode(action),
        "can_save": can_save,
    }
    return state.dumps(described)


def decode_spaces(data: bytes) -> tuple[spaces.Space[Any], spaces.Space[Any], bool]:
    """What `encode_spaces` was given."""
    described = state.loads(data)
    return _decode(described["observation"]), _decode(described["action"]), described["can_save"]


def _encode(space: spaces.Space[Any]) -> dict[str, Any]:
    if isinstance(space, spaces.Dict):
        return {"dict": {key: _encode(sub) for key, sub in space.spaces.items()}}
    if isinstance(space, spaces.Discrete):
        return {"discrete": int(space.n)}
    if isinstance(space, spaces.MultiDiscrete):
        return {"multi": space.nvec}
    if isinstance(space, spaces.Box):
        return {"low": space.low, "high": space.high, "dtype": space.dtype.str}
    raise ValueError(
        f"{space} is not a space of the common form: pass the env through dreamer_envs.wrap."
    )


def _decode(item: dict[str, Any]) -> spaces.Space[Any]:
    if "dict" in item:
        return spaces.Dict({key: _decode(sub) for key, sub in item["dict"].items()})
    if "discrete" in item:
        return spaces.Discrete(item["discrete"])
    if "multi" in item:
        return spaces.MultiDiscrete(item["multi"])
    return spaces.Box(item["low"], item["high"], dtype=np.dtype(item["dtype"]).type)
