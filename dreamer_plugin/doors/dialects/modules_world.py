"""The documents' `WorldModel`, around `world.model.WorldModel`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from dreamer_plugin.build import build_world
from dreamer_plugin.doors.dialects.modules_predictions import (
    ContinuePredictor,
    RewardPredictor,
    squashed,
)
from dreamer_plugin.doors.dialects.modules_rssm import RSSM
from dreamer_plugin.doors.dialects.modules_states import FeatureLike, features_of
from dreamer_plugin.doors.dialects.modules_words import ACTION, obs_key, read_call, simple_spaces
from dreamer_plugin.errors import UsageError
from dreamer_plugin.nets import codec
from dreamer_plugin.ops.distributions import DiscreteTarget, Output
from dreamer_plugin.ops.scaling import symlog
from dreamer_plugin.world import model

Obs = Tensor | Mapping[str, Tensor]


class Encoder(nn.Module):
    """Observations to embeddings: `name` is that of the only one, or empty."""

    def __init__(self, part: codec.Encoder, name: str) -> None:
        super().__init__()
        self.part, self.name = part, name

    def forward(self, obs: Obs) -> Tensor:
        """`[..., *shape]`, or a dictionary of these by name, to `[..., E]`."""
        if isinstance(obs, Tensor):
            if not self.name:
                raise UsageError("this model sees several observations: pass a dict by name")
            obs = {self.name: obs}
        embed: Tensor = self.part(obs)
        return embed


class Decoder(nn.Module):
    """Features to reconstructions: arguments as of `Encoder`, and D, the size of deter."""

    def __init__(self, part: codec.Decoder, name: str, deter: int) -> None:
        super().__init__()
        self.part, self.name, self.deter = part, name, deter

    def forward(self, features: FeatureLike) -> Any:
        """In symlog space `[..., *shape]`, or a dictionary of these where there are several."""
        given = features_of(features)
        outputs = self.part(given[..., : self.deter], given[..., self.deter :])
        seen = {name: _reconstruction(output) for name, output in outputs.items()}
        return seen[self.name] if self.name else seen


def _reconstruction(output: Output) -> Tensor:
    if isinstance(output, codec.ImageOutput):
        return symlog(255 * output.pred())
    return output.pred() if isinstance(output, DiscreteTarget) else squashed(output)


class WorldModel(nn.Module):
    """Encoder, RSSM, decoder, reward and continuation.

    Observations are vectors, or images `[..., H, W, C]` of bytes. What is reconstructed comes in
    symlog space, to be compared with `symlog(obs)`; of images with the symlog of bytes.

    Args:
        obs_shape: of one observation, or its length. discrete: one choice among `action_dim`.
        dialect, parts, words: as of `RSSM`; an embedding size is that of a linear layer after an
            image encoder.
        part: a `world.model.WorldModel` to use instead, such as `Dreamer(...).agent.world`.

    Attributes:
        encoder, rssm, decoder, reward_predictor, continue_predictor: the parts; the last is None
            where nothing is said to end.
    """

    def __init__(
        self,
        obs_shape: int | tuple[int, ...] = (),
        *,
        discrete: bool = False,
        dialect: str = "",
        parts: Mapping[str, Any] | None = None,
        part: model.WorldModel | None = None,
        **words: Any,
    ) -> None:
        super().__init__()
        if part is None:
            if not obs_shape:
                raise UsageError("what does it see? Pass obs_shape, such as 4 or (64, 64, 3)")
            call = read_call(dialect, words, parts)
            if "embed" in call.outside:
                call.config.world.encoder.embed_size = call.outside["embed"]
            action = call.size(ACTION, "action_dim= (or action_size=)")
            part = build_world(call.config, simple_spaces(obs_key(obs_shape), action, discrete))
        keys = [*part.encoder.images, *part.encoder.vectors]
        name = keys[0].name if len(keys) == 1 else ""
        self._whole = (part,)  # in a tuple, so that no parameter is registered twice
        self.encoder = Encoder(part.encoder, name)
        self.rssm = RSSM(part=part.rssm)
        self.decoder = Decoder(part.decoder, name, part.rssm.core.deter)
        self.reward_predictor = RewardPredictor(part=part.reward)
        self.continue_predictor = None if part.cont is None else ContinuePredictor(part=part.cont)

    @property
    def part(self) -> model.WorldModel:
        """The world model itself, with its losses."""
        return self._whole[0]
