"""The replay of a run: made as its config says, and how much it takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from dreamer_plugin.agent import Agent
from dreamer_plugin.config import Config
from dreamer_plugin.config.report import size_text
from dreamer_plugin.data.replay import RecordReplay, make_replay, replay_bytes
from dreamer_plugin.errors import UsageError, nearest
from dreamer_plugin.spaces import Spaces

LATENT_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def build_replay(
    cfg: Config,
    spaces: Spaces,
    num_envs: int,
    *,
    deter: int,
    stoch_shape: Sequence[int],
    stoch_dtype: torch.dtype = torch.uint8,
) -> RecordReplay:
    """An empty replay.

    Args:
        cfg: of the run. spaces: of its env. num_envs: streams.
        deter, stoch_shape, stoch_dtype: of the latents in storage form; `latent_sizes` of an agent.
    """
    replay = cfg.replay
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
        seed=cfg.seed,
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
    )


def latent_sizes(agent: Agent) -> dict[str, Any]:
    """Sizes and types of an agent's latents, as `build_replay` and `replay_needs` take them."""
    stored = agent.latents(agent.initial(1))
    return {
        "deter": stored["deter"].shape[-1],
        "stoch_shape": stored["stoch"].shape[1:],
        "stoch_dtype": stored["stoch"].dtype,
    }


def replay_text(cfg: Config, need: dict[str, int]) -> str:
    """What a user should know of the replay; `need` is from `replay_needs`."""
    replay = cfg.replay
    total, records, latents = (size_text(need[key]) for key in ("total", "records", "latents"))
    windows = f"{replay.capacity:,} windows of {replay.batch_length}"
    return f"{windows}, {total} when full ({records} records, {latents} latents)"


def _latent_dtype(cfg: Config) -> torch.dtype:
    found = getattr(torch, cfg.replay.latent_dtype, None)
    if found not in LATENT_DTYPES:
        names = [str(dtype).removeprefix("torch.") for dtype in LATENT_DTYPES]
        raise UsageError(nearest(cfg.replay.latent_dtype, names, "replay.latent_dtype"))
    return found
