"""A published learning curve, tried again: what is run, and where that is not what was published.

    DIR/reproduce.json            what is run; the same again when it goes on
    DIR/<variant>-s<seed>/        a cell (`cells.py`) that is a run folder
    DIR/results/                  what was found (`reproduce_results.py`)

Variants are `full` and, for what is left out, `without-<part>`. A score is the return of a training
episode, whose actions were sampled, at the simulator frames of all envs when it ended.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from dreamer_plugin.config import Config, changed_keys, compose
from dreamer_plugin.config.report import compared
from dreamer_plugin.errors import UsageError
from dreamer_plugin.run.loop import train
from dreamer_plugin.run.training import Callback, Training
from dreamer_plugin.study import cells
from dreamer_plugin.study.published_curves import Curve

FILE, FULL = "reproduce.json", "full"
TOLD = 20  # lines of progress of a cell


@dataclass(frozen=True)
class Difference:
    """A setting that is not the published one.

    Args:
        setting: dotted name. published, here: its values. why: the reason, where one is known.
    """

    setting: str
    published: Any
    here: Any
    why: str = ""

    def __str__(self) -> str:
        reason = f" ({self.why})" if self.why else ""
        return f"{self.setting}: {self.published} -> {self.here}{reason}"


@dataclass(frozen=True)
class Reproduction:
    """What is run.

    Args:
        env: id of the task. seen: as of `Curve`. agent: preset that is run.
        curve: agent of the curve. frames: of each run. steps: agent steps that these are.
        seeds: 0 to one less. variants: name -> presets that leave something out.
        settings: `key=value` and options, as typed. differences: of the full agent.
        commands: that began it and went on.
    """

    env: str
    seen: str
    agent: str
    curve: str
    frames: int
    steps: int
    seeds: int
    variants: dict[str, list[str]]
    settings: list[str]
    differences: list[Difference]
    commands: list[str] = field(default_factory=list)

    def names(self) -> dict[str, tuple[str, int]]:
        """As `cell_names`."""
        return cell_names(self.variants, self.seeds)


def cell_names(variants: Collection[str], seeds: int) -> dict[str, tuple[str, int]]:
    """Name of each cell -> variant and seed; all variants of a seed before the next one."""
    return {f"{variant}-s{seed}": (variant, seed) for seed in range(seeds) for variant in variants}


def protocol(
    curve: Curve, frames: int, size: str | None = None, agent: str | None = None
) -> Config:
    """The configuration that a curve was made with.

    Args:
        curve: the curve. frames: where to end. size: another one, to compare all but the size.
        agent: the one that is run; where the curve goes by more than one protocol, its own counts.
    """
    overrides = [f"env.obs={curve.seen}"] if curve.seen else []
    config = [agent if agent in curve.presets else curve.presets[0]]
    found = compose(curve.env, config=config, overrides=overrides).config
    options: dict[str, Any] = {"run.steps": agent_steps(found, frames)}
    if size:
        options["size"] = size
    return compose(curve.env, config=config, overrides=overrides, options=options).config


def agent_steps(cfg: Config, frames: int) -> int:
    """Agent steps, over all envs, that reach a number of simulator frames."""
    return -(-frames // int(cfg.env.options.get("action_repeat", 1)))


def differences(
    curve: Curve, frames: int, here: Config, why: Mapping[str, str] | None = None
) -> list[Difference]:
    """Where a configuration is not the one that a curve was made with.

    Where the run ends is no difference, for a curve is compared at the same frames, nor is a
    shorter replay that still holds the whole run. Widths that a size sets are told as that size.

    Args:
        curve, frames: as of `protocol`. here: of the run.
        why: dotted name -> reason, for some of them.
    """
    reasons = why or {}
    base = protocol(curve, frames, agent=here.agent)
    rows: dict[str, tuple[Any, Any]] = {}
    if here.agent != base.agent:
        rows["agent"] = base.agent, here.agent
    if here.size != base.size:
        rows["size"] = base.size, here.size
    same_size = protocol(curve, frames, here.size, here.agent)
    changed = changed_keys([same_size, here])
    rows |= {key: (a, b) for key, (a, b) in changed.items() if compared(key) and key not in rows}
    rows.pop("run.steps", None)
    held = min(base.replay.capacity, here.replay.capacity)
    if held >= max(base.run.steps, here.run.steps):
        rows.pop("replay.capacity", None)
    return [Difference(key, a, b, reasons.get(key, "")) for key, (a, b) in rows.items()]


def enter(plan: Reproduction, folder: Path) -> Reproduction:
    """Begin in a folder, or go on in it; variants, seeds and frames may be added.

    Returns:
        What stands there now, with the frames of the longest runs.

    Raises:
        UsageError: when something else is run there.
    """
    if cells.enter(folder, FILE):
        before = read_reproduction(folder)
        fixed = ("env", "seen", "agent", "curve", "settings")
        other = [
            f"{key} {getattr(before, key)} there, {getattr(plan, key)} here"
            for key in fixed
            if _unordered(getattr(before, key)) != _unordered(getattr(plan, key))
        ] or other_protocol(before, plan)
        if other:
            raise UsageError(f"{folder} runs something else: {'; '.join(other)}. Use --out.")
        plan = both(before, plan)
    cells.write_plan(folder, FILE, asdict(plan))
    return plan


def _unordered(value: str | list[str]) -> str | list[str]:
    """Settings in whatever order they were typed."""
    return sorted(value) if isinstance(value, list) else value


def both(before: Reproduction, now: Reproduction) -> Reproduction:
    """What two plans of one protocol run together; settings are those of the second."""
    return replace(
        now,
        frames=max(before.frames, now.frames),
        steps=max(before.steps, now.steps),
        seeds=max(before.seeds, now.seeds),
        variants=before.variants | now.variants,
        commands=list(dict.fromkeys([*before.commands, *now.commands])),
    )


def other_protocol(before: Reproduction, now: Reproduction) -> list[str]:
    """Where two plans do not learn the same, in words; machines choose some settings themselves.

    How much a replay keeps may be another where runs are longer.
    """
    there, here = (
        {"env": plan.env, "seen": plan.seen, "agent": plan.agent, "curve": plan.curve}
        | {row.setting: json.dumps(row.here) for row in plan.differences}
        for plan in (before, now)
    )
    return [
        f"{key} {there.get(key, 'as published')} there, {here.get(key, 'as published')} here"
        for key in dict.fromkeys([*there, *here])
        if there.get(key) != here.get(key) and key != "replay.capacity"
    ]


def read_reproduction(folder: Path) -> Reproduction:
    """What a folder runs.

    Raises:
        UsageError: when it is no such folder.
    """
    return plan_of(cells.read_plan(folder, FILE, "reproduces"), folder / FILE)


def plan_of(facts: Mapping[str, Any], path: Path) -> Reproduction:
    """A plan, as a file says it; what else that says is left out.

    Raises:
        UsageError: it lacks something.
    """
    try:
        known = {each.name: facts[each.name] for each in fields(Reproduction)}
        known["differences"] = [Difference(**each) for each in facts["differences"]]
    except (KeyError, TypeError) as error:
        raise UsageError(f"{path} is not what this version writes: {error}.") from error
    return Reproduction(**known)


def run(
    plan: Reproduction,
    configs: Mapping[str, Config],
    folder: Path,
    tell: Callable[[str], None] = print,
    only: Sequence[str] = (),
) -> list[str]:
    """Make every cell that is not done; one that was cut goes on.

    Args:
        plan: what is run. configs: of each variant. folder: where. tell: takes lines of progress.
        only: names of the cells to make; none are all.

    Returns:
        Names of the cells that failed now.
    """
    todo = [
        cells.Cell(
            name,
            _about(plan, variant),
            partial(_train, configs[variant], seed, plan, tell),
            enough=lambda facts: facts["steps"] >= plan.steps,
        )
        for name, (variant, seed) in plan.names().items()
        if variant in configs and (not only or name in only)
    ]
    return cells.make_all(todo, folder, tell)


def _about(plan: Reproduction, variant: str) -> str:
    presets: Sequence[str] = plan.variants[variant]
    return ", ".join([f"{plan.agent}, {plan.frames:,} frames", *presets])


def _train(
    cfg: Config, seed: int, plan: Reproduction, tell: Callable[[str], None], place: Path
) -> dict[str, Any]:
    cfg = replace(cfg, seed=seed, run=replace(cfg.run, logdir=str(place), steps=plan.steps))
    tellers: list[Callback] = [_Teller(place.name, plan.steps, tell), cells.tell_steps]
    result = train(cfg, resume="auto", console=Console(quiet=True), callbacks=tellers)
    if result.interrupted:
        raise cells.Stopped(result.exit_code)
    return {"steps": plan.steps, "frames": plan.frames, "updates": result.updates}


class _Teller:
    """Tells how far a run is, some times in all."""

    def __init__(self, name: str, steps: int, tell: Callable[[str], None]) -> None:
        self._name, self._every, self._tell = name, max(1, steps // TOLD), tell
        self._told: int | None = None

    def __call__(self, training: Training) -> None:
        progress = training.progress
        part = progress.step // self._every
        if self._told is not None and part > self._told:
            last = progress.last_return
            seen = "no episode yet" if last is None else f"return {last:.4g}"
            made = f"{progress.frames:,} frames, {progress.updates:,} updates"
            self._tell(f"  {self._name}: {made}, {seen}, {progress.seconds:,.0f} s")
        self._told = part
