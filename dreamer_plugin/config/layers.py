"""The machine layer: published values where they fit this machine, smaller ones elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from dreamer_plugin.config.machine import Machine
from dreamer_plugin.config.presets import ladder
from dreamer_plugin.config.report import LayersReport, Needs, Row, size_text
from dreamer_plugin.config.schema import Config
from dreamer_plugin.config.stack import Stack
from dreamer_plugin.errors import UsageError

SPARE = 0.9  # of free memory that may be planned for; the rest is for envs and the system


@dataclass(frozen=True)
class EnvFacts:
    """What the plan must know of an env.

    Args:
        replay_bytes: bytes of the replay that a configuration asks for.
        pixels: height times width over all images of one observation.
        latent_bytes: the part of `replay_bytes` that is in each checkpoint; all by default.
        pooled: whether a library steps all envs in this process, whatever `env.processes` says.
    """

    replay_bytes: Callable[[Config], int]
    pixels: int = 0
    latent_bytes: Callable[[Config], int] | None = None
    pooled: bool = False

    def disk_bytes(self, cfg: Config) -> int:
        """Bytes of a replay where it lies, with those of its checkpoints if they lie there too."""
        replay = self.replay_bytes(cfg)
        if not on_disk(cfg) or cfg.replay.folder:
            return replay
        latents = self.latent_bytes(cfg) if self.latent_bytes else replay
        return replay + saved_bytes(cfg, replay - latents, latents)


class MachineLayer:
    """Fits a request to a machine: call it with a `Stack`.

    Without a GPU: the smallest size, as many envs as cores where envs are processes, and a replay
    of at most half the free memory. With one: published values unless they do not fit. A replay on
    disk has to fit there with the checkpoints that hold it. User settings stay.

    Args:
        machine: what there is. facts: of the env, None when it cannot be made here.
    """

    def __init__(self, machine: Machine, facts: EnvFacts | None) -> None:
        self._machine = machine
        self._facts = facts

    def __call__(self, stack: Stack) -> LayersReport:
        """Settings and rows for a request.

        Raises:
            UsageError: when the published protocol is demanded and does not fit; says the sum.
        """
        plan = _Plan(stack, self._machine, self._facts)
        if not stack.force_published:
            plan.fit_size()
            plan.fit_envs()
        plan.fit_replay()
        if self._facts is None:
            return LayersReport(rows=plan.rows, settings=plan.settings, machine=self._machine)
        needs = plan.needs()
        if stack.force_published:
            _refuse_if_too_large(needs, self._machine, plan.config())
        return LayersReport(
            rows=plan.rows, settings=plan.settings, machine=self._machine, needs=needs
        )


class _Plan:
    """The machine layer while it is made: settings so far and the rows that explain them."""

    def __init__(self, stack: Stack, machine: Machine, facts: EnvFacts | None) -> None:
        self._stack = stack
        self._machine = machine
        self._facts = facts
        self.settings: dict[str, Any] = {}
        self.rows: list[Row] = []

    def config(self, **settings: Any) -> Config:
        """The configuration with the settings so far and these."""
        return self._stack.merge(self.settings | settings).config

    def _value(self, key: str) -> Any:
        return self._stack.merge(self.settings).value(key)

    def fit_size(self) -> None:
        """The smallest size without a GPU; with one, the largest up to the published that fits."""
        published = self._value("size")
        sizes = ladder(published)
        if not sizes or "size" in self._stack.chosen:
            return
        if not self._machine.gpu:
            self._set("size", published, sizes[0], "no GPU", f"--size {published}")
            return
        room = SPARE * self._machine.gpu_free
        sizes = sizes[: sizes.index(published) + 1]
        needs = {size: self._training_bytes(self.config(size=size)) for size in sizes}
        fitting = [size for size in reversed(needs) if needs[size] <= room] or [sizes[0]]
        why = f"needs about {size_text(needs[published])} on the GPU, {size_text(room)} to spare"
        self._set("size", published, fitting[0], why, f"--size {published}")

    def fit_envs(self) -> None:
        """Without a GPU, no more env processes than cores."""
        published, processes = self._value("env.num_envs"), self._value("env.processes")
        processes = processes and not (self._facts and self._facts.pooled)
        if self._machine.gpu or not processes or "env.num_envs" in self._stack.chosen:
            return
        here = min(published, self._machine.cores)
        cores = f"{self._machine.cores} CPU core{'s' * (self._machine.cores > 1)}"
        self._set("env.num_envs", published, here, cores, f"--num-envs {published}")

    def fit_replay(self) -> None:
        """A replay no larger than the run, and than what memory allows."""
        if "replay.capacity" in self._stack.chosen:
            return
        cfg = self.config()
        published = cfg.replay.capacity
        restore = f"replay.capacity={published}"
        least, useful = _least(cfg), _useful(cfg)
        fitting = useful if self._stack.force_published else self._fitting(cfg, useful)
        if fitting < least < useful:
            raise UsageError(self._too_small(cfg, least))
        if fitting < useful:
            self._set("replay.capacity", published, fitting, self._room_reason(cfg), restore)
        elif useful < published:
            why = f"the run ends after {cfg.run.steps:,} steps"
            self._set("replay.capacity", published, useful, why, restore, neutral=True)

    def needs(self) -> Needs:
        """Bytes of the plan as it stands."""
        cfg = self.config()
        assert self._facts is not None
        cfg = resized(cfg, _useful(cfg))
        replay = self._facts.replay_bytes(cfg)
        disk = self._facts.disk_bytes(cfg) if on_disk(cfg) else 0
        return Needs(replay, self._training_bytes(cfg), disk)

    def _training_bytes(self, cfg: Config) -> int:
        width = 2 if self._machine.gpu and cfg.precision != "float32" else 4
        return training_bytes(cfg, self._facts.pixels if self._facts else 0, width)

    def _fitting(self, cfg: Config, useful: int) -> int:
        """Records that memory or disk holds, at most `useful`."""
        capacity = useful
        while self._facts and capacity > 0:
            need = self._bytes(cfg, capacity)
            if need <= self._room(cfg):
                break
            # Part of the need does not shrink with the capacity, so this comes from above.
            capacity = min(capacity - 1, int(capacity * self._room(cfg) / need))
        return capacity

    def _bytes(self, cfg: Config, capacity: int) -> int:
        assert self._facts is not None
        return self._facts.disk_bytes(resized(cfg, capacity))

    def _room(self, cfg: Config) -> float:
        if on_disk(cfg):
            return self._machine.disk * SPARE
        return self._machine.free * (SPARE if self._machine.gpu else 0.5)

    def _room_reason(self, cfg: Config) -> str:
        if on_disk(cfg):
            room = f"what is to spare of {size_text(self._machine.disk)} free on disk"
            return room if cfg.replay.folder else f"{room}, checkpoints included"
        share = "what is to spare" if self._machine.gpu else "half"
        return f"{share} of {size_text(self._machine.free)} free memory"

    def _too_small(self, cfg: Config, least: int) -> str:
        place, free = "memory", self._machine.free
        remedy = "free some memory or keep the replay on disk (replay.storage=disk)"
        if on_disk(cfg):
            place, free = "disk", self._machine.disk
            remedy = "free some, lower run.keep or name another disk (replay.folder)"
        return (
            f"Too little {place}: the smallest useful replay ({least:,} records) takes "
            f"{size_text(self._bytes(cfg, least))}, and {size_text(self._room(cfg))} of "
            f"{size_text(free)} free may be used; use fewer envs (--num-envs), {remedy}."
        )

    def _set(
        self, key: str, published: Any, here: Any, why: str, restore: str, neutral: bool = False
    ) -> None:
        if here != published:
            self.settings[key] = here
            self.rows.append(Row(key, published, here, why, restore, neutral))


def _least(cfg: Config) -> int:
    """Records that a replay must hold before the first update."""
    return cfg.run.prefill + 2 * cfg.env.num_envs * (cfg.replay.batch_length + cfg.replay.context)


def _useful(cfg: Config) -> int:
    """Records that the run can fill of its replay: no more than its steps, but the least."""
    return min(cfg.replay.capacity, max(cfg.run.steps, _least(cfg)))


def resized(cfg: Config, capacity: int) -> Config:
    """The configuration with a replay of another capacity."""
    return replace(cfg, replay=replace(cfg.replay, capacity=capacity))


def on_disk(cfg: Config) -> bool:
    """Whether the replay lies on disk."""
    return cfg.replay.storage == "disk"


def saved_bytes(cfg: Config, records: int, latents: int) -> int:
    """Bytes of a full replay in the checkpoints of a run, one more than are kept while one is made.

    Records are written once. Older checkpoints name some that have left the replay since: as many
    as came in between, and none where the replay holds the whole run. Latents are in each, where
    they are kept.

    Args:
        cfg: how many are kept, how often. records, latents: bytes of the replay.
    """
    count = cfg.run.keep + 1
    left = min(cfg.run.keep * cfg.run.save_every, max(0, cfg.run.steps - cfg.replay.capacity))
    newer = min(left / cfg.replay.capacity, count - 1)
    return int(records * (1 + newer)) + latents * count * cfg.checkpoint.latents


def training_bytes(cfg: Config, pixels: int, width: int) -> int:
    """Estimate of the memory that updates take: weights, optimiser, activations.

    Weights: 2.8 * deter^2 parameters (2.5 to 2.8 in the published counts of every size), each with
    gradient, two moments and a copy for computing; about 8 * deter^2 with a dense core (7.6 of size
    xlarge of 2023, more of smaller ones, where it matters less). Activations: six tensors of the
    first stage's channels per pixel, and features with nine hidden layers of three tensors over all
    dreamed states. Within 15 % of peaks measured for v3, 1m on vectors and 12m on 64x64 images.

    Args:
        cfg: for widths and batch.
        pixels: height times width over all images of an observation.
        width: bytes of one activation, 2 for bfloat16.
    """
    model, replay = cfg.model, cfg.replay
    states = replay.batch_size * replay.batch_length
    per_square = 2.8 if cfg.world.core.kind == "block_gru" else 8
    weights = per_square * model.deter**2 * 18
    images = states * pixels * 6 * max(cfg.world.encoder.mults) / 2 * model.depth
    classes = 1 if cfg.world.latent.kind == "gaussian" else model.classes
    feat = model.deter + model.groups * classes
    dreams = states * (cfg.behavior.imag_horizon + 1) * (feat + 27 * model.units)
    return int(0.4e9 + weights + width * (images + dreams))


def _refuse_if_too_large(needs: Needs, machine: Machine, cfg: Config) -> None:
    """Say the sum where the published protocol does not fit."""
    replay = f"replay of {cfg.replay.capacity:,} records {size_text(needs.replay)}"
    in_memory = {} if needs.disk else {replay: needs.replay}
    if not machine.gpu:
        in_memory[f"training {size_text(needs.training)}"] = needs.training
    sums = []
    if sum(in_memory.values()) > machine.free:
        total, free = size_text(sum(in_memory.values())), size_text(machine.free)
        sums.append(f"{total} of memory ({' + '.join(in_memory)}), {free} free")
    if needs.disk > machine.disk:
        total, free = size_text(needs.disk), size_text(machine.disk)
        with_them = " and its checkpoints" * (needs.disk > needs.replay)
        sums.append(f"{total} of disk ({replay}{with_them}), {free} free")
    if machine.gpu and needs.training > machine.gpu_free:
        free = size_text(machine.gpu_free)
        sums.append(f"about {size_text(needs.training)} on {machine.gpu}, {free} free")
    if sums:
        raise UsageError(
            f"The published protocol does not fit: it needs {' and '.join(sums)}. "
            "Leave out --protocol published to fit it to this machine."
        )
