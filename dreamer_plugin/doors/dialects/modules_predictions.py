"""The documents' predictors of scalars, around `nets.heads`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar

from torch import Tensor, nn

from dreamer_plugin.build.heads import make_head
from dreamer_plugin.doors.dialects.modules_states import FeatureLike, features_of
from dreamer_plugin.doors.dialects.modules_words import read_call
from dreamer_plugin.errors import UsageError, choose
from dreamer_plugin.nets.heads import BinaryLayer, Head, NormalLayer, TwoHotLayer
from dreamer_plugin.nets.layers import MLP, Style
from dreamer_plugin.ops.distributions import MSE, Binary, Output, UnitNormal
from dreamer_plugin.ops.scaling import symexp, symlog


def squashed(output: Output) -> Tensor:
    """Prediction in symlog space, whatever space the head learns in."""
    pred = output.pred()
    return pred if _learns_symlog(output) else symlog(pred)


def in_units(output: Output) -> Tensor:
    """Prediction in the units of the target."""
    pred = output.pred()
    return symexp(pred) if _learns_symlog(output) else pred


def _learns_symlog(output: Output) -> bool:
    return isinstance(output, MSE) and output.symlog_target


class _Predictor(nn.Module):
    """A head of the world under another name.

    Args:
        feature_dim: F. dialect, parts, words: as of `RSSM`; `world.<head>` describes the head.
        part: a head to use instead of a new one.
    """

    head: ClassVar[str]

    def __init__(
        self,
        feature_dim: int = 0,
        *,
        dialect: str = "",
        parts: Mapping[str, Any] | None = None,
        part: Head | None = None,
        **words: Any,
    ) -> None:
        super().__init__()
        if part is None:
            cfg = read_call(dialect, words, parts).config
            section = getattr(cfg.world, self.head)
            part = make_head(cfg, section, known_size(feature_dim), f"world.{self.head}")
        self.part = part


class RewardPredictor(_Predictor):
    """Reward on arriving at a state, `[..., 1]` in symlog space: `symexp` of it is the reward.

    Args:
        feature_dim: F. dialect, parts, words: as of `RSSM`; `world.reward` describes the head.
        part: a head to use instead of a new one.
    """

    head = "reward"

    def forward(self, features: FeatureLike) -> Tensor:
        """Features or states in any form of `modules_states`."""
        return squashed(self.part(features_of(features))).unsqueeze(-1)


class ContinuePredictor(_Predictor):
    """Logit `[..., 1]` of an episode going on; arguments as of `RewardPredictor`.

    `world.cont` describes the head.
    """

    head = "cont"

    def forward(self, features: FeatureLike) -> Tensor:
        """Features or states in any form of `modules_states`."""
        output = self.part(features_of(features))
        assert isinstance(output, Binary)  # there is no other output for it
        return output.logit.unsqueeze(-1)


def known_size(feature_dim: int) -> int:
    """The length of features, once it was given."""
    if feature_dim < 1:
        raise UsageError("how long are the features? Pass feature_dim, such as rssm.feature_dim")
    return feature_dim


class Prediction:
    """What a `DenseDecoder` says of one number.

    Args:
        output: of the head, over `[...]`. axis: numbers have a trailing axis of length 1.

    Attributes:
        mean: `[...]` or `[..., 1]`; of a binary output the probability of 1.
    """

    def __init__(self, output: Output, axis: bool) -> None:
        self._output, self._axis = output, axis
        pred = output.pred()
        self.mean = pred.unsqueeze(-1) if axis else pred

    def log_prob(self, target: Tensor) -> Tensor:
        """Log-likelihood `[...]` in nats; of a two-hot output minus the cross entropy."""
        loss = self._output.loss(target.squeeze(-1) if self._axis else target)
        constant = 0.5 * math.log(2 * math.pi) if isinstance(self._output, UnitNormal) else 0.0
        return -loss - constant


class DenseDecoder(nn.Module):
    """MLP that predicts one number from features, such as the reward or the discount.

    Args:
        stoch_size, deter_size: of the state. output_shape: `(1,)`, or `()` for no such axis.
        n_layers, units, activation: of the MLP.
        dist: `"normal"` of variance 1, `"binary"`, or `"twohot"` over bins in symlog space.
        num_buckets, symlog_range: of the last, from `-symlog_range` to `symlog_range`.
        num_categories: with it, the state is so many variables of `stoch_size` classes.
    """

    def __init__(
        self,
        stoch_size: int,
        deter_size: int,
        output_shape: tuple[int, ...] = (1,),
        n_layers: int = 2,
        units: int = 400,
        activation: str = "elu",
        dist: str = "normal",
        num_buckets: int = 255,
        symlog_range: float = 10.0,
        num_categories: int = 1,
    ) -> None:
        super().__init__()
        if tuple(output_shape) not in ((), (1,)):
            raise UsageError(f"output_shape is {output_shape}, but one number is (1,) or ()")
        layers: dict[str, Callable[[int, float], nn.Module]] = {
            "normal": NormalLayer,
            "binary": BinaryLayer,
            "twohot": partial(TwoHotLayer, squashed=True, bins=num_buckets, limit=symlog_range),
        }
        layer: Any = choose(layers, dist, "dist")
        features = deter_size + stoch_size * num_categories
        mlp = MLP(features, n_layers, units, dense_style(activation))
        self.part = Head(mlp, layer(mlp.out_features, outscale=1.0))
        self.axis = bool(output_shape)

    def forward(self, features: FeatureLike) -> Prediction:
        """Features or states in any form of `modules_states`."""
        return Prediction(self.part(features_of(features)), self.axis)


def dense_style(activation: str, norm: str = "none") -> Style:
    """Layers as the documents draw them: an activation, and no norm unless named."""
    return Style(norm=norm, act=activation)
