"""Experience replay: a TorchRL `ReplayBuffer` of our own storage, sampler and writer.

    extend   records [N]  -> writer: append to each env's stream -> sampler: register windows
    sample   sampler: starts [B] -> storage: contiguous copies -> TensorDict [B, 1+T]
    latents  write_back: into the records that are still there

A window may cross episodes: `is_first` resets the state inside it. Its first column is context: it
is marked `is_first`, and is not trained on; the latents stored there are where training starts.
Where pieces of complete episodes are drawn instead, see `episodes.py`, there is no such column.
`is_last` is set wherever the next record is a reset, so that a stream that was cut (a run resumed
with fresh envs) reads as one that ended. Source: `embodied/core/replay.py`, danijar/dreamerv3 @
e3f0224.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor
from torchrl.data import ReplayBuffer
from torchrl.data.replay_buffers.samplers import Sampler
from torchrl.data.replay_buffers.storages import Storage

from dreamer_plugin import keys
from dreamer_plugin.data.episodes import Episodes, episodes_bytes
from dreamer_plugin.data.fields import ENV, record_fields
from dreamer_plugin.data.segments import OnDisk, in_memory
from dreamer_plugin.data.storage import SegmentStorage, dump, load, segment_length
from dreamer_plugin.data.windows import STREAM, Windows, follows, line_bytes
from dreamer_plugin.data.writer import RecordWriter
from dreamer_plugin.errors import CheckpointError, UsageError, choose
from dreamer_plugin.spaces import Spaces

Line = Windows | Episodes
_FACTS = "facts.json"
_NO_FACTS = "so it is of another replay buffer: save one of this kind and load that"
# Starts at the end of an episode that are left out; None: episodes are not looked at.
SAMPLINGS = {"windows": None, "episodes": 0, "inner_episodes": 1}


class WindowSampler(Sampler):  # type: ignore[misc]  # torchrl has no types
    """Draws windows and tells the storage which records no window needs any more.

    Args:
        windows: the line of windows, or of episodes, empty. storage: where their records are.
        seed: of the drawing.
    """

    def __init__(self, windows: Line, storage: SegmentStorage, seed: int) -> None:
        self.windows, self._storage = windows, storage
        self.reseed([seed, 2])
        self._columns = np.arange(windows.length)

    def sample(self, storage: Storage, batch_size: int) -> tuple[Tensor, dict[str, Any]]:
        """Positions `[batch_size, length]`."""
        if not self.windows:
            raise UsageError(f"the replay holds {len(storage)} records, {self.windows.lacking}")
        starts = self.windows.draw(batch_size, self._numpy_rng)
        return torch.from_numpy(starts[:, None] + self._columns), {}

    def reseed(self, words: Sequence[int]) -> None:
        """Begin the drawing anew from these numbers."""
        self._numpy_rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(words)))

    def extend(self, index: Tensor) -> None:
        """Register the windows that new records complete."""
        for position in index.tolist():
            gone = self.windows.add(position, self._storage.tails[position // STREAM])
            if gone is not None:
                self._storage.release(gone)

    def add(self, index: Tensor | int) -> None:
        """The same for one record."""
        self.extend(torch.as_tensor(index).reshape(1))

    def _sampleable_count(self, storage: Storage, batch_size: int) -> int:
        return len(self.windows)

    def _empty(self) -> None:
        self.windows.clear()

    def state_dict(self) -> dict[str, Any]:
        """The line of windows, the online queue and the generator."""
        state: dict[str, Any] = {
            name: torch.from_numpy(value) for name, value in self.windows.state_dict().items()
        }
        return state | {"rng": self._numpy_rng.bit_generator.state}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self.windows.load_state_dict(state_dict)
        self._numpy_rng.bit_generator.state = state_dict["rng"]

    def dumps(self, path: Path) -> None:
        """Write the state into a folder."""
        dump(self.state_dict(), path)

    def loads(self, path: Path) -> None:
        """Read what `dumps` wrote."""
        self.load_state_dict(load(path))


class RecordReplay(ReplayBuffer):  # type: ignore[misc]  # torchrl has no types
    """The buffer that `make_replay` returns; use it as any TorchRL replay buffer."""

    _storage: SegmentStorage
    _sampler: WindowSampler
    _writer: RecordWriter

    def extend(
        self,
        data: TensorDictBase,
        env: Tensor | Sequence[int] | None = None,
        *,
        update_priority: bool | None = None,
    ) -> Tensor:
        """Append records.

        Args:
            data: `[M]`. env: whose record each is, `[M]`; by default record i is of env i.
            update_priority: TorchRL's; has no meaning here.

        Returns:
            Positions `[M]`.

        Raises:
            UsageError: names what is wrong with the records, or whose they are.
        """
        if not isinstance(data, TensorDictBase):
            kind = type(data).__name__
            raise UsageError(
                f"extend takes records [M] as one TensorDict, got a {kind}: stack them"
            )
        if env is not None:
            env = torch.as_tensor(env)
            if env.shape != data.batch_size:
                raise UsageError(
                    f"env has shape {list(env.shape)} for records {list(data.batch_size)}: name "
                    "the env of each"
                )
            data = data.copy().set(ENV, env)
        return super().extend(data, update_priority=update_priority)

    @property
    def written(self) -> int:
        """Records ever appended: agent steps over all envs."""
        return self._writer.written

    def count_from(self, written: int) -> None:
        """Count the records that an agent has made elsewhere, where none are here."""
        self._writer._write_count = written

    @property
    def windows(self) -> int:
        """Complete windows now, or different pieces of complete episodes."""
        return len(self._sampler.windows)

    def write_back(self, index: Tensor, latents: TensorDictBase) -> None:
        """See the function `write_back`."""
        # One copy off the device for all rows, before the lock is taken.
        values = {key: latents.get(key).detach().cpu() for key in (keys.DETER, keys.STOCH)}
        with self._replay_lock:
            self._storage.write(index.cpu(), values)

    def reseed(self, words: Sequence[int]) -> None:
        """Draw other windows from here on."""
        self._sampler.reseed(words)

    def state_dict(self) -> dict[str, Any]:
        """As of any buffer, and what it is a state of."""
        return super().state_dict() | {"facts": self.facts()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The inverse of `state_dict`; raises as `load_rb_state` does."""
        if "facts" not in state_dict:
            raise CheckpointError(f"the state holds {sorted(state_dict)}, {_NO_FACTS}")
        self.refuse_other(state_dict["facts"], state_dict["_sampler"])
        super().load_state_dict(state_dict)

    def dumps(self, path: str | Path) -> None:
        """Write the state into a folder, as of any buffer, and what it is a state of."""
        super().dumps(path)
        (Path(path) / _FACTS).write_text(json.dumps(self.facts()))

    def loads(self, path: str | Path) -> None:
        """Read what `dumps` wrote; raises as `load_rb_state` does."""
        file = Path(path) / _FACTS
        if not file.is_file():
            raise CheckpointError(f"{path} holds no {_FACTS}, {_NO_FACTS}")
        self.refuse_other(json.loads(file.read_text()), load(Path(path) / "sampler"))
        super().loads(path)

    def refuse_other(self, facts: dict[str, Any], sampler: dict[str, Any]) -> None:
        """Raise where a state does not fit this replay.

        Args:
            facts: of the replay that it is of. sampler: the state of that one's sampler.

        Raises:
            CheckpointError: naming what differs, or that it holds more windows than this one may.
        """
        saved, ours = {"sampling": "windows"} | facts, self.facts()
        odd = [name for name in ours if saved.get(name) != ours[name]]
        if odd:
            name = odd[0]
            raise CheckpointError(
                f"the saved replay has {name}={saved.get(name)}, this run has {ours[name]}; "
                "continue with the settings of the saved run"
            )
        line = self._sampler.windows
        held = line.held(sampler)
        if held > line.capacity:
            raise CheckpointError(
                f"the saved replay holds {held:,} {line.unit}, this run keeps {line.capacity:,}; "
                f"continue with replay.capacity={held} or more"
            )

    def facts(self) -> dict[str, Any]:
        """What another replay must share with this one to take its state; JSON-able.

        The capacity may be another: a run that is continued for longer may keep more.
        """
        storage, windows = self._storage, self._sampler.windows
        fields = [
            [f.name, list(f.shape), str(f.dtype).removeprefix("torch.")] for f in storage.fields
        ]
        return {
            "sampling": windows.sampling,
            "num_envs": storage.num_envs,
            "length": windows.length,
            "online": windows.online,
            "fields": fields,
        }


