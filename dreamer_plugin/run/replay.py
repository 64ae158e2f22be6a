"""The replay of a run: made as its config says, where it lies, and how much it takes.

A replay on disk (`replay.storage=disk`) lies in the run folder or in `replay.folder`, in files that
have no name and vanish with the process. What stays are its copies in the checkpoints.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from dreamer_plugin.agent import Agent
from dreamer_plugin.config import Config
from dreamer_plugin.config.layers import on_disk, resized
from dreamer_plugin.config.layers import saved_bytes as planned_bytes
from dreamer_plugin.config.machine import existing
from dreamer_plugin.config.report import size_text
from dreamer_plugin.data.replay import RecordReplay, make_replay, replay_bytes
from dreamer_plugin.errors import UsageError, choose
from dreamer_plugin.spaces import Spaces
from dreamer_plugin.world.latent import CategoricalLatent, GaussianLatent

LATENT_DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


def build_replay(
    cfg: Config,
    spaces: Spaces,
    num_envs: int,
    *,
    deter: int,
    stoch_shape: Sequence[int],
    stoch_dtype: torch.dtype = torch.uint8,
    run: Path | None = None,
) -> RecordReplay:
    """An empty replay.

    Args:
        cfg: of the run. spaces: of its env. num_envs: streams.
        deter, stoch_shape, stoch_dtype: of the latents in storage form; `latent_sizes` of an agent.
        run: folder of the run, None where nothing is saved.

    Raises:
        UsageError: for a replay on disk that has no folder, or no room there; for one that never
            holds what learning waits for.
    """
    replay, folder = cfg.replay, None
    if replay.sampling == "windows" and cfg.run.prefill > replay.capacity:
        raise UsageError(
            f"run.prefill={cfg.run.prefill} windows would never be there, for the replay holds "
            f"replay.capacity={replay.capacity}: lower run.prefill or raise replay.capacity."
        )
    if on_disk(cfg):
        folder = _folder(cfg, run)
        # No run fills more than its steps.
        most = resized(cfg, min(replay.capacity, cfg.run.steps))
        need = replay_needs(
            most, spaces, num_envs, deter=deter, stoch_shape=stoch_shape, stoch_dtype=stoch_dtype
        )
        _check_disk(most, need, folder, run)
    return make_replay(
        spaces,
        num_envs,
        replay.capacity,
        replay.batch_size,
        replay.batch_length,
        replay.context,
        deter=deter,
        stoch_shape=stoch_shape,
        stoch_dtype=stoch_dtype,
        latent_dtype=_latent_dtype(cfg),
        online=replay.online,
        sampling=replay.sampling,
        prioritize_ends=replay.prioritize_ends,
        seed=cfg.seed,
        folder=folder,
    )


def replay_needs(
    cfg: Config,
    spaces: Spaces,
    num_envs: int,
    *,
    deter: int,
    stoch_shape: Sequence[int],
    stoch_dtype: torch.dtype = torch.uint8,
) -> dict[str, int]:
    """Bytes of that replay when it is full, see `data.replay.replay_bytes`."""
    replay = cfg.replay
    return replay_bytes(
        spaces,
        deter,
        stoch_shape,
        replay.capacity,
        num_envs,
        replay.batch_length,
        replay.context,
        stoch_dtype,
        _latent_dtype(cfg),
        replay.sampling,
    )


def latent_sizes(agent: Agent) -> dict[str, Any]:
    """Sizes and types of an agent's latents, as `build_replay` and `replay_needs` take them."""
    stored = agent.latents(agent.initial(1))
    return {
        "deter": stored["deter"].shape[-1],
        "stoch_shape": stored["stoch"].shape[1:],
        "stoch_dtype": stored["stoch"].dtype,
    }


def planned_sizes(cfg: Config) -> dict[str, Any]:
    """The same, of the agent that a config describes, before there is one."""
    model, kind = cfg.model, cfg.world.latent.kind
    latent = GaussianLatent if kind == "gaussian" else CategoricalLatent
    return {
        "deter": model.deter,
        "stoch_shape": (model.groups,),
        "stoch_dtype": latent.storage_dtype,
    }


def replay_text(cfg: Config, need: dict[str, int]) -> str:
    """What a user should know of the replay; `need` is from `replay_needs`."""
    replay = cfg.replay
    total, records, latents = (size_text(need[key]) for key in ("total", "records", "latents"))
    parts = f"({records} records, {latents} latents)"
    what = f"windows of {replay.batch_length}"
    if replay.sampling != "windows":
        what = f"records of episodes, in pieces of {replay.batch_length}"
    place = "on disk" if on_disk(cfg) else "of memory"
    return f"{replay.capacity:,} {what}, {total} {place} when full {parts}"


def saved_bytes(run: Path) -> int:
    """Bytes of the replays in a run's checkpoints, and of the records that those share."""
    files = [*run.glob("checkpoints/step-*/replay.safetensors"), *run.glob("records/*")]
    return sum(file.stat().st_size for file in files)


def _folder(cfg: Config, run: Path | None) -> Path:
    if cfg.replay.folder:
        return Path(cfg.replay.folder)
    if run is None:
        raise UsageError(
            "replay.storage=disk needs a folder: set replay.folder, or run.logdir to write a run"
        )
    return run


def _check_disk(cfg: Config, need: dict[str, int], folder: Path, run: Path | None) -> None:
    """Refuse a replay that would fill its disk, or that of its checkpoints, later on."""
    wanted, with_them = {existing(folder): need["total"]}, ""
    if run is not None:
        saved = planned_bytes(cfg, need["records"], need["latents"])
        more = max(0, saved - saved_bytes(run))
        wanted[existing(run)] = wanted.get(existing(run), 0) + more
        with_them = f", and its up to {cfg.run.keep + 1} checkpoints {size_text(saved)}"
    for place in wanted:
        disk = place.stat().st_dev
        total = sum(size for other, size in wanted.items() if other.stat().st_dev == disk)
        free = shutil.disk_usage(place).free
        if total > free:
            raise UsageError(
                f"The replay does not fit on the disk of {place}: {size_text(total)} needed, "
                f"{size_text(free)} free. When full it takes {size_text(need['total'])}"
                f"{with_them}. Lower replay.capacity or run.keep, set checkpoint.latents=false, or "
                "name another disk with replay.folder."
            )


def _latent_dtype(cfg: Config) -> torch.dtype:
    return choose(LATENT_DTYPES, cfg.replay.latent_dtype, "replay.latent_dtype")
