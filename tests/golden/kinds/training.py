"""The whole agent: all losses with gradients, four updates, acting, and the context of a batch."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from tensordict import TensorDict
from torch import Tensor

from dreamer_plugin.agent import Agent
from dreamer_plugin.behavior.actor import Actor
from dreamer_plugin.behavior.imagine import imagine
from dreamer_plugin.interop.weights import export_official, import_official
from dreamer_plugin.ops.returns import arrival_returns, arrival_weights
from dreamer_plugin.spaces import Spaces

from ..reading import Golden, stacked
from .parts import config_of, encoded, force_noise, forced_agent, official_grads, spaces_of

OFFICIAL = {"reward": "rew", "cont": "con"}  # names of losses that differ
FLAGS = ("is_first", "is_last", "is_terminal")


def full_loss(g: Golden) -> None:
    """Every loss of the whole agent, the dream, all gradients."""
    cfg, spaces = config_of(g), spaces_of(g)
    if g.name.endswith("_nograd"):  # README: reward_grad and repval_grad off
        cfg.world.reward.grad = cfg.behavior.critic.replay_grad = False
    agent = forced_agent(cfg, spaces)
    import_official(agent, g.under("param/"))
    norm = agent.behavior.return_norm
    norm.first.fill_(g.number("retnorm_lo_before"))
    norm.second.fill_(g.number("retnorm_hi_before"))

    post, dreamed = g.tensor("post_sample"), _dream_noise(g, spaces)
    force_noise(agent, [post, dreamed])
    batch = _observed(g, spaces)
    losses = agent.losses(batch)
    losses.total.backward()
    raw = agent.world.rssm.latent.raw

    each = {OFFICIAL.get(name, name): value for name, value in losses.each.items()}
    g.check("img_policy_loss", each["policy"])
    g.check("img_value_loss", each["value"])
    for name in ("policy", "value"):  # the official log has the mean over a dream
        each[name] = each[name].mean(1).unflatten(0, post.shape[:2])
    g.check_all("loss/", each)
    g.check("loss_total", losses.total)
    scales = {OFFICIAL.get(name, name): value for name, value in agent.scales.items()}
    g.check_all("scale/", {name: np.float32(value) for name, value in scales.items()})
    g.check("retnorm_lo_after", norm.first)
    g.check("retnorm_hi_after", norm.second)
    steps, horizon = post.shape[1], agent.dreams.horizon
    g.check("tokens", agent.world.encoder(batch["obs"]))
    g.check("post_deter", losses.states["deter"])
    g.check("post_logit", torch.stack(raw[:steps], 1))
    g.check("img_logit", torch.stack(raw[steps + 1 : steps + 1 + horizon], 1))
    _grads(g, agent)
    _dream(g, agent, losses.states, dreamed)
    metrics = losses.metrics
    g.check("metric/dyn_ent", metrics["prior_entropy"])
    g.check("metric/rep_ent", metrics["post_entropy"])


def _observed(g: Golden, spaces: Spaces) -> TensorDict:
    """`[B, T]` as `unroll_context` makes it."""
    shape = list(g.arrays["obs/reward"].shape)
    batch = TensorDict({name: g.tensor(f"obs/{name}") for name in ("reward", *FLAGS)}, shape)
    batch["obs"] = TensorDict({k.name: g.tensor(f"obs/{k.name}") for k in spaces.obs}, shape)
    batch["prev_action"] = encoded(spaces, g.under("prevact/"))
    start = {"deter": g.tensor("carry_deter"), "stoch": g.tensor("carry_stoch")}
    wide = {k: v.unsqueeze(1).expand(-1, shape[1], *v.shape[1:]) for k, v in start.items()}
    batch["start"] = TensorDict(wide, shape)
    return batch


def _dream_noise(g: Golden, spaces: Spaces, step: int | None = None) -> Tensor:
    """Stored samples of dreams as the agent's draw `[H + 1, N, latent + A]`.

    The last latent is never drawn: the last state only acts.
    """
    sample = g.tensor("img_sample")
    native = g.under("img_action/")
    if step is not None:
        sample, native = sample[step], {name: value[step] for name, value in native.items()}
    latent = sample.flatten(2)  # N H S*K
    latent = torch.cat([latent, torch.zeros_like(latent[:, :1])], 1)
    return torch.cat([latent, encoded(spaces, native)], -1).transpose(0, 1)


def _grads(g: Golden, agent: Agent) -> None:
    grads = official_grads(agent, trained_only=True)
    g.check_all("grad/", grads)
    norm = np.sqrt(sum(float((grad.astype(np.float64) ** 2).sum()) for grad in grads.values()))
    g.check("grad_global_norm", np.float32(norm))


@torch.no_grad()
def _dream(g: Golden, agent: Agent, states: TensorDict, noise: Tensor) -> None:
    """What the losses were made of: the same dream again, and its judgements."""
    world, behavior = agent.world, agent.behavior
    start = states["deter"].flatten(0, 1), states["stoch"].flatten(0, 1)
    dream = imagine(world.rssm, behavior.actor, *start, agent.dreams.horizon, noise)
    feat = dream["feat"]
    reward, cont = world.judge(feat)
    value, slow = behavior.critic(feat).pred(), behavior.slow(feat).pred()
    settings = behavior.settings
    ret = arrival_returns(reward, cont, value, settings.dream_discount, settings.lambda_)
    g.check("img_deter", feat[:, 1:, : world.rssm.core.deter])
    g.check("img_reward", reward)
    g.check("img_con", cont)
    g.check("img_value", value)
    g.check("img_slowvalue", slow)
    g.check("img_ret", ret)
    for name, output in policy_outputs(behavior.actor, feat).items():
        g.check(f"img_{name}", output)
    offset, scale = behavior.return_norm.stats()
    advantage, normed = (ret - value[:, :-1]) / scale, (ret - offset) / scale
    metrics = {
        "adv": advantage.mean(),
        "adv_std": advantage.std(correction=0),
        "ret": normed.mean(),
        "ret_rate": (normed.abs() >= 1).float().mean(),
        "weight": arrival_weights(cont, settings.dream_discount).mean(),
        "val": value.mean(),
        "tar": ret.mean(),
    }
    for name, metric in metrics.items():
        g.check(f"metric/{name}", metric)


def policy_outputs(actor: Actor, feat: Tensor) -> dict[str, Tensor]:
    """What the official code shows of a policy: raw logits, or mean and standard deviation."""
    outputs: dict[str, Tensor] = {}
    x, lead = actor.mlp(feat), feat.shape[:-1]
    for key, part, heads in zip(actor.keys, actor(feat).parts, actor.heads, strict=True):
        if key.kind == "discrete":
            raw = heads[0](x).reshape(*lead, *key.shape, key.classes)
            outputs[f"policy_logits/{key.name}"] = raw
        else:
            outputs[f"policy_mean/{key.name}"] = part.mean.reshape(*lead, *key.shape)
            outputs[f"policy_std/{key.name}"] = part.std.reshape(*lead, *key.shape)
    return outputs


def train_steps(g: Golden) -> None:
    """Four whole updates, every parameter."""
    cfg, spaces = config_of(g), spaces_of(g, observations="data/")
    cfg.optim.lr, cfg.optim.warmup = g.number("meta/lr"), int(g.number("meta/warmup"))
    cfg.replay.context = int(g.number("meta/replay_context"))
    assert cfg.replay.context == 1, "records hold one column of context"
    agent = forced_agent(cfg, spaces)
    import_official(agent, g.under("param0/"))
    log: dict[str, list[Tensor]] = {}
    agent.optimizer.register_step_pre_hook(
        lambda *_: log.setdefault("grad_norm", []).append(_grad_norm(agent))
    )
    post = g.tensor("post_sample")
    for step in range(int(g.number("meta/steps"))):
        batch = _records(g, spaces, "data/", step)
        force_noise(agent, [post[step], _dream_noise(g, spaces, step)])
        before = [p.detach().clone() for p in agent.parameters() if p.requires_grad]
        latents, metrics = agent.update(batch)
        _log(log, agent, before, latents, metrics)
        if not latents["stoch"].equal(post[step].argmax(-1).to(torch.uint8)):
            g.failures.append(f"post_sample: other latents to write back in step {step}")
    for key, rows in log.items():
        g.check(key, stacked(rows))
    count = sum(p.numel() for p in agent.parameters() if p.requires_grad)
    g.check("param_count_trained", np.float32(count))
    g.check_all("param_final/", export_official(agent))


def _grad_norm(agent: Agent) -> Tensor:
    """Global norm before any clipping."""
    grads = [p.grad for p in agent.parameters() if p.grad is not None]
    return torch.stack(torch._foreach_norm(grads)).norm()


def _log(
    log: dict[str, list[Tensor]],
    agent: Agent,
    before: list[Tensor],
    latents: TensorDict,
    metrics: Mapping[str, Tensor],
) -> None:
    after = [p.detach() for p in agent.parameters() if p.requires_grad]
    changes = [new - old for new, old in zip(after, before, strict=True)]
    norm = agent.behavior.return_norm
    row = {
        "post_deter": latents["deter"],
        "loss_total": sum(agent.scales[n] * metrics[f"loss/{n}"] for n in agent.scales),
        "update_rms": _rms(changes),
        "param_rms": _rms(after),
        "retnorm_lo": norm.first,
        "retnorm_hi": norm.second,
    }
    row |= {f"loss/{OFFICIAL.get(n, n)}": metrics[f"loss/{n}"] for n in agent.scales}
    for key, value in row.items():
        log.setdefault(key, []).append(value.clone())


def _rms(tensors: list[Tensor]) -> Tensor:
    return torch.cat([t.flatten() for t in tensors]).square().mean().sqrt()


def _records(g: Golden, spaces: Spaces, prefix: str, step: int | None = None) -> TensorDict:
    """Records `[B, 1+T]` as replay samples them."""

    def row(name: str) -> np.ndarray:
        array = g.array(prefix + name)
        return array if step is None else array[step]

    if row("consec").any():
        raise AssertionError("a stream that carries on is made with `start`, not from records")
    return records(spaces, {name: row(name) for name in g.names(prefix)})


def records(spaces: Spaces, arrays: Mapping[str, np.ndarray]) -> TensorDict:
    """Records `[B, 1+T]` from the arrays of one official batch."""
    tensors = {k: torch.from_numpy(v.copy()) for k, v in arrays.items() if k != "stepid"}
    shape = list(tensors["reward"].shape)
    batch = TensorDict({name: tensors[name] for name in ("reward", *FLAGS)}, shape)
    batch["obs"] = TensorDict({key.name: tensors[key.name] for key in spaces.obs}, shape)
    batch["action"] = encoded(spaces, {k.name: arrays[k.name] for k in spaces.native})
    batch["deter"] = tensors["dyn/deter"]
    batch["stoch"] = tensors["dyn/stoch"].argmax(-1).to(torch.uint8)
    return batch


def policy_rollout(g: Golden) -> None:
    """Acting for several steps."""
    spaces = spaces_of(g)
    agent = forced_agent(config_of(g), spaces)
    parts = {"enc": agent.world.encoder, "dyn": agent.world.rssm, "pol": agent.behavior.actor}
    params = g.under("param/")
    for name, module in parts.items():
        own = {k.removeprefix(f"{name}/"): v for k, v in params.items() if k.startswith(f"{name}/")}
        import_official(module, own)
    first, sample = g.tensor("is_first_used"), g.tensor("sample")
    action = encoded(spaces, g.under("action/"))
    state = agent.initial(first.shape[0])
    log: dict[str, list[Tensor]] = {}
    for t in range(first.shape[1]):
        obs = {key.name: g.tensor(f"obs/{key.name}")[:, t] for key in spaces.obs}
        noise = torch.cat([sample[:, t].flatten(1), action[:, t]], -1)
        acted, state = agent.act(obs, first[:, t], state, noise)
        assert acted.equal(action[:, t])
        log.setdefault("deter", []).append(state["deter"])
        feat = agent.world.rssm.feat(state["deter"], state["stoch"])
        for name, output in policy_outputs(agent.behavior.actor, feat).items():
            log.setdefault(name, []).append(output)
    for key, rows in log.items():
        g.check(key, torch.stack(rows, 1))


KINDS = {
    "full_loss": full_loss,
    "train_steps": train_steps,
    "policy_rollout": policy_rollout,
}