def make_replay(
    spaces: Spaces,
    num_envs: int,
    capacity: int,
    batch_size: int,
    length: int,
    context: int = 1,
    *,
    deter: int,
    stoch_shape: Sequence[int],
    stoch_dtype: torch.dtype = torch.uint8,
    latent_dtype: torch.dtype = torch.float32,
    online: bool = True,
    sampling: str = "windows",
    prioritize_ends: bool = False,
    seed: int = 0,
    folder: str | Path | None = None,
) -> RecordReplay:
    """An empty replay on the CPU.

    Args:
        spaces: of the env. num_envs: streams.
        capacity: most windows, or of episodes, records. batch_size: B of `sample`.
        length: T, steps trained on. context: columns before them, 0 or 1.
        deter, stoch_shape, stoch_dtype: of the stored latents. latent_dtype: of stored deter.
        online: serve the newest windows first, each once.
        sampling: of `SAMPLINGS`. prioritize_ends: draw the last piece of an episode more often.
        seed: of the sampling.
        folder: keep records and latents in files there, see `segments.OnDisk`; None keeps them in
            memory.

    Raises:
        UsageError: where these do not go together.
    """
    _check_sizes(num_envs=num_envs, capacity=capacity, batch_size=batch_size, length=length)
    _check_sizes(0, context=context, seed=seed)
    if context > 1:
        raise UsageError(f"replay: context must be 0 or 1, got {context}")
    window = length + context
    fields = record_fields(spaces, deter, stoch_shape, stoch_dtype, latent_dtype)
    allocate = in_memory if folder is None else OnDisk(folder)
    storage = SegmentStorage(fields, num_envs, capacity, window, allocate)
    left_out = choose(SAMPLINGS, sampling, "replay.sampling")
    line: Line
    try:
        if left_out is None:
            _check_windows(prioritize_ends)
            line = Windows(window, capacity, online, num_envs)
        else:
            _check_episodes(sampling, capacity, length, context, online)
            extra = prioritize_ends * length - left_out
            line = Episodes(length, capacity, num_envs, extra, storage.flags)
    except MemoryError as error:
        raise UsageError(
            f"no memory to keep account of replay.capacity={capacity:,} records; lower it"
        ) from error
    return RecordReplay(
        storage=storage,
        sampler=WindowSampler(line, storage, seed),
        writer=RecordWriter(),
        collate_fn=mark_cuts,
        batch_size=batch_size,
    )


