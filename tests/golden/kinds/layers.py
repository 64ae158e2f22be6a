"""Layers, heads, and the running parts of training: normalisers, optimiser, slow copy."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from dreamer_plugin.behavior.normalize import Identity, MeanStd, Percentile
from dreamer_plugin.interop.weights import import_official, official_names
from dreamer_plugin.nets.layers import MLP, BlockLinear, LayerNorm, Linear, RMSNorm
from dreamer_plugin.nets.twin import SlowCopy
from dreamer_plugin.nets.vision import Conv, TransposedConv
from dreamer_plugin.optim import LaProp, clip_adaptive_

from ..reading import TOLERANCE, Golden, stacked
from .parts import official_grads

# Settings of the optimiser variants; README of the arrays, "optimizer".
OPTIMIZERS: dict[str, dict[str, object]] = {
    "default": {},
    "fast": {"lr": 1e-2, "warmup": 4},
    "nowarm": {"lr": 3e-3, "warmup": 0},
    "noagc": {"lr": 1e-3, "warmup": 0, "agc": 0.0},
    "wd": {"lr": 1e-2, "warmup": 2, "weight_decay": 0.1},
    "nesterov": {"lr": 1e-2, "warmup": 0, "nesterov": True},
    "linear": {"lr": 1e-2, "warmup": 3, "schedule": "linear"},
    "cosine": {"lr": 1e-2, "warmup": 3, "schedule": "cosine"},
}

# README of the arrays: "perc_default (the return normaliser)", "meanstd (debiased)". Other numbers
# follow from the first two steps: perc_fast[0] / 0.3 are the 10th and 80th percentiles of x[0].
NORMALIZERS = {
    "perc_default": lambda: Percentile(),
    "perc_debias": lambda: Percentile(debias=True),
    "perc_fast": lambda: Percentile(0.3, 10.0, 80.0, limit=1e-8),
    "meanstd": lambda: MeanStd(0.05, limit=1e-8, debias=True),
    "none": lambda: Identity(),
}


def layers(g: Golden) -> None:
    """Linear, block-linear, norms, convolutions and MLP, with gradients."""
    g.check("silu/y", nn.functional.silu(g.tensor("silu/x")))
    for name in g.variants("upstream"):
        arrays = g.under(f"{name}/")
        x = torch.from_numpy(arrays["x"].copy()).requires_grad_()
        module = _layer(name, arrays, x)
        names = set(official_names(module).values())
        import_official(module, {key: arrays[key] for key in names})
        y = _apply(module, x)
        (y * torch.from_numpy(arrays["upstream"])).sum().backward()
        g.check(f"{name}/y", y)
        g.check_all(f"{name}/grad_", official_grads(module) | {"x": x.grad})


def _layer(name: str, arrays: dict[str, np.ndarray], x: Tensor) -> nn.Module:
    """Our layer of a name, sized by its arrays."""
    out = arrays["y"].shape[-1]
    if name == "linear":
        return Linear(x.shape[-1], out)
    if name == "block_linear":
        return BlockLinear(x.shape[-1], out, arrays["kernel"].shape[0])
    if name == "rmsnorm":
        return RMSNorm(out)
    if name == "layernorm":
        return LayerNorm(out)
    if name == "mlp":
        return MLP(x.shape[-1], int(arrays["meta_layers"]), out)
    kernel = arrays["kernel"].shape[0]
    if name == "conv_stride2_transposed":
        return TransposedConv(x.shape[-1], out, kernel)
    strides = {"conv": 1, "conv_stride2": 2}
    return Conv(x.shape[-1], out, kernel, strides[name])


def _apply(module: nn.Module, x: Tensor) -> Tensor:
    if isinstance(module, Conv):
        return module(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    return module(x)


def normalizer(g: Golden) -> None:
    """Running percentiles, means and deviations."""
    x = g.tensor("x")
    for name in g.variants("offset_before"):
        norm = NORMALIZERS[name]()
        offset, scale = norm.stats()
        g.check(f"{name}/offset_before", offset)
        g.check(f"{name}/scale_before", scale)
        steps = [norm(step) for step in x]
        g.check(f"{name}/offset", stacked(offset for offset, _ in steps))
        g.check(f"{name}/scale", stacked(scale for _, scale in steps))
    ends = Percentile(rate=1.0, limit=0.0)  # with rate 1 the averages are the newest percentiles
    steps = [ends(step) for step in x]
    g.check("percentile_5", stacked(offset for offset, _ in steps))
    g.check("percentile_95", stacked(offset + scale for offset, scale in steps))


def optimizer(g: Golden) -> None:
    """LaProp with adaptive clipping over ten steps, schedules and decay."""
    names = g.names("init/")
    steps = len(g.array(f"grad/{names[0]}"))
    for variant in g.variants(f"params/{names[0]}"):
        settings = {"anneal": steps, **OPTIMIZERS[variant]}
        params = _trajectory(g, names, settings, torch.float32)
        # A small update added to a float32 parameter is rounded, so updates are in float64.
        precise = _trajectory(g, names, settings, torch.float64)
        for name in names:
            lone = params[name].shape[1:] == (1,) or name.endswith("bias")
            allowed = 5e-4 if lone else TOLERANCE  # README of the arrays, "optimizer"
            g.check(f"{variant}/params/{name}", params[name][1:], allowed)
            if f"{variant}/updates/{name}" in g:
                g.check(f"{variant}/updates/{name}", np.diff(precise[name], axis=0), allowed)
    for name in names:
        g.check(f"agc_only/{name}", _clipped(g, name))


def _trajectory(
    g: Golden, names: list[str], settings: dict[str, object], dtype: torch.dtype
) -> dict[str, np.ndarray]:
    """Every parameter before the first step and after each, `[1 + steps, ...]`."""
    settings = dict(settings)
    decay = settings.pop("weight_decay", 0.0)
    params = {name: nn.Parameter(g.tensor(f"init/{name}").to(dtype)) for name in names}
    groups = [
        {"params": [p], "weight_decay": decay if name.endswith("/kernel") else 0.0}
        for name, p in params.items()
    ]
    opt = LaProp(groups, **settings)
    rows = {name: [p.detach().clone()] for name, p in params.items()}
    for step in range(len(g.array(f"grad/{names[0]}"))):
        for name, p in params.items():
            p.grad = g.tensor(f"grad/{name}")[step].to(dtype)
        opt.step()
        for name, p in params.items():
            rows[name].append(p.detach().clone())
    return {name: stacked(row) for name, row in rows.items()}


def _clipped(g: Golden, name: str) -> np.ndarray:
    grads = g.tensor(f"grad/{name}")
    param = g.tensor(f"init/{name}")
    rows = []
    for grad in grads:
        grad = grad.clone()
        clip_adaptive_([grad], [param], 0.3, 1e-3)
        rows.append(grad)
    return stacked(rows)


def slow_model(g: Golden) -> None:
    """The slow copy, at three rates."""
    for name in g.variants("source"):
        source = g.tensor(f"{name}/source")
        module = nn.ParameterList([nn.Parameter(source[0].clone())])
        slow = SlowCopy(module, g.number(f"{name}/rate"), g.number(f"{name}/every"))
        (copy,) = slow.parameters()
        copy.data.copy_(torch.from_numpy(g.arrays[f"{name}/slow"][0]))
        rows = [copy.detach().clone()]
        for update, row in enumerate(source[1:]):
            module[0].data.copy_(row)
            if slow.due(update):
                slow.follow(module)
            rows.append(copy.detach().clone())
        g.check(f"{name}/slow", stacked(rows))


KINDS = {
    "layers": layers,
    "normalizer": normalizer,
    "optimizer": optimizer,
    "slow_model": slow_model,
}
