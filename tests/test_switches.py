"""Each switch of the config changes what it says: the ablations, and parts of older agents."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from dreamer_plugin.agent import Agent
from dreamer_plugin.build import build_agent, build_behavior
from dreamer_plugin.config.schema import Config
from dreamer_plugin.errors import UsageError
from dreamer_plugin.nets.layers import LayerNorm
from dreamer_plugin.nets.vision import LinearStemDecoder, Residual
from dreamer_plugin.optim import Adam, LaProp
from dreamer_plugin.spaces import Spaces
from dreamer_plugin.world.cores import GRU

from . import tiny

IMAGE = gym.spaces.Dict({"image": gym.spaces.Box(0, 255, (48, 48, 3), np.uint8)})


def _losses(agent: Agent, batch: Any = None) -> dict[str, torch.Tensor]:
    return agent.losses(agent.unroll_context(tiny.batch() if batch is None else batch)).each


def _gradients(agent: Agent, loss: torch.Tensor) -> dict[str, torch.Tensor | None]:
    agent.optimizer.zero_grad(set_to_none=True)
    loss.mean().backward()
    return {name: p.grad for name, p in agent.named_parameters()}


# The differences between the papers and the code.


def test_actor_unimix_floors_every_discrete_action() -> None:
    """One of three actions has at least 0.01 / 3 however sure the actor is."""
    for unimix, least in ((0.0, 0.0), (0.01, 0.01 / 3)):
        actor = tiny.agent(tiny.setting(behavior__actor__unimix=unimix)).behavior.actor
        with torch.no_grad():
            actor.heads[1][0].bias.copy_(torch.tensor([500.0, 0.0, 0.0]))
            part = actor(torch.zeros(1, 16 + 16)).parts[1]
        assert part.probs.min().item() == pytest.approx(least, abs=1e-9)


def test_beta2_reaches_the_optimizer() -> None:
    agent = tiny.agent(tiny.setting(optim__beta2=0.99))
    agent.update(tiny.batch())
    param = agent.behavior.critic.layer.linear.bias
    square, grad = agent.optimizer.state[param]["square"], param.grad
    assert torch.allclose(square, (1 - 0.99) * grad**2, rtol=1e-4)


def _image_agent(change: Callable[[Config], None]) -> Agent:
    cfg = tiny.config(change)
    cfg.model.depth, cfg.world.decoder.image_blocks = 2, 2
    spaces = Spaces.from_gym(IMAGE, gym.spaces.Discrete(3))
    return build_agent(cfg, spaces)


def test_strided_convolutions_take_the_place_of_pooling_and_upsampling() -> None:
    """Same kernels, and so the same number of parameters, on maps of half the size."""
    strided = _image_agent(
        tiny.setting(world__encoder__downsample="stride", world__decoder__upsample="transposed")
    )
    pooled = _image_agent(tiny.setting())
    counts = [sum(p.numel() for p in agent.parameters()) for agent in (strided, pooled)]
    assert counts[0] == counts[1]
    strides = [s.conv.stride for s in strided.world.encoder.cnn.stages]
    assert strides == [(2, 2)] * 4 and not any(s.pool for s in strided.world.encoder.cnn.stages)
    assert all(s.conv.stride == (1, 1) and s.pool for s in pooled.world.encoder.cnn.stages)


def test_a_filter_spans_its_stride() -> None:
    words = {"world__encoder__downsample": "stride", "world__encoder__kernel": 1}
    with pytest.raises(UsageError, match="kernel is 1, but downsample=stride moves by 2 pixels"):
        _image_agent(tiny.setting(**words))
    _image_agent(tiny.setting(world__encoder__kernel=1))


def test_five_stages_with_an_outer_one_end_as_four_do() -> None:
    """The convolutions of 2024: depths 1 2 3 4 4, the first with stride 1."""
    mults = [1, 2, 3, 4, 4]
    agent = _image_agent(
        tiny.setting(
            world__encoder__downsample="stride",
            world__encoder__outer=True,
            world__encoder__mults=mults,
            world__decoder__upsample="transposed",
            world__decoder__outer=True,
            world__decoder__mults=mults,
        )
    )
    assert agent.world.encoder.out_features == 3 * 3 * 2 * 4
    strides = [s.conv.stride[0] for s in agent.world.encoder.cnn.stages]
    assert strides == [1, 2, 2, 2, 2]


@pytest.mark.parametrize("true_start", [False, True])
def test_a_true_start_weighs_dreams_by_the_recorded_end(true_start: bool) -> None:
    """Dreams from a terminal record lose all weight; others start with the head's target."""
    agent, batch = tiny.agent(tiny.setting(behavior__true_start=true_start)), tiny.batch()
    batch["is_terminal"][0, 2] = True  # record 1 once the context column is off
    value = _losses(agent, batch)["value"].unflatten(0, (3, 5))
    plain = _losses(tiny.agent(), batch)["value"].unflatten(0, (3, 5))
    assert bool((value[0, 1] == 0).all()) is true_start
    share = value[1, 1] / plain[1, 1]  # one over the predicted continuation, at every step
    assert torch.allclose(share, share[0].expand(4), rtol=1e-4)
    assert (share[0].item() > 1.01) is true_start


