"""The world model: encoder, RSSM, decoder and the scalar heads, and its losses.

All targets stand at the time of the frame they describe: the reward is the one earned on arriving,
the continuation says whether this very frame is not terminal, times the discount.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor, nn

from dreamer_plugin.keys import Fields
from dreamer_plugin.nets.codec import Decoder, Encoder
from dreamer_plugin.nets.heads import Head
from dreamer_plugin.nets.twin import as_data
from dreamer_plugin.ops.distributions import Output
from dreamer_plugin.world.balance import Harmony
from dreamer_plugin.world.rssm import RSSM


class WorldModel(nn.Module):
    """Everything that is learned from replayed frames alone.

    Args:
        encoder, rssm, decoder: the parts.
        reward, cont: heads on feat; without `cont` nothing is said to end, and dreams go on.
        cont_discount: multiplied into the continuation target, so that the head learns the
            discount; 1 leaves the discount to the returns.
        reward_grad, cont_grad: whether a head's loss trains the parts below it.
        cont_threshold: dreams go on or end, as is likelier, instead of going on in part.
        reward_transform: what becomes of recorded rewards before anything learns them.
        balance: learned weights of losses, beside their scales.

    Source: `dreamerv3/agent.py`, `Agent.loss`.
    """

    def __init__(
        self,
        encoder: Encoder,
        rssm: RSSM,
        decoder: Decoder,
        reward: Head,
        cont: Head | None,
        cont_discount: float,
        reward_grad: bool = True,
        cont_grad: bool = True,
        cont_threshold: bool = False,
        reward_transform: Callable[[Tensor], Tensor] | None = None,
        balance: Harmony | None = None,
    ) -> None:
        super().__init__()
        self.encoder, self.rssm, self.decoder = encoder, rssm, decoder
        self.reward, self.cont = reward, cont
        self.cont_discount = cont_discount
        self.reward_grad, self.cont_grad = reward_grad, cont_grad
        self.cont_threshold = cont_threshold
        self.reward_transform = reward_transform
        self.balance = balance

    def observe(
        self, batch: TensorDict, noise: Tensor, code_noise: Tensor | None = None
    ) -> TensorDict:
        """Encode and filter a batch of arrival records.

        Args:
            batch: `[B, T]` with obs, prev_action `[B, T, A]`, is_first, and the start state under
                `"start"`: deter `[B, T, D]` and stoch `[B, T, *latent]`, read at T = 0.
            noise: `[B, T, *latent noise]`. code_noise: `[B, T, encoder's noise]` of an encoder that
                draws its embeddings; without it the likeliest are taken.

        Returns:
            TensorDict `[B, T]`, see `RSSM.observe`; also `encoded`, where embeddings are drawn.
        """
        start = batch["start", "deter"][:, 0], batch["start", "stoch"][:, 0]
        encoded = self.encode(batch["obs"])
        embed = self.encoder.draw(encoded, code_noise)
        states = self.rssm.observe(embed, batch["prev_action"], batch["is_first"], start, noise)
        if self.encoder.noise_size:
            states["encoded"] = encoded
        return states

    def encode(self, obs: Fields) -> Tensor:
        """What the encoder makes of a batch's observations, `[B, T, P]`."""
        return self.encoder.encode(obs)

    def losses(self, states: Fields, batch: Fields) -> dict[str, Tensor]:
        """Losses of every head, both KL halves and those of the encoder, each `[B, T]`.

        Args:
            states: from `observe`. batch: `[B, T]` with obs, reward, is_terminal.
        """
        outputs = self.outputs(states)
        targets = {
            **{name: batch["obs"][name] for name in outputs if name not in ("reward", "cont")},
            "reward": batch["reward"],
            "cont": self.cont_target(batch["is_terminal"]),
        }
        losses = {name: output.loss(targets[name]) for name, output in outputs.items()}
        if "encoded" in states:
            losses |= self.encoder.losses(states["encoded"])
        return losses | self.rssm.kl(states)

    def reward_target(self, reward: Tensor) -> Tensor:
        """What is learned of recorded rewards `[...]`."""
        return reward if self.reward_transform is None else self.reward_transform(reward)

    def cont_target(self, is_terminal: Tensor) -> Tensor:
        """What the continuation head learns of frames `[...]`."""
        return (~is_terminal).float() * self.cont_discount

    def outputs(self, states: Fields) -> dict[str, Output]:
        """Every prediction at the given states: one per observation key, `reward` and `cont`."""
        feat = states["feat"]
        outputs = self.decoder(states["deter"], self.rssm.flat(states["stoch"]))
        outputs["reward"] = self.reward(feat if self.reward_grad else feat.detach())
        if self.cont is not None:
            outputs["cont"] = self.cont(feat if self.cont_grad else feat.detach())
        return outputs

    def judge(self, feat: Tensor) -> tuple[Tensor, Tensor]:
        """Predicted reward and continuation `[...]` of dreamed states `[..., F]`.

        Where the dream has a graph, gradients reach its states; the heads learn nothing from it.
        """
        if feat.requires_grad:
            return self._judged(feat, as_data)
        with torch.no_grad():
            return self._judged(feat, _itself)

    def _judged(
        self, feat: Tensor, using: Callable[[Head], Callable[[Tensor], Any]]
    ) -> tuple[Tensor, Tensor]:
        reward: Tensor = using(self.reward)(feat).pred()
        if self.cont is None:
            return reward, torch.ones_like(reward)
        cont = using(self.cont)(feat)
        # The head has learned the discount as well, which a threshold would round away.
        return reward, cont.mode() * self.cont_discount if self.cont_threshold else cont.pred()


def _itself(head: Head) -> Head:
    return head
