"""Heads: reward, continuation, value, and policies of three kinds of action."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from dreamer_plugin.behavior.actor import Actor
from dreamer_plugin.interop.weights import import_official
from dreamer_plugin.nets.heads import BinaryLayer, Head, TwoHotLayer
from dreamer_plugin.nets.layers import MLP
from dreamer_plugin.ops.continuous import BoundedNormal
from dreamer_plugin.spaces import ActionKey

from ..reading import Golden
from .parts import official_grads


def heads(g: Golden) -> None:
    """Reward, continuation, value and policy heads, with gradients."""
    _scalar(g, "rew", "scalar_target", lambda n: TwoHotLayer(n, _bins(g, "rew"), 0.0))
    _scalar(g, "val", "scalar_target", lambda n: TwoHotLayer(n, _bins(g, "val"), 0.0))
    _scalar(g, "con", "con_target", lambda n: BinaryLayer(n, 1.0))
    for name in sorted({key.split("/")[0] for key in g.names("pol_")}):
        _policy(g, f"pol_{name}")


def _bins(g: Golden, head: str) -> int:
    return g.arrays[f"{head}/param/head/logits/bias"].shape[0]


def _mlp(g: Golden, head: str) -> MLP:
    """The MLP that a head's weights belong to."""
    kernels = [k for k in g.names(f"{head}/param/mlp/linear") if k.endswith("kernel")]
    first = g.arrays[f"{head}/param/mlp/linear0/kernel"]
    return MLP(first.shape[0], len(kernels), first.shape[1])


def _scalar(g: Golden, name: str, target: str, layer: Callable[[int], nn.Module]) -> None:
    mlp, x = _mlp(g, name), g.tensor("x")
    head = Head(mlp, layer(mlp.out_features))
    if f"{name}/pred_at_init" in g:
        g.check(f"{name}/pred_at_init", head(x).pred())
    import_official(head, g.under(f"{name}/param/"))
    out = head(x)
    loss = out.loss(g.tensor(target))
    loss.mean().backward()
    g.check(f"{name}/loss", loss)
    if name == "con":
        g.check("con/logit", out.logit)
        g.check("con/prob1", out.pred())
        g.check("con/pred", out.pred() > 0.5)
    else:
        size = (out.logits.detach().softmax(-1) * out.bins.abs()).sum(-1).numpy()
        g.check(f"{name}/logits", out.logits)
        g.check(f"{name}/pred", out.pred(), 1e-5 * size)
    g.check_all(f"{name}/grad_param/", official_grads(head))


def _policy(g: Golden, name: str) -> None:
    native, x = g.array(f"{name}/action"), g.tensor("x")
    shape = native.shape[x.ndim - 1 :]
    classes = g.arrays[f"{name}/logits"].shape[-1] if f"{name}/logits" in g else 0
    key = ActionKey("action", "discrete" if classes else "continuous", shape, classes)
    actor = Actor(_mlp(g, name), [key])
    import_official(actor, g.under(f"{name}/param/"))
    policy = actor(x)
    logp, entropy = policy.logp(_encoded(native, key, x)), policy.entropy()
    (-(logp + 0.1 * entropy)).mean().backward()
    g.check(f"{name}/logp", logp)
    g.check(f"{name}/entropy", entropy)
    g.check_all(f"{name}/grad_param/", official_grads(actor))
    (part,) = policy.parts
    if isinstance(part, BoundedNormal):
        g.check(f"{name}/mean", part.mean)
        g.check(f"{name}/stddev", part.std)
        g.check(f"{name}/mode", policy.mode())
    else:
        raw = actor.heads[0][0](actor.mlp(x)).reshape(*x.shape[:-1], *shape, classes)
        g.check(f"{name}/logits", raw)
        g.check(f"{name}/mode", policy.mode().reshape(raw.shape).argmax(-1).to(torch.int32))


def _encoded(native: np.ndarray, key: ActionKey, x: Tensor) -> Tensor:
    value = torch.from_numpy(native)
    if key.kind == "discrete":
        value = nn.functional.one_hot(value.long(), key.classes).float()
    return value.reshape(*x.shape[:-1], key.size)


KINDS = {"heads": heads}
