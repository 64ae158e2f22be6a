"""Several environments stepped together, giving arriving frames instead of transitions.

A reset is a call of its own, so an episode of N transitions gives N + 1 frames:

    call         reset   step   step  …  step    reset
    frame        o0      o1     o2       oN      o0'
    reward       0       r1     r2       rN      0
    is_first     1       0      0        0       1
    is_last      0       0      0        1       0
    terminated   0       0      0        task?   0       (0 at a time limit)

The caller says which envs reset: those whose last frame was `is_last`, and all of them at first.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from dreamer_envs.errors import StateError

AnyEnv = gym.Env[Any, Any]
Make = Callable[[], AnyEnv]
Bools = NDArray[np.bool_]


@dataclass
class Frames:
    """One arriving frame of each of N envs.

    Attributes:
        obs: arrays `[N, ...]` by observation name, of the dtype of the space.
        reward: float32 `[N]`, earned on arriving; 0 at a reset.
        is_first: bool `[N]`, frame of a reset.
        is_last: bool `[N]`, last frame of the episode for any reason.
        terminated: bool `[N]`, the task ended here; true only where `is_last`.
        present: bool `[N]`, false where there is no frame because the env is down. The episode it
            was in is cut; the row is `is_last`, so that it is reset when it is back, and otherwise
            means nothing.
        success: int8 `[N]`, what the env's info says with this frame: 1 or 0, and -1 where it says
            nothing (`told_success`).
    """

    obs: dict[str, NDArray[Any]]
    reward: NDArray[np.float32]
    is_first: Bools
    is_last: Bools
    terminated: Bools
    present: Bools
    success: NDArray[np.int8]

    @classmethod
    def empty(cls, space: spaces.Dict, num_envs: int) -> Frames:
        """Frames with unset observations, zero rewards and no flags."""
        obs = {
            key: np.empty((num_envs, *(sub.shape or ())), sub.dtype)
            for key, sub in space.spaces.items()
        }
        first, last, terminated = (np.zeros(num_envs, np.bool_) for _ in range(3))
        present = np.ones(num_envs, np.bool_)
        success = np.full(num_envs, -1, np.int8)
        return cls(obs, np.zeros(num_envs, np.float32), first, last, terminated, present, success)

    def copy(self) -> Frames:
        """Frames in memory of their own."""
        obs = {key: array.copy() for key, array in self.obs.items()}
        first, last = self.is_first.copy(), self.is_last.copy()
        terminated, present = self.terminated.copy(), self.present.copy()
        success = self.success.copy()
        return Frames(obs, self.reward.copy(), first, last, terminated, present, success)


class VectorEnv(ABC):
    """N envs of the same spaces.

    Attributes:
        num_envs: N.
        ids: one name per env, for messages.
        observation_space: of one env.
        action_space: of one env.
        can_save: whether `state_dict` works.
        ahead: whether envs make a step that was sent while their caller does something else.
    """

    num_envs: int
    ids: list[str]
    observation_space: spaces.Dict
    action_space: spaces.Space[Any]
    can_save: bool
    ahead = False
    _sent: tuple[Sequence[Any], Bools] | None = None
    _arrived: Frames | None = None  # received for a saved state, and not taken yet

    def __init__(self, makers: Sequence[Make], seed: int) -> None:
        if not makers:
            raise ValueError("A vector needs at least one env; got an empty list of makers.")
        self.num_envs = len(makers)
        self.ids = [_name(maker) for maker in makers]
        self._seed, self._anew = seed, 0
        self._seeds: list[int | None] = [env_seed(seed, i) for i in range(self.num_envs)]
        self._running = np.zeros(self.num_envs, np.bool_)

    def step(self, actions: Sequence[Any], reset: Any) -> Frames:
        """Resets some envs and steps the others.

        Args:
            actions: one native action per env; ignored where `reset`, may be `None` there.
            reset: bool `[N]`. Must be true where no episode runs: at first and after `is_last`.
                True inside an episode abandons it.

        Returns:
            Frames, freshly allocated.

        Raises:
            ValueError: an env without a running episode was to step.
            EnvError: an env failed; the message has its id and its own text.
        """
        self.send(actions, reset)
        return self.receive()

    @property
    def begun(self) -> bool:
        """Whether a step was sent whose frames were not received."""
        return self._sent is not None or self._arrived is not None

    def send(self, actions: Sequence[Any], reset: Any) -> None:
        """Begins a step, of which `receive` gives the frames.

        Where `ahead`, the envs make it meanwhile; elsewhere `receive` does.

        Args:
            actions, reset: as of `step`; not to be changed until then.

        Raises:
            ValueError: as of `step`, or a step was begun already.
            EnvError: as of `step`.
        """
        if self.begun:
            raise ValueError("A step was begun before: receive its frames first.")
        resets = self._check(actions, reset)
        self._begin(actions, resets)
        self._sent = actions, resets

    def receive(self) -> Frames:
        """The frames of the step that was begun; waits for them.

        Raises:
            ValueError: no step was begun.
            EnvError: as of `step`.
        """
        if self._arrived is None:
            return self._finish()
        frames, self._arrived = self._arrived, None
        return frames

    def _finish(self) -> Frames:
        if self._sent is None:
            raise ValueError("No step was begun: send one first.")
        sent, self._sent = self._sent, None
        frames = self._step(*sent)
        for i in np.flatnonzero(frames.is_first):
            self._seeds[i] = None  # later resets go on from the env's own generator
        self._running = ~frames.is_last
        return frames

    def state_dict(self) -> dict[str, Any]:
        """State of all envs in the middle of their episodes, as plain data (see `state`).

        Of a step that was begun it waits for the frames, and holds them too.

        Raises:
            StateError: an env cannot save its state, or is down.
            EnvError: as of `step`.
        """
        if self._sent is not None:
            self._arrived = self._finish()
        return {
            "seeds": list(self._seeds),
            "anew": self._anew,
            "running": self._running.tolist(),
            "envs": self._get_states(),
            "arrived": None if self._arrived is None else vars(self._arrived.copy()),
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Goes on from a `state_dict` of a vector made in the same way.

        The frames of a step that was begun here are dropped.

        Raises:
            StateError: the number or kind of the envs differs.
        """
        if len(saved["envs"]) != self.num_envs:
            raise StateError(
                f"The state is of {len(saved['envs'])} envs, this vector has {self.num_envs}."
            )
        self._sent = self._arrived = None
        self._set_states(saved["envs"])
        self._seeds = list(saved["seeds"])
        self._anew = saved.get("anew", 0)  # not in older states
        self._running = np.array(saved["running"], np.bool_)
        if saved.get("arrived") is not None:  # not in older states
            self._arrived = Frames(**saved["arrived"])

    def reseed(self, number: int) -> None:
        """Lets the next episode of every env begin with a seed of its own for this number.

        Where a run goes on with new episodes they would otherwise be those it began with.

        Args:
            number: such as the step of the run; 0 for the seeds of a new vector.
        """
        self._anew = number
        self._seeds = [env_seed(self._seed, i, 0, number) for i in range(self.num_envs)]

    @abstractmethod
    def close(self) -> None:
        """Frees the envs; may be called twice."""

    def _begin(self, actions: Sequence[Any], reset: Bools) -> None:  # noqa: B027  # most cannot
        """Lets the envs begin a step, where they can make it by themselves."""

    @abstractmethod
    def _step(self, actions: Sequence[Any], reset: Bools) -> Frames:
        """The frames of a step, whatever `_begin` did of it."""

    @abstractmethod
    def _get_states(self) -> list[Any]: ...

    @abstractmethod
    def _set_states(self, states: list[Any]) -> None: ...

    def _check(self, actions: Sequence[Any], reset: Any) -> Bools:
        resets = np.asarray(reset, np.bool_)
        if len(actions) != self.num_envs or resets.shape != (self.num_envs,):
            raise ValueError(
                f"{self.num_envs} envs need as many actions and resets; got {len(actions)} actions "
                f"and resets of shape {resets.shape}."
            )
        idle = np.flatnonzero(~self._running & ~resets)
        if len(idle):
            raise ValueError(
                f"Env {idle[0]} ({self.ids[idle[0]]}) has no running episode: reset it first."
            )
        return resets

    def __enter__(self) -> VectorEnv:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def advance(
    env: AnyEnv, action: Any, reset: bool, seed: int | None, frames: Frames, row: int
) -> None:
    """Resets or steps one env and writes its frame into a row of `frames`."""
    if reset:
        obs, info = env.reset(seed=seed)
        reward, terminated, truncated = 0.0, False, False
    else:
        obs, reward, terminated, truncated, info = env.step(action)  # type: ignore[assignment]
    for key, array in frames.obs.items():
        array[row] = obs[key]
    frames.reward[row] = reward
    frames.is_first[row] = reset
    frames.is_last[row] = terminated or truncated
    frames.terminated[row] = terminated
    frames.success[row] = told_success(info)


