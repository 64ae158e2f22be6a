"""Gymnasium wrappers that bring any environment into the common form.

`wrap` is the whole of it: `Dict` observations with uint8 images and float32 vectors, and continuous
actions in [-1, 1]. The other wrappers serve suites and users who need a repeat or other images.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs

from dreamer_envs import state
from dreamer_envs.errors import EnvOptionError, FrameError, UnsupportedSpaceError
from dreamer_envs.images import at_rate, grayscale, resize
from dreamer_envs.observations import checked_reward, image_space, observation, single_name

AnyEnv = gym.Env[Any, Any]
AnySpace = spaces.Space[Any]
Convert = Callable[[Any], Any]


def wrap(env: AnyEnv) -> AnyEnv:
    """Brings an environment into the common form; one that has it already is returned unchanged.

    What the env shows and pays is checked on the way (see `observations`).

    Args:
        env: any Gymnasium env whose spaces are made of `Box`, `Discrete`, `MultiDiscrete`,
            `MultiBinary` and `Dict`.

    Returns:
        Env with a `Dict` observation space. A single image is named `image`, a single vector
        `vector`, a single discrete observation `discrete`; nested names are joined with `/`.

    Raises:
        UnsupportedSpaceError: a space of another kind; the message names it.
    """
    if isinstance(env, DictObs):
        return env
    check_declared(env)
    return DictObs(NormalizeAction(env))


def check_declared(env: AnyEnv) -> None:
    """Checks that an env has both of its spaces.

    Raises:
        UnsupportedSpaceError: it lacks one; the message says how to declare it.
    """
    for name in ("observation_space", "action_space"):
        if getattr(env, name, None) is None:
            raise UnsupportedSpaceError(
                f"{type(env.unwrapped).__name__} declares no {name}: set it in the class or in "
                f"__init__, for example self.{name} = gymnasium.spaces.Box(-1, 1, (3,), np.float32)"
            )


class NormalizeAction(gym.ActionWrapper[Any, Any, Any], RecordConstructorArgs):
    """Clips continuous actions to [-1, 1], then maps them to the env's bounds where finite.

    Where a bound is infinite the clipped action is passed on. Works inside `Dict` spaces; discrete
    actions count from 0.
    """

    state_attributes: ClassVar[tuple[str, ...]] = ()

    def __init__(self, env: AnyEnv) -> None:
        RecordConstructorArgs.__init__(self)
        gym.Wrapper.__init__(self, env)
        self.action_space, self._convert = native_action(env.action_space)

    def action(self, action: Any) -> Any:
        """The env's own action."""
        return self._convert(action)


def native_action(space: AnySpace, name: str = "action") -> tuple[AnySpace, Convert]:
    """Agent-side space of an action space, and the function from there to the env.

    The function of a `Box` also takes rows `[N, ...]` of actions.

    Raises:
        UnsupportedSpaceError: the space, called `name`, has no agent-side form.
    """
    if isinstance(space, spaces.Dict):
        parts = {key: native_action(sub, f"{name}/{key}") for key, sub in space.spaces.items()}
        converts = {key: convert for key, (_, convert) in parts.items()}
        together = spaces.Dict({key: sub for key, (sub, _) in parts.items()})
        return together, lambda action: {key: f(action[key]) for key, f in converts.items()}
    if isinstance(space, spaces.Discrete):
        start = int(space.start)
        return spaces.Discrete(int(space.n)), lambda action: int(action) + start
    if isinstance(space, spaces.MultiDiscrete) and space.nvec.ndim == 1:
        first, kind = space.start, space.dtype
        return spaces.MultiDiscrete(space.nvec), lambda action: np.asarray(action, kind) + first
    if isinstance(space, spaces.MultiBinary):
        shape = space.shape
        counts = np.full(int(np.prod(shape)), 2)
        return spaces.MultiDiscrete(counts), lambda action: np.asarray(action, np.int8).reshape(
            shape
        )
    if isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.floating):
        _check_bounds(space, name)
        agent_space = spaces.Box(-1.0, 1.0, space.shape, np.float32)
        return agent_space, scaler(space.low, space.high)
    raise UnsupportedSpaceError(
        f"{name} space {space} is not supported: use Box of floats, Discrete, MultiDiscrete of "
        "one axis, MultiBinary, or a Dict of these."
    )


