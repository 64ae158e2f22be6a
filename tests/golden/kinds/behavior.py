"""Losses of actor and critic: in dreams, and along replayed frames."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from tensordict import TensorDict
from torch import Tensor, nn

from dreamer_plugin.behavior.actor import ActionDistribution
from dreamer_plugin.behavior.actor_critic import ActorCritic, ReturnSettings
from dreamer_plugin.behavior.normalize import Identity, MeanStd, Percentile
from dreamer_plugin.nets.twin import SlowCopy
from dreamer_plugin.ops.continuous import Normal
from dreamer_plugin.ops.distributions import Categorical
from dreamer_plugin.ops.returns import arrival_weights, replay_returns
from dreamer_plugin.ops.two_hot import TwoHot
from dreamer_plugin.spaces import ActionKey

from ..reading import Golden


class TableHead(nn.Module):
    """A critic that looks its logits up: `feat` is the row number."""

    def __init__(self, logits: Tensor, bins: Tensor) -> None:
        super().__init__()
        self.shape = logits.shape
        self.logits = nn.Parameter(logits.flatten(0, -2))
        self.bins = bins

    def forward(self, feat: Tensor) -> TwoHot:
        return TwoHot(self.logits[feat.squeeze(-1).long()], self.bins)


class TableActor(nn.Module):
    """An actor that looks its parameters up: `feat` is the row number."""

    def __init__(self, g: Golden, names: Sequence[str]) -> None:
        super().__init__()
        tables = ("cat_logits", "cont_mean", "cont_std")
        self.tables = nn.ParameterDict({t: nn.Parameter(g.tensor(t).flatten(0, 1)) for t in tables})
        classes, size = g.arrays["cat_logits"].shape[-1], g.arrays["cont_mean"].shape[-1]
        known = {
            "disc": ActionKey("disc", "discrete", (), classes),
            "cont": ActionKey("cont", "continuous", (size,)),
        }
        self.keys = [known[name] for name in names]

    def forward(self, feat: Tensor) -> ActionDistribution:
        row = feat.squeeze(-1).long()
        parts = {
            "disc": Categorical(self.tables["cat_logits"][row].unsqueeze(-2)),
            "cont": Normal(self.tables["cont_mean"][row], self.tables["cont_std"][row]),
        }
        return ActionDistribution([parts[key.name] for key in self.keys], self.keys)


def _settings(g: Golden, variant: str) -> ReturnSettings:
    """Numbers of a variant; README: horizon 333 stands for the discount 1 - 1/333."""
    prefix = f"{variant}/arg_"
    discount = 1 - 1 / g.number(prefix + "horizon")
    return ReturnSettings(
        discount=discount,
        dream_discount=1.0 if g.number(prefix + "contdisc", True) else discount,
        lambda_=g.number(prefix + "lam"),
        entropy=g.number(prefix + "actent", 3e-4),
        slow_reg=g.number(prefix + "slowreg"),
        slow_target=bool(g.number(prefix + "slowtar")),
    )


def _actor_critic(
    g: Golden, actor: nn.Module, settings: ReturnSettings, normed: bool = False
) -> ActorCritic:
    bins = g.tensor("bins")
    critic = TableHead(g.tensor("val_logits"), bins)
    slow = SlowCopy(critic, 1.0)
    slow.copy.logits.data.copy_(g.tensor("slow_logits").flatten(0, -2))
    norms = [_started_norm() if normed else Identity() for _ in range(2)]
    return ActorCritic(actor, critic, slow, Percentile(), *norms, settings)


def _started_norm() -> MeanStd:
    """README: starting at mean .4, sqrs 2, corr .3, rate .05, debiased."""
    norm = MeanStd(0.05, debias=True)
    for name, value in (("first", 0.4), ("second", 2.0), ("corr", 0.3)):
        getattr(norm, name).fill_(value)
    return norm


def _rows(shape: Sequence[int]) -> Tensor:
    """Row numbers as features `[..., 1]`."""
    return torch.arange(torch.Size(shape).numel()).reshape(*shape, 1).float()


def imag_loss(g: Golden) -> None:
    """Policy and value losses in dreams, six settings, gradients."""
    bins = g.tensor("bins")
    g.check("val_pred", TwoHot(g.tensor("val_logits"), bins).pred())
    g.check("slow_pred", TwoHot(g.tensor("slow_logits"), bins).pred())
    for variant in g.variants("policy_loss"):
        _dream_variant(g, variant)


def _action_names(g: Golden, variant: str) -> list[str]:
    """Which of the two action keys a variant uses; most only the discrete one."""
    return {"cont": ["cont"], "both": ["disc", "cont"]}.get(variant, ["disc"])


def _dream_variant(g: Golden, variant: str) -> None:
    settings, names = _settings(g, variant), _action_names(g, variant)
    behavior = _actor_critic(g, TableActor(g, names), settings, normed=variant == "norms")
    norm = behavior.return_norm
    norm.first.fill_(g.number(f"{variant}/retnorm_lo_before"))
    norm.second.fill_(g.number(f"{variant}/retnorm_hi_before"))
    value_offset, value_scale = behavior.value_norm.stats()
    reward, cont = g.tensor("rew", grad=True), g.tensor("con", grad=True)
    onehot = nn.functional.one_hot(
        g.tensor("act_disc").long(), g.arrays["cat_logits"].shape[-1]
    ).float()
    actions = {"disc": onehot, "cont": g.tensor("act_cont")}
    action = torch.cat([actions[name] for name in names], -1)
    dream = TensorDict(
        {"feat": _rows(reward.shape), "action": action}, batch_size=list(reward.shape)
    )
    losses, ret, metrics = behavior.dream_losses(dream, reward, cont)
    total = losses["policy"].mean() + losses["value"].mean()
    total.backward()

    g.check(f"{variant}/policy_loss", losses["policy"])
    g.check(f"{variant}/value_loss", losses["value"])
    g.check(f"{variant}/ret", ret)
    g.check(f"{variant}/total", total)
    g.check(f"{variant}/retnorm_lo_after", norm.first)
    g.check(f"{variant}/retnorm_hi_after", norm.second)
    _dream_grads(g, variant, behavior, reward, cont)
    fast = behavior.critic(dream["feat"]).pred() * value_scale + value_offset
    slow = behavior.slow.copy(dream["feat"]).pred() * value_scale + value_offset
    g.check(f"{variant}/metric_slowval", slow.mean())
    g.check(f"{variant}/metric_weight", arrival_weights(cont, settings.dream_discount).mean())
    advantage = ret - (slow if settings.slow_target else fast)[:, :-1]
    _dream_metrics(g, variant, behavior, ret, advantage, metrics)


def _dream_grads(
    g: Golden, variant: str, behavior: ActorCritic, reward: Tensor, cont: Tensor
) -> None:
    leaves = dict(behavior.actor.tables.items())
    leaves |= {"val_logits": behavior.critic.logits, "slow_logits": behavior.slow.copy.logits}
    leaves |= {"rew": reward, "con": cont}
    for name in g.names(f"{variant}/grad_"):
        leaf = leaves[name]
        grad = torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
        g.check(f"{variant}/grad_{name}", grad.reshape(g.arrays[name].shape))


def _dream_metrics(
    g: Golden,
    variant: str,
    behavior: ActorCritic,
    ret: Tensor,
    advantage: Tensor,
    metrics: dict[str, Tensor],
) -> None:
    """The official log: what it says of returns is after offset and scale."""
    offset, scale = behavior.return_norm.stats()
    normed = (ret - offset) / scale
    value_offset, value_scale = behavior.value_norm.stats()
    ours = {
        "adv": (advantage / scale).mean(),
        "adv_std": (advantage / scale).std(correction=0),
        "adv_mag": (advantage / scale).abs().mean(),
        "ret_rate": (normed.abs() >= 1).float().mean(),
        "ret_min": normed.min(),
        "ret_max": normed.max(),
        "val": metrics["value"],
        "tar": ((ret - value_offset) / value_scale).mean(),
    }
    for name, value in ours.items():
        g.check(f"{variant}/metric_{name}", value)


def repl_loss(g: Golden) -> None:
    """Value loss along replayed frames, gradients."""
    for variant in g.variants("repval_loss"):
        settings = _settings(g, variant)
        behavior = _actor_critic(g, nn.Identity(), settings)
        boot = g.tensor("boot", grad=True)
        flags = {"reward": "rew", "is_last": "last", "is_terminal": "term"}
        batch = TensorDict({k: g.tensor(v) for k, v in flags.items()}, batch_size=list(boot.shape))
        loss = behavior.replay_loss(_rows(boot.shape), batch, boot)
        loss.mean().backward()
        ret = replay_returns(*(batch[k] for k in flags), boot, settings.discount, settings.lambda_)
        g.check(f"{variant}/repval_loss", loss)
        g.check(f"{variant}/total", loss.mean())
        g.check(f"{variant}/ret", ret)
        grads = {"val_logits": behavior.critic.logits, "boot": boot}
        for name, leaf in grads.items():
            grad = torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
            g.check(f"{variant}/grad_{name}", grad.reshape(g.arrays[name].shape))


KINDS = {"imag_loss": imag_loss, "repl_loss": repl_loss}
