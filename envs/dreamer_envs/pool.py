"""A vector of envs that a library steps together, in this process, by threads of its own.

The library begins the next episode by itself, in the step after the last; the table of `frames`
says that a reset is a call of its own. So an env that is to reset

    after its last frame           goes along in the step of the others, its action unread
    inside an episode, or at first is reset by name, before the others step

and either way its row is the frame of a reset, without the reward that the library has left there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from dreamer_envs.errors import EnvError, EnvsError, FrameError, StateError
from dreamer_envs.frames import Bools, Frames, Make, VectorEnv
from dreamer_envs.observations import LARGEST, checked_reward, observation
from dreamer_envs.registry import Maker
from dreamer_envs.spec import load
from dreamer_envs.transforms import native_action

Ids = NDArray[np.int32]


@dataclass
class Rows:
    """What some envs of a pool show, in the order of `ids`.

    Attributes:
        ids: int32 `[n]`, which envs.
        obs: `[n, ...]`, or a dict of these, as the env's own space has it.
        reward: `[n]`.
        terminated, truncated: bool `[n]`.
        begins: bool `[n]`, this is the first frame of an episode.
    """

    ids: Ids
    obs: Any
    reward: NDArray[Any]
    terminated: Bools
    truncated: Bools
    begins: Bools


class Pool(Protocol):
    """Several envs of one task, as a suite's entry point `pool` makes them from `(task, seeds)`.

    Attributes:
        observation_space, action_space: of one env, as the env has them.
    """

    observation_space: spaces.Space[Any]
    action_space: spaces.Space[Any]

    def reset(self, ids: Ids) -> Rows:
        """Begins an episode of these envs, also inside of one."""

    def step(self, actions: NDArray[Any], ids: Ids) -> Rows:
        """Steps these envs; one whose episode is over begins the next and reads no action."""

    def close(self) -> None:
        """Frees the envs."""


def pool_of(makers: Sequence[Make]) -> Maker | None:
    """The one maker that all of them equal, if its suite has a pool, else `None`."""
    first = makers[0] if makers else None
    if not isinstance(first, Maker) or first.suite.pool is None or first.python:
        return None
    return first if all(maker == first for maker in makers) else None


class PoolVector(VectorEnv):
    """Steps all envs by one call of their library; frames are those of `SerialVector`.

    A failure of an env is an error, for its threads are the run's own.

    Args:
        makers: equal ones, of a suite that has a pool (`pool_of`).
        seed: as in `SerialVector`.

    Raises:
        ValueError: the makers differ, or their suite has no pool.
        EnvOptionError: an option that the envs do not take.
    """

    def __init__(self, makers: Sequence[Make], seed: int = 0) -> None:
        super().__init__(makers, seed)
        maker = pool_of(makers)
        if maker is None or maker.suite.pool is None:
            raise ValueError(
                f"{', '.join(dict.fromkeys(self.ids))}: a pool takes equal makers of a suite that "
                "has one, such as envpool; use SerialVector or SupervisedVector."
            )
        self._build = partial(load(maker.suite.pool), maker.task, **maker.options)
        self._pool: Pool = self._build(list(self._seeds))
        space = self._pool.observation_space
        self.observation_space, self._convert = observation(space, lead=1)
        self.action_space, self._native = native_action(self._pool.action_space)
        self._idle = self._native(_zero(self.action_space))
        self._closed = False
        self.can_save = False

    def reseed(self, number: int) -> None:
        """As of `VectorEnv`: the envs are made anew, for their seeds are given when they are."""
        super().reseed(number)
        self._pool.close()
        self._pool = self._build(list(self._seeds))
        self._running[:] = False

    def close(self) -> None:
        """Frees the envs."""
        if not self._closed:
            self._pool.close()
        self._closed = True

    def _step(self, actions: Sequence[Any], reset: Bools) -> Frames:
        if self._closed:
            raise EnvError(f"Env 0 ({self.ids[0]}) failed: this vector is closed.")
        frames = Frames.empty(self.observation_space, self.num_envs)
        # Before an env has begun its first episode the library promises nothing of a step.
        named = reset & (self._running | np.array([seed is not None for seed in self._seeds]))
        try:
            if named.any():
                self._write(frames, self._pool.reset(_ids(named)), reset)
            if not named.all():
                ids = _ids(~named)
                self._write(frames, self._pool.step(self._actions(actions, reset, ids), ids), reset)
        except EnvsError:
            raise
        except Exception as error:
            raise EnvError(f"{self.ids[0]} failed: {type(error).__name__}: {error}") from error
        return frames

    def _actions(self, actions: Sequence[Any], reset: Bools, ids: Ids) -> NDArray[Any]:
        """The library's actions `[n, ...]` of these envs."""
        if isinstance(self.action_space, spaces.Box):
            blank = np.zeros(self.action_space.shape, np.float32)
            rows: NDArray[Any] = self._native(
                np.stack([blank if reset[i] else actions[i] for i in ids])
            )
            return rows
        return np.stack([self._idle if reset[i] else self._native(actions[i]) for i in ids])

    def _write(self, frames: Frames, rows: Rows, reset: Bools) -> None:
        """Puts rows into their places."""
        ids = rows.ids
        wrong = rows.begins != reset[ids]
        if wrong.any():
            i = int(ids[wrong][0])
            told = "did not begin an episode" if reset[i] else "began an episode unasked"
            raise EnvError(f"Env {i} ({self.ids[i]}) failed: it {told}.")
        for key, values in self._converted(rows).items():
            frames.obs[key][ids] = values
        frames.is_first[ids] = rows.begins
        frames.reward[ids] = np.where(rows.begins, 0, rows.reward)
        frames.terminated[ids] = rows.terminated & ~rows.begins
        frames.is_last[ids] = (rows.terminated | rows.truncated) & ~rows.begins

    def _converted(self, rows: Rows) -> Mapping[str, NDArray[Any]]:
        """Observations in the common form, rewards checked.

        Raises:
            EnvError: naming the env whose observation or reward does not fit.
        """
        try:
            if not (np.abs(rows.reward) <= LARGEST).all():  # nan compares as false
                raise FrameError("a reward does not fit")  # which, and how, is said below
            converted: Mapping[str, NDArray[Any]] = self._convert(rows.obs)
            return converted
        except FrameError:
            for row, i in enumerate(rows.ids):
                try:
                    checked_reward(rows.reward[row])
                    self._convert(_only(rows.obs, row))
                except FrameError as error:
                    raise EnvError(f"Env {i} ({self.ids[i]}) failed: {error}") from error
            raise

    def _get_states(self) -> list[Any]:
        raise StateError(
            f"{self.ids[0]} cannot save its state, so the run cannot be resumed exactly."
        )

    def _set_states(self, states: list[Any]) -> None:
        self._get_states()


def _ids(chosen: Bools) -> Ids:
    return np.flatnonzero(chosen).astype(np.int32)


def _only(obs: Any, row: int) -> Any:
    """One row of observations, still with its axis."""
    if isinstance(obs, dict):
        return {key: _only(value, row) for key, value in obs.items()}
    return obs[row : row + 1]


def _zero(space: spaces.Space[Any]) -> Any:
    return np.zeros(space.shape or (), space.dtype)
