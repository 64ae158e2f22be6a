"""Filtering with deferred weight gradients: the values and gradients of `plain_scan`, faster.

Autograd through T small steps multiplies and adds up every weight gradient T times. Here the
backward pass carries only the gradient of the state from step to step; what each matrix received is
kept, and its weight gradient is one product over all B*T rows at the end. What does not depend on
the state (the parts of the core's and the posterior's first products that see actions and
embeddings) is computed for the whole sequence outside.

One step, matrices in capitals, `unit(a) = silu(rms_norm(a) * scale)`; `*` is kept for backward:

    h0, z0 *  = h, z where the episode goes on, else 0
    u1 = unit(a1 *),  a1 = h0 DETER + bias            u2 = unit(a2 *),  a2 = z0 STOCH + bias
    x  = unit(m *),   m = h0 MIX_DETER (by block) + [u1, u2] MIX_SHARED + action part
    h * = gru(g *, h0), g = x GATES (by block) + bias
    y  = unit(p *),   p = h POST + embedding part
    l *  = y LOGITS + bias;   post = mix(l),  z ~ post

It stands for one shape of the parts: a block GRU with one layer, a posterior with one unit,
categorical latents with straight-through gradients, zeros as the start, the official style.
`supports` tells; other shapes take the plain loop.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from dreamer_plugin.nets.layers import NORM_EPS, OFFICIAL, working_dtype
from dreamer_plugin.nets.products import few_rows
from dreamer_plugin.world.cores import BlockGRU, fast_tanh, gated, split_gates
from dreamer_plugin.world.latent import CategoricalLatent
from dreamer_plugin.world.rssm import RSSM, forget

# Derivatives as one operation each: a step of few rows takes as long as it has operations.
_d_silu = torch.ops.aten.silu_backward.default  # of the gradient and the input
_d_tanh = torch.ops.aten.tanh_backward.default  # of the gradient and the output
_d_sigmoid = torch.ops.aten.sigmoid_backward.default  # likewise


class Weights(NamedTuple):
    """What a step multiplies with; matrices map rows, `[in, out]` or `[G, in, out]`."""

    deter: Tensor  # D hidden
    deter_bias: Tensor
    deter_scale: Tensor
    stoch: Tensor  # S*K hidden
    stoch_bias: Tensor
    stoch_scale: Tensor
    mix_deter: Tensor  # G D/G D/G
    mix_shared: Tensor  # 2*hidden D
    mix_scale: Tensor
    gates: Tensor  # G D/G 3*D/G
    gates_bias: Tensor
    post: Tensor  # D hidden
    post_scale: Tensor
    logits: Tensor  # hidden S*K
    logits_bias: Tensor


class Kept(NamedTuple):
    """What the backward pass of one step needs, names as in the table above."""

    h0: Tensor
    z0: Tensor
    a1: Tensor
    a2: Tensor
    m: Tensor
    g: Tensor
    h: Tensor
    p: Tensor
    logits: Tensor


class Received(NamedTuple):
    """Gradients at the outputs of one step's matrices, and those of its norm scales."""

    a1: Tensor
    a2: Tensor
    m: Tensor
    g: Tensor
    p: Tensor
    logits: Tensor
    deter_scale: Tensor
    stoch_scale: Tensor
    mix_scale: Tensor
    post_scale: Tensor


def supports(rssm: RSSM) -> bool:
    """Whether the model has the shape this file is written for."""
    return (
        type(rssm.core) is BlockGRU
        and len(rssm.core.mix) == 1
        and isinstance(rssm.latent, CategoricalLatent)
        and rssm.latent.gradient == "straight_through"
        and not rssm.absolute
        and rssm.posterior_layers == 1
        and rssm.style == OFFICIAL
        and rssm.start is None
    )


