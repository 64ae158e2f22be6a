"""Recurrent cores: how the deterministic state moves on."""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor, nn

from dreamer_plugin.nets.layers import (
    BIASES,
    OFFICIAL,
    BlockLinear,
    LayerNorm,
    Linear,
    Style,
    Unit,
    affine,
)
from dreamer_plugin.ops.scaling import saturate


class Core(Protocol):
    """What the RSSM asks of a core."""

    deter: int

    def embed_action(self, action: Tensor) -> Tensor:
        """The part that depends on actions alone, done for a whole sequence at once."""

    def __call__(self, deter: Tensor, stoch: Tensor, action_embed: Tensor) -> Tensor:
        """Next deterministic state `[B, D]`."""


class BlockGRU(nn.Module):
    """GRU whose recurrent matrices are block-diagonal.

    Every block sees its own chunk of the state and all of the input. Gates are split within each
    block: reset | candidate | update. Source: `dreamerv3/rssm.py`, `RSSM._core`.

    Args:
        deter: D. stoch: flat size of the stochastic state. action: A. hidden: width of the inputs.
        blocks: G. layers: block-linear layers before the gates. style: of the layers.
    """

    def __init__(
        self,
        deter: int,
        stoch: int,
        action: int,
        hidden: int,
        blocks: int = 8,
        layers: int = 1,
        style: Style = OFFICIAL,
    ) -> None:
        super().__init__()
        self.deter, self.blocks = deter, blocks
        self.from_deter = Unit(deter, hidden, style)
        self.from_stoch = Unit(stoch, hidden, style)
        self.from_action = Unit(action, hidden, style)
        widths = [deter + blocks * 3 * hidden] + [deter] * layers
        biased = style.bias_under_norm
        self.mix = nn.ModuleList(
            BlockLinear(n, deter, blocks, style.fan, biased, inputs_first=not i)
            for i, n in enumerate(widths[:-1])
        )
        self.mix_norms = nn.ModuleList(style.make_norm(deter) for _ in range(layers))
        self.act = style.make_act()
        self.gates = BlockLinear(widths[-1], 3 * deter, blocks, style.fan, inputs_first=not layers)

    def embed_action(self, action: Tensor) -> Tensor:
        """`[..., A] -> [..., hidden]`; elements beyond [-1, 1] are put on the border."""
        embed: Tensor = self.from_action(saturate(action))
        return embed

    def forward(self, deter: Tensor, stoch: Tensor, action_embed: Tensor) -> Tensor:
        """`[B, D], [B, S*K], [B, hidden] -> [B, D]`."""
        shared = torch.cat([self.from_deter(deter), self.from_stoch(stoch), action_embed], -1)
        layers: list[Any] = [*self.mix, self.gates]  # containers lose types
        first, *rest = layers
        x = self._enter(first, deter.to(shared.dtype), shared)
        for norm, linear in zip(self.mix_norms, rest, strict=True):
            x = linear(self.act(norm(x)))
        return gated(*split_gates(x, self.blocks), deter)

    def _enter(self, linear: BlockLinear, deter: Tensor, shared: Tensor) -> Tensor:
        """A block-linear layer on `[chunk of deter, shared]` of each block, `[B, G*out]`.

        What all blocks share takes one dense product, and is not copied for each of them.

        Args:
            deter: `[B, D]`. shared: `[B, 3*hidden]`.
        """
        own, common = linear.split_inputs(self.deter // self.blocks, shared.shape[-1])
        dense = affine(shared, common.t(), linear.bias)  # B G*out
        rows = deter.unflatten(-1, (self.blocks, -1)).transpose(0, 1)  # G B D/G
        return dense + torch.bmm(rows, own).transpose(0, 1).flatten(1)


class GRU(nn.Module):
    """Dense GRU with one layer norm over all gate pre-activations.

    The gates see `[deter, unit([stoch, action])]` and are split reset | candidate | update. Source:
    DreamerV2 paper; danijar/dreamerv3 @ 423291a, `dreamerv3/nets.py`.

    Args:
        deter, stoch, action, hidden: as in `BlockGRU`. style: of the layers; its norm does not
            touch the gates, but `eps` and `bias` do. update_bias: added to the update gate, so
            that below zero the state changes slowly at first.
    """

    def __init__(
        self,
        deter: int,
        stoch: int,
        action: int,
        hidden: int,
        style: Style = OFFICIAL,
        update_bias: float = -1.0,
    ) -> None:
        super().__init__()
        self.deter, self.update_bias = deter, update_bias
        self.inputs = Unit(stoch + action, hidden, style)
        bias = BIASES[style.bias]  # the gates have a norm whatever that of the style
        self.gates = Linear(deter + hidden, 3 * deter, fan=style.fan, bias=bias)
        self.norm = LayerNorm(3 * deter, style.eps)

    def embed_action(self, action: Tensor) -> Tensor:
        """`[..., A] -> [..., A]`; elements beyond [-1, 1] are put on the border."""
        return saturate(action)

    def forward(self, deter: Tensor, stoch: Tensor, action_embed: Tensor) -> Tensor:
        """`[B, D], [B, S*K], [B, A] -> [B, D]`."""
        x = self.inputs(torch.cat([stoch, action_embed], -1))
        gates = self.norm(self.gates(torch.cat([deter.to(x.dtype), x], -1))).float()
        reset, candidate, update = gates.chunk(3, -1)  # each B D
        return gated(reset, candidate, update, deter, self.update_bias)


class PlainGRU(nn.Module):
    """The GRU of `torch.nn.GRUCell`: no norm, the reset after the recurrent product.

    It sees `unit([stoch, action])`. Recurrent weights start orthogonal. Source: danijar/dreamer @
    56d4d444, `models.py`; Keras `GRUCell`.

    Args:
        deter, stoch, action, hidden: as in `BlockGRU`. style: of the layers.
    """

    def __init__(
        self, deter: int, stoch: int, action: int, hidden: int, style: Style = OFFICIAL
    ) -> None:
        super().__init__()
        self.deter = deter
        self.inputs = Unit(stoch + action, hidden, style)
        self.gates = Linear(hidden, 3 * deter, fan=style.fan)
        self.recurrent = Linear(deter, 3 * deter, fan=style.fan)
        nn.init.orthogonal_(self.recurrent.weight)

    def embed_action(self, action: Tensor) -> Tensor:
        """`[..., A] -> [..., A]`; elements beyond [-1, 1] are put on the border."""
        return saturate(action)

    def forward(self, deter: Tensor, stoch: Tensor, action_embed: Tensor) -> Tensor:
        """`[B, D], [B, S], [B, A] -> [B, D]`."""
        x = self.gates(self.inputs(torch.cat([stoch, action_embed], -1))).float().chunk(3, -1)
        h = self.recurrent(deter).float().chunk(3, -1)  # each B D: reset, keep, candidate
        reset, keep = torch.sigmoid(x[0] + h[0]), torch.sigmoid(x[1] + h[1])
        candidate = torch.tanh(x[2] + reset * h[2])
        return (1 - keep) * candidate + keep * deter


AnyCore: TypeAlias = BlockGRU | GRU | PlainGRU


def split_gates(gates: Tensor, blocks: int) -> tuple[Tensor, Tensor, Tensor]:
    """`[B, 3*D]`, split within each block, to reset, candidate and update `[B, D]`, float32."""
    reset, candidate, update = gates.float().unflatten(-1, (blocks, 3, -1)).unbind(-2)  # B G D/G
    return reset.flatten(-2), candidate.flatten(-2), update.flatten(-2)


def fast_tanh(x: Tensor) -> Tensor:
    """`torch.tanh` but for rounding (2e-7), from a sigmoid: a CPU takes a third of the time."""
    return 2 * torch.sigmoid(2 * x) - 1


def gated(
    reset: Tensor, candidate: Tensor, update: Tensor, deter: Tensor, bias: float = -1.0
) -> Tensor:
    """Next state from pre-activations, all `[B, D]`; `bias` below 0 changes it slowly at first."""
    candidate = fast_tanh(torch.sigmoid(reset) * candidate)
    return torch.lerp(deter, candidate, torch.sigmoid(update + bias))