def mark_cuts(batch: TensorDict) -> TensorDict:
    """Annotate windows `[B, L]`: column 0 resets, and a record before a reset is a last one."""
    if batch.ndim == 2:
        is_first, is_last = batch.get(keys.IS_FIRST), batch.get(keys.IS_LAST)
        is_last[:, :-1] |= is_first[:, 1:] & follows(batch.get(keys.INDEX))
        is_first[:, 0] = True
    return batch


def write_back(rb: RecordReplay, index: Tensor, latents: TensorDictBase) -> None:
    """Store fresh latents where their records still are.

    Args:
        rb: the replay. index: `[B, T]`, a slice of columns of a sample's `index`.
        latents: `[B, T]` with deter and stoch, in storage form.

    Raises:
        UsageError: when latents are of another shape than the index, or not finite; then none is
            stored.
    """
    rb.write_back(index, latents)


def rb_state(rb: RecordReplay) -> dict[str, Any]:
    """Everything in a replay: tensors, most without a copy, and JSON-able values.

    Write it out, or copy it, before the replay is used again.
    """
    return {
        "facts": rb.facts(),
        "storage": rb.storage.state_dict(),
        "sampler": rb.sampler.state_dict(),
        "writer": rb.writer.state_dict(),
    }


@dataclass(frozen=True)
class FrozenReplay:
    """A replay at one moment, to be written while it is used.

    Args:
        state: as of `rb_state`, latents as `Later`, without the records of full segments.
        sealed: those, by `env/number` and name of the field.
        thaw: to be called, by the thread that uses the replay, when both have been read.
    """

    state: dict[str, Any]
    sealed: dict[str, dict[str, Tensor]]
    thaw: Callable[[], None]


