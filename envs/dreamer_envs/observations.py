"""Observations in the common form, and what an env hands over checked against what it declared.

    space of the env                     common form              refused, with the key's name
    Box uint8 [H, W, C] or [C, H, W]     uint8 [H, W, C]          another dtype or shape
    Box uint8 [T, H, W, C]               none: a stack of images is refused
    Box, MultiBinary                     float32                  another shape, nan, inf
    Discrete, MultiDiscrete              int64 from 0             a value outside of the space

Dicts and tuples are flattened, names joined with `/`. The check of an image looks at its shape and
dtype only, never at its pixels; that of a small vector takes about a microsecond.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium import spaces

from dreamer_envs.errors import FrameError, UnsupportedSpaceError

AnySpace = spaces.Space[Any]
Convert = Callable[[Any], Any]

LARGEST = float(np.finfo(np.float32).max)
FLOAT32 = np.dtype(np.float32)
FEW = 64  # numbers of a vector that Python adds up faster than numpy looks at them
SMALLEST_IMAGE = (
    16  # a smaller uint8 array is a table of numbers (MiniGrid's 7x7x3 view), not a picture
)


def observation(space: AnySpace, lead: int = 0) -> tuple[spaces.Dict, Convert]:
    """`Dict` space of an observation space, and the function that converts observations.

    Args:
        space: of one env.
        lead: axes before those of the space in what is converted: 0, or 1 for rows `[N, ...]` of
            several envs, which are converted together.

    Raises:
        UnsupportedSpaceError: a part of the space has no common form; the message names it. The
            function raises `FrameError` for an observation that does not fit the space.
    """
    if not isinstance(space, spaces.Dict | spaces.Tuple):
        name = single_name(space)
        only, convert = _leaf(space, name, lead)
        return spaces.Dict({name: only}), lambda obs: {name: convert(obs)}
    flat = _flatten(space, ())
    leaves = {name: (path, *_leaf(sub, name, lead)) for name, path, sub in flat}
    if len(leaves) < len(flat):
        raise UnsupportedSpaceError(
            f"Two observations have one name in {[name for name, _, _ in flat]}: rename one."
        )
    converts = [(name, path, convert) for name, (path, _, convert) in leaves.items()]

    def convert_all(obs: Any) -> dict[str, Any]:
        return {name: convert(_follow(obs, path, name)) for name, path, convert in converts}

    return spaces.Dict({name: sub for name, (_, sub, _) in leaves.items()}), convert_all


def checked_reward(reward: Any) -> float:
    """A reward as a number that float32 can hold.

    Raises:
        FrameError: it is no number, not finite, or too large.
    """
    try:
        value = float(reward)
    except (TypeError, ValueError) as error:
        raise FrameError(f"the reward is {reward!r}, not a number: return a float") from error
    if not abs(value) <= LARGEST:  # nan compares as false
        why = f"float32 ends at {LARGEST:.3g}" if math.isfinite(value) else "it must be finite"
        raise FrameError(f"the reward is {value}: {why}; scale or clip it in the env")
    return value


def image_space(shape: tuple[int, ...]) -> spaces.Box:
    """Space of uint8 images `[H, W, C]`."""
    return spaces.Box(0, 255, shape, np.uint8)


def is_image(space: AnySpace) -> bool:
    """Whether an observation space is a picture in any of the layouts that are understood."""
    if not isinstance(space, spaces.Box) or space.dtype != np.uint8:
        return False
    return _is_picture(space.shape)


def _is_picture(shape: tuple[int, ...]) -> bool:
    if len(shape) == 2:
        return min(shape) >= SMALLEST_IMAGE
    if len(shape) != 3:
        return False
    return _is_channels_first(shape) or min(shape[:2]) >= SMALLEST_IMAGE


def single_name(space: AnySpace) -> str:
    """Name of an observation that is not part of a `Dict`."""
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        return "discrete"
    if isinstance(space, spaces.Box | spaces.MultiBinary):
        return "image" if is_image(space) else "vector"
    return "observation"


def _flatten(space: AnySpace, path: tuple[Any, ...]) -> list[tuple[str, tuple[Any, ...], AnySpace]]:
    """Leaves of a nested space as `(name, keys that lead there, space)`."""
    if isinstance(space, spaces.Dict):
        return [leaf for key, sub in space.spaces.items() for leaf in _flatten(sub, (*path, key))]
    if isinstance(space, spaces.Tuple):
        return [leaf for i, sub in enumerate(space.spaces) for leaf in _flatten(sub, (*path, i))]
    return [("/".join(str(key) for key in path), path, space)]


def _follow(obs: Any, path: tuple[Any, ...], name: str) -> Any:
    try:
        for key in path:
            obs = obs[key]
    except (KeyError, IndexError, TypeError) as error:
        message = f"the observation lacks {name!r}: return every key of the observation space"
        raise FrameError(message) from error
    return obs


def _leaf(space: AnySpace, name: str, lead: int) -> tuple[AnySpace, Convert]:
    """Common form of one observation, and the function that checks and converts it."""
    if isinstance(space, spaces.Discrete):
        count, start = int(space.n), int(space.start)
        if lead:
            size, first = np.array(count), np.array(start)
            return spaces.Discrete(count), lambda obs: _integers(name, obs, size, first, lead)
        return spaces.Discrete(count), lambda obs: _integer(name, obs, count, start)
    if isinstance(space, spaces.MultiDiscrete):
        sizes, starts = space.nvec, space.start
        return spaces.MultiDiscrete(sizes), lambda obs: _integers(name, obs, sizes, starts, lead)
    if isinstance(space, spaces.MultiBinary):
        shape = tuple(space.shape)
        return spaces.Box(0.0, 1.0, shape, np.float32), lambda obs: _floats(name, obs, shape, lead)
    if not isinstance(space, spaces.Box):
        raise UnsupportedSpaceError(
            f"Observation {name!r} has the space {space}, which is not supported: use Box, "
            "Discrete, MultiDiscrete, MultiBinary, or leave it out of the observation."
        )
    if space.dtype == np.uint8 and len(space.shape) == 4 and _is_picture(space.shape[1:]):
        raise UnsupportedSpaceError(
            f"Observation {name!r} is a stack of images {space.shape}: leave FrameStackObservation "
            "out, for the agent remembers what it saw, or join the frames along the colours."
        )
    return _image(space, name, lead) if is_image(space) else _vector(space, name, lead)


def _image(space: spaces.Box, name: str, lead: int) -> tuple[spaces.Box, Convert]:
    shape = space.shape
    if len(shape) == 2:
        return image_space((*shape, 1)), lambda obs: _pixels(name, obs, shape, lead)[..., None]
    if _is_channels_first(shape):
        channels, height, width = shape
        return image_space((height, width, channels)), lambda obs: np.moveaxis(
            _pixels(name, obs, shape, lead), -3, -1
        )
    return image_space(shape), lambda obs: _pixels(name, obs, shape, lead)


def _vector(space: spaces.Box, name: str, lead: int) -> tuple[spaces.Box, Convert]:
    shape = space.shape
    with np.errstate(
        over="ignore"
    ):  # float64 bounds beyond float32 become infinite, as they should
        low, high = space.low.astype(np.float32), space.high.astype(np.float32)
    return spaces.Box(low, high, shape, np.float32), lambda obs: _floats(name, obs, shape, lead)


def _is_channels_first(shape: tuple[int, ...]) -> bool:
    """Whether only the other two axes may be those of a picture: colours first, or frames."""
    return shape[0] < SMALLEST_IMAGE <= min(shape[1:])


def _pixels(name: str, obs: Any, shape: tuple[int, ...], lead: int) -> np.ndarray:
    array = _array(name, obs, shape, lead)
    if array.dtype != np.uint8:
        raise FrameError(
            f"observation {name!r} is {array.dtype}, its space uint8: return values from 0 to 255 "
            "as uint8"
        )
    return array


def _floats(name: str, obs: Any, shape: tuple[int, ...], lead: int) -> np.ndarray:
    if type(obs) is np.ndarray and obs.dtype is FLOAT32 and obs.shape == shape and not lead:
        # A sum in double precision is finite where each number is; no ufunc is as fast for few.
        if obs.size <= FEW and math.isfinite(sum(obs.ravel().tolist())):
            return obs
    array = _array(name, obs, shape, lead)
    if array.dtype == np.float32:
        floats = array
    elif array.dtype.kind in "fiub":
        with np.errstate(over="ignore"):  # found by the check below
            floats = array.astype(np.float32)
    else:
        raise FrameError(f"observation {name!r} is {array.dtype}, not numbers: return a float32")
    # Looking for a zero byte takes a tenth of the time of `.all()`.
    if b"\0" in np.isfinite(floats).tobytes():
        bad = array[~np.isfinite(floats)].flat[0]
        raise FrameError(
            f"observation {name!r} holds {bad}: every number must be finite and fit float32; "
            "repair or clip it in the env"
        )
    return floats


def _integer(name: str, obs: Any, count: int, start: int) -> np.int64:
    if isinstance(obs, int | np.integer) and 0 <= int(obs) - start < count:
        return np.int64(int(obs) - start)  # the usual case, several times faster than an array
    return np.int64(_integers(name, obs, np.array(count), np.array(start), 0))


def _integers(name: str, obs: Any, sizes: np.ndarray, starts: np.ndarray, lead: int) -> np.ndarray:
    array = _array(name, obs, sizes.shape, lead)
    if array.dtype.kind not in "iub":
        raise FrameError(f"observation {name!r} is {array.dtype}, not integers: return an int64")
    values = np.asarray(array - starts, np.int64)
    outside = (values < 0) | (values >= sizes)
    if outside.any():
        together = np.broadcast_arrays(array, sizes, starts)
        bad, count, first = (each[outside].flat[0] for each in together)
        raise FrameError(
            f"observation {name!r} holds {bad}, its space has {count} values from {first}: "
            "declare a larger space or repair the env"
        )
    return values


def _array(name: str, obs: Any, shape: tuple[int, ...], lead: int) -> np.ndarray:
    try:
        array = np.asarray(obs)
    except ValueError as error:  # rows of different lengths
        raise FrameError(
            f"observation {name!r} is no array ({error}): return one of numpy"
        ) from error
    if array.ndim < lead or array.shape[lead:] != shape:
        raise FrameError(
            f"observation {name!r} has shape {array.shape[lead:]}, its space {shape}: "
            "return what the space declares"
        )
    return array
