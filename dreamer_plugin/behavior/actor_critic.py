"""Actor and critic learned in dreams, the critic also on replayed frames.

Arrival convention (see `ops.returns`): for a dream of H steps there are H + 1 states and H losses;
the last state only bootstraps. N = B * T dreams, one from every replayed state.

Source: DreamerV3 paper eq. 6-12; `dreamerv3/agent.py`, `imag_loss` and `repl_loss`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dreamer_plugin.behavior.actor import Actor
from dreamer_plugin.behavior.normalize import Normalizer
from dreamer_plugin.keys import Fields
from dreamer_plugin.nets.heads import Head
from dreamer_plugin.nets.twin import SlowCopy, frozen
from dreamer_plugin.ops.distributions import Output
from dreamer_plugin.ops.returns import arrival_returns, arrival_weights, replay_returns


@dataclass(frozen=True)
class ReturnSettings:
    """How returns are made and weighed.

    Args:
        discount: of replayed returns. dream_discount: of dreamed ones, 1 where the continuation
            head has learned the discount. lambda_: mixing of returns. entropy: actor bonus.
        slow_reg: weight of the pull towards the slow critic. slow_target: bootstrap from it.
        replay_grad: whether the replay value loss trains the world model.
        dynamics: share of the actor's objective that is the advantage itself, with its gradient
            through the dream; the rest is the score function (REINFORCE).
    """

    discount: float = 1 - 1 / 333
    dream_discount: float = 1.0
    lambda_: float = 0.95
    entropy: float = 3e-4
    slow_reg: float = 1.0
    slow_target: bool = False
    replay_grad: bool = True
    dynamics: float = 0.0


class ActorCritic(nn.Module):
    """Policy, critic, its slow copy and three normalisers.

    Args:
        actor, critic: heads on feat. slow: copy of the critic.
        return_norm, value_norm, advantage_norm: `x -> (offset, scale)`.
        settings: numbers of the losses.
    """

    def __init__(
        self,
        actor: Actor,
        critic: Head,
        slow: SlowCopy,
        return_norm: Normalizer,
        value_norm: Normalizer,
        advantage_norm: Normalizer,
        settings: ReturnSettings,
    ) -> None:
        super().__init__()
        self.actor, self.critic, self.slow = actor, critic, slow
        self.return_norm, self.value_norm = return_norm, value_norm
        self.advantage_norm = advantage_norm
        self.settings = settings

    def dream_losses(
        self, dream: Fields, reward: Tensor, cont: Tensor
    ) -> tuple[dict[str, Tensor], Tensor, dict[str, Tensor]]:
        """Policy and value losses of dreams.

        Args:
            dream: `[N, H+1]` with feat and action, as data or (`imagine_through`) with a graph.
            reward, cont: `[N, H+1]` predicted at the dreamed states.

        Returns:
            Losses `policy` and `value`, each `[N, H]`; returns `[N, H]`; metrics.
        """
        s, feat = self.settings, dream["feat"].detach()
        value = self.critic(feat[:, :-1])
        if dream["feat"].requires_grad:
            with frozen(self.critic):
                fast = self.critic(dream["feat"]).pred()
            slow = self.slow(dream["feat"]).pred()
        else:
            with torch.no_grad():
                last = self.critic(feat[:, -1:])
                slow = self.slow(feat).pred()
                fast = torch.cat([value.pred(), last.pred()], 1)
        offset, scale = self.value_norm.stats()
        fast = fast * scale + offset
        bootstrap = slow * scale + offset if s.slow_target else fast
        ret = arrival_returns(reward, cont, bootstrap, s.dream_discount, s.lambda_)  # N H
        weight = arrival_weights(cont, s.dream_discount)[:, :-1].detach()

        _, ret_scale = self.return_norm(ret)
        advantage = (ret - bootstrap[:, :-1]) / ret_scale
        adv_offset, adv_scale = self.advantage_norm(advantage)
        advantage = (advantage - adv_offset) / adv_scale
        policy = self.actor(feat[:, :-1])
        logp = policy.logp(dream["action"][:, :-1].detach())
        entropy = policy.entropy()
        policy_loss = -weight * (self._objective(logp, advantage) + s.entropy * entropy)

        target_offset, target_scale = self.value_norm(ret)
        target = (ret - target_offset) / target_scale
        value_loss = weight * self._value_loss(value, target, slow[:, :-1])
        metrics = {
            "return": ret.mean(),
            "return_scale": ret_scale,
            "advantage_mag": advantage.abs().mean(),
            "entropy": entropy.mean(),
            "value": fast.mean(),
            "dream_reward": reward.mean(),
            "dream_cont": cont.mean(),
            "weight": weight.mean(),
        }
        losses = {"policy": policy_loss, "value": value_loss}
        return losses, ret.detach(), {key: value.detach() for key, value in metrics.items()}

    def _objective(self, logp: Tensor, advantage: Tensor) -> Tensor:
        """What the actor maximises, `[N, H]`."""
        share = self.settings.dynamics
        if share == 1:
            return advantage
        score = logp * advantage.detach()
        return share * advantage + (1 - share) * score if share else score

    def replay_loss(self, feat: Tensor, batch: Fields, bootstrap: Tensor) -> Tensor:
        """Value loss along replayed frames, bootstrapped with the dreams that start there.

        Args:
            feat: `[B, T, F]`. batch: `[B, T]` with reward, is_last, is_terminal.
            bootstrap: `[B, T]`, dreamed return from each frame.

        Returns:
            `[B, T-1]`; zero where the next frame belongs to another episode.
        """
        s = self.settings
        feat = feat if s.replay_grad else feat.detach()
        ret = replay_returns(
            batch["reward"],
            batch["is_last"],
            batch["is_terminal"],
            bootstrap,
            s.discount,
            s.lambda_,
        )
        offset, scale = self.value_norm(ret)
        value, slow = self.critic(feat[:, :-1]), self.slow(feat[:, :-1].detach()).pred()
        loss = self._value_loss(value, (ret - offset) / scale, slow)
        return (~batch["is_last"][:, :-1]).float() * loss

    def _value_loss(self, value: Output, target: Tensor, slow: Tensor) -> Tensor:
        """Cross entropy with the target plus the pull towards the slow critic's mean."""
        loss: Tensor = value.loss(target) + self.settings.slow_reg * value.loss(slow)
        return loss

    @torch.no_grad()
    def follow(self, update: int) -> None:
        """Move the slow critic after update number `update`, counted from 0."""
        self.slow.follow(self.critic, update)