def _check_bounds(space: spaces.Box, name: str) -> None:
    """Actions from -1 to 1 can be scaled to the bounds, or lie inside where a bound is infinite."""
    low, high = space.low, space.high
    finite = np.isfinite(low) & np.isfinite(high)
    with np.errstate(over="ignore", invalid="ignore"):
        scalable = finite & np.isfinite(high.astype(np.float32) - low.astype(np.float32))
    wrong = ~(scalable | (~finite & (low <= -1) & (high >= 1)))
    if wrong.any():
        raise UnsupportedSpaceError(
            f"{name} space {space} has the bounds {low[wrong].flat[0]} and {high[wrong].flat[0]}: "
            "actions from -1 to 1 are not inside and cannot be scaled to it; give the Box finite "
            "bounds of a useful size."
        )


def scaler(low: np.ndarray, high: np.ndarray) -> Callable[[Any], np.ndarray]:
    """What clips actions to [-1, 1] and maps them to `[low, high]` where both are finite.

    Args:
        low: lower bounds of the env, `-inf` allowed.
        high: upper bounds of the env, `inf` allowed.

    Returns:
        From an array of the shape of `low`, any real values, to the env's action, of its dtype.
    """
    finite, kind = np.isfinite(low) & np.isfinite(high), low.dtype
    bottom, top = np.where(finite, low, -1.0), np.where(finite, high, 1.0)
    span = top - bottom
    plain = (bottom == -1.0) & (top == 1.0)  # adding and taking away 1 would cost the last bit
    only_clips = bool(plain.all())
    # As arrays, for numpy takes several times as long to clip to numbers of Python.
    least, most = (np.full(finite.shape, bound, np.float32) for bound in (-1.0, 1.0))

    def scaled(action: Any) -> np.ndarray:
        clipped = np.minimum(np.maximum(np.asarray(action, np.float32), least), most)
        if only_clips:
            return clipped.astype(kind, copy=False)
        # Rounding may carry the highest action over the bound, which envs that check refuse.
        mapped = np.minimum(bottom + (clipped + 1.0) / 2.0 * span, top)
        return np.where(plain, clipped, mapped).astype(kind, copy=False)

    return scaled