def freeze(rb: RecordReplay, latents: bool = True) -> FrozenReplay:
    """The replay as it is now.

    Args:
        rb: the replay; one freeze at a time. latents: whether to keep them.
    """
    with rb._replay_lock:
        streams = rb.storage.freeze()
        storage = rb.storage.counters() | streams.open() | (streams.latents() if latents else {})
        state = {
            "facts": rb.facts(),
            "storage": storage,
            "sampler": rb.sampler.state_dict(),
            "writer": rb.writer.state_dict(),
        }
    return FrozenReplay(state, streams.sealed(), rb.storage.thaw)


def load_rb_state(rb: RecordReplay, state: dict[str, Any]) -> None:
    """The inverse of `rb_state`, exact to the next sample drawn.

    Raises:
        CheckpointError: when the state is of another kind of replay, naming what differs, or holds
            more windows than this one may.
    """
    rb.refuse_other(state["facts"], state["sampler"])
    rb.storage.load_state_dict(state["storage"])
    rb.sampler.load_state_dict(state["sampler"])
    rb.writer.load_state_dict(state["writer"])


def replay_bytes(
    spaces: Spaces,
    deter: int,
    stoch_shape: Sequence[int],
    capacity: int,
    num_envs: int = 1,
    length: int = 64,
    context: int = 1,
    stoch_dtype: torch.dtype = torch.uint8,
    latent_dtype: torch.dtype = torch.float32,
    sampling: str = "windows",
) -> dict[str, int]:
    """Memory or disk of a full replay, in bytes; arguments as in `make_replay`.

    Returns:
        `records` (observations, actions, rewards, flags and the line of windows), `latents`, their
        sum `total`, and `per_record`.
    """
    fields = record_fields(spaces, deter, stoch_shape, stoch_dtype, latent_dtype)
    window = length + context
    segment = segment_length(capacity, num_envs, window)
    if sampling == "windows":
        # On top of the windows: the records before each env's first one is complete, and one
        # segment of which, over time and split between its two ends, an env leaves unused.
        slack, line = window - 1 + segment, line_bytes(capacity, num_envs)
    else:
        # All records count; of two segments, at both ends of its stream, an env may use little.
        slack, line = 2 * segment, episodes_bytes(capacity, window)
    count = capacity + num_envs * slack
    latents = count * sum(field.nbytes for field in fields if field.is_latent)
    records = count * sum(field.nbytes for field in fields if not field.is_latent) + line
    per_record = sum(field.nbytes for field in fields)
    return {
        "records": records,
        "latents": latents,
        "total": records + latents,
        "per_record": per_record,
    }


def _check_windows(prioritize_ends: bool) -> None:
    if prioritize_ends:
        raise UsageError(
            "replay.prioritize_ends is about episodes: set replay.sampling=episodes as well, or "
            "replay.prioritize_ends=false"
        )


def _check_episodes(sampling: str, capacity: int, length: int, context: int, online: bool) -> None:
    """Refuse what has no meaning where pieces of episodes are drawn."""
    if context:
        raise UsageError(
            f"replay.sampling={sampling} needs replay.context=0, got {context}: no piece would "
            "train on the first frame of an episode"
        )
    if online:
        raise UsageError(
            f"replay.sampling={sampling} needs replay.online=false: pieces of complete episodes "
            "have no order in which to serve them first"
        )
    if capacity <= length:
        raise UsageError(
            f"replay.capacity is {capacity}, but an episode needs more records than a piece of "
            f"{length}; set replay.capacity above that, or a smaller replay.batch_length"
        )


def _check_sizes(least: int = 1, /, **sizes: int) -> None:
    for name, value in sizes.items():
        if not isinstance(value, Integral):
            raise UsageError(f"replay: {name} must be a whole number, got {value!r}")
        if value < least:
            raise UsageError(f"replay: {name} must be at least {least}, got {value}")
