"""What of a run is saved, and how it continues from it.

    agent   parameters, optimiser, normalisers, slow critic, update counter, noise generator
    spaces  of the env as its user sees them, so that an agent acts without its env
    replay  records, latents, cursor, online queue, sampler
    loop    counters, train ratio, acting state and noise, means not yet logged, env states

A continuation is `exact` when every env can save its state and the replay's latents are kept.
Otherwise it is `consistent`. Envs that cannot save their state begin new episodes, and what was
open in the replay reads as cut off there, not as terminal; latents that were left out begin as
zeros and are made anew by training.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dreamer_envs.errors import EnvError, EnvsError
from dreamer_envs.vector import VectorEnv
from dreamer_plugin import keys
from dreamer_plugin.agent import Agent
from dreamer_plugin.data.frozen import copied
from dreamer_plugin.data.mending import mend
from dreamer_plugin.data.replay import FrozenReplay, freeze, load_rb_state
from dreamer_plugin.errors import CheckpointError, NotFiniteError
from dreamer_plugin.run import checkpoint
from dreamer_plugin.run.checkpoint import BEST, step_name
from dreamer_plugin.run.display import Progress
from dreamer_plugin.run.folder import RunFolder
from dreamer_plugin.run.metrics import MeanMetrics
from dreamer_plugin.run.native import NativeForm
from dreamer_plugin.run.numerics import Numerics
from dreamer_plugin.run.packing import pack
from dreamer_plugin.run.parts import Parts
from dreamer_plugin.run.records import RecordFiles, read_segments

EXACT, CONSISTENT = "exact", "consistent"
OWN = ("agent", "loop", "replay", "spaces")  # parts that a continuation needs
Trees = Mapping[str, Any]


@dataclass
class RunState:
    """Everything that changes while a run goes on.

    Args:
        parts: agent, replay, envs and what stands between them.
        progress: counters and recent returns. metrics: means not logged yet.
        numerics: updates that were not finite.
    """

    parts: Parts
    progress: Progress
    metrics: MeanMetrics
    numerics: Numerics


@dataclass(frozen=True)
class Snapshot:
    """A run at one moment; it may go on while this is written.

    Args:
        trees: parts of the checkpoint by name. meta: facts for the manifest.
        replay: what of it is still to be read.
    """

    trees: Trees
    meta: Mapping[str, Any]
    replay: FrozenReplay

    @property
    def step(self) -> int:
        """Agent step of that moment."""
        return int(self.meta["step"])

    def write(self, folder: RunFolder, records: RecordFiles) -> Path:
        """Write the step-numbered checkpoint, in any thread; needs `replay.thaw` afterwards.

        Raises:
            NotFiniteError: when the agent holds a number that is not finite; nothing was written.
        """
        check_finite(self.trees["agent"], self.step, folder.path)
        segments = records.write(self.replay.sealed)
        path = folder.checkpoints / step_name(self.step)
        return checkpoint.write(path, self.trees, self.meta, segments)


@dataclass(frozen=True)
class Best:
    """The best agent at one moment, without replay: to act and not to resume.

    Args:
        trees: parts of the checkpoint by name. meta: facts for the manifest.
    """

    trees: Trees
    meta: Mapping[str, Any]

    @property
    def step(self) -> int:
        """Agent step of that moment."""
        return int(self.meta["step"])

    def write(self, folder: RunFolder) -> Path:
        """Replace the best agent, in any thread.

        Raises:
            NotFiniteError: when the agent holds a number that is not finite; nothing was written.
        """
        check_finite(self.trees["agent"], self.step, folder.path)
        return checkpoint.write(folder.checkpoints / BEST, self.trees, self.meta)


def take(state: RunState, latents: bool = True, extra: Trees | None = None) -> Snapshot:
    """The state of this moment: everything small copied, the replay frozen.

    Args:
        state: of the run.
        latents: whether to keep those of the replay. extra: further parts by name.
    """
    parts, loop = state.parts, loop_state(state)
    replay = freeze(parts.replay, latents)
    small = {"agent": parts.agent.training_state(), "spaces": parts.native.to_dict(), "loop": loop}
    trees = copied({**small, **(extra or {})}) | {"replay": replay.state}
    exact = latents and loop["envs"] is not None
    return Snapshot(trees, _facts(state) | {"resume": EXACT if exact else CONSISTENT}, replay)


def save(state: RunState, folder: RunFolder, extra: Trees | None = None) -> Path:
    """Write the step-numbered checkpoint of this moment, into any folder, before this returns.

    Args:
        state: of the run. folder: where to.
        extra: further parts by name.
    """
    snapshot = take(state, extra=extra)
    try:
        return snapshot.write(folder, RecordFiles(folder.records))
    finally:
        snapshot.replay.thaw()


def take_best(state: RunState, value: float | None, measure: str) -> Best:
    """The agent of this moment, copied.

    Args:
        state: of the run.
        value: how good it is, None where nothing was measured. measure: what it is the value of.
    """
    meta, parts = _facts(state) | {"value": value, "measure": measure}, state.parts
    agent, spaces = parts.agent.training_state(), parts.native.to_dict()
    return Best(copied({"agent": agent, "spaces": spaces, "best": meta}), meta)


def save_agent(
    agent: Agent,
    native: NativeForm,
    folder: RunFolder,
    meta: Mapping[str, Any],
    trees: Trees,
) -> Path:
    """Write a checkpoint of an agent, its spaces and other parts.

    Args:
        agent, native: what acts, and on what. folder: where to.
        meta: facts for the manifest; its `step` is the name. trees: further parts by name.

    Raises:
        NotFiniteError: when the agent holds a number that is not finite; nothing was written.
    """
    trees = {"agent": agent.training_state(), "spaces": native.to_dict(), **trees}
    check_finite(trees["agent"], meta["step"], folder.path)
    return checkpoint.write(folder.checkpoints / step_name(meta["step"]), trees, meta)


@dataclass(frozen=True)
class Restored:
    """How a run goes on.

    Args:
        why: it is not exact, empty where it is.
        changed: segments of records that are not those on the disk, for the damaged ones were
            replaced.
    """

    why: str
    changed: frozenset[str] = frozenset()


def restore(state: RunState, path: Path) -> Restored:
    """Put a run that was just built into the state of a checkpoint.

    Damaged segments of records are replaced by copies of others, with a warning.

    Raises:
        CheckpointError: when the checkpoint is damaged, only holds an agent, or its replay or envs
            are not those of this run.
        UsageError: when the env has other spaces now.
    """
    trees = checkpoint.read(path, OWN)
    with checkpoint.understood(path):
        known = NativeForm.from_dict(trees["spaces"]).spaces
    known.refuse_other(state.parts.native.spaces)
    lost = checkpoint.damaged_segments(path)
    changed: set[str] = set()
    with checkpoint.understood(path):
        _check_envs(state, trees["loop"])  # before anything is changed
        entries = {k: v for k, v in checkpoint.segments(path).items() if k not in lost}
        storage = trees["replay"]["storage"]
        storage |= read_segments(checkpoint.records_of(path), entries)
        kept = {name.rpartition("/")[2] for name in storage}
        if lost:
            trees["replay"]["storage"], changed = mend(storage, lost)
            message = f"{path} lacks {len(lost)} segments of records; copies of others stand in."
            warnings.warn(message, checkpoint.DamagedCheckpointWarning, stacklevel=2)
        state.parts.agent.load_training_state(trees["agent"])
        load_rb_state(state.parts.replay, trees["replay"])
        kind = load_loop_state(state, trees["loop"])
        made = checkpoint.meta(path).get("machine", _machine(state))
    reasons = {
        "some of its records were damaged": bool(lost),
        "it lacks the latents of the replay": keys.IS_FIRST in kept and keys.DETER not in kept,
        "with new episodes: its envs could not save their state": kind == CONSISTENT,
        f"it was made with {made}, this is {_machine(state)}": made != _machine(state),
    }
    return Restored("; ".join(why for why, holds in reasons.items() if holds), frozenset(changed))


def loop_state(state: RunState) -> dict[str, Any]:
    """Everything of a run but its agent and its replay."""
    parts = state.parts
    return {
        "progress": state.progress.state_dict(),
        "num_envs": parts.vector.num_envs,
        "metrics": state.metrics.state_dict(),
        "numerics": state.numerics.state_dict(),
        "ratio": parts.ratio.state_dict(),
        "collector": parts.collector.state_dict(),
        "envs": _env_states(parts.vector),
    }


def load_loop_state(state: RunState, loop: Mapping[str, Any]) -> str:
    """The inverse of `loop_state`; returns and raises what `restore` does."""
    _check_envs(state, loop)
    parts, progress = state.parts, state.progress
    parts.ratio.load_state_dict(loop["ratio"])
    parts.collector.load_state_dict(loop["collector"])
    state.metrics.load_state_dict(loop["metrics"], parts.device)
    progress.load_state_dict(loop["progress"])
    if "numerics" in loop:  # not in older checkpoints
        state.numerics.load_state_dict(loop["numerics"])
    progress.windows = parts.replay.windows
    try:
        if loop["envs"] is not None:
            parts.vector.load_state_dict(loop["envs"])
            return EXACT
    except EnvError:
        pass  # one is down, which happens where a run goes back while it goes on
    parts.collector.truncate_open()
    parts.vector.reseed(progress.step)
    return CONSISTENT


def check_finite(agent: Any, step: int, folder: Path) -> None:
    """Refuse to save an agent that nobody could go on with.

    Args:
        agent: its training state. step: of this moment. folder: of the run.

    Raises:
        NotFiniteError: naming the first tensor that is not finite.
    """
    tensors, _ = pack(agent)
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise NotFiniteError(
                f"At step {step:,} {name} of the agent is not finite; this is not saved. The "
                f"checkpoints before it stand: --resume {folder} goes on from the newest, "
                "with a lower optim.lr and --allow-config-change if it happens again."
            )


def _check_envs(state: RunState, loop: Mapping[str, Any]) -> None:
    saved, ours = loop["num_envs"], state.parts.vector.num_envs
    if saved != ours:
        raise CheckpointError(
            f"The checkpoint is of {saved} envs, this run has {ours}: pass as many, or go on from "
            "its weights alone (dreamer-plugin export)."
        )


def _env_states(vector: VectorEnv) -> dict[str, Any] | None:
    """States of the envs; None where one cannot save its own, or is down."""
    try:
        return vector.state_dict() if vector.can_save else None
    except EnvsError:
        return None


def _facts(state: RunState) -> dict[str, Any]:
    progress = state.progress
    return {
        "env": progress.env,
        "step": progress.step,
        "updates": progress.updates,
        "seconds": round(progress.seconds, 3),
        "machine": _machine(state),
    }


def _machine(state: RunState) -> str:
    """What the last bits of numbers depend on."""
    device = state.parts.device.type
    threads = f", {torch.get_num_threads()} threads" if device == "cpu" else ""
    return f"PyTorch {torch.__version__} on {device}{threads}"