class DeferredScan:
    """`RSSM.scan` of the supported shape.

    Args:
        wrap: applied to the forward and the backward step, `torch.compile` for one.
        small: widest D whose steps of few rows take longer to start products than to make them: on
            a CPU, their float32 products are made by what starts soonest.
        exact: filter such states in float32 on a CPU whatever the precision; for steps that are
            not compiled, casts cost more than bfloat16 saves.
    """

    def __init__(
        self, wrap: Callable[[Any], Any] = lambda step: step, small: int = 0, exact: bool = True
    ) -> None:
        self.forward, self.backward = wrap(forward_step), wrap(backward_step)
        self.small, self.exact = small, exact

    def is_small(self, deter: Tensor) -> bool:
        """Whether states `[..., D]`, or their gradients, are of those of few numbers, on a CPU."""
        return deter.shape[-1] <= self.small and deter.device.type == "cpu"

    def __call__(
        self,
        rssm: RSSM,
        embed: Tensor,
        actions: Tensor,
        is_first: Tensor,
        start: tuple[Tensor, Tensor],
        noise: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See `plain_scan`."""
        core, posterior = cast(Any, rssm.core), cast(Any, rssm.posterior)  # containers lose types
        unit, logits = posterior[0][0], posterior[1]
        deter, hidden, blocks = core.deter, core.from_deter[0].out_features, core.blocks
        exact = self.exact and self.is_small(start[0])
        low = torch.float32 if exact else working_dtype(embed.device)
        parts = core.mix[0].split_inputs(deter // blocks, 2 * hidden, hidden)
        own, shared, from_action = parts  # G in D/G, in D, in D
        from_deter, from_embed = unit[0].weight.t().split([deter, embed.shape[-1]], 0)
        action_part = actions.to(low) @ from_action.to(low) + core.mix[0].bias.to(low)  # B T D
        embed_part = embed.to(low) @ from_embed.to(low) + unit[0].bias.to(low)  # B T hidden
        weights = Weights(
            *_unit_weights(core.from_deter),
            *_unit_weights(core.from_stoch),
            mix_deter=own.contiguous(),  # small products are slow otherwise
            mix_shared=shared,
            mix_scale=core.mix_norms[0].weight,
            gates=core.gates.weight,
            gates_bias=core.gates.bias,
            post=from_deter,
            post_scale=unit[1].weight,
            logits=logits.weight.t(),
            logits_bias=logits.bias,
        )
        lowered = [
            weight if name.endswith("_scale") else weight.to(low)
            for name, weight in weights._asdict().items()
        ]
        # Autocast ends here: every type below is chosen on purpose.
        with torch.autocast(embed.device.type, enabled=False):
            states: tuple[Tensor, Tensor, Tensor] = _Scan.apply(  # type: ignore[no-untyped-call]
                self, rssm.latent, action_part, embed_part, is_first, noise, *start, *lowered
            )
        return states


def _unit_weights(unit: Any) -> tuple[Tensor, Tensor, Tensor]:
    return unit[0].weight.t(), unit[0].bias, unit[1].weight


class _Scan(torch.autograd.Function):
    """The loop; tensors come and go as `[B, T, ...]`."""

    @staticmethod
    def forward(
        ctx: Any,
        steps: DeferredScan,
        latent: CategoricalLatent,
        action_part: Tensor,
        embed_part: Tensor,
        is_first: Tensor,
        noise: Tensor,
        deter: Tensor,
        stoch: Tensor,
        *lowered: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        weights = Weights(*lowered)
        rows = (action_part, embed_part, is_first, noise)
        inputs = (x.transpose(0, 1).contiguous() for x in rows)
        # In memory like the states of later steps, or a compiler makes one more step for the first.
        deter, stoch = deter.contiguous(), stoch.contiguous()
        kept, out = [], []
        with few_rows(steps.is_small(deter)):
            for inputs_t in zip(*inputs, strict=True):
                deter, stoch, post, kept_t = steps.forward(deter, stoch, *inputs_t, weights, latent)
                out.append((deter, stoch, post))
                kept.append(kept_t)
        ctx.steps, ctx.latent, ctx.kept = steps, latent, kept
        ctx.save_for_backward(is_first, *lowered)
        deters, stochs, posts = (torch.stack(x, 1) for x in zip(*out, strict=True))
        return deters, stochs, posts

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_deters: Tensor, d_stochs: Tensor, d_posts: Tensor) -> Any:
        is_first, *lowered = ctx.saved_tensors
        weights = Weights(*lowered)
        rows = (d_deters, d_stochs, d_posts, is_first)
        outside = [x.transpose(0, 1).contiguous() for x in rows]
        d_deter, d_stoch = torch.zeros_like(outside[0][0]), torch.zeros_like(outside[1][0])
        received: list[Received] = []
        with few_rows(ctx.steps.is_small(d_deters)):
            for t in reversed(range(len(ctx.kept))):
                given = (*(x[t] for x in outside), ctx.kept[t], weights, ctx.latent.unimix)
                d_deter, d_stoch, received_t = ctx.steps.backward(d_deter, d_stoch, *given)
                received.append(received_t)
        received.reverse()
        kept = Kept(*(torch.stack(x) for x in zip(*ctx.kept, strict=True)))
        got = Received(*(torch.stack(x) for x in zip(*received, strict=True)))
        ctx.kept = None
        gradients = weight_gradients(kept, got, weights)
        parts = got.m.transpose(0, 1), got.p.transpose(0, 1)
        return (None, None, *parts, None, None, d_deter, d_stoch, *gradients)


def forward_step(
    deter: Tensor,
    stoch: Tensor,
    action_part: Tensor,
    embed_part: Tensor,
    is_first: Tensor,
    noise: Tensor,
    w: Weights,
    latent: CategoricalLatent,
) -> tuple[Tensor, Tensor, Tensor, Kept]:
    """One step without a graph: `[B, D], [B, S, K] ->` the next ones, post, and what is kept."""
    low = w.deter.dtype
    h0, z0 = forget(deter, is_first), forget(stoch, is_first).flatten(1).to(low)
    h0_low = h0.to(low)
    a1 = torch.addmm(w.deter_bias, h0_low, w.deter)
    a2 = torch.addmm(w.stoch_bias, z0, w.stoch)
    shared = torch.cat([_unit(a1, w.deter_scale), _unit(a2, w.stoch_scale)], -1)
    m = torch.addmm(action_part, shared, w.mix_shared) + _by_block(h0_low, w.mix_deter)
    g = _by_block(_unit(m, w.mix_scale), w.gates) + w.gates_bias
    h = gated(*split_gates(g, len(w.gates)), h0)
    p = torch.addmm(embed_part, h.to(low), w.post)
    logits = torch.addmm(w.logits_bias, _unit(p, w.post_scale), w.logits)
    post = latent.params(logits)
    z = latent.sample(post, noise)
    return h, z, post, Kept(h0, z0, a1, a2, m, g, h, p, logits)


def backward_step(
    d_deter: Tensor,
    d_stoch: Tensor,
    d_deter_out: Tensor,
    d_stoch_out: Tensor,
    d_post: Tensor,
    is_first: Tensor,
    kept: Kept,
    w: Weights,
    unimix: float,
) -> tuple[Tensor, Tensor, Received]:
    """Gradients of one step from those of the later steps and of the losses at this one."""
    low = w.deter.dtype
    d_h, d_z = d_deter + d_deter_out, d_stoch + d_stoch_out
    d_logits = _d_logits(kept.logits, d_z, d_post, unimix).to(low)
    d_p, d_post_scale = _d_unit(kept.p, w.post_scale, d_logits @ w.logits.t())
    d_h = d_h + d_p @ w.post.t()
    d_g, d_h0 = _d_gru(kept.g, kept.h0, d_h, len(w.gates))
    d_g = d_g.to(low)
    d_m, d_mix_scale = _d_unit(kept.m, w.mix_scale, _by_block(d_g, w.gates.transpose(1, 2)))
    d_u1, d_u2 = (d_m @ w.mix_shared.t()).chunk(2, -1)
    d_a1, d_deter_scale = _d_unit(kept.a1, w.deter_scale, d_u1)
    d_a2, d_stoch_scale = _d_unit(kept.a2, w.stoch_scale, d_u2)
    d_h0 = d_h0 + d_a1 @ w.deter.t() + _by_block(d_m, w.mix_deter.transpose(1, 2))
    d_z0 = (d_a2 @ w.stoch.t()).float().view_as(d_z)
    scales = d_deter_scale, d_stoch_scale, d_mix_scale, d_post_scale
    got = Received(d_a1, d_a2, d_m, d_g, d_p, d_logits, *scales)
    return forget(d_h0, is_first), forget(d_z0, is_first), got


def weight_gradients(kept: Kept, got: Received, w: Weights) -> Weights:
    """Gradients of all weights from `[T, B, ...]` of inputs and received gradients."""
    low = w.deter.dtype
    h0, h = kept.h0.to(low), kept.h.to(low)
    shared = torch.cat([_unit(kept.a1, w.deter_scale), _unit(kept.a2, w.stoch_scale)], -1)
    return Weights(
        deter=_product(h0, got.a1),
        deter_bias=got.a1.sum((0, 1)),
        deter_scale=got.deter_scale.sum(0),
        stoch=_product(kept.z0, got.a2),
        stoch_bias=got.a2.sum((0, 1)),
        stoch_scale=got.stoch_scale.sum(0),
        mix_deter=_block_product(h0, got.m, len(w.gates)),
        mix_shared=_product(shared, got.m),
        mix_scale=got.mix_scale.sum(0),
        gates=_block_product(_unit(kept.m, w.mix_scale), got.g, len(w.gates)),
        gates_bias=got.g.sum((0, 1)),
        post=_product(h, got.p),
        post_scale=got.post_scale.sum(0),
        logits=_product(_unit(kept.p, w.post_scale), got.logits),
        logits_bias=got.logits.sum((0, 1)),
    )


def _unit(a: Tensor, scale: Tensor) -> Tensor:
    return F.silu(F.rms_norm(a.float(), scale.shape, scale, NORM_EPS).to(a.dtype))


def _d_unit(a: Tensor, scale: Tensor, d_out: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of a unit's input, in its type, and of its scale."""
    x = a.float()
    inverse = torch.rsqrt((x * x).mean(-1, keepdim=True) + NORM_EPS)
    normed = x * inverse
    d_scaled = _d_silu(d_out.float(), normed * scale)
    d_normed = d_scaled * scale
    along = (d_normed * normed).mean(-1, keepdim=True)
    d_x = inverse * torch.addcmul(d_normed, normed, along, value=-1)
    return d_x.to(a.dtype), (d_scaled * normed).sum(0)


def _d_gru(g: Tensor, h0: Tensor, d_h: Tensor, blocks: int) -> tuple[Tensor, Tensor]:
    """Gradients of the gates `[B, 3*D]` and of the state on its direct way."""
    reset, raw, update = split_gates(g, blocks)
    reset, update = torch.sigmoid(reset), torch.sigmoid(update - 1)
    candidate = fast_tanh(reset * raw)
    d_inner = _d_tanh(d_h * update, candidate)
    d_reset = _d_sigmoid(d_inner * raw, reset)
    d_update = _d_sigmoid(d_h * (candidate - h0), update)
    parts = (x.unflatten(-1, (blocks, -1)) for x in (d_reset, d_inner * reset, d_update))
    return torch.stack(list(parts), -2).flatten(1), d_h * (1 - update)


def _d_logits(logits: Tensor, d_z: Tensor, d_post: Tensor, unimix: float) -> Tensor:
    """Through the straight-through sample and the mixed log-probabilities, `[B, S*K]`."""
    softmax = torch.softmax(logits.unflatten(-1, d_z.shape[-2:]).float(), -1)
    mixed = (1 - unimix) * softmax + unimix / d_z.shape[-1]
    of_post = (1 - unimix) * softmax / mixed if unimix else 1.0  # else 0/0 where nothing is left
    d_mixed = (1 - unimix) * softmax * d_z + of_post * d_post
    return (d_mixed - softmax * d_mixed.sum(-1, keepdim=True)).flatten(1)


def _by_block(x: Tensor, weight: Tensor) -> Tensor:
    """`[B, G*in], [G, in, out] -> [B, G*out]`."""
    rows = x.unflatten(-1, (len(weight), -1)).transpose(0, 1)  # G B in
    return torch.bmm(rows, weight).transpose(0, 1).flatten(1)


def _product(inputs: Tensor, received: Tensor) -> Tensor:
    """`[T, B, in], [T, B, out] -> [in, out]`."""
    return inputs.flatten(0, 1).t() @ received.flatten(0, 1)


def _block_product(inputs: Tensor, received: Tensor, blocks: int) -> Tensor:
    """`[T, B, G*in], [T, B, G*out] -> [G, in, out]`."""
    rows, got = (x.flatten(0, 1).unflatten(-1, (blocks, -1)) for x in (inputs, received))
    return torch.bmm(rows.permute(1, 2, 0), got.transpose(0, 1))