class DictObs(gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Outermost wrapper: `Dict` observations with uint8 images and float32 vectors.

    Attributes:
        action_repeat: simulator frames per step.
        can_save: whether `get_state` works.
    """

    state_attributes: ClassVar[tuple[str, ...]] = ()

    def __init__(self, env: AnyEnv) -> None:
        RecordConstructorArgs.__init__(self)
        gym.Wrapper.__init__(self, env)
        self.observation_space, self._convert = observation(env.observation_space)
        self.action_repeat = _repeat_of(env)
        self.can_save = state.can_save(env)

    def reset(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Starts an episode.

        Raises:
            FrameError: the observation does not fit the env's space.
        """
        found = self.env.reset(**kwargs)
        if not isinstance(found, tuple) or len(found) != 2:
            raise FrameError(
                "reset returned no pair: return the observation and a dict of information"
            )
        return self._convert(found[0]), found[1]

    def step(self, action: Any) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """One step of the agent.

        Raises:
            FrameError: the observation does not fit the env's space, or it or the reward is not
                finite in float32.
        """
        found = self.env.step(action)
        try:
            obs, reward, terminated, truncated, info = found
        except (TypeError, ValueError) as error:
            raise FrameError(
                "step returned no five values: return observation, reward, terminated, truncated "
                "and a dict of information, as Gymnasium says; Gym returned four"
            ) from error
        earned = checked_reward(reward)
        return self._convert(obs), earned, bool(terminated), bool(truncated), info

    def get_state(self) -> dict[str, Any]:
        """State of the env and its wrappers: dicts, numbers and arrays. See `state.get_state`."""
        return state.get_state(self.env)

    def set_state(self, saved: dict[str, Any]) -> None:
        """Goes back to a state from `get_state` of the same kind of env."""
        state.set_state(self.env, saved)


def _repeat_of(env: AnyEnv) -> int:
    return (
        int(env.get_wrapper_attr("action_repeat")) if env.has_wrapper_attr("action_repeat") else 1
    )


class ActionRepeat(gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Repeats each action, adds the rewards, and stops early when the episode ends.

    Args:
        env: the env.
        repeat: times an action is applied, at least 1.
    """

    state_attributes: ClassVar[tuple[str, ...]] = ()

    def __init__(self, env: AnyEnv, repeat: int) -> None:
        if repeat < 1:
            raise EnvOptionError(f"action_repeat is {repeat}; it must be at least 1.")
        RecordConstructorArgs.__init__(self, repeat=repeat)
        gym.Wrapper.__init__(self, env)
        self._repeat = repeat
        self.action_repeat = repeat * _repeat_of(env)
        if rate := env.metadata.get("render_fps"):
            self.metadata = at_rate(env.metadata, rate / repeat)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Observation and info of the last repetition, sum of the rewards."""
        total = 0.0
        for _ in range(self._repeat):
            obs, reward, terminated, truncated, info = self.env.step(action)
            total += float(reward)
            if terminated or truncated:
                break
        return obs, total, terminated, truncated, info


class Resize(gym.ObservationWrapper[Any, Any, Any], RecordConstructorArgs):
    """Resizes the observation of an env that is one uint8 image, and grays it if asked.

    Args:
        env: the env; its image may be `[H, W, C]`, `[C, H, W]` or `[H, W]`.
        size: rows and columns of the result.
        gray: whether to keep the luma only; done after the resize.
    """

    state_attributes: ClassVar[tuple[str, ...]] = ()

    def __init__(self, env: AnyEnv, size: int, gray: bool = False) -> None:
        RecordConstructorArgs.__init__(self, size=size, gray=gray)
        gym.Wrapper.__init__(self, env)
        self._size = size
        self._name = single_name(env.observation_space)
        form, self._convert = observation(env.observation_space)
        channels = (form[self._name].shape or ())[-1]
        self._gray = gray and channels == 3
        self.observation_space = image_space((size, size, 1 if self._gray else channels))

    def observation(self, observation: Any) -> Any:
        """The image in its new size.

        Raises:
            FrameError: it does not fit the env's space.
        """
        return shrink(self._convert(observation)[self._name], self._size, self._gray)


class RenderObs(gym.ObservationWrapper[Any, Any, Any], RecordConstructorArgs):
    """Shows what the env draws, alone or beside its own observation.

    Args:
        env: env with `render_mode="rgb_array"`.
        size: rows and columns of the image.
        gray: whether to keep the luma only.
        keep: whether to keep the env's own observation too, named as by `wrap`.

    Raises:
        EnvOptionError: the env's own observation is named `image` too.
    """

    state_attributes: ClassVar[tuple[str, ...]] = ()

    def __init__(self, env: AnyEnv, size: int, gray: bool = False, keep: bool = False) -> None:
        RecordConstructorArgs.__init__(self, size=size, gray=gray, keep=keep)
        gym.Wrapper.__init__(self, env)
        self._size, self._gray, self._keep = size, gray, keep
        parts: dict[str, AnySpace] = {"image": image_space((size, size, 1 if gray else 3))}
        if keep:
            own = env.observation_space
            named = own.spaces if isinstance(own, spaces.Dict) else {single_name(own): own}
            if "image" in named:
                raise EnvOptionError(
                    f"{type(env.unwrapped).__name__} has an observation named 'image' already: use "
                    "obs=vector for its own, or obs=pixels for what it draws, not both."
                )
            parts |= named
        self.observation_space = spaces.Dict(parts)

    def observation(self, observation: Any) -> Any:
        """The image, and the env's own observation if kept.

        Raises:
            FrameError: the env drew none.
        """
        drawn = np.asarray(self.env.render())
        if drawn.dtype != np.uint8 or drawn.shape[2:] != (3,):
            what = f"{drawn.dtype} of shape {drawn.shape}" if drawn.shape else "no picture"
            raise FrameError(
                f"render returned {what}: return uint8 [H, W, 3] for render_mode='rgb_array'"
            )
        image = shrink(drawn, self._size, self._gray)
        if not self._keep:
            return {"image": image}
        space = self.env.observation_space
        own = observation if isinstance(observation, dict) else {single_name(space): observation}
        return {**own, "image": image}


def shrink(image: np.ndarray, size: int, gray: bool) -> np.ndarray:
    """Resizes to `[size, size, C]`, then takes the luma if asked, as the published agents did."""
    small = resize(image, size, size)
    return grayscale(small) if gray else small