# Parts of the agent of 2023.


def test_nets_words_reach_every_layer() -> None:
    agent = tiny.agent(
        tiny.setting(nets__norm="layer", nets__act="elu", nets__eps=1e-3, nets__fan="avg")
    )
    modules = list(agent.modules())
    norms = [m for m in modules if isinstance(m, torch.nn.RMSNorm | torch.nn.LayerNorm)]
    assert {type(m) for m in norms} == {LayerNorm} and {m.eps for m in norms} == {1e-3}
    assert not any(isinstance(m, torch.nn.SiLU) for m in modules)
    assert {m.fan for m in modules if hasattr(m, "fan")} == {"avg"}
    image = _image_agent(tiny.setting(nets__norm="layer", nets__fan="avg"))
    assert not any(isinstance(m, torch.nn.RMSNorm) for m in image.modules())
    assert {m.fan for m in image.modules() if hasattr(m, "fan")} == {"avg"}


def _lost_biases(make: Callable[[Callable[[Config], None]], Agent], **values: Any) -> set[str]:
    whole, less = (
        {name for name, _ in make(tiny.setting(nets__bias=word, **values)).named_parameters()}
        for word in ("always", "unnormed")
    )
    assert less <= whole
    return whole - less


def test_layers_under_a_norm_can_do_without_a_bias() -> None:
    """Those of hidden layers; the layers after the last norm keep theirs."""
    mlps = {
        "world.rssm.posterior.0": 1,
        "world.rssm.prior.0": 2,
        "world.reward.mlp": 1,
        "world.cont.mlp": 1,
        "behavior.actor.mlp": 3,
        "behavior.critic.mlp": 3,
        "behavior.slow.copy.mlp": 3,
    }
    core = {f"world.rssm.core.{name}.bias" for name in ("mix.0", "from_deter.0", "from_stoch.0")}
    core.add("world.rssm.core.from_action.0.bias")
    vector = {"world.encoder.mlp": 3, "world.decoder.vector.mlp": 3}
    lost = _units_of(mlps) | core
    assert _lost_biases(tiny.agent) == lost | _units_of(vector)
    image = {f"world.encoder.cnn.stages.{i}.conv.bias" for i in range(4)}
    image |= {f"world.decoder.image.stages.{i}.conv.bias" for i in range(3)}
    stem = ("from_deter", "from_stoch.0.0", "from_stoch.1")
    image |= {f"world.decoder.image.{name}.bias" for name in stem}
    assert _lost_biases(_image_agent) == lost | image
    assert _lost_biases(tiny.agent, nets__norm="none") == set()
    gru = _lost_biases(tiny.agent, nets__norm="none", world__core__kind="gru")
    assert gru == {"world.rssm.core.gates.bias"}  # whose norm is its own


def _units_of(mlps: dict[str, int]) -> set[str]:
    return {f"{name}.{i}.0.bias" for name, layers in mlps.items() for i in range(layers)}


@pytest.mark.parametrize("core", ["block_gru", "gru"])
def test_an_agent_with_few_biases_is_trained(core: str) -> None:
    agent = tiny.agent(tiny.setting(nets__bias="unnormed", world__core__kind=core))
    before = {k: v.detach().clone() for k, v in agent.named_parameters()}
    agent.update(tiny.batch())
    assert [k for k, v in agent.named_parameters() if v.equal(before[k])] == []


