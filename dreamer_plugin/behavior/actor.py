"""The policy: one distribution over an encoded action vector, whatever the action space."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from dreamer_plugin.errors import UsageError, choose
from dreamer_plugin.nets.layers import MLP, Linear
from dreamer_plugin.ops.continuous import (
    TANH_MODES,
    BoundedNormal,
    Continuous,
    TanhNormal,
    TruncatedNormal,
    UnboundedNormal,
)
from dreamer_plugin.ops.distributions import Categorical
from dreamer_plugin.spaces import ActionKey


class ActionDistribution:
    """Independent distributions of the keys of an action space.

    Values are encoded vectors `[..., A]`: keys in order, discrete ones as one-hot.

    Args:
        parts: one distribution per key. keys: the same number of keys.
    """

    def __init__(
        self, parts: Sequence[Categorical | Continuous], keys: Sequence[ActionKey]
    ) -> None:
        self.parts, self.keys = parts, keys

    def sample(self, noise: Tensor) -> Tensor:
        """Draw `[..., A]` from uniform noise `[..., Actor.noise_size]`."""
        drawn, at = [], 0
        for part, key in zip(self.parts, self.keys, strict=True):
            size = key.variables
            value = part.sample(noise[..., at : at + size])
            drawn.append(value.flatten(-2) if key.kind == "discrete" else value)
            at += size
        return torch.cat(drawn, -1)

    def mode(self) -> Tensor:
        """Most likely action `[..., A]`."""
        modes = [
            part.mode().flatten(-2) if key.kind == "discrete" else part.mode()
            for part, key in zip(self.parts, self.keys, strict=True)
        ]
        return torch.cat(modes, -1)

    def logp(self, action: Tensor) -> Tensor:
        """Log-probability `[...]` of encoded actions `[..., A]`, all keys and dimensions."""
        split = action.split([key.size for key in self.keys], -1)
        total = torch.zeros_like(action[..., 0])
        for part, key, value in zip(self.parts, self.keys, split, strict=True):
            if key.kind == "discrete":
                value = value.unflatten(-1, (-1, key.classes))
            total = total + part.logp(value).sum(-1)
        return total

    def entropy(self) -> Tensor:
        """Entropy `[...]` in nats, summed over keys and dimensions."""
        return torch.stack([part.entropy().sum(-1) for part in self.parts], -1).sum(-1)


class Actor(nn.Module):
    """MLP with an output layer per action key.

    Discrete keys are categorical, continuous ones what `output` says, bounded normals by default.
    Source: `embodied/jax/heads.py`; of the other outputs, see `ops.continuous`.

    Args:
        mlp: `[..., F] -> [..., U]`. keys: of the action space, sorted by name.
        outscale: scale of the output layers' initial weights.
        unimix: share of the uniform distribution in discrete keys.
        min_std, max_std: bounds of the standard deviation of continuous keys; only a bounded normal
            has the second.
        output: of continuous keys, `"bounded_normal"`, `"tanh_normal"`, `"trunc_normal"` or
            `"normal"`.
        init_std: first standard deviation of a tanh normal, about.
        tanh_mode: what of a tanh normal counts as its mode, `"likeliest"`, `"mean"` or `"median"`.

    Attributes:
        noise_size: uniform numbers that one sample takes.
    """

    def __init__(
        self,
        mlp: MLP,
        keys: Sequence[ActionKey],
        outscale: float = 0.01,
        unimix: float = 0.0,
        min_std: float = 0.1,
        max_std: float = 1.0,
        output: str = "bounded_normal",
        init_std: float = 5.0,
        tanh_mode: str = "likeliest",
    ) -> None:
        super().__init__()
        self.mlp, self.keys, self.unimix = mlp, list(keys), unimix
        if init_std <= 0:
            raise UsageError(f"behavior.actor.init_std is {init_std}, but must be above 0")
        if output == "bounded_normal" and min_std > max_std:
            raise UsageError(
                f"behavior.actor.min_std is {min_std:g}, but behavior.actor.max_std {max_std:g}: "
                f"set {max_std:g} or less"
            )
        mode = choose(TANH_MODES, tanh_mode, "behavior.actor.tanh_mode")
        outputs: dict[str, Callable[[Tensor, Tensor], Continuous]] = {
            "bounded_normal": partial(BoundedNormal, min_std=min_std, max_std=max_std),
            "tanh_normal": partial(TanhNormal, min_std=min_std, init_std=init_std, mode=mode),
            "trunc_normal": partial(TruncatedNormal, min_std=min_std),
            "normal": partial(UnboundedNormal, min_std=min_std),
        }
        self.continuous = choose(outputs, output, "behavior.actor.output")
        self.output = output
        self.noise_size = sum(key.variables for key in keys)
        # A list per key: class logits, or mean and standard deviation.
        self.heads = nn.ModuleList(
            nn.ModuleList(
                Linear(mlp.out_features, key.size, outscale, mlp.style.fan)
                for _ in range(1 if key.kind == "discrete" else 2)
            )
            for key in self.keys
        )

    def forward(self, feat: Tensor) -> ActionDistribution:
        """`[..., F] ->` distribution of `[..., A]`."""
        x = self.mlp(feat)
        heads = zip(self.keys, self.heads, strict=True)
        return ActionDistribution([self._part(x, key, head) for key, head in heads], self.keys)

    def _part(self, x: Tensor, key: ActionKey, head: nn.Module) -> Categorical | Continuous:
        raw = [layer(x) for layer in head.children()]
        if key.kind == "discrete":
            return Categorical(raw[0].unflatten(-1, (-1, key.classes)), self.unimix)
        return self.continuous(raw[0], raw[1])
