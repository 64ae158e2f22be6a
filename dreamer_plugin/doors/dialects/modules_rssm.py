"""The documents' `RSSM`, around `world.rssm.RSSM`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from dreamer_plugin.build import build_rssm
from dreamer_plugin.doors.dialects.modules_states import State, StateLike, features_of, state_of
from dreamer_plugin.doors.dialects.modules_words import ACTION, EMBED, read_call
from dreamer_plugin.errors import UsageError
from dreamer_plugin.world import rssm


class RSSM(nn.Module):
    """Recurrent state-space model with states as dictionaries.

    A state is `{"deter": [B, D], "stoch": [B, S*K]}`. Logits are log-probabilities `[B, S, K]` that
    sum to one; of Gaussian latents, mean and standard deviation `[B, 2*S]`. Samples come from
    torch's global generator, or from uniform `noise` in [0, 1) of the shape `noise_shape` has.

    Args:
        action_dim (or action_size), embed_dim (or embed_size, obs_embed_size): sizes of what comes
            in. Further words are those of a dialect, see `modules_words`.
        dialect: whose words and parts, where the words do not tell.
        parts: keys of the configuration, such as `{"world.core.kind": "gru"}`.
        part: a `world.rssm.RSSM` to use instead of a new one.

    Raises:
        UsageError: naming the word or value that cannot be, and what could.
    """

    def __init__(
        self,
        *,
        dialect: str = "",
        parts: Mapping[str, Any] | None = None,
        part: rssm.RSSM | None = None,
        **words: Any,
    ) -> None:
        super().__init__()
        if part is None:
            call = read_call(dialect, words, parts)
            action = call.size(ACTION, "action_dim= (or action_size=)")
            embed = call.size(EMBED, "embed_dim= (or embed_size=, obs_embed_size=)")
            part = build_rssm(call.config, action, embed)
        elif words:
            raise UsageError(f"part= has its sizes; leave {', '.join(words)} out")
        self.part = part

    @property
    def feature_dim(self) -> int:
        """F, the length of `get_features`."""
        return self.part.feat_size

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """Uniform numbers that one state takes."""
        return self.part.latent.noise_shape

    def initial_state(self, batch_size: int) -> State:
        """The state before an episode."""
        return self._state(*self.part.initial(batch_size))

    def get_features(self, state: StateLike) -> Tensor:
        """`[..., D + S*K]`, the deterministic part first."""
        return features_of(state)

    def observe_step(
        self, prev_state: StateLike, prev_action: Tensor, obs: Tensor, noise: Tensor | None = None
    ) -> tuple[State, Tensor, Tensor]:
        """Move on and look.

        Args:
            prev_state: before. prev_action: `[B, A]` that led here. obs: `[B, E]`, an encoder's
                output. noise: see the class.

        Returns:
            The new state, prior logits, posterior logits.
        """
        part = self.part
        deter, stoch = self._tensors(prev_state)
        goes_on = torch.zeros(len(deter), dtype=torch.bool, device=deter.device)
        action = part.core.embed_action(prev_action)
        deter, post = part.filter_step(deter, stoch, action, obs, goes_on)
        stoch = part.latent.sample(post, self._noise(noise, deter))
        return self._state(deter, stoch), part.latent.params(part.prior(deter)), post

    def imagine_step(
        self, state: StateLike, action: Tensor, noise: Tensor | None = None
    ) -> tuple[State, Tensor]:
        """Move on without looking: the next state and its prior logits.

        The pair may be passed on as it is wherever a state is expected.
        """
        deter, prior = self.part.predict_step(*self._tensors(state), action)
        stoch = self.part.latent.sample(prior, self._noise(noise, deter))
        return self._state(deter, stoch), prior

    def observe_sequence(
        self,
        obs_embed: Tensor,
        actions: Tensor | None = None,
        *,
        prev_actions: Tensor | None = None,
        is_first: Tensor | None = None,
        state: StateLike | None = None,
        noise: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Filter sequences.

        Args:
            obs_embed: `[B, T, E]`.
            actions: `[B, T, A]`, taken FROM each frame, as `ReplayBuffer` returns them: the action
                of frame t leads to frame t + 1, and none led to the first.
            prev_actions: `[B, T, A]` instead, that led TO each frame.
            is_first: `[B, T]` bool, frames that begin an episode; by default the first column,
                or with `state` none.
            state: before the first frame; with it, pass `prev_actions`.
            noise: `[B, T, *noise_shape]`.

        Returns:
            h `[B, T, D]`, z `[B, T, S*K]`, prior and posterior logits `[B, T, S, K]`.
        """
        batch, time = obs_embed.shape[:2]
        led = self._led_here(actions, prev_actions, state is not None)
        if is_first is None:
            is_first = torch.zeros(batch, time, dtype=torch.bool, device=obs_embed.device)
            is_first[:, 0] = state is None
        start = self.part.initial(batch) if state is None else self._tensors(state)
        drawn = self._noise(noise, obs_embed[..., 0].unsqueeze(-1))
        states = self.part.observe(obs_embed, led, is_first, start, drawn)
        return states["deter"], self.part.flat(states["stoch"]), states["prior"], states["post"]

    def _led_here(
        self, actions: Tensor | None, prev_actions: Tensor | None, goes_on: bool
    ) -> Tensor:
        if (actions is None) == (prev_actions is None):
            raise UsageError("pass either actions (taken from each frame) or prev_actions=")
        if prev_actions is not None:
            return prev_actions
        assert actions is not None
        if goes_on:
            raise UsageError("with state=, say what led to the first frame: pass prev_actions=")
        return torch.cat([torch.zeros_like(actions[:, :1]), actions[:, :-1]], 1)

    def _tensors(self, given: StateLike) -> tuple[Tensor, Tensor]:
        state = state_of(given)
        deter = state["deter"]
        return deter, state["stoch"].reshape(*deter.shape[:-1], *self.part.latent.shape)

    def _state(self, deter: Tensor, stoch: Tensor) -> State:
        return {"deter": deter, "stoch": self.part.flat(stoch)}

    def _noise(self, noise: Tensor | None, like: Tensor) -> Tensor:
        if noise is not None:
            return noise
        return torch.rand(*like.shape[:-1], *self.noise_shape, device=like.device)