def test_encoder_and_decoder_can_have_a_width_of_their_own() -> None:
    change = tiny.setting(world__encoder__units=6, world__decoder__units=7)
    world = tiny.agent(change).world
    assert (world.encoder.mlp.out_features, world.decoder.vector.mlp.out_features) == (6, 7)
    assert world.reward.mlp.out_features == 8
    stem = _image_agent(change).world.decoder.image.from_stoch[0][0]
    assert stem.out_features == 2 * 7


def test_the_dense_core_and_its_learned_start_are_trained() -> None:
    agent = tiny.agent(tiny.setting(world__core__kind="gru", world__learned_start=True))
    assert isinstance(agent.world.rssm.core, GRU)
    batch = tiny.batch()
    batch["is_first"][0, 3] = True
    before = {k: v.detach().clone() for k, v in agent.named_parameters()}
    agent.update(batch)
    assert [k for k, v in agent.named_parameters() if v.equal(before[k])] == []


def test_image_words_reach_encoder_and_decoder() -> None:
    agent = _image_agent(
        tiny.setting(
            world__encoder__residual=1,
            world__decoder__residual=2,
            world__decoder__stem="linear",
            world__decoder__sigmoid=False,
        )
    )
    encoder, decoder = agent.world.encoder, agent.world.decoder
    assert sum(isinstance(m, Residual) for m in encoder.modules()) == 4
    assert sum(isinstance(m, Residual) for m in decoder.modules()) == 2 * 4
    assert type(decoder.image) is LinearStemDecoder and not decoder.image.sigmoid


def test_reward_and_value_can_be_two_hot_in_symlog_space() -> None:
    agent = tiny.agent(
        tiny.setting(
            world__reward__output="symlog_twohot", behavior__critic__output="symlog_twohot"
        )
    )
    for head in (agent.world.reward, agent.behavior.critic):
        assert head.layer.bins.tolist() == torch.linspace(-20, 20, 41).tolist()
    assert all(value.isfinite() for value in agent.update(tiny.batch())[1].values())


@pytest.mark.parametrize("threshold", [False, True])
def test_thresholded_dreams_go_on_or_end(threshold: bool) -> None:
    agent = tiny.agent(tiny.setting(behavior__cont_threshold=threshold))
    feat = torch.randn(50, agent.world.rssm.feat_size)
    cont = agent.world.judge(feat)[1]
    logit = agent.world.cont(feat).logit
    # The head has learned the discount too, which the threshold must not lose.
    discount = agent.world.cont_discount
    assert cont.equal((logit > 0).float() * discount if threshold else torch.sigmoid(logit))
    assert discount == 1 - 1 / 333
    assert 0 < (logit > 0).sum() < 50  # both kinds occur


def test_the_discount_stands_in_the_returns_or_in_the_head() -> None:
    learned = tiny.agent().behavior.settings
    explicit = tiny.agent(tiny.setting(behavior__cont_discount=False)).behavior.settings
    assert (learned.dream_discount, explicit.dream_discount) == (1.0, 1 - 1 / 333)


def test_without_a_scale_the_replay_value_loss_is_not_computed() -> None:
    agent = tiny.agent(tiny.setting(loss_scales__repval=0.0))
    assert "repval" not in _losses(agent) and "repval" in _losses(tiny.agent())
    _, metrics = agent.update(tiny.batch())
    assert "loss/repval" not in metrics and metrics["loss/value"].isfinite()


def test_without_context_every_row_begins_anew() -> None:
    """All columns are trained on, from the initial state and without an action before."""
    agent, batch = tiny.agent(tiny.setting(replay__context=0)), tiny.batch()
    inputs = agent.unroll_context(batch)
    assert inputs.batch_size == (3, 6) and inputs["reward"].equal(batch["reward"])
    assert inputs["is_first"].tolist() == [[True] + [False] * 5] * 3
    assert inputs["prev_action"][:, 1:].equal(batch["action"][:, :-1])
    assert not batch["is_first"].any()  # the replay's own record is left as it is
    noise = torch.rand(3, 6, 4)
    other = batch.clone()
    other["deter"] += 1.0
    other["action"][:, -1] += 1.0
    states = [agent.world.observe(agent.unroll_context(b), noise)["deter"] for b in (batch, other)]
    assert states[0].equal(states[1])
    latents, _ = agent.update(batch)
    assert latents.batch_size == (3, 6)


