"""Transitions and frames to records: the only file that knows both layouts.

    transition  o0 -a0-> (r1 o1 d1) ; o1 -a1-> (r2 o2 d2) ...     TorchRL: root / ("next", ...)

    record k        0      1      2     ...    N        one episode of N transitions
    obs             o0     o1     o2           oN       each frame once
    reward          0      r1     r2           rN       earned on arriving
    is_first        1      0      0            0
    is_last         0      0      0            1        the task or a limit ended it
    is_terminal     0      0      0            term     the task ended it
    action          a0     a1     a2           0        taken from this frame
    deter, stoch    s0     s1     s2           0        after seeing this frame

The reset frame and the last frame are both kept: N transitions give N + 1 records. In TorchRL's
layout a reward stands beside the frame that was left, so the last reward of a batch of transitions
waits here for the next batch. Trailing singleton axes of TorchRL are stripped here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor

from dreamer_plugin import keys
from dreamer_plugin.data.fields import ENV
from dreamer_plugin.errors import UsageError
from dreamer_plugin.spaces import Spaces

Key = str | tuple[str, ...]

# What is read of every transition, beside observations.
_LEFT: tuple[Key, ...] = (
    "is_init",
    keys.ACTION,
    *(("next", key) for key in ("reward", "done", keys.DETER, keys.STOCH)),
)
# What makes the keys that no env gives by itself.
_REMEDY: dict[Key, str] = {
    "is_init": ": add InitTracker to the env",
    ("next", keys.DETER): ": the policy must write it there, as DreamerPolicy does",
    ("next", keys.STOCH): ": the policy must write it there, as DreamerPolicy does",
}


class Frames(Protocol):
    """One arriving frame of each of N envs; `dreamer_envs.vector.Frames` is one."""

    @property
    def obs(self) -> dict[str, npt.NDArray[Any]]:
        """`[N, *shape]` by name."""

    @property
    def reward(self) -> npt.NDArray[np.float32]:
        """`[N]`."""

    @property
    def is_first(self) -> npt.NDArray[np.bool_]:
        """`[N]`."""

    @property
    def is_last(self) -> npt.NDArray[np.bool_]:
        """`[N]`."""

    @property
    def terminated(self) -> npt.NDArray[np.bool_]:
        """`[N]`, only where `is_last`."""

    @property
    def success(self) -> npt.NDArray[np.int8]:
        """`[N]`, 1 or 0 where the env says whether the task is solved, else -1."""

    @property
    def present(self) -> npt.NDArray[np.bool_]:
        """`[N]`, false where an env is down and the row is not a frame."""


class Aligner:
    """Makes records, incrementally.

    Args:
        num_envs: N. spaces: of the env.
        terminal_on_timeout: every last frame counts as terminal (what the official code does on
            Atari), instead of only those where the task ended.
    """

    def __init__(self, num_envs: int, spaces: Spaces, terminal_on_timeout: bool = False) -> None:
        self.num_envs, self.spaces = num_envs, spaces
        self.terminal_on_timeout = terminal_on_timeout
        self._reward = torch.zeros(num_envs)  # earned by the last transition seen, not yet recorded

    def from_frames(
        self, frames: Frames, action: Tensor, latents: Mapping[str, Tensor] | TensorDictBase
    ) -> TensorDict:
        """Records of arriving frames.

        Args:
            frames: of N envs.
            action: `[N, A]` encoded, chosen on seeing them; not read at last frames.
            latents: `[N]` deter and stoch in storage form, after seeing them; likewise.

        Returns:
            Records `[N]` on the CPU; of the frames that are present, with `env`, where some are
            not. An episode that was cut so ends with the record before the next reset.
        """
        is_last = torch.from_numpy(frames.is_last)
        obs = {name: torch.from_numpy(value) for name, value in frames.obs.items()}
        record: dict[str, Any] = {
            keys.ACTION: action,
            keys.REWARD: torch.from_numpy(frames.reward),
            keys.IS_FIRST: torch.from_numpy(frames.is_first),
            keys.IS_LAST: is_last,
            keys.IS_TERMINAL: self._terminal(is_last, torch.from_numpy(frames.terminated)),
            keys.DETER: latents[keys.DETER],
            keys.STOCH: latents[keys.STOCH],
        }
        if frames.is_last.any():
            for key in (keys.ACTION, keys.DETER, keys.STOCH):
                record[key] = _zero_rows(record[key].cpu(), is_last)
        shape = [self.num_envs]
        record[keys.OBS] = TensorDict(obs, batch_size=shape)
        records = TensorDict(record, batch_size=shape, device="cpu")
        if frames.present.all():
            return records
        records[ENV] = torch.arange(self.num_envs)
        return records[torch.from_numpy(frames.present)]

    def from_transitions(self, transitions: TensorDictBase) -> TensorDict:
        """Records of TorchRL transitions, the next ones of every env, or of those under `env`.

        Args:
            transitions: `[N]` or `[N, T]`: `("obs", name)`, `action` (encoded), `is_init`, and
                under `next` the same observations, `reward`, `done`, `terminated`, `deter` and
                `stoch` (storage form, after acting). With `env` N may be fewer rows, each of the
                env of that number.

        Returns:
            Records `[M]` on the CPU in the order of time, with `env`. M is N * T and one more for
            each episode that ended.

        Raises:
            UsageError: when a collector has padded them, when keys are missing, or when rows are
                not one each of envs that are there, as after `reshape(-1)`.
        """
        if transitions.get(("collector", "mask"), None) is not None:
            raise UsageError("transitions are padded: leave split_trajs out of the collector")
        if transitions.ndim not in (1, 2):
            raise UsageError(
                f"transitions are {list(transitions.batch_size)}, but must be [N] or [N, T]: set "
                "cat_results=0 where workers collect them"
            )
        obs = [(keys.OBS, key.name) for key in self.spaces.obs]
        _require(transitions, *_LEFT, *obs)
        steps = transitions.unsqueeze(-1) if transitions.ndim == 1 else transitions
        steps = steps.cpu()
        ends = steps["next", "done"].reshape(steps.batch_size)
        ended = bool(ends.any())
        if ended:
            _require(steps, ("next", "terminated"), *map(_after, obs))
        departed = self._departed(steps)
        if not ended:
            return departed.transpose(0, 1).reshape(-1)
        arrived = self._arrived(steps[ends], departed[ENV][ends])
        # In one line by time, then env; a last frame directly after the frame it was reached from.
        order = torch.arange(ends.numel()).reshape(ends.T.shape).T * 2
        both = torch.cat([order.reshape(-1), order[ends] + 1]).argsort()
        return torch.cat([departed.reshape(-1), arrived])[both]

    def _departed(self, steps: TensorDictBase) -> TensorDict:
        """Records `[N, T]` of the frames that were acted on."""
        shape = steps.batch_size
        is_first = steps["is_init"].reshape(shape)
        earned = steps["next", "reward"].reshape(shape).float()
        env = self._env(steps)
        rows = env[:, 0]
        reward = torch.cat([self._reward[rows, None], earned[:, :-1]], 1)
        self._reward = self._reward.index_copy(0, rows, earned[:, -1])
        record = {
            keys.OBS: self._obs(steps),
            keys.ACTION: steps[keys.ACTION],
            keys.REWARD: torch.where(is_first, 0, reward),
            keys.IS_FIRST: is_first,
            keys.IS_LAST: torch.zeros_like(is_first),
            keys.IS_TERMINAL: torch.zeros_like(is_first),
            keys.DETER: steps["next", keys.DETER],
            keys.STOCH: steps["next", keys.STOCH],
            ENV: env,
        }
        return TensorDict(record, batch_size=shape)

    def _env(self, steps: TensorDictBase) -> Tensor:
        """The env of each of the transitions `[N, T]`, one and another one in every row."""
        shape = steps.batch_size
        env = steps.get(ENV, None)
        if env is None:
            if shape[0] != self.num_envs:
                raise UsageError(
                    f"transitions are {shape[0]} rows for {self.num_envs} envs: pass one row of "
                    "each, or say under 'env' whose they are"
                )
            return torch.arange(self.num_envs)[:, None].expand(-1, shape[1])
        env = env.reshape(shape)
        moved = (env != env[:, :1]).nonzero()
        if len(moved):
            row, at = moved[0].tolist()
            raise UsageError(
                f"row {row} of the transitions is of envs {int(env[row, 0])} and "
                f"{int(env[row, at])}: set cat_results=0 where workers collect them"
            )
        for number, count in Counter(env[:, 0].tolist()).items():
            if not 0 <= number < self.num_envs:
                raise UsageError(
                    f"transitions are of env {number}, but the Aligner has {self.num_envs} envs, "
                    "from 0: make one for those of all workers, Aligner(WORKERS * EACH, ...)"
                )
            if count > 1:  # each would be given the same reward, that of the last batch
                raise UsageError(
                    f"transitions name env {number} {count} times: pass them as the collector "
                    "gives them, [N, T], not flattened"
                )
        return env

    def _arrived(self, steps: TensorDictBase, env: Tensor) -> TensorDict:
        """Records `[K]` of the last frames that K transitions led to."""
        after, shape = steps["next"], steps.batch_size
        is_last = torch.ones(shape, dtype=torch.bool)
        record = {
            keys.OBS: self._obs(after),
            keys.ACTION: torch.zeros_like(steps[keys.ACTION]),
            keys.REWARD: after["reward"].reshape(shape).float(),
            keys.IS_FIRST: ~is_last,
            keys.IS_LAST: is_last,
            keys.IS_TERMINAL: self._terminal(is_last, after["terminated"].reshape(shape)),
            keys.DETER: torch.zeros_like(after[keys.DETER]),
            keys.STOCH: torch.zeros_like(after[keys.STOCH]),
            ENV: env,
        }
        return TensorDict(record, batch_size=shape)

    def _obs(self, steps: TensorDictBase) -> TensorDict:
        shape = steps.batch_size
        obs = {k.name: steps[keys.OBS, k.name].reshape(*shape, *k.shape) for k in self.spaces.obs}
        return TensorDict(obs, batch_size=shape)

    def _terminal(self, is_last: Tensor, terminated: Tensor) -> Tensor:
        return is_last if self.terminal_on_timeout else is_last & terminated

    def state_dict(self) -> dict[str, Any]:
        """The rewards that wait for their frames (transitions only)."""
        return {"reward": self._reward}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self._reward = torch.as_tensor(state["reward"], dtype=torch.float32)


def from_slices(
    slices: TensorDictBase,
    length: int,
    deter: int,
    stoch_shape: Sequence[int],
    stoch_dtype: torch.dtype = torch.uint8,
    obs_keys: Mapping[str, Any] | None = None,
) -> TensorDict:
    """A batch for our losses from slices of TorchRL's own layout, as its `SliceSampler` draws them.

        slice inside an episode    context o0 | o1 .. oS      o0 has no arrival reward: not learned
        slice that begins one      (blank)    | o0 .. o(S-1)  o0 is a reset frame, its reward is 0

    Nothing is known of the state before a slice: its latents are zeros.

    Args:
        slices: `[B * S]` transitions, S after S, each S of one episode: observations, `action`
            (encoded), `is_init`, and under `next` the same observations, `reward`, `done`,
            `terminated`. The sampler must not mark `is_init` itself: `init_key=None`.
        length: S.
        deter, stoch_shape, stoch_dtype: of stored latents.
        obs_keys: where observations stand, by the name that the agent knows; under `obs` by
            default.

    Returns:
        Records `[B, 1 + S]`, the first column context.

    Raises:
        UsageError: when an episode ends inside a slice, actions are not encoded, keys are missing,
            or there are no whole slices of this length.
    """
    given = slices.numel()
    if length < 1 or given % length:
        raise UsageError(
            f"{given} transitions are no slices of length={length}: pass the sampler's slice_len"
        )
    _require(
        slices, keys.ACTION, "is_init", *(("next", k) for k in ("reward", "done", "terminated"))
    )
    if not obs_keys and keys.OBS not in slices.keys():
        raise UsageError(
            f"slices hold {sorted(slices.keys())} and no 'obs': name where observations stand, for "
            "example obs_keys={'vector': 'observation'}"
        )
    steps = slices.reshape(-1, length)
    shape = steps.batch_size
    if steps[keys.ACTION].ndim != 3:
        raise UsageError(
            f"actions are {list(slices[keys.ACTION].shape)}, but must be encoded vectors [B * S, A]"
        )
    done = steps["next", "done"].reshape(shape)
    if done[:, :-1].any():
        row = int(done[:, :-1].any(1).nonzero()[0, 0])
        raise UsageError(f"slice {row} goes on after its episode ended; sample with strict slices")
    names = obs_keys or {name: (keys.OBS, name) for name in steps[keys.OBS].keys()}
    _require(steps, *names.values(), *map(_after, names.values()))
    action = steps[keys.ACTION].float()
    reward = steps["next", "reward"].reshape(shape).float()
    terminal = done & steps["next", "terminated"].reshape(shape)
    count = shape[0]
    no = done.new_zeros(count, 1)
    obs = {n: torch.cat([steps[k], steps[_after(k)][:, -1:]], 1) for n, k in names.items()}
    records = TensorDict(
        {
            keys.OBS: TensorDict(obs, [count, length + 1]),
            keys.ACTION: torch.cat([action, torch.zeros_like(action[:, :1])], 1),
            keys.REWARD: torch.cat([torch.zeros_like(reward[:, :1]), reward], 1),
            keys.IS_FIRST: torch.cat([~no, done.new_zeros(shape)], 1),
            keys.IS_LAST: torch.cat([no, done], 1),
            keys.IS_TERMINAL: torch.cat([no, terminal], 1),
            keys.DETER: reward.new_zeros(count, length + 1, deter),
            keys.STOCH: reward.new_zeros(count, length + 1, *stoch_shape, dtype=stoch_dtype),
        },
        [count, length + 1],
    )
    blank = records[:, :1].apply(torch.zeros_like)
    blank[keys.IS_FIRST] = ~no
    begun = steps["is_init"].reshape(shape)[:, 0]
    return torch.where(begun[:, None], torch.cat([blank, records[:, :-1]], 1), records)


def _after(key: Key) -> Key:
    return ("next", key) if isinstance(key, str) else ("next", *key)


def _require(steps: TensorDictBase, *needed: Key) -> None:
    for key in needed:
        if key not in steps.keys(True):
            name = key if isinstance(key, str) else "/".join(key)
            raise UsageError(f"transitions have no {name!r}{_REMEDY.get(key, '')}")


def _zero_rows(value: Tensor, rows: Tensor) -> Tensor:
    value = value.clone()
    value[rows] = 0
    return value
