"""What a run will take before it is begun: parameters, memory, disk, and hours by a short probe.

    collect until updates may begin -> a few updates, timed -> steps of all envs, timed

The probe is a run of its own without a folder and with a small replay; nothing of it stays.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch

from dreamer_plugin.config import Config
from dreamer_plugin.config.layers import on_disk, resized, saved_bytes
from dreamer_plugin.config.machine import free_disk, probe
from dreamer_plugin.config.report import size_text
from dreamer_plugin.errors import UsageError
from dreamer_plugin.run.envs import source_of
from dreamer_plugin.run.folder import RUNS
from dreamer_plugin.run.parts import (
    Parts,
    before_updates,
    build_parts,
    components,
    planned_updates,
)
from dreamer_plugin.run.replay import latent_sizes, replay_needs
from dreamer_plugin.run.telling import counted
from dreamer_plugin.run.telling import tell as tell_progress
from dreamer_plugin.run.training import Training
from dreamer_plugin.study.hardware import peak_rss
from dreamer_plugin.study.phases import clock

UPDATES, STEPS = 5, 20  # timed
_LEAST = 4  # batches that the probe's replay holds
_SLOTS = 3  # numbers per parameter in a checkpoint: itself, and two of the optimiser


@dataclass(frozen=True)
class Plan:
    """What a run takes; bytes and seconds.

    Args:
        env, device, precision: of the run. steps, updates: of the whole run.
        first_update: the agent step at which one may be made, at the earliest.
        parameters: by component.
        replay: bytes when it is as full as the run makes it. replay_on_disk: where it lies.
        capacity: records that these are.
        memory: most bytes of the process, replay included. free_memory: of the machine beside what
            the process has without it.
        device_memory: most bytes on the GPU; None without one.
        disk: bytes of the checkpoints that are kept, of the best one and one in the making, and of
            a replay beside them. free_disk: where the run would lie. replay_disk: free where a
            replay has a disk of its own, else None.
        update, step: seconds of one update; of one step of all envs, acting included.
        envs: side by side.
    """

    env: str
    device: str
    precision: str
    steps: int
    updates: int
    first_update: int
    envs: int
    parameters: dict[str, int]
    replay: int
    replay_on_disk: bool
    capacity: int
    memory: int
    free_memory: int
    device_memory: int | None
    disk: int
    free_disk: int
    replay_disk: int | None
    update: float
    step: float

    @property
    def seconds(self) -> float:
        """Of the whole run."""
        return self.steps / self.envs * self.step + self.updates * self.update

    @property
    def steps_per_second(self) -> float:
        """Agent steps over all envs, updates included."""
        return self.steps / self.seconds

    def problems(self) -> list[str]:
        """Why it cannot fit, each with the change that would help; nothing where it fits."""
        found = []
        if not self.replay_on_disk and self.replay > self.free_memory:
            fits = int(0.9 * self.capacity * self.free_memory / self.replay)
            found.append(
                f"the replay needs {size_text(self.replay)} of memory and "
                f"{size_text(self.free_memory)} are free: replay.capacity={fits} or "
                "replay.storage=disk would fit"
            )
        if self.replay_disk is not None and self.replay > self.replay_disk:
            found.append(
                f"the replay needs {size_text(self.replay)} of disk and "
                f"{size_text(self.replay_disk)} are free: a smaller replay.capacity, or another "
                "replay.folder"
            )
        if self.disk > self.free_disk:
            found.append(
                f"it needs {size_text(self.disk)} of disk and {size_text(self.free_disk)} are "
                "free: run.keep=1, a smaller replay.capacity, or another --logdir"
            )
        return found

    def notes(self) -> list[str]:
        """What is no obstacle, but hardly meant."""
        if self.updates:
            return []
        if self.steps >= self.first_update:
            return ["nothing will be learned: run.train_ratio is 0"]
        return [
            f"nothing will be learned: run.steps is {self.steps:,}, and no update is made before "
            f"step {self.first_update:,}; more --steps or a lower run.prefill would help"
        ]

    def to_dict(self) -> dict[str, Any]:
        """As JSON-able data."""
        derived = {"seconds": self.seconds, "steps_per_second": self.steps_per_second}
        return asdict(self) | derived | {"problems": self.problems(), "notes": self.notes()}


def make_plan(cfg: Config, tell: Callable[[str], None] = lambda text: None) -> Plan:
    """Build the run, time it for a moment, and add up.

    Args:
        cfg: of the run. tell: takes a line of progress.

    Raises:
        UsageError: when the env cannot be made, or no update can be begun.
    """
    batch = cfg.replay.batch_size * (cfg.replay.batch_length + cfg.replay.context)
    most = max(_LEAST * batch, 2 * cfg.run.prefill) + cfg.env.num_envs * cfg.replay.batch_length
    small = replace(cfg.replay, capacity=min(cfg.replay.capacity, most), storage="memory")
    short = replace(cfg, replay=small, compile="off", run=replace(cfg.run, eval_every=0))
    parts = build_parts(short, source_of(short))
    tell(f"timing {UPDATES} updates and {STEPS} steps of {parts.vector.num_envs} envs")
    with Training(short, parts) as training:
        update, step = _timed(training, most)
    return _added_up(cfg, parts, update, step)


def _timed(training: Training, most: int) -> tuple[float, float]:
    """Median seconds of an update, and of a step of all envs."""
    parts = training.parts
    for _ in range(most):
        training.collect()
        training.progress.owed = 0
        tell_progress("windows before an update", parts.replay.windows, training.cfg.run.prefill)
        if parts.replay.windows >= max(training.cfg.run.prefill, 1):
            break
    else:
        raise UsageError(
            f"After {training.step:,} steps no update could begin: run.prefill is "
            f"{training.cfg.run.prefill:,}, replay.batch_length {training.cfg.replay.batch_length}."
        )
    read = clock(parts.device)

    def seconds(work: Callable[[], Any]) -> float:
        before = read()
        work()
        return read() - before

    def timed(what: str, count: int, work: Callable[[], Any]) -> list[float]:
        return [seconds(work) for _ in counted(what, range(count))]

    updates = timed("updates", UPDATES + 1, lambda: training.update(parts.replay.sample()))
    steps = timed("steps of all envs", STEPS, training.collect)
    return median(updates[1:]), median(steps)


def _added_up(cfg: Config, parts: Parts, update: float, step: float) -> Plan:
    agent, run = parts.agent, cfg.run
    filled = resized(cfg, min(cfg.replay.capacity, run.steps))
    need = replay_needs(filled, parts.native.spaces, parts.vector.num_envs, **latent_sizes(agent))
    disk_replay = on_disk(cfg)
    own = disk_replay and bool(cfg.replay.folder)
    weights = _SLOTS * sum(p.numel() * p.element_size() for p in agent.parameters())
    saved = saved_bytes(filled, need["records"], need["latents"])
    cuda = agent.device.type == "cuda"
    return Plan(
        env=cfg.env.id,
        device=str(agent.device),
        precision=str(agent.precision).removeprefix("torch."),
        steps=run.steps,
        updates=round(planned_updates(cfg)),
        first_update=before_updates(cfg),
        envs=parts.vector.num_envs,
        parameters={name: _count(part) for name, part in components(agent).items()},
        replay=need["total"],
        replay_on_disk=disk_replay,
        capacity=filled.replay.capacity,
        memory=(peak_rss() or 0) + (0 if disk_replay else need["total"]),
        free_memory=probe().free,
        device_memory=torch.cuda.max_memory_allocated(agent.device) if cuda else None,
        disk=saved + (run.keep + 2) * weights + (disk_replay and not own) * need["total"],
        free_disk=free_disk(Path(run.logdir or RUNS)),
        replay_disk=free_disk(Path(cfg.replay.folder)) if own else None,
        update=update,
        step=step,
    )


def _count(part: torch.nn.Module) -> int:
    return sum(param.numel() for param in part.parameters() if param.requires_grad)
