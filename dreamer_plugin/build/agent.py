"""A whole agent from its configuration."""

from __future__ import annotations

import platform

import torch

from dreamer_plugin.agent import Agent, Shift
from dreamer_plugin.behavior.imagine import Dreams
from dreamer_plugin.build.behavior import build_behavior
from dreamer_plugin.build.optimizer import build_optimizer
from dreamer_plugin.build.world import build_world
from dreamer_plugin.config.schema import Config
from dreamer_plugin.errors import UsageError, choose, nearest
from dreamer_plugin.spaces import Spaces


def build_agent(cfg: Config, spaces: Spaces, device: torch.device | str = "cpu") -> Agent:
    """A fresh agent for an env's spaces, seeded with `cfg.seed`, on `device`.

    Raises:
        UsageError: when a value names no part, or an observation does not fit.
    """
    device = torch.device(device)
    if cfg.replay.context not in (0, 1):
        raise UsageError(f"replay.context is {cfg.replay.context}, but must be 0 or 1")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(cfg.seed)
        world = build_world(cfg, spaces).to(device)
        behavior = build_behavior(cfg, spaces, world.rssm.feat_size).to(device)
    if cfg.behavior.world_grad and cfg.optim.behavior_turns:
        raise UsageError(
            "behavior.world_grad needs one update for all: "
            "set optim.model_turns and optim.behavior_turns to 0"
        )
    scales = vars(cfg.loss_scales).copy()
    reconstruction = scales.pop("rec")
    taken = [key.name for key in spaces.obs if key.name in scales]
    if taken:
        raise UsageError(f"observation {taken[0]!r} has the name of a loss: rename it in the env")
    if not scales["repval"]:
        del scales["repval"]  # the loss is not even computed
    dreams = _dreams(cfg, pairs="repval" in scales)
    if world.cont is None:
        del scales["cont"]
    if not cfg.world.encoder.vae_dim:
        del scales["vae"]
    if cfg.world.kl == "plain":
        del scales["rep"]  # one divergence trains both sides
    return Agent(
        world,
        behavior,
        {key.name: reconstruction for key in spaces.obs} | scales,
        build_optimizer(cfg.optim, world, behavior),
        spaces,
        dreams,
        Shift(cfg.world.encoder.shift, cfg.world.encoder.shift_targets),
        choose_precision(cfg.precision, device),
        cfg.seed,
        cfg.replay.context,
    )


_STARTS = {"posterior": False, "prior": True}


def _dreams(cfg: Config, pairs: bool) -> Dreams:
    """Which dreams are dreamed; `pairs`: whether two steps in a row are needed to start from."""
    part, length = cfg.behavior, cfg.replay.batch_length
    dreams = Dreams(
        horizon=part.imag_horizon,
        last=part.imag_last,
        skip=part.imag_skip,
        prior=choose(_STARTS, part.imag_start, "behavior.imag_start"),
        true_start=part.true_start,
    )
    starts, least = len(range(length)[dreams.starts(length)]), 1 + pairs
    if starts < least:
        why = "no pair of steps for the replay value loss" if starts else "no step to dream from"
        remedy = " or loss_scales.repval=0" if starts else ""
        raise UsageError(
            f"behavior.imag_last={part.imag_last} and behavior.imag_skip={part.imag_skip} leave "
            f"{why} of replay.batch_length={length}: take behavior.imag_last={least} or more, 0 "
            f"for all, and behavior.imag_skip={max(length - least, 0)} or less{remedy}"
        )
    if pairs and part.returns != "arrival":
        raise UsageError(
            f"loss_scales.repval={cfg.loss_scales.repval:g} teaches values of arrival, and "
            f"behavior.returns={part.returns} other ones: take loss_scales.repval=0"
        )
    if part.returns != "arrival" and part.imag_horizon < 2:
        raise UsageError(
            f"behavior.returns={part.returns} learns nothing from behavior.imag_horizon="
            f"{part.imag_horizon}: take 2 or more"
        )
    return dreams


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """`auto` is bfloat16 where the hardware multiplies it natively, else float32.

    Args:
        name: `auto`, `float32` or `bfloat16`.
    """
    if name == "auto":
        name = "bfloat16" if _native_bfloat16(device) else "float32"
    dtypes = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    if name not in dtypes:
        raise UsageError(nearest(name, ["auto", *dtypes], "precision"))
    return dtypes[name]


def _native_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu" and platform.machine() in ("x86_64", "AMD64"):
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return False
