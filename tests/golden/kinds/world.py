"""World model modules: encoder, decoder, the RSSM's step, its filter and its dream."""

from __future__ import annotations

import torch
from torch import Tensor

from dreamer_plugin.build import build_rssm, build_world
from dreamer_plugin.interop.weights import export_official, import_official
from dreamer_plugin.spaces import Spaces
from dreamer_plugin.world.cores import BlockGRU
from dreamer_plugin.world.rssm import RSSM, plain_scan

from ..reading import Golden, grad_of
from .parts import ForcedLatent, config_of, encoded, official_grads, spaces_of


def encoder(g: Golden) -> None:
    """Encoder with gradients."""
    spaces = spaces_of(g)
    module = build_world(config_of(g), spaces).encoder
    import_official(module, g.under("param/"))
    tokens = module({key.name: g.tensor(f"obs/{key.name}") for key in spaces.obs})
    (tokens * g.tensor("upstream")).mean().backward()
    g.check("tokens", tokens)
    g.check_all("grad_param/", official_grads(module))


def decoder(g: Golden) -> None:
    """Decoder, its losses and gradients."""
    spaces = spaces_of(g)
    module = build_world(config_of(g), spaces).decoder
    import_official(module, g.under("param/"))
    deter, stoch = g.tensor("feat_deter", grad=True), g.tensor("feat_stoch", grad=True)
    outputs = module(deter, stoch.flatten(-2))
    losses = {name: out.loss(g.tensor(f"obs/{name}")) for name, out in outputs.items()}
    total = torch.stack([loss.mean() for loss in losses.values()]).sum()
    total.backward()
    for name, out in outputs.items():
        pred = out.pred()
        g.check(f"pred/{name}", pred if pred.dtype.is_floating_point else pred.to(torch.int32))
    g.check_all("loss/", losses)
    g.check("total", total)
    g.check_grads({"grad_feat_deter": deter, "grad_feat_stoch": stoch})
    g.check_all("grad_param/", official_grads(module))


def _rssm(g: Golden) -> tuple[RSSM, Spaces]:
    """An RSSM of the file's sizes, with forced samples, filtering step by step.

    The files hold raw logits, which only that form shows; whole losses and updates in other files
    take the fast one.
    """
    cfg, spaces = config_of(g), spaces_of(g)
    rssm = build_rssm(cfg, spaces.action_size, int(g.number("meta/E")))
    rssm.latent = ForcedLatent(cfg.model.groups, cfg.model.classes, cfg.world.latent.unimix)
    rssm.scan = plain_scan
    return rssm, spaces


def rssm_core(g: Golden) -> None:
    """One step of the recurrent core with gradients."""
    rssm, _ = _rssm(g)
    core: BlockGRU = rssm.core
    import_official(core, g.under("param/"))
    deter, stoch, action = (g.tensor(k, grad=True) for k in ("deter", "stoch", "action"))
    out = _core_step(core, deter, stoch, action)
    (out * g.tensor("upstream")).sum().backward()
    g.check("out", out)
    g.check("out_scaled", _core_step(core, deter, stoch, g.tensor("action_scaled")))
    zeros = (torch.zeros_like(x) for x in (deter, stoch, action))
    g.check("out_from_zeros", _core_step(core, *zeros))
    g.check_grads({"grad_deter": deter, "grad_stoch": stoch, "grad_action": action})
    g.check_all("grad_param/", official_grads(core))


def _core_step(core: BlockGRU, deter: Tensor, stoch: Tensor, action: Tensor) -> Tensor:
    return core(deter, stoch.flatten(-2), core.embed_action(action))


def rssm_observe(g: Golden) -> None:
    """Filtering with resets, KL losses, gradients."""
    rssm, spaces = _rssm(g)
    import_official(rssm, g.under("param/"))
    tokens = g.tensor("tokens", grad=True)
    start = g.tensor("carry_deter", grad=True), g.tensor("carry_stoch", grad=True)
    action = encoded(spaces, g.under("action/"))
    states = rssm.observe(tokens, action, g.tensor("reset"), start, g.tensor("sample"))
    *posts, prior_logit = rssm.latent.raw
    post_logit = torch.stack(posts, 1)
    kl = rssm.kl(states)
    objective = kl["dyn"].mean() + 0.1 * kl["rep"].mean()
    objective = objective + _pulled(g, states["deter"], states["stoch"], post_logit)
    objective.backward()
    g.check("deter", states["deter"])
    g.check("post_logit", post_logit)
    g.check("prior_logit", prior_logit)
    g.check("dyn_loss", kl["dyn"])
    g.check("rep_loss", kl["rep"])
    g.check("dyn_ent_mean", rssm.latent.entropy(states["prior"]).mean())
    g.check("rep_ent_mean", rssm.latent.entropy(states["post"]).mean())
    g.check("next_carry_deter", states["deter"][:, -1])
    g.check("next_carry_stoch", states["stoch"][:, -1])
    g.check("objective", objective)
    leaves = {"grad_tokens": tokens, "grad_carry_deter": start[0], "grad_carry_stoch": start[1]}
    g.check_grads(leaves)
    g.check_all("grad_param/", official_grads(rssm))


def _pulled(g: Golden, deter: Tensor, stoch: Tensor, logit: Tensor) -> Tensor:
    """Means of products with the file's fixed cotangents."""
    pairs = (("deter", deter), ("stoch", stoch), ("logit", logit))
    return torch.stack([(g.tensor(f"upstream_{k}") * v).mean() for k, v in pairs]).sum()


def rssm_imagine(g: Golden) -> None:
    """Dreaming under given actions, gradients."""
    rssm, spaces = _rssm(g)
    params = g.under("param/")
    # These files hold no posterior; ours keeps its own weights and takes no part.
    posterior = {k: v for k, v in export_official(rssm).items() if k.startswith("obs")}
    import_official(rssm, posterior | params)
    start = g.tensor("carry_deter", grad=True), g.tensor("carry_stoch", grad=True)
    action, sample = encoded(spaces, g.under("action/")), g.tensor("sample")
    (deter, stoch), rows = start, []
    for t in range(action.shape[1]):
        deter, stoch = rssm.imagine_step(deter, stoch, action[:, t], sample[:, t])
        rows.append((deter, stoch))
    deters, stochs = (torch.stack(x, 1) for x in zip(*rows, strict=True))
    prior_logit = torch.stack(rssm.latent.raw, 1)
    objective = _pulled(g, deters, stochs, prior_logit)
    objective.backward()
    g.check("deter", deters)
    g.check("prior_logit", prior_logit)
    g.check("objective", objective)
    g.check_grads({"grad_carry_deter": start[0], "grad_carry_stoch": start[1]})
    for name, grad in official_grads(rssm).items():
        if name in params:
            g.check(f"grad_param/{name}", grad)
    assert all(not grad_of(p).any() for p in rssm.posterior.parameters())


KINDS = {
    "encoder": encoder,
    "decoder": decoder,
    "rssm_core": rssm_core,
    "rssm_observe": rssm_observe,
    "rssm_imagine": rssm_imagine,
}