def told_success(info: Mapping[str, Any]) -> int:
    """Whether the task is solved as an info says it: 1, 0, or -1 where it says nothing.

    Gymnasium-Robotics says `is_success`, Meta-World `success`. What is no truth value says nothing.
    """
    for key in ("is_success", "success"):
        if key in info and np.ndim(info[key]) == 0:
            try:
                told = float(info[key])
            except (TypeError, ValueError):
                continue
            if math.isfinite(told):
                return int(bool(told))
    return -1


def env_seed(seed: int, index: int, restarts: int = 0, anew: int = 0) -> int:
    """Seed of the first reset of env `index`, unrelated to those of other envs and other seeds.

    Args:
        seed: of the vector. index: of the env. restarts: of the env, after faults.
        anew: as of `VectorEnv.reseed`.
    """
    return int(np.random.SeedSequence([seed, index, restarts, anew]).generate_state(1)[0])


def common_space(env: AnyEnv) -> spaces.Dict:
    """The env's observation space, which must be a `Dict`.

    Raises:
        ValueError: it is not; the message says to use `wrap`.
    """
    space = env.observation_space
    if not isinstance(space, spaces.Dict):
        raise ValueError(
            f"The observation space is {space}, not a Dict: pass the env through dreamer_envs.wrap."
        )
    return space


def check_same(ids: Sequence[str], found: Sequence[tuple[Any, Any]]) -> None:
    """Checks that all envs have the spaces of the first.

    Raises:
        ValueError: naming the two envs that differ.
    """
    for i, pair in enumerate(found):
        if pair != found[0]:
            raise ValueError(
                f"Env {i} ({ids[i]}) has the spaces {pair}, but env 0 ({ids[0]}) has {found[0]}: "
                "all envs of a vector must be alike."
            )


def saver(env: AnyEnv) -> Any:
    """The env, if it can save its state.

    Raises:
        StateError: it cannot.
    """
    if not getattr(env, "can_save", False):
        name = type(env.unwrapped).__name__
        raise StateError(f"Env {name} cannot save its state, so the run cannot be resumed exactly.")
    return env


def _name(maker: Make) -> str:
    name = getattr(maker, "id", None) or getattr(maker, "__qualname__", None)
    return str(name or type(maker).__name__)
