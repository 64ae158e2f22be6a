"""Actor and critic learned in dreams, the critic also on replayed frames.

For a dream of H steps there are H + 1 states; the last only bootstraps. Which of the others the
critic and the actor learn from is for the arranger to say (`ops.returns`): K and M, both H in the
arrival convention. N = B * T dreams, one from every replayed state.

Source: DreamerV3 paper (arXiv 2301.04104), critic and actor learning;
`dreamerv3/agent.py`, `imag_loss` and `repl_loss`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dreamer_plugin.behavior.actor import Actor
from dreamer_plugin.behavior.imagine import with_true_start
from dreamer_plugin.behavior.normalize import Normalizer
from dreamer_plugin.keys import Fields
from dreamer_plugin.nets.heads import Head
from dreamer_plugin.nets.twin import SlowCopy, as_data
from dreamer_plugin.ops.distributions import Output
from dreamer_plugin.ops.returns import Arranged, Arranger, Arrival, replay_returns


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
        dynamics_baseline: whether that share is the advantage, or the return alone.
        world_grad: whether policy and value losses train what dreams start from, too.
        value_gradient: whether returns keep the gradient through the values they end with.
        transform: what the actor sees of returns and values, None: themselves.
        weigh: what becomes of continuations `[N, H+1]` before dreamed states are weighed by their
            products alone; None: their products with the discount, as in returns.
        arrange: the convention of returns.
    """

    discount: float = 1 - 1 / 333
    dream_discount: float = 1.0
    lambda_: float = 0.95
    entropy: float = 3e-4
    slow_reg: float = 1.0
    slow_target: bool = False
    replay_grad: bool = True
    dynamics: float = 0.0
    dynamics_baseline: bool = True
    world_grad: bool = False
    value_gradient: bool = True
    transform: Callable[[Tensor], Tensor] | None = None
    weigh: Callable[[Tensor], Tensor] | None = None
    arrange: Arranger = Arrival()


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

    def losses(
        self,
        judge: Callable[[Tensor], tuple[Tensor, Tensor]],
        dream: Fields,
        known: Tensor | None,
        feat: Tensor | None,
        batch: Fields,
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """All losses of dreams that start from `[B, T]` states.

        Args:
            judge: the world's, `[N, H+1, F]` feat to reward and continuation `[N, H+1]`.
            dream: as of `dream_losses`.
            known: `[N]`, the continuation of the start, where replay has it (`Arranger.start`).
            feat: as of `replay_loss`, None where the critic does not learn along the records.
            batch: as of `replay_loss`.

        Returns:
            Losses by name, `policy`, `value` and, with `feat`, `repval`; metrics.
        """
        reward, cont = judge(dream["feat"])
        if known is not None:
            cont = with_true_start(cont, known)
        each, ret, metrics = self.dream_losses(dream, reward, cont)
        if feat is not None:
            bootstrap = ret[:, 0].unflatten(0, feat.shape[:2])
            each["repval"] = self.replay_loss(feat, batch, bootstrap)
        return each, metrics

    def dream_losses(
        self, dream: Fields, reward: Tensor, cont: Tensor
    ) -> tuple[dict[str, Tensor], Tensor, dict[str, Tensor]]:
        """Policy and value losses of dreams.

        Args:
            dream: `[N, H+1]` with feat and action, as data or with a graph (`imagine`).
            reward, cont: `[N, H+1]` predicted at the dreamed states.

        Returns:
            Losses `policy` `[N, M]` and `value` `[N, K]`; returns `[N, K]`; metrics.
        """
        s = self.settings
        feat = dream["feat"].detach()
        if s.world_grad:  # through where dreams start: by what follows it would reach the actor
            feat = torch.cat([dream["feat"][:, :1], feat[:, 1:]], 1)
        first = s.arrange.first
        value = self.critic(feat)  # of all states: a slice would be copied, and all are asked for
        fast, slow = self._values(dream["feat"], value)
        offset, scale = self.value_norm.stats()
        fast = fast * scale + offset
        bootstrap = slow * scale + offset if s.slow_target else fast
        bootstrap = bootstrap if s.value_gradient else bootstrap.detach()
        cut = s.arrange(reward, cont, bootstrap, s.dream_discount, s.lambda_)
        ret, weight, decided_weight = cut.ret, cut.weight, cut.decided_weight
        if s.weigh is not None:
            weight, decided_weight = s.arrange.weights(s.weigh(cont), 1.0)
        decisions = cut.decided.shape[1]

        advantage, gain, ret_scale = self._judge(cut, bootstrap[:, :decisions])
        learned = bool(s.entropy) or s.dynamics != 1  # else by the gradient of the dream alone
        with torch.set_grad_enabled(learned and torch.is_grad_enabled()):
            policy = self.actor(feat)
            logp = policy.logp(dream["action"].detach())[:, :decisions]
        # For metrics alone the surprise of what was drawn will do: some entropies cost many draws.
        entropy = policy.entropy()[:, :decisions] if s.entropy else -logp.detach()
        objective = self._objective(logp, advantage, gain) + s.entropy * entropy
        policy_loss = -decided_weight.detach() * objective

        target_offset, target_scale = self.value_norm(ret)
        target = (ret - target_offset) / target_scale
        everywhere = F.pad(target, (first, 1))  # what stands where nothing is learned is cut off
        value_loss = weight.detach() * self._value_loss(value, everywhere, slow)[:, first:-1]
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

    def _values(self, feat: Tensor, value: Output) -> tuple[Tensor, Tensor]:
        """What critic and slow critic say of all states `[N, H+1]`, with the graph of the dream.

        Args:
            feat: `[N, H+1, F]`. value: the critic's output, where no gradient must pass it.
        """
        if feat.requires_grad:
            fast = as_data(self.critic)(feat).pred()
        else:
            with torch.no_grad():
                fast = value.pred().detach()  # some heads hand out what has a graph already
        return fast, self._slow_pred(feat, fast)

    def _slow_pred(self, feat: Tensor, fast: Tensor) -> Tensor:
        """What the slow critic says, `fast` where nobody asks for it."""
        s = self.settings
        pred: Tensor = self.slow(feat).pred() if s.slow_reg or s.slow_target else fast
        return pred

    def _judge(self, cut: Arranged, baseline: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What decisions were worth, both normalised and as the actor sees returns.

        Args:
            cut: the returns. baseline: `[N, M]` value of the states that were decided in.

        Returns:
            Advantage `[N, M]`; what the share of the dynamics maximises `[N, M]`; scale of returns.
        """
        s = self.settings
        ret, decided = cut.ret, cut.decided
        if s.transform is not None:
            ret, decided, baseline = s.transform(ret), s.transform(decided), s.transform(baseline)
        _, ret_scale = self.return_norm(ret)
        advantage = (decided - baseline) / ret_scale
        adv_offset, adv_scale = self.advantage_norm(advantage)
        advantage = (advantage - adv_offset) / adv_scale
        return advantage, advantage if s.dynamics_baseline else decided / ret_scale, ret_scale

    def _objective(self, logp: Tensor, advantage: Tensor, gain: Tensor) -> Tensor:
        """What the actor maximises, `[N, M]`; `gain` has a graph through the dream."""
        share = self.settings.dynamics
        if share == 1:
            return gain
        score = logp * advantage.detach()
        return share * gain + (1 - share) * score if share else score

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
        value = self.critic(feat[:, :-1])
        slow = self._slow_pred(feat[:, :-1].detach(), ret)
        loss = self._value_loss(value, (ret - offset) / scale, slow)
        return (~batch["is_last"][:, :-1]).float() * loss

    def _value_loss(self, value: Output, target: Tensor, slow: Tensor) -> Tensor:
        """Cross entropy with the target, and with the slow critic's mean where it pulls."""
        if not self.settings.slow_reg:
            return value.loss(target)
        loss, pull = value.loss(torch.stack([target, slow])).unbind()
        return loss + self.settings.slow_reg * pull

    @torch.no_grad()
    def follow(self, finite: Tensor | None = None) -> None:
        """Move the slow critic, where its turn has come (`slow.due`) and the update was finite."""
        self.slow.follow(self.critic, finite)
