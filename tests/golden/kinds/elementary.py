"""Elementary functions: scalar transforms, distributions, divergences, returns."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from dreamer_plugin.ops.continuous import BoundedNormal
from dreamer_plugin.ops.distributions import MSE, Binary, Categorical, straight_through
from dreamer_plugin.ops.divergence import balanced_kl, categorical_kl, normal_kl
from dreamer_plugin.ops.returns import arrival_returns, arrival_weights, replay_returns
from dreamer_plugin.ops.scaling import symexp, symexp_bins, symlog
from dreamer_plugin.ops.two_hot import TwoHot

from ..reading import Golden

DISCOUNT = 1 - 1 / 333  # "gamma 1-1/333", README of the arrays


def symlog_file(g: Golden) -> None:
    """Symmetric logarithm and exponential, values and gradients."""
    for name, fun in (("x", symlog), ("y", symexp)):
        x = g.tensor(name, grad=True)
        value = fun(x)
        value.sum().backward()
        g.check(f"{fun.__name__}_{name}", value)
        g.check(f"grad_{fun.__name__}_{name}", x.grad)
    g.check("roundtrip_x", symexp(symlog(g.tensor("x"))))


def twohot(g: Golden) -> None:
    """Two-hot bins, loss and mean, with gradients."""
    for n in g.names("bins_"):
        bins = symexp_bins(int(n))
        g.check(f"bins_{n}", bins, 1e-6)
        logits = g.tensor(f"logits_{n}", grad=True)
        out = TwoHot(logits, bins)
        loss = out.loss(g.tensor(f"target_{n}"))
        (grad,) = torch.autograd.grad(loss.sum(), logits)
        g.check(f"loss_{n}", loss)
        g.check(f"grad_logits_{n}", grad)
        g.check(f"twohot_{n}", logits.detach().softmax(-1) - grad)
        _twohot_mean(g, n, logits, bins)


def _twohot_mean(g: Golden, n: str, logits: torch.Tensor, bins: torch.Tensor) -> None:
    """The mean sums terms of size `p * 4.85e8`, so its error is measured against `sum |p b|`."""
    pred = TwoHot(logits, bins).pred()
    size = (logits.detach().softmax(-1) * bins.abs()).sum(-1).numpy()
    g.check(f"pred_{n}", pred, 1e-5 * size)
    # Symmetric logits, as in rows 0 and 4, must give exactly nothing.
    zero = g.arrays[f"pred_{n}"] == 0
    if pred.detach().numpy()[zero].any() or not zero[[0, 4]].all():
        g.failures.append(f"pred_{n}: symmetric logits do not give exactly 0")
    key = f"grad_pred_first6_{n}"
    rows = g.arrays[key].shape[0]
    (grad,) = torch.autograd.grad(pred[:rows].sum(), logits)
    g.check(key, grad[:rows])


def categorical(g: Golden) -> None:
    """Mixed categoricals: likelihood, entropy, divergence, straight-through samples."""
    onehot, upstream, index = g.tensor("event_onehot"), g.tensor("upstream"), g.array("event_index")
    g.check("event_index", onehot.argmax(-1).to(torch.int32))
    for name in g.names("agg_entropy_unimix"):
        suffix, unimix = f"_unimix{name}", float(name)
        first, second = g.tensor("logits", grad=True), g.tensor("logits_other", grad=True)
        one, two = Categorical(first, unimix), Categorical(second, unimix)
        # Without a mixture the official logits keep their offset; ours are always normalised.
        key = "mixed_logits" + suffix
        g.arrays[key] = torch.log_softmax(torch.from_numpy(g.arrays[key]), -1).numpy()
        g.check(key, one.logprobs)
        g.check("mixed_probs" + suffix, one.probs)
        g.check(
            "logp" + suffix, one.logp(F.one_hot(torch.from_numpy(index).long(), onehot.shape[-1]))
        )
        g.check("onehot_logp" + suffix, one.logp(onehot))
        g.check("entropy" + suffix, one.entropy())
        g.check("agg_entropy" + suffix, one.entropy().sum(-1))
        g.check("mode" + suffix, one.mode().argmax(-1).to(torch.int32))
        g.check("onehot_mode" + suffix, one.mode())
        value = straight_through(onehot, one.probs)
        (grad,) = torch.autograd.grad((value * upstream).sum(), first, retain_graph=True)
        g.check("straight_through_value" + suffix, value)
        g.check("straight_through_grad" + suffix, grad)
        single = categorical_kl(one.logprobs.unsqueeze(-2), two.logprobs.unsqueeze(-2))
        g.check("kl" + suffix, single)
        agg = categorical_kl(one.logprobs, two.logprobs)
        g.check("agg_kl" + suffix, agg)
        by_first, by_second = torch.autograd.grad(agg.sum(), (first, second))
        g.check("agg_kl_grad_first" + suffix, by_first)
        g.check("agg_kl_grad_second" + suffix, by_second)


def distributions(g: Golden) -> None:
    """Bounded normal, discrete policy, continuation and squared error."""
    _bounded_normal(g)
    cat = Categorical(g.tensor("cat/raw_logits"))  # the official head ignores the argument
    g.number("cat/head_unimix_argument")
    classes = cat.probs.shape[-1]
    action = g.tensor("cat/action").long()
    g.check("cat/logits", torch.log_softmax(g.tensor("cat/raw_logits"), -1) + _offset(g))
    g.check("cat/logp", cat.logp(F.one_hot(action, classes)))
    g.check("cat/entropy", cat.entropy())
    g.check("cat/mode", cat.mode().argmax(-1).to(torch.int32))
    g.check("cat/maxent", Categorical(torch.zeros(classes)).entropy())
    g.check("cat/minent", Categorical(F.one_hot(torch.tensor(0), classes) * 1e4).entropy())

    logit = g.tensor("binary/logit", grad=True)
    loss = Binary(logit).loss(g.tensor("binary/target"))
    loss.sum().backward()
    g.check("binary/loss", loss)
    g.check("binary/grad_loss", logit.grad)
    g.check("binary/prob1", Binary(logit).pred())
    g.check("binary/pred", Binary(logit).pred() > 0.5)

    mean, target = g.tensor("mse/pred"), g.tensor("mse/target")
    g.check("mse/loss", MSE(mean, 1).loss(target))
    g.check("mse/symlog_loss", MSE(mean, 1, symlog_target=True).loss(target))
    g.check("mse/symlog_pred", MSE(mean, 1, symlog_target=True).pred())


def _offset(g: Golden) -> torch.Tensor:
    """The official logits of an unmixed head keep their offset."""
    return torch.logsumexp(g.tensor("cat/raw_logits"), -1, keepdim=True)


def _bounded_normal(g: Golden) -> None:
    mean, std = g.tensor("bn/raw_mean", grad=True), g.tensor("bn/raw_std", grad=True)
    low, high = g.number("bn/minstd"), g.number("bn/maxstd")
    normal = BoundedNormal(mean, std, low, high)
    g.check("bn/mean", normal.mean)
    g.check("bn/stddev", normal.std)
    g.check("bn/mode", normal.mode())
    for name, value in (
        ("logp", normal.logp(g.tensor("bn/action"))),
        ("entropy", normal.entropy()),
    ):
        g.check(f"bn/{name}_per_dim", value)
        g.check(f"bn/{name}", value.sum(-1))
        grads = torch.autograd.grad(value.sum(), (mean, std), allow_unused=True, retain_graph=True)
        for leaf, grad in zip(("raw_mean", "raw_std"), grads, strict=True):
            g.check(f"bn/grad_{name}_{leaf}", torch.zeros_like(mean) if grad is None else grad)
    # Our sampler takes uniform numbers: those whose quantiles are the given noise, in float64.
    noise = g.tensor("bn/noise").double()
    uniform = torch.special.ndtr(noise).float()
    g.check("bn/sample_from_noise", normal.sample(uniform))
    for name, raw in (("minent", -torch.inf), ("maxent", torch.inf)):
        bound = BoundedNormal(mean, torch.full_like(std, raw), low, high)
        g.check(f"bn/{name}", bound.entropy())
    other = g.tensor("normal/other_mean"), g.tensor("normal/other_std")
    g.check("normal/kl", normal_kl(normal.mean, normal.std, *other))


def kl_balance(g: Golden) -> None:
    """Both halves of the balanced KL loss and their gradients."""
    for name in g.names("dyn_free"):
        post, prior = g.tensor("post_logit", grad=True), g.tensor("prior_logit", grad=True)
        mixed = Categorical(post, 0.01).logprobs, Categorical(prior, 0.01).logprobs
        dyn, rep = balanced_kl(categorical_kl, *mixed, free=float(name))
        total = (dyn + 0.1 * rep).mean()
        total.backward()
        g.check(f"dyn_free{name}", dyn)
        g.check(f"rep_free{name}", rep)
        g.check(f"total_free{name}", total)
        g.check(f"grad_post_free{name}", post.grad)
        g.check(f"grad_prior_free{name}", prior.grad)


def lambda_return(g: Golden) -> None:
    """Returns and weights of dreams and of replayed frames."""
    for kind, discount in (("contdisc", 1.0), ("disc", DISCOUNT)):
        reward, cont, value = (g.tensor(f"imag_{k}") for k in ("reward", "con", "value"))
        for lam in g.names(f"imag_ret_{kind}_lam"):
            ret = arrival_returns(reward, cont, value, discount, float(lam))
            g.check(f"imag_ret_{kind}_lam{lam}", ret)
        g.check(f"imag_weight_{kind}", arrival_weights(cont, discount))
    given = (g.tensor(f"replay_{k}") for k in ("reward", "last", "term", "boot"))
    reward, last, term, boot = given
    g.array("replay_value_unused")  # as its name says
    for lam in g.names("replay_ret_lam"):
        ret = replay_returns(reward, last, term, boot, DISCOUNT, float(lam))
        g.check(f"replay_ret_lam{lam}", ret)


KINDS = {
    "symlog": symlog_file,
    "twohot": twohot,
    "categorical": categorical,
    "distributions": distributions,
    "kl_balance": kl_balance,
    "lambda_return": lambda_return,
}