# The actor's gradient.


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_gradient_through_the_dream_trains_the_actor_alone(precision: str) -> None:
    """In bfloat16 too, where autocast keeps copies of weights that were made before the freeze."""
    agent = tiny.agent(
        tiny.setting(
            behavior__actor__gradient="dynamics",
            behavior__actor__entropy=0.0,
            precision=precision,
        )
    )
    grads = _gradients(agent, _losses(agent)["policy"])
    reached = {name for name, grad in grads.items() if grad is not None and bool(grad.any())}
    assert reached and all(name.startswith("behavior.actor.") for name in reached)
    assert all(p.requires_grad for p in agent.world.parameters())  # thawed again


def test_the_gradient_through_the_dream_is_that_of_the_advantage() -> None:
    """Finite differences on the bias of a continuous action's mean."""
    change = tiny.setting(
        behavior__actor__gradient="dynamics",
        behavior__actor__entropy=0.0,
        behavior__imag_horizon=2,
        behavior__return_norm__kind="none",
        behavior__true_start=True,
        behavior__cont_discount=False,
        behavior__cont_threshold=True,
        world__latent__unimix=1.0,
        world__reward__output="mse",
        behavior__critic__output="mse",
        behavior__actor__max_std=0.1,  # actions inside the borders, where the core cuts them
    )

    def loss(shift: float) -> tuple[Agent, torch.Tensor]:
        agent = tiny.agent(change)
        with torch.no_grad():
            for head in (*agent.behavior.actor.heads[0], *agent.behavior.actor.heads[1]):
                head.weight.zero_()
            agent.behavior.actor.heads[0][0].bias[0] += shift
            agent.world.cont.layer.linear.bias.fill_(50.0)  # every dream goes on
        return agent, _losses(agent)["policy"].double().mean()

    # Latents are uniform whatever the state, so their samples do not move with the action, and
    # decisions do not look at the state: what is left is an ordinary derivative.
    agent, centre = loss(0.0)
    grad = _gradients(agent, centre)["behavior.actor.heads.0.0.bias"]
    step = 1e-2
    slope = (loss(step)[1] - loss(-step)[1]) / (2 * step)
    assert grad is not None
    assert grad[0].item() == pytest.approx(slope.item(), rel=0.02)
    assert abs(slope.item()) > 1e-5


def test_a_mixed_gradient_is_the_weighted_sum() -> None:
    grads = []
    for word in ("dynamics", "reinforce", "mixed"):
        agent = tiny.agent(tiny.setting(behavior__actor__gradient=word, behavior__actor__mix=0.3))
        grads.append(_gradients(agent, _losses(agent)["policy"]))
    through, score, mixed = grads
    for name, grad in mixed.items():
        if name.startswith("behavior.actor."):
            assert torch.allclose(grad, 0.3 * through[name] + 0.7 * score[name], atol=1e-6), name
    assert not torch.allclose(*(g["behavior.actor.heads.0.0.weight"] for g in (through, score)))


@pytest.mark.parametrize(
    ("action", "share"),
    [
        (gym.spaces.Box(-1, 1, (2,)), 1.0),
        (gym.spaces.Discrete(3), 0.0),
        (tiny.ACTIONS, 0.0),  # one key of each kind
    ],
)
def test_auto_goes_through_the_dream_for_continuous_actions(
    action: gym.Space[Any], share: float
) -> None:
    cfg = tiny.config(tiny.setting(behavior__actor__gradient="auto"))
    spaces = Spaces.from_gym(tiny.OBS, action)
    assert build_behavior(cfg, spaces, 32).settings.dynamics == share


# Optimisers.


def test_separate_groups_with_equal_numbers_change_nothing() -> None:
    """LaProp clips each parameter by itself, so who stands in which group does not matter."""
    joint = tiny.agent()
    apart = tiny.agent(
        tiny.setting(optim__groups="separate", optim__actor__lr=1e-3, optim__critic__lr=1e-3)
    )
    for agent in (joint, apart):
        agent.update(tiny.batch())
    pairs = zip(joint.parameters(), apart.parameters(), strict=True)
    assert all(one.equal(two) for one, two in pairs)


