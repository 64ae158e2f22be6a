"""From a config to a finished run: folder, envs, agent, loop, last checkpoint, what to do next."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from dreamer_plugin.config import Config, LayersReport, changes, load_config, save_config
from dreamer_plugin.errors import CheckpointError, UsageError
from dreamer_plugin.run import checkpoint, snapshot
from dreamer_plugin.run.allocator import keep_memory
from dreamer_plugin.run.devices import choose_device
from dreamer_plugin.run.display import Display, describe
from dreamer_plugin.run.envs import EnvMaker, source_of
from dreamer_plugin.run.folder import RunFolder, new_folder, resumed_folder
from dreamer_plugin.run.limits import limits_told
from dreamer_plugin.run.machine import note_machine
from dreamer_plugin.run.parts import before_updates, build_parts, facts
from dreamer_plugin.run.reporter import Judge
from dreamer_plugin.run.signals import StopSignals
from dreamer_plugin.run.sinks import sinks_of
from dreamer_plugin.run.training import Callback, RunResult, Training

__all__ = ["RunResult", "train"]


def train(
    cfg: Config,
    *,
    resume: str | Path | None = None,
    env_makers: Sequence[EnvMaker] | None = None,
    layers_report: LayersReport | None = None,
    console: Console | None = None,
    callbacks: Sequence[Callback] = (),
    allow_config_change: bool = False,
    judge: Judge | None = None,
) -> RunResult:
    """Train an agent until `cfg.run.steps` agent steps are made, then save it.

    Args:
        cfg: everything about the run.
        resume: None for a fresh run; the path of a run; or `"auto"` for the run of
            `cfg.run.logdir`, else the newest of the same env, agent, size and seed below `runs/`,
            else a fresh one.
        env_makers: envs to use instead of those that `cfg.env.id` names, one maker per env.
        layers_report: shown before the run: what differs from the published protocol.
        console: where to show things; standard output by default.
        callbacks: called after every agent step; one that returns False ends the run.
        allow_config_change: continue a run with settings that change what it learns.
        judge: as of `Training`.

    Returns:
        How it ended; its `exit_code` is meant for the shell.

    Raises:
        UsageError: when the folder, the env or a checkpoint cannot be used, or a continued run has
            other settings than it began with.
    """
    console = console or Console()
    sinks_of(cfg)  # what is missing is said before anything is made
    folder = resumed_folder(cfg, resume) if resume is not None else None
    resumed, changed = folder is not None, False
    if folder is not None:
        saved = load_config(folder.config_path)
        if str(resume) != "auto":  # which looks in the logdir
            _check_logdir(cfg, saved, folder)
        _check_steps(cfg, folder)
        changed = _check_changes(cfg, saved, folder, allow_config_change, console)
    if folder is None and resume is not None:
        console.print("Nothing to continue: a new run begins.")
    folder = folder or new_folder(cfg)
    with folder.locked(), limits_told(cfg, folder.path), StopSignals() as signals:
        source = source_of(cfg, env_makers)
        if cfg.run.keep_memory and choose_device(cfg.device).type == "cpu":
            keep_memory()
        parts = build_parts(cfg, source, folder=folder.path)
        with Training(cfg, parts, folder, callbacks, judge) as training:
            if resumed:  # what is refused leaves the run's own config
                _restore(training, folder, changed, console)
            save_config(cfg, folder.config_path)
            if isinstance(layers_report, LayersReport):
                layers_report.save(folder.path)
            if layers_report is not None:
                console.print(layers_report)
            note_machine(folder.path, training.parts.device, training.step)
            console.print(describe(facts(cfg, training.parts)))
            console.print(f"run folder  {folder.path}", highlight=False, soft_wrap=True)
            display = Display(training.progress, console)
            result = training.run(cfg.run.steps, display, signals)
    _conclude(result, cfg, console)
    return result


def _check_logdir(cfg: Config, saved: Config, folder: RunFolder) -> None:
    """Refuse another folder than that of the run; the one that it was moved from may be saved."""
    logdir = cfg.run.logdir
    if logdir not in ("", saved.run.logdir) and Path(logdir).resolve() != folder.path.resolve():
        raise UsageError(
            f"run.logdir={logdir} with --resume {folder.path}: a run goes on in its own folder. "
            "Leave run.logdir out, or copy the folder first."
        )


def _check_steps(cfg: Config, folder: RunFolder) -> None:
    """Refuse fewer steps than a run has made: they count from its beginning."""
    made = next((step for step, _ in checkpoint.steps(folder.checkpoints)), 0)
    if cfg.run.steps < made:
        raise UsageError(
            f"{folder.path} is at step {made}, and steps count from its beginning: for "
            f"{cfg.run.steps} more say --steps {made + cfg.run.steps}."
        )


def _check_changes(
    cfg: Config, saved: Config, folder: RunFolder, allowed: bool, console: Console
) -> bool:
    """Show what differs from the settings that a run began with, and refuse it unless allowed."""
    found = changes(saved, cfg)
    if found and not allowed:
        raise UsageError(
            f"{folder.path} began with other settings ({'; '.join(found)}). Continue it with its "
            "own (pass only --resume and its path), or say --allow-config-change."
        )
    for line in found:
        console.print(f"changed  {line}", highlight=False, soft_wrap=True)
    return bool(found)


def _restore(training: Training, folder: RunFolder, changed: bool, console: Console) -> None:
    folder.sweep()
    latest = checkpoint.newest(folder.checkpoints, quarantine=True)
    if latest is None:  # records are shared: one damaged segment may be in all of them
        latest = checkpoint.newest(folder.checkpoints, quarantine=True, names=snapshot.OWN)
    if latest is None:
        if checkpoint.steps(folder.checkpoints):
            raise CheckpointError(f"No checkpoint in {folder.checkpoints} is whole.")
        console.print(f"{folder.path} has no checkpoint yet: starting at step 0.")
        return
    why = training.restore(latest)
    told = ["with other settings"] if changed else []
    if why:
        told.append(f"as far as it is known ({why})")
    how = ", ".join(told) or "exactly"
    console.print(f"Continuing {latest} {how}.", highlight=False, soft_wrap=True)


def _conclude(result: RunResult, cfg: Config, console: Console) -> None:
    run = result.run_dir
    steps = cfg.run.steps if result.updates else max(cfg.run.steps, before_updates(cfg))
    ended = f"Interrupted by {result.interrupted}" if result.interrupted else "Finished"
    more = "" if result.interrupted else f" --steps {2 * steps}"
    assert run is not None  # every run of this file has a folder
    which = "" if checkpoint.best(RunFolder(run).checkpoints) else " --which latest"
    lines = [
        f"{ended} at step {result.steps:,} after {result.updates:,} updates; saved.",
        f"  evaluate:  dreamer-plugin evaluate {run} --episodes 20{which}",
        f"  continue:  dreamer-plugin train --resume {run}{more}",
    ]
    if result.updates == 0:
        lines.insert(1, f"  Nothing was learned: the replay never held enough {_lacking(cfg)}")
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True)


def _lacking(cfg: Config) -> str:
    """What a run waited for in vain, and what helps."""
    if cfg.replay.sampling == "windows":
        return "windows. Use more --steps."
    return (
        f"episodes of more than {cfg.replay.batch_length} records ({cfg.run.prefill:,} places to "
        "start in them). Use more --steps, a lower run.prefill or replay.batch_length, or a larger "
        "replay.capacity."
    )
