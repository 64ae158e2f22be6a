"""From the words of a command line to a configuration that fits this machine."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dreamer_envs
from dreamer_envs.errors import MissingPackageError
from dreamer_envs.vector import pool_of
from dreamer_plugin.config import Config, EnvFacts, MachineLayer, Resolved, compose
from dreamer_plugin.config.layers import on_disk
from dreamer_plugin.config.machine import free_disk, probe
from dreamer_plugin.config.secrets import hidden
from dreamer_plugin.config.stack import agent_of
from dreamer_plugin.config.trust import usable
from dreamer_plugin.doors.run_paths import require_run, require_run_of, run_of
from dreamer_plugin.errors import UsageError
from dreamer_plugin.spaces import Spaces

DRIVERS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")  # NVIDIA, NVIDIA under WSL, AMD


def resolve(
    env: str = "",
    config: Sequence[str | Path] = (),
    overrides: Sequence[str] = (),
    options: Mapping[str, Any] | None = None,
    must_exist: bool = True,
) -> Resolved:
    """Compose a configuration and fit it to this machine.

    Makes the env once, to learn the size of its observations.

    Args:
        env: as in `config.compose`, and so are the next three.
        config: presets and files.
        overrides: `key=value` texts.
        options: dotted name -> value.
        must_exist: whether a missing package of the env is an error; else memory stays unknown.

    Raises:
        UsageError: something asked for does not exist, or does not fit.
        dreamer_envs.errors.EnvsError: the env cannot be made.
    """
    plain = compose(env, config=config, overrides=overrides, options=options)
    if not plain.config.env.id:
        return plain
    try:
        facts = env_facts(plain.config)
    except MissingPackageError:
        if must_exist:
            raise
        facts = None
    disk = _replay_disk(plain.config, config) if on_disk(plain.config) else 0
    layer = MachineLayer(probe(*find_gpu(plain.config.device), disk), facts)
    return compose(env, config=config, overrides=overrides, options=options, machine=layer)


def resumed_config(
    env: str | None, config: Sequence[str], resume: str, logdir: str | None
) -> list[str]:
    """The saved configuration that a resumed run starts from.

    Args:
        env: given on the command line; with it, `--resume auto` starts from its settings.
        config: the same.
        resume: `"never"`, `"auto"` or the path of a run.
        logdir: where `auto` looks.

    Returns:
        At most one run folder, to stand first among the configs.

    Raises:
        UsageError: there is no such run, it lies elsewhere, or a config is of another agent.
    """
    if resume == "never" or (resume == "auto" and (env or config or not logdir)):
        return []
    path = Path(str(logdir)) if resume == "auto" else require_run(resume)
    run = run_of(path) if resume == "auto" else require_run_of(path)
    if (path / "manifest.json").is_file():
        _refuse_older(path)
    if run is None:
        return []
    if logdir and Path(logdir).resolve() != run.resolve():
        raise UsageError(
            f"--logdir {logdir} with --resume {resume}: a run goes on in its own folder. Leave "
            "--logdir out, or copy the folder first."
        )
    own = agent_of(run)
    for each in config:
        other = agent_of(each)
        if other not in (own, ""):
            raise UsageError(
                f"--config {each} is of the agent {other}, and {run} of {own}: leave it "
                "out, or begin a new run."
            )
    return [str(run)]


def _refuse_older(checkpoint: Path) -> None:
    """Say that a run goes on from its newest checkpoint, where another one is meant."""
    newest = max(checkpoint.parent.glob("step-*/"), default=None, key=lambda each: each.name)
    if checkpoint.name != (newest.name if newest else ""):
        raise UsageError(
            f"{checkpoint} is not what its run goes on from: that is the newest step, "
            f"{newest.name if newest else 'which it lacks'}. Say --resume {checkpoint.parents[1]}."
        )


def shown_override(override: str) -> str:
    """KEY=VALUE as it may be written down."""
    key, _, value = override.partition("=")
    return f"{key}={hidden(key, value)}"


def refuse_keys(overrides: Sequence[str], options: Mapping[str, str]) -> None:
    """Refuse settings that a command sets itself.

    Args:
        overrides: KEY=VALUE as typed. options: such a key -> the options that say it instead.
    """
    for override in overrides:
        key = override.partition("=")[0].strip()
        if key in options:
            raise UsageError(f"{override} counts for nothing here: say it with {options[key]}.")


def env_facts(cfg: Config) -> EnvFacts:
    """What the machine layer must know of the env of `cfg`, made for it if its suite must."""
    maker = dreamer_envs.maker(cfg.env.id, **usable(cfg.env.options))
    spaces = Spaces.from_gym(*maker.spaces())
    images = (key.shape for key in spaces.images)
    return EnvFacts(
        replay_bytes=lambda other: _replay_bytes(other, spaces)["total"],
        pixels=sum(height * width for height, width, _ in images),
        latent_bytes=lambda other: _replay_bytes(other, spaces)["latents"],
        pooled=pool_of([maker]) is not None,
    )


def find_gpu(device: str) -> tuple[str, int]:
    """Name and free bytes of the GPU that `device` means, ("", 0) without one.

    PyTorch, which takes seconds to load, is asked only where a driver is in sight.
    """
    no_driver = sys.platform == "linux" and not any(Path(path).exists() for path in DRIVERS)
    if device in ("cpu", "mps") or no_driver:
        return "", 0
    import torch

    index = torch.device(device if device.startswith("cuda") else "cuda").index or 0
    if not torch.cuda.is_available() or index >= torch.cuda.device_count():
        return "", 0
    return torch.cuda.get_device_name(index), int(torch.cuda.mem_get_info(index)[0])


def _replay_disk(cfg: Config, config: Sequence[str | Path]) -> int:
    """Bytes on the disk of the replay, those of a continued run's checkpoints included."""
    from dreamer_plugin.run.folder import RUNS  # loads PyTorch
    from dreamer_plugin.run.replay import saved_bytes

    runs = [Path(each) for each in config if Path(each).is_dir()]
    place = cfg.replay.folder or cfg.run.logdir or (runs[0] if runs else RUNS)
    held = 0 if cfg.replay.folder else sum(map(saved_bytes, runs))
    return free_disk(Path(place)) + held


def _replay_bytes(cfg: Config, spaces: Spaces) -> dict[str, int]:
    from dreamer_plugin.run.replay import planned_sizes, replay_needs  # loads PyTorch

    return replay_needs(cfg, spaces, cfg.env.num_envs, **planned_sizes(cfg))
