"""Scalar heads, and what all parts share: the style of layers, and the discount."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch

from dreamer_plugin.config.schema import (
    Config,
    CriticConfig,
    HeadConfig,
)
from dreamer_plugin.errors import UsageError, choose
from dreamer_plugin.nets.heads import (
    BinaryLayer,
    Head,
    LearnedSymexpMSELayer,
    MSELayer,
    NormalLayer,
    SymexpMSELayer,
    TwoHotLayer,
)
from dreamer_plugin.nets.layers import MLP, Style


def discount_of(cfg: Config) -> float:
    """Discount of a step, from the horizon.

    Raises:
        UsageError: when nothing after a step would count.
    """
    horizon = cfg.behavior.horizon
    if horizon <= 1:
        hint = ""
        if 0 < horizon < 1:
            hint = f"; a discount of {horizon:g} is behavior.horizon={1 / (1 - horizon):g}"
        raise UsageError(f"behavior.horizon={horizon:g} must be more than 1 step{hint}")
    return 1 - 1 / horizon


def make_head(
    cfg: Config,
    part: HeadConfig | CriticConfig,
    feat: int,
    section: str,
    clip: float = math.inf,
) -> Head:
    """A scalar head on states of size `feat`.

    Args:
        cfg: for what all layers share. part: of the head. feat: F.
        section: its place in a config, for errors.
        clip: bound of predictions in symlog space, of outputs that predict there.
    """
    layers: dict[str, Callable[..., torch.nn.Module]] = {
        "twohot": partial(TwoHotLayer, bins=part.bins, limit=part.bin_range),
        "symlog_twohot": partial(
            TwoHotLayer, bins=part.bins, limit=part.bin_range, squashed=True, clip=clip
        ),
        "binary": BinaryLayer,
        "mse": partial(MSELayer, symlog=False),
        "symlog_mse": partial(MSELayer, symlog=True),
        "symexp_mse": partial(SymexpMSELayer, clip=clip),
        "learned_symexp_mse": partial(LearnedSymexpMSELayer, clip=clip),
        "normal": NormalLayer,
    }
    layer = choose(layers, part.output, f"{section}.output")
    if part.output.endswith("twohot") and part.bins < 2:
        raise UsageError(f"{section}.bins is {part.bins}, but output={part.output} needs 2 or more")
    style = make_style(cfg)
    mlp = MLP(feat, part.layers, cfg.model.units, style)
    return Head(mlp, layer(mlp.out_features, outscale=part.outscale, fan=style.fan))


def make_style(cfg: Config) -> Style:
    """What all layers of the agent share."""
    nets = cfg.nets
    return Style(nets.norm, nets.eps, nets.act, nets.fan, nets.bias, nets.conv_act)


def require_multiple(name: str, value: int, of: str, blocks: int) -> None:
    """Refuse a width that does not divide into blocks, naming the nearest that does."""
    if value % blocks:
        near = max(round(value / blocks), 1) * blocks
        raise UsageError(f"{name} is {value}, no multiple of {of}, {blocks}; {near} would do")
