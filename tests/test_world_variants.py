"""Forms of the world model that older descriptions have: each is a value of the config.

Every expectation is the form's formula, written out here with torch's own distributions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tensordict import TensorDict
from torch import Tensor
from torch.distributions import Categorical, Normal, kl_divergence

from dreamer_plugin.agent import Agent
from dreamer_plugin.compiling import compile_agent
from dreamer_plugin.data.ratio import TrainRatio
from dreamer_plugin.errors import UsageError
from dreamer_plugin.run.films import filmed
from dreamer_plugin.run.foresight import filter_episode
from dreamer_plugin.world.recompute import RecomputingScan
from dreamer_plugin.world.rssm import plain_scan
from dreamer_plugin.world.scan import DeferredScan

from . import tiny


def kl_part(agent: Agent, post: Tensor, prior: Tensor) -> Tensor:
    """The share of the KL losses in the total."""
    losses = agent.world.rssm.kl({"post": post, "prior": prior})
    return sum(agent.scales[name] * loss.mean() for name, loss in losses.items())


def kl(p: Tensor, q: Tensor) -> Tensor:
    """`KL(p || q)` of log-probabilities `[B, T, S, K]`, for each variable `[B, T, S]`."""
    return kl_divergence(Categorical(logits=p), Categorical(logits=q))


def stopped(q: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
    """What trains the prior p and what trains the posterior q, `[B, T]`."""
    return kl(q.detach(), p).sum(-1), kl(q, p.detach()).sum(-1)


def balanced(q: Tensor, p: Tensor, a: float, free: float) -> Tensor:
    dyn, rep = stopped(q, p)
    return (a * dyn.clamp(min=free) + (1 - a) * rep.clamp(min=free)).mean()


def of_the_mean(q: Tensor, p: Tensor, a: float, free: float) -> Tensor:
    dyn, rep = stopped(q, p)
    return a * dyn.mean().clamp(min=free) + (1 - a) * rep.mean().clamp(min=free)


def two_way(q: Tensor, p: Tensor, a: float, free: float) -> Tensor:
    ahead, back = kl(q, p).sum(-1), kl(p, q).sum(-1)
    return (a * ahead.clamp(min=free) + (1 - a) * back.clamp(min=free)).mean()


def per_variable(q: Tensor, p: Tensor, a: float, free: float) -> Tensor:
    dyn, rep = kl(q.detach(), p).clamp(min=free), kl(q, p.detach()).clamp(min=free)
    return (a * dyn + (1 - a) * rep).mean()


KL_ROWS = {
    "balanced": (
        {"loss_scales__dyn": 0.8, "loss_scales__rep": 0.2, "world__free_nats": 1.0},
        lambda q, p: balanced(q, p, 0.8, 1.0),
    ),
    "balanced, the larger share on the posterior": (
        {"loss_scales__dyn": 0.2, "loss_scales__rep": 0.8, "world__free_nats": 3.0},
        lambda q, p: balanced(q, p, 0.2, 3.0),
    ),
    "balanced, nats free for the mean": (
        {"loss_scales__dyn": 0.8, "loss_scales__rep": 0.2, "world__free_over": "mean"},
        lambda q, p: of_the_mean(q, p, 0.8, 1.0),
    ),
    "both directions": (
        {"loss_scales__dyn": 0.8, "loss_scales__rep": 0.2, "world__kl": "forward_reverse"},
        lambda q, p: two_way(q, p, 0.8, 1.0),
    ),
    "plain, nats free for the mean": (
        {"world__kl": "plain", "world__free_over": "mean", "loss_scales__dyn": 2.0},
        lambda q, p: 2.0 * kl(q, p).sum(-1).mean().clamp(min=1.0),
    ),
    "plain, nats free for each step": (
        {"world__kl": "plain"},
        lambda q, p: kl(q, p).sum(-1).clamp(min=1.0).mean(),
    ),
    "nats free for each variable": (
        {
            "loss_scales__dyn": 0.8,
            "loss_scales__rep": 0.2,
            "world__free_over": "variable",
            "world__free_nats": 0.3,
        },
        lambda q, p: per_variable(q, p, 0.8, 0.3),
    ),
}


@pytest.mark.parametrize("row", KL_ROWS)
@pytest.mark.parametrize("spread", [1.0, 0.1], ids=["far", "near"])
def test_kl_losses_have_the_value_and_gradients_of_their_formula(row: str, spread: float) -> None:
    """Far apart, most divergences are above the free nats; near each other all are below."""
    values, formula = KL_ROWS[row]
    agent = tiny.agent(tiny.setting(**values))
    rng = torch.Generator().manual_seed(0)
    q, p = (torch.randn(3, 5, 4, 4, generator=rng).mul(spread).requires_grad_() for _ in "qp")
    seen = []
    for loss in (
        kl_part(agent, torch.log_softmax(q, -1), torch.log_softmax(p, -1)),
        formula(q, p),
    ):
        grads = torch.autograd.grad(loss, (q, p), allow_unused=True)
        seen.append((loss, *(torch.zeros_like(q) if g is None else g for g in grads)))
    for ours, theirs in zip(*seen, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-7)
    assert bool(seen[0][1].any()) is (spread == 1.0)  # the floor cuts gradients, and only then


def test_nats_free_for_each_variable_of_a_gaussian_state() -> None:
    cfg = {"world__latent__kind": "gaussian", "world__free_over": "variable"}
    agent = tiny.agent(tiny.setting(**cfg, world__free_nats=0.5, world__kl="plain"))
    params = [torch.cat([torch.randn(3, 5, 4), 0.5 + torch.rand(3, 5, 4)], -1) for _ in "qp"]
    loss = agent.world.rssm.kl(dict(zip(("post", "prior"), params, strict=True)))["dyn"]
    each = kl_divergence(*(Normal(*x.chunk(2, -1)) for x in params))
    assert torch.allclose(loss, each.clamp(min=0.5).mean(-1), atol=1e-6)
    assert (each < 0.5).any() and (each > 0.5).any()


@pytest.mark.parametrize("kind", ["forward_reverse", "plain"])
def test_an_agent_with_another_kl_is_trained(kind: str) -> None:
    agent = tiny.agent(tiny.setting(world__kl=kind))
    _, metrics = agent.update(tiny.batch())
    assert ("loss/rep" in metrics) is (kind != "plain")
    assert all(value.isfinite() for value in metrics.values())


def test_a_form_of_the_kl_that_is_none_names_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"Unknown world\.kl 'reverse'\. Did you mean 'forward_r"):
        tiny.agent(tiny.setting(world__kl="reverse"))


# Rewards and values.


def symlog(x: Tensor) -> Tensor:
    return torch.sign(x) * torch.log(1 + x.abs())


@pytest.mark.parametrize("output", ["symexp_mse", "learned_symexp_mse"])
def test_squared_errors_in_symlog_space_predict_in_value_space(output: str) -> None:
    """`(symlog(x) - mean)^2`, and symexp(mean) is the prediction; the learned scale begins as 1."""
    agent = tiny.agent(tiny.setting(world__reward__output=output, behavior__critic__output=output))
    feat, target = torch.randn(3, 5, agent.world.rssm.feat_size), 30 * torch.randn(3, 5)
    for head in (agent.world.reward, agent.behavior.critic):
        if output != "symexp_mse":
            head.layer.theta.data.fill_(math.log(math.e - 1))  # the test's agent is disturbed
        mean = head.layer.linear(head.mlp(feat)).squeeze(-1)
        assert torch.allclose(head(feat).loss(target), (symlog(target) - mean) ** 2, rtol=1e-4)
        assert torch.allclose(symlog(head(feat).pred()), mean, atol=1e-5)
    reward, _ = agent.world.judge(feat)
    assert torch.equal(reward, agent.world.reward(feat).pred())


@pytest.mark.parametrize("output", ["symexp_mse", "learned_symexp_mse", "symlog_twohot"])
def test_predicted_rewards_are_clipped_in_symlog_space(output: str) -> None:
    """A mean of 3 or -3 gives what 2 or -2 would; the loss knows of no clip."""
    agent = tiny.agent(tiny.setting(world__reward__output=output, world__reward_clip=2.0))
    layer, target = agent.world.reward.layer, torch.tensor([1.0])
    layer.linear.weight.data.zero_()
    for mean, clipped in ((3.0, 2.0), (-3.0, -2.0), (1.0, 1.0)):
        if output == "symlog_twohot":  # bins at -20, -19, ..., 20
            layer.linear.bias.data.copy_(100.0 * (layer.bins == mean))
        else:
            layer.linear.bias.data.fill_(mean)
        head = layer(torch.zeros(1, 8))
        scale = F.softplus(layer.theta).item() if hasattr(layer, "theta") else 1.0
        expected = math.copysign(math.expm1(abs(clipped)), mean) / scale
        assert head.pred().item() == pytest.approx(expected, rel=1e-5)
        if output == "symexp_mse":
            assert head.loss(target).item() == pytest.approx((math.log(2) - mean) ** 2, rel=1e-5)


@pytest.mark.parametrize(
    ("section", "output"), [("world__reward", "twohot"), ("world__cont", "symlog_twohot")]
)
def test_one_bin_is_refused_of_two_hot_outputs(section: str, output: str) -> None:
    change = tiny.setting(**{f"{section}__bins": 1, f"{section}__output": output})
    told = f"{section.replace('__', '.')}.bins is 1, but output={output} needs 2 or more"
    with pytest.raises(UsageError, match=told):
        tiny.agent(change)


def test_a_clip_that_reaches_no_prediction_is_refused() -> None:
    with pytest.raises(
        UsageError, match=r"world\.reward_clip is 2, but world\.reward\.output=twohot"
    ):
        tiny.agent(tiny.setting(world__reward_clip=2.0))


def test_a_learned_scale_squashes_and_is_undone() -> None:
    """`sign(x) log(1 + s |x|)` with s = softplus(theta); the prediction is its inverse."""
    agent = tiny.agent(tiny.setting(world__reward__output="learned_symexp_mse"))
    layer = agent.world.reward.layer
    layer.theta.data.fill_(1.5)
    layer.linear.weight.data.zero_()
    scale = math.log1p(math.exp(1.5))
    for x in (-7.0, 0.5, 40.0):
        layer.linear.bias.data.fill_(math.copysign(math.log1p(scale * abs(x)), x))
        head = layer(torch.zeros(1, 8))
        assert head.pred().item() == pytest.approx(x, rel=1e-5)
        assert head.loss(torch.tensor([x])).item() == pytest.approx(0.0, abs=1e-10)


@pytest.mark.parametrize("gradient", ["reinforce", "dynamics"])
def test_the_scale_learns_from_its_head_alone(gradient: str) -> None:
    """Of all losses, only that of the head whose scale it is."""
    output = "learned_symexp_mse"
    agent = tiny.agent(
        tiny.setting(
            world__reward__output=output,
            behavior__critic__output=output,
            behavior__actor__gradient=gradient,
        )
    )
    each = agent.losses(agent.unroll_context(tiny.batch())).each
    own = {agent.world.reward.layer.theta: {"reward"}}
    own[agent.behavior.critic.layer.theta] = {"value", "repval"}
    for theta, names in own.items():
        reached = {
            name
            for name, loss in each.items()
            if torch.autograd.grad(loss.sum(), theta, retain_graph=True, allow_unused=True)[0]
            is not None
        }
        assert reached == names


def test_heads_have_the_layers_that_are_asked_for() -> None:
    """Four in each of the four, as one description has it; the default is 1, 1, 3, 3."""
    heads = ("world__reward", "world__cont", "behavior__actor", "behavior__critic")
    for agent, layers in (
        (tiny.agent(), [1, 1, 3, 3]),
        (tiny.agent(tiny.setting(**{f"{head}__layers": 4 for head in heads})), [4] * 4),
    ):
        parts = [agent.get_submodule(head.replace("__", ".")) for head in heads]
        assert [len(part.mlp) for part in parts] == layers


# Observations.


def _heads_at(agent: Agent, batch: TensorDict) -> tuple[TensorDict, dict[str, Tensor]]:
    """States and world losses of a batch, with fixed noise."""
    records = agent.unroll_context(batch)
    noise = torch.rand(3, 5, 4, generator=torch.Generator().manual_seed(0))
    states = agent.world.observe(records, noise)
    return states, agent.world.losses(states, records)


def test_images_can_be_seen_and_told_in_symlog_space() -> None:
    """`(symlog(o) - prediction)^2` of images from 0 to 1; predictions come back from there."""
    squash = {"world__encoder__symlog_images": True, "world__decoder__symlog_images": True}
    agent, batch = tiny.image_agent(tiny.setting(**squash)), tiny.image_batch()
    seen = []
    agent.world.encoder.cnn.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    states, losses = _heads_at(agent, batch)
    scaled = batch["obs", "image"][:, 1:].float() / 255
    assert torch.allclose(seen[0].unflatten(0, (3, 5)), symlog(scaled), atol=1e-6)
    output = agent.world.outputs(states)["image"]
    mean = output.scaled.pred()
    assert torch.allclose(losses["image"], (symlog(scaled) - mean).square().sum((2, 3, 4)))
    assert torch.allclose(symlog(output.pred()), mean, atol=1e-6)
    plain = tiny.image_agent().world.outputs(states)["image"]
    assert torch.equal(plain.pred(), plain.scaled.pred())


def test_reconstructions_can_be_measured_by_their_absolute_error() -> None:
    agent, batch = tiny.image_agent(tiny.setting(world__decoder__output="mae")), tiny.image_batch()
    states, losses = _heads_at(agent, batch)
    outputs = agent.world.outputs(states)
    image = batch["obs", "image"][:, 1:].float() / 255
    vector = symlog(batch["obs", "vector"][:, 1:])
    for name, target in (("image", image), ("vector", vector)):
        error = (outputs[name].pred() - target).abs().flatten(2).sum(-1)
        assert torch.allclose(losses[name], error, rtol=1e-5)


@pytest.mark.parametrize("std", [0.0, 0.7], ids=["learned", "fixed"])
def test_the_code_of_images_is_a_normal_that_is_pulled_to_the_standard_one(std: float) -> None:
    """One number in `vae_std` fixes the deviation; the vector beside the image is no code."""
    words = {"world__encoder__vae_dim": 6, "world__encoder__vae_std": std}
    agent = tiny.image_agent(tiny.setting(**words, loss_scales__vae=0.25))
    encoder, obs = agent.world.encoder, tiny.image_batch()["obs"]
    encoded = encoder.encode(obs)
    width = encoder.mlp.out_features
    assert encoder.out_features == width + 6
    assert encoded.shape[-1] == width + (6 if std else 12)
    mean = encoded[..., width : width + 6]
    deviation = torch.full_like(mean, std) if std else (encoded[..., width + 6 :] / 2).exp()
    code = Normal(mean, deviation)
    expected = kl_divergence(code, Normal(0.0, 1.0)).sum(-1)
    assert torch.allclose(encoder.kl(encoded), expected, rtol=1e-4, atol=1e-6)
    noise = torch.rand(3, 6, 6)
    drawn = encoder.draw(encoded, noise)
    assert torch.allclose(drawn[..., width:], code.icdf(noise), atol=1e-5)
    assert torch.equal(drawn[..., :width], encoded[..., :width])
    assert torch.equal(encoder(obs), torch.cat([encoded[..., :width], mean], -1))  # acting
    assert agent.scales["vae"] == 0.25


@pytest.mark.parametrize("std", [0.0, 0.5])
def test_an_episode_is_filtered_on_the_likeliest_codes(std: float) -> None:
    words = {"world__encoder__vae_dim": 6, "world__encoder__vae_std": std}
    agent = tiny.image_agent(tiny.setting(**words))
    episode = tiny.image_batch(1, 9)[0]
    episode["is_first"][0] = True
    seen = filter_episode(agent.world, episode, torch.Generator().manual_seed(0))
    assert len(seen["deter"]) == len(episode) and seen["deter"].isfinite().all()
    assert list(filmed(agent.world, episode)) == ["image"]


def test_the_code_is_learned_from_draws() -> None:
    """An update moves every parameter; the loss `vae` reaches the image encoder and no more."""
    agent = tiny.image_agent(tiny.setting(world__encoder__vae_dim=6))
    losses = agent.losses(agent.unroll_context(tiny.image_batch()))
    again = agent.losses(agent.unroll_context(tiny.image_batch()))
    assert not torch.equal(losses.each["image"], again.each["image"])  # new noise, new codes
    agent.optimizer.zero_grad(set_to_none=True)
    losses.each["vae"].mean().backward()
    grads = {name: p.grad for name, p in agent.named_parameters() if p.grad is not None}
    reached = {name.split(".")[2] for name, grad in grads.items() if grad.any()}
    assert reached == {"cnn"}
    before = {name: p.detach().clone() for name, p in agent.named_parameters()}
    agent.update(tiny.image_batch())
    assert [name for name, p in agent.named_parameters() if p.equal(before[name])] == []


@pytest.mark.parametrize(
    ("make", "values", "message"),
    [
        (tiny.agent, {"vae_dim": 8}, "world.encoder.vae_dim is 8, but there is no image"),
        (
            tiny.image_agent,
            {"vae_dim": 8, "embed_size": 16},
            "world.encoder.embed_size is 16 and world.encoder.vae_dim 8",
        ),
    ],
)
def test_a_code_that_cannot_be_is_refused(
    make: Callable[..., Agent], values: dict[str, int], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        make(tiny.setting(**{f"world__encoder__{key}": value for key, value in values.items()}))


@pytest.mark.parametrize("targets", [True, False])
def test_images_are_moved_at_random_and_edges_repeated(targets: bool) -> None:
    """As padding by 3 repeated pixels and cutting at a corner from 0..6, one per row of a batch."""
    words = {"world__encoder__shift": 3, "world__encoder__shift_targets": targets}
    agent, batch = tiny.image_agent(tiny.setting(**words)), tiny.image_batch()
    records, drawn = agent.unroll_context(batch), agent.generator.clone_state()
    torch.rand(3, 5, 4, generator=drawn)  # of the latents
    corner = (7 * torch.rand(3, 2, generator=drawn)).long()
    image = batch["obs", "image"][:, 1:]
    wide = F.pad(image.permute(0, 1, 4, 2, 3).flatten(0, 1).float(), (3, 3, 3, 3), mode="replicate")
    wide = wide.unflatten(0, (3, 5)).permute(0, 1, 3, 4, 2).to(torch.uint8)
    moved = torch.stack(
        [rows[:, y : y + 48, x : x + 48] for rows, (y, x) in zip(wide, corner, strict=True)]
    )
    seen: dict[str, Any] = {}
    world = agent.world
    observe, losses = world.observe, world.losses
    world.observe = lambda given, *noise: observe(seen.setdefault("in", given), *noise)
    world.losses = lambda states, given: losses(states, seen.setdefault("out", given))
    agent.losses(records)
    assert torch.equal(seen["in"]["obs", "image"], moved) and not torch.equal(moved, image)
    assert torch.equal(seen["out"]["obs", "image"], moved if targets else image)
    assert torch.equal(records["obs", "image"], image)  # replay's own are not touched
    assert torch.equal(seen["in"]["obs", "vector"], records["obs", "vector"])


def test_a_shift_without_images_is_refused() -> None:
    with pytest.raises(UsageError, match=r"world\.encoder\.shift is 4, but there is no image"):
        tiny.agent(tiny.setting(world__encoder__shift=4))


# Dreams, the sum of losses, filtering.


@pytest.mark.parametrize("start", ["posterior", "prior"])
def test_dreams_start_from_what_was_seen_or_from_what_was_expected(start: str) -> None:
    agent = tiny.agent(tiny.setting(behavior__imag_start=start))
    records, drawn = agent.unroll_context(tiny.batch()), agent.generator.clone_state()
    seen: dict[str, TensorDict] = {}
    dream = agent.dream
    agent.dream = lambda starts, actor: dream(seen.setdefault("starts", starts), actor)
    states = agent.losses(records).states
    torch.rand(3, 5, 4, generator=drawn)  # of the posterior's draws
    expected = agent.world.rssm.latent.sample(
        states["prior"], torch.rand(3, 5, 4, generator=drawn)
    ).detach()
    starts = seen["starts"]
    assert torch.equal(starts["stoch"], expected if start == "prior" else states["stoch"])
    assert not torch.equal(expected, states["stoch"])
    assert torch.equal(starts["deter"], states["deter"]) and not starts["stoch"].requires_grad


def test_an_unknown_start_of_dreams_names_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"behavior\.imag_start 'priors'\. Did you mean 'prior'"):
        tiny.agent(tiny.setting(behavior__imag_start="priors"))


def test_harmony_weighs_groups_of_losses_by_numbers_that_it_learns() -> None:
    """`exp(-s) L + log(1 + exp(s))` for reconstruction, reward and KL; the rest as it was."""
    agent = tiny.agent(tiny.setting(world__loss_balance="harmony"))
    agent.world.balance.s.data.copy_(torch.tensor([0.0, 1.0, -2.0]))
    losses = agent.losses(agent.unroll_context(tiny.batch()))
    each = {name: agent.scales[name] * loss.mean() for name, loss in losses.each.items()}
    groups = each.pop("vector"), each.pop("reward"), each.pop("dyn") + each.pop("rep")
    expected = sum(each.values())
    for s, group in zip((0.0, 1.0, -2.0), groups, strict=True):
        expected = expected + math.exp(-s) * group + math.log(1 + math.exp(s))
    assert losses.total.item() == pytest.approx(expected.item(), rel=1e-5)
    assert losses.metrics["weight/reward"].item() == pytest.approx(math.exp(-1))
    losses.total.backward()
    slopes = [  # by hand: -exp(-s) L + sigmoid(s)
        -math.exp(-s) * group.item() + 1 / (1 + math.exp(-s))
        for s, group in zip((0.0, 1.0, -2.0), groups, strict=True)
    ]
    assert agent.world.balance.s.grad.tolist() == pytest.approx(slopes, rel=1e-4)


@pytest.mark.parametrize("kl", ["balanced", "plain"])
def test_harmony_begins_with_equal_weights_and_is_saved(kl: str) -> None:
    agent = tiny.agent(tiny.setting(world__loss_balance="harmony", world__kl=kl))
    agent.world.balance.s.data.zero_()  # the test's agent is disturbed
    losses = agent.losses(agent.unroll_context(tiny.batch()))
    plain = sum(agent.scales[name] * loss.mean() for name, loss in losses.each.items())
    assert losses.total.item() == pytest.approx(plain.item() + 3 * math.log(2), rel=1e-5)
    agent.update(tiny.batch())
    assert agent.world.balance.s.all()  # it moved
    other = tiny.agent(tiny.setting(world__loss_balance="harmony", world__kl=kl), seed=3)
    other.load_training_state(agent.training_state())
    assert torch.equal(other.world.balance.s, agent.world.balance.s)


def _kept_bytes(run: Callable[[], Any]) -> int:
    """Bytes of tensors that autograd keeps from a forward pass, each storage once."""
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        result = run()
    del result
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


@pytest.mark.parametrize("steps", [2, 3, 64], ids=["even", "rest", "whole"])
@pytest.mark.parametrize("kind", ["block_gru", "plain_gru"])
def test_recomputed_filtering_has_the_same_losses_and_gradients(steps: int, kind: str) -> None:
    found = []
    for recompute in (0, steps):
        agent = tiny.agent(tiny.setting(world__recompute=recompute, world__core__kind=kind))
        agent.world.rssm.scan = agent.world.rssm.scan if recompute else plain_scan
        losses = agent.losses(agent.unroll_context(tiny.batch()))
        losses.total.backward()
        grads = {name: p.grad for name, p in agent.named_parameters() if p.grad is not None}
        found.append((losses, grads))
    (plain, grads), (again, again_grads) = found
    assert grads.keys() == again_grads.keys()
    for name, loss in plain.each.items():
        assert torch.equal(again.each[name], loss), name
    for name, grad in grads.items():
        assert (again_grads[name] - grad).abs().max() <= 1e-6 * grad.abs().max(), name


def test_recomputed_filtering_keeps_less() -> None:
    """Of 32 steps in pieces of 8, less than a third; what is kept of a piece is its inputs."""
    kept = {}
    for recompute in (0, 8):
        rssm = tiny.agent(tiny.setting(world__recompute=recompute)).world.rssm
        rssm.scan = rssm.scan if recompute else plain_scan
        given = torch.randn(4, 32, 8), torch.randn(4, 32, 5), torch.zeros(4, 32, dtype=torch.bool)
        noise = torch.rand(4, 32, 4)
        actions = rssm.core.embed_action(given[1])
        start = rssm.initial(4)
        kept[recompute] = _kept_bytes(
            partial(rssm.scan, rssm, given[0], actions, given[2], start, noise)
        )
    assert kept[8] < kept[0] / 3


def test_recomputing_scans_are_not_replaced_by_compiled_ones(monkeypatch: Any) -> None:
    monkeypatch.setattr("dreamer_plugin.compiling._compiled", lambda function, options: function)
    for recompute, scan in ((8, RecomputingScan), (0, DeferredScan)):
        agent = tiny.agent(tiny.setting(world__recompute=recompute))
        compile_agent(agent)
        assert type(agent.world.rssm.scan) is scan
        assert agent.update(tiny.batch())[1]["loss/dyn"].isfinite()


@pytest.mark.parametrize("unimix", [0.0, 0.01])
def test_categorical_states_with_and_without_a_uniform_share(unimix: float) -> None:
    """Straight through: the draw forwards, `(1 - u) softmax + u / K` backwards."""
    latent = tiny.agent(tiny.setting(world__latent__unimix=unimix)).world.rssm.latent
    raw = torch.randn(2, 16, requires_grad=True)
    probs = latent.params(raw).exp()
    mixed = (1 - unimix) * raw.unflatten(-1, (4, 4)).softmax(-1) + unimix / 4
    assert torch.allclose(probs, mixed, atol=1e-6)
    draw, weights = latent.sample(latent.params(raw), torch.rand(2, 4)), torch.randn(2, 4, 4)
    assert torch.equal(draw.sum(-1), torch.ones(2, 4)) and set(draw.unique().tolist()) == {0, 1}
    slopes = [torch.autograd.grad((weights * x).sum(), raw)[0] for x in (draw, mixed)]
    assert torch.allclose(*slopes, atol=1e-6)


def test_gumbel_states_at_a_temperature() -> None:
    """One-hot of the largest `logit + G` forwards, `softmax((logits + G) / tau)` backwards."""
    words = {"gradient": "gumbel", "gumbel_tau": 0.7, "unimix": 0.0}
    agent = tiny.agent(
        tiny.setting(**{f"world__latent__{key}": word for key, word in words.items()})
    )
    latent, raw = agent.world.rssm.latent, torch.randn(2, 16, requires_grad=True)
    noise = torch.rand(2, *latent.noise_shape)
    draw, weights = latent.sample(latent.params(raw), noise), torch.randn(2, 4, 4)
    perturbed = raw.unflatten(-1, (4, 4)).log_softmax(-1) - (-noise.log()).log()
    assert torch.equal(draw.argmax(-1), perturbed.argmax(-1))
    slopes = [
        torch.autograd.grad((weights * x).sum(), raw)[0]
        for x in (draw, (perturbed / 0.7).softmax(-1))
    ]
    assert torch.allclose(*slopes, atol=1e-5)


def test_counts_of_updates_for_steps() -> None:
    """16 rows of 64: one update every second step, or 100 in a row every 1000 steps."""
    every_second = TrainRatio(512, 16 * 64)
    assert [every_second.updates(step) for step in range(7)] == [1, 0, 1, 0, 1, 0, 1]
    phases = TrainRatio(100 * 16 * 64 / 1000, 16 * 64, burst=100)
    made = {step: count for step in range(0, 3001, 100) if (count := phases.updates(step))}
    assert made == {0: 1, 1000: 100, 2000: 100, 3000: 100}
