"""A stand-in for the module `envpool`, after its documented Python interface.

Source: envpool.readthedocs.io, "Python Interface": `make` with `seed` of one number per env,
`reset` and `step` of some envs by `env_id`, and that an env steps after its end into its next
episode. What is not documented is refused here. What an env shows is a formula of its seed, its
episode and its steps, so that any mistake in the order of rows shows.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from gymnasium import spaces

STALE = 9.0  # reward that EnvPool's Control Suite leaves in the first row of an episode
TASKS = ["Count-v0", "Look-v0"]


def list_all_envs() -> list[str]:
    return TASKS


def make(task, *, env_type, num_envs, batch_size, seed, length=4, limit=100, bad=-1, lives=False):
    """Episodes terminate after `length` + seed % 3 steps and are truncated after `limit`.

    Env `bad` shows a nan in its third step. With `lives`, `elapsed_step` counts on after an end, as
    EnvPool's Atari does with `episodic_life`, and a reset begins another game, ten episodes on.
    """
    assert task in TASKS and env_type == "gymnasium" and batch_size == num_envs == len(seed)
    assert all(-(2**31) <= each < 2**31 for each in seed)
    pool = (_Count if task == "Count-v0" else _Look)(np.array(seed), length, limit, bad, lives)
    made.append(pool)
    return pool


made: list[Any] = []


class _Peer:
    def __init__(self, seeds, length, limit, bad, lives):
        self.seeds, self.length, self.limit, self.bad = seeds, length, limit, bad
        self.lives, self.counted = lives, np.zeros(len(seeds), np.int32)
        count = len(seeds)
        self.episode, self.elapsed = np.full(count, -1), np.zeros(count, int)
        self.over = np.ones(count, bool)
        self.calls: list[tuple[str, list[int]]] = []
        self.last = np.zeros((count, *(self.action_space.shape or ())))
        self.closed = False

    def reset(self, env_id):
        assert not self.closed and env_id.dtype == np.int32
        self.calls.append(("reset", env_id.tolist()))
        self.counted[env_id] = 0
        self._begin(env_id, 10 if self.lives else 1)
        return self._obs(env_id), self._info(env_id)

    def step(self, action, env_id):
        assert not self.closed and env_id.dtype == np.int32 and len(env_id) == len(action)
        assert action.dtype == self.action_space.dtype
        assert (self.episode[env_id] >= 0).all()  # not documented before the first reset
        self.calls.append(("step", env_id.tolist()))
        again, on = env_id[self.over[env_id]], env_id[~self.over[env_id]]
        self._begin(again)
        self.elapsed[on] += 1
        self.counted[on] += 1
        self.last[on] = action[~np.isin(env_id, again)]
        ends = self.length + self.seeds % 3
        terminated = (self.elapsed == ends)[env_id]
        truncated = (self.elapsed == self.limit)[env_id] & ~terminated
        self.over[env_id] = terminated | truncated
        reward = np.where(np.isin(env_id, again), STALE, self.elapsed[env_id]).astype(np.float32)
        turn = env_id[::-1]  # rows come as they are ready: what says which is which is `env_id`
        flip = slice(None, None, -1)
        return (
            self._obs(turn), reward[flip], terminated[flip], truncated[flip], self._info(turn)
        )  # fmt: skip

    def close(self):
        self.closed = True

    def _begin(self, ids, on=1):
        self.episode[ids] += on
        self.elapsed[ids] = 0
        self.last[ids] = 0
        if not self.lives:
            self.counted[ids] = 0
        self.over[ids] = False

    def _info(self, ids):
        return {"env_id": ids.copy(), "elapsed_step": self.counted[ids]}


class _Count(_Peer):
    """A dict of numbers in float64, and continuous actions up to 2."""

    observation_space = spaces.Dict(
        {
            "told": spaces.Box(np.finfo(np.float64).tiny, np.inf, (3,), np.float64),
            "heard": spaces.Box(-2.0, 2.0, (), np.float64),
        }
    )
    action_space = spaces.Box(-2.0, 2.0, (2,), np.float64)

    def _obs(self, ids):
        told = np.stack([self.seeds[ids] % 97, self.episode[ids], self.elapsed[ids]], 1) / 3.0
        if self.bad in ids and self.elapsed[self.bad] == 3:
            told[ids == self.bad] = np.nan
        return {"told": told, "heard": self.last[ids].sum(-1)}


class _Look(_Peer):
    """Pictures with the channels first, as EnvPool's Atari shows them, and discrete actions."""

    observation_space = spaces.Box(0, 255, (4, 20, 24), np.uint8)
    action_space = spaces.Discrete(6)

    def _obs(self, ids):
        image = np.zeros((len(ids), 4, 20, 24), np.uint8)
        shown = (self.seeds[ids] % 251, self.episode[ids], self.elapsed[ids], self.last[ids])
        for channel, values in enumerate(shown):
            image[:, channel] = values[:, None, None]
        return image


def install() -> None:
    """Stands in for the module in this process."""
    sys.modules["envpool"] = sys.modules[__name__]