def test_each_group_follows_its_own_rate() -> None:
    agent = tiny.agent(
        tiny.setting(
            optim__kind="adam",
            optim__agc=0.0,
            optim__groups="separate",
            optim__lr=0.0,
            optim__actor__lr=0.0,
            optim__critic__lr=1e-3,
            optim__critic__eps=1e-5,
            optim__critic__clip=100.0,
        )  # fmt: skip
    )
    assert type(agent.optimizer) is Adam and type(tiny.agent().optimizer) is LaProp
    kept = {"name", "lr", "eps", "clip"}
    groups = {tuple(sorted((k, g[k]) for k in kept)) for g in agent.optimizer.param_groups}
    assert groups == {
        (("clip", 0.0), ("eps", 1e-20), ("lr", 0.0), ("name", "model")),
        (("clip", 0.0), ("eps", 1e-20), ("lr", 0.0), ("name", "actor")),
        (("clip", 100.0), ("eps", 1e-5), ("lr", 1e-3), ("name", "critic")),
    }
    before = {k: v.detach().clone() for k, v in agent.named_parameters()}
    agent.update(tiny.batch())
    moved = {k for k, v in agent.named_parameters() if not v.equal(before[k])}
    critic = {k for k in before if k.startswith(("behavior.critic.", "behavior.slow."))}
    assert moved == critic


def test_adam_in_groups_goes_on_bit_by_bit_after_a_reload() -> None:
    change = tiny.setting(optim__kind="adam", optim__groups="separate", optim__clip=0.1)
    agent = tiny.agent(change)
    agent.update(tiny.batch())
    saved = {k: v.clone() for k, v in agent.training_state().items()}
    other = tiny.agent(change, seed=4)
    other.load_training_state(saved)
    for one in (agent, other):
        one.update(tiny.batch(seed=1))
    states = agent.training_state(), other.training_state()
    assert states[0].keys() == states[1].keys()
    assert all(states[0][k].equal(states[1][k]) for k in states[0])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"world__core__kind": "gru_"}, "Unknown world.core.kind 'gru_'. Did you mean 'gru'?"),
        ({"optim__kind": "adamw"}, "Unknown optim.kind 'adamw'. Did you mean 'adam'?"),
        ({"optim__groups": "each"}, "Unknown optim.groups 'each'."),
        ({"behavior__actor__gradient": "dynamic"}, "Unknown behavior.actor.gradient 'dynamic'."),
        ({"nets__norm": "batch"}, "Unknown nets.norm 'batch'."),
        ({"nets__bias": "alway"}, "Unknown nets.bias 'alway'. Did you mean 'always'?"),
        ({"replay__context": 2}, "replay.context is 2, but must be 0 or 1"),
        (
            {"behavior__cont_threshold": True, "world__cont__output": "mse"},
            "behavior.cont_threshold needs world.cont.output=binary, got mse",
        ),
    ],
)
def test_words_that_name_no_part_name_the_nearest(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        tiny.agent(tiny.setting(**values))
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"return_norm__low": 95.0},
            "behavior.return_norm.low is 95, but must be below behavior.return_norm.high, 95",
        ),
        (
            {"advantage_norm__kind": "meanstd", "advantage_norm__rate": 0.0},
            "behavior.advantage_norm.rate is 0, so that",
        ),
    ],
)
def test_impossible_normalisers_are_refused(values: dict[str, Any], message: str) -> None:
    name = next(iter(values)).split("__")[0]
    words = {f"{name}__debias": True} | values
    with pytest.raises(UsageError) as caught:
        tiny.agent(tiny.setting(**{f"behavior__{key}": value for key, value in words.items()}))
    assert str(caught.value).startswith(message)
    tiny.agent(tiny.setting(behavior__value_norm__low=95.0, behavior__value_norm__rate=0.0))


def test_the_floor_of_adaptive_clipping_is_above_zero() -> None:
    with pytest.raises(UsageError, match=r"optim.agc_min is 0, .* set it above 0, .* optim.agc=0"):
        tiny.agent(tiny.setting(optim__agc_min=0.0))
    tiny.agent(tiny.setting(optim__agc_min=0.0, optim__agc=0.0))


def test_an_unknown_stem_names_the_valid_ones() -> None:
    with pytest.raises(UsageError, match="Unknown world.decoder.stem 'liner'"):
        _image_agent(tiny.setting(world__decoder__stem="liner"))
