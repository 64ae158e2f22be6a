"""Weights go to TorchRL's modules and come back; both sides then compute the same."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable

import gymnasium as gym
import numpy as np
import pytest
import torch
from tensordict import TensorDict
from torch import Tensor, nn
from torchrl.envs import ExplorationType, set_exploration_type
from torchrl.modules import (
    DreamerV3DiscreteActor,
    DreamerV3ImageDecoder,
    DreamerV3ImageEncoder,
    DreamerV3MLP,
    RSSMPriorV3,
    SymExpTwoHot,
)

from dreamer_plugin.agent import Agent
from dreamer_plugin.behavior.actor import Actor
from dreamer_plugin.build import build_agent
from dreamer_plugin.config.schema import Config
from dreamer_plugin.errors import UsageError
from dreamer_plugin.interop.torchrl_weights import from_torchrl, to_torchrl
from dreamer_plugin.nets.codec import VectorDecoder
from dreamer_plugin.nets.heads import BinaryLayer, Head, MSELayer, NormalLayer, TwoHotLayer
from dreamer_plugin.nets.layers import MLP, OFFICIAL, Style
from dreamer_plugin.nets.vision import ImageDecoder, ImageEncoder, LinearStemDecoder
from dreamer_plugin.ops.distributions import mix_uniform
from dreamer_plugin.spaces import ActionKey, ObsKey, Spaces
from dreamer_plugin.world.cores import GRU, BlockGRU
from dreamer_plugin.world.latent import CategoricalLatent, GaussianLatent
from dreamer_plugin.world.rssm import RSSM

from .. import tiny
from .torchrl_parts import same

D, S, K, E, A = 16, 3, 4, 5, 2
FEAT = D + S * K


def rssm(embed: int = E, unimix: float = 0.01, style: Style = OFFICIAL, **change: object) -> RSSM:
    core = BlockGRU(D, S * K, A, 8, blocks=2, layers=2, style=style)
    return RSSM(core, CategoricalLatent(S, K, unimix), embed, 8, style=style, **change)


def head(layer: nn.Module) -> Head:
    return Head(MLP(FEAT, 2, 8), layer)


def discrete_actor(unimix: float = 0.01) -> Actor:
    return Actor(MLP(FEAT, 2, 8), [ActionKey("action", "discrete", (), 3)], unimix=unimix)


def encoder(kernel: int = 5, downsample: str = "stride", **change: object) -> ImageEncoder:
    return ImageEncoder((16, 16), 3, (4, 6), kernel, downsample, **change)


def noise(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def check_rssm(ours: RSSM, theirs: nn.Module) -> None:
    prior, posterior = theirs.rssm_prior.module, theirs.rssm_posterior.module
    deter, stoch, action, embed = noise(7, D), noise(7, S * K), 3 * noise(7, A), noise(7, E)
    logits, _, belief = prior(stoch, deter, action)
    after = ours.core(deter, stoch, ours.core.embed_action(action))
    same(after, belief)
    same(ours.latent.params(ours.prior(after)), mix_uniform(logits, prior.unimix))
    same(ours.post(after, embed), mix_uniform(posterior(belief, embed)[0], posterior.unimix))


def check_head(ours: Head, theirs: nn.Module) -> None:
    feat = noise(7, FEAT)
    out, raw = ours(feat), theirs(feat[:, :D], feat[:, D:])  # belief, state
    if isinstance(ours.layer, TwoHotLayer):
        same(out.logits, raw)
        # The outer bins are 5e8 and an untrained head is flat: rounding is relative to them.
        theirs_pred = SymExpTwoHot(raw.shape[-1]).decode(raw)
        torch.testing.assert_close(out.pred(), theirs_pred, rtol=0, atol=100)
    else:
        decoded = raw.sigmoid() if isinstance(ours.layer, BinaryLayer) else raw
        same(out.pred(), decoded.squeeze(-1))


def check_actor(ours: Actor, theirs: nn.Module) -> None:
    feat = noise(7, FEAT)
    data = TensorDict({"belief": feat[:, :D], "state": feat[:, D:]}, [7])
    policy, dist = ours(feat), theirs.get_dist(data)
    same(policy.parts[0].logprobs.squeeze(-2), dist.logits)
    same(policy.entropy(), dist.entropy())
    with set_exploration_type(ExplorationType.DETERMINISTIC):
        chosen = theirs(data)
    same(policy.mode(), chosen["action"].float())
    same(policy.logp(policy.mode()), chosen["action_log_prob"])


def check_encoder(ours: ImageEncoder, theirs: nn.Module) -> None:
    image = torch.randint(0, 256, (2, 16, 16, 3), dtype=torch.uint8)
    maps = theirs(image.permute(0, 3, 1, 2)).unflatten(-1, (6, 4, 4))
    same(ours(image.float() / 255).unflatten(-1, (4, 4, 6)), maps.permute(0, 2, 3, 1))


def check_mlp(ours: MLP, theirs: nn.Module) -> None:
    same(ours(noise(7, FEAT)), theirs(noise(7, FEAT)))


def check_vector_decoder(ours: VectorDecoder, theirs: nn.Module) -> None:
    """Both take the stochastic state first here, as the official decoder does."""
    deter, stoch = noise(7, D), noise(7, S * K)
    mean = ours(torch.cat([stoch, deter], -1))["where"].pred()
    same(mean.flatten(1), theirs(stoch, deter))


def vector_decoder() -> VectorDecoder:
    return VectorDecoder([ObsKey("where", "vector", (2, 3))], MLP(FEAT, 2, 8), True)


MODULES: dict[str, tuple[Callable[[], nn.Module], Callable[..., None]]] = {
    "rssm": (rssm, check_rssm),
    "rssm without units": (lambda: rssm(prior_layers=0, posterior_layers=0), check_rssm),
    "rssm, other eps": (lambda: rssm(style=Style(eps=1e-2)), check_rssm),
    "mlp": (lambda: MLP(FEAT, 3, 8), check_mlp),
    "mlp without units": (lambda: MLP(FEAT, 0, 8), check_mlp),
    "two-hot head": (lambda: head(TwoHotLayer(8, 41, 0.5)), check_head),
    "binary head": (lambda: head(BinaryLayer(8, 0.5)), check_head),
    "mse head": (lambda: head(MSELayer(8, 0.5, symlog=True)), check_head),
    "normal head": (lambda: head(NormalLayer(8, 0.5)), check_head),
    "vector decoder": (vector_decoder, check_vector_decoder),
    "discrete actor": (discrete_actor, check_actor),
    "image encoder": (encoder, check_encoder),
    "image encoder, even kernel": (lambda: encoder(4), check_encoder),
}


@pytest.mark.parametrize("name", MODULES)
def test_there_and_back(name: str) -> None:
    make, check = MODULES[name]
    ours, back = make(), make()
    for seed, module in enumerate((ours, back)):
        tiny.disturb(module, seed)
    before = copy.deepcopy(ours.state_dict())
    state = torch.get_rng_state()
    theirs = to_torchrl(ours)
    assert torch.equal(torch.get_rng_state(), state), "the making of a copy draws no numbers"
    check(ours, theirs)

    from_torchrl(back, theirs)
    check(back, theirs)
    for key, value in back.state_dict().items():
        assert torch.equal(value, before[key]), key
    if name == "mlp without units":
        return  # no weights to share
    tiny.disturb(ours, 5)  # copies: the one side does not move with the other
    check(back, theirs)
    with pytest.raises(AssertionError, match="not close"):
        check(ours, theirs)


def test_what_comes_back_can_be_trained() -> None:
    theirs = to_torchrl(discrete_actor())
    assert all(param.requires_grad for param in theirs.parameters())


def test_a_freshly_made_encoder_of_theirs_needs_a_wider_filter_of_ours() -> None:
    theirs = DreamerV3ImageEncoder(3, depth=2, mults=(2, 3))
    tiny.disturb(theirs)
    with pytest.raises(UsageError, match="see 2 pixels in each direction .* kernel=6"):
        from_torchrl(encoder(5), theirs)
    wide = encoder(6)
    from_torchrl(wide, theirs)
    check_encoder(wide, theirs)


def test_a_posterior_that_reads_images() -> None:
    """The embedding ends with the maps, in another order on each side."""
    eyes, vector = encoder(), 5
    ours = rssm(embed=vector + eyes.out_features)
    for module in (eyes, ours):
        tiny.disturb(module)
    theirs, their_eyes = to_torchrl(ours, eyes), to_torchrl(eyes)
    deter, beside = noise(7, D), noise(7, vector)
    image = torch.rand(7, 16, 16, 3, generator=torch.Generator().manual_seed(0))
    their_embed = torch.cat([beside, their_eyes(image.permute(0, 3, 1, 2))], -1)
    theirs_post, _ = theirs.rssm_posterior.module(deter, their_embed)
    expected = ours.post(deter, torch.cat([beside, eyes(image)], -1))
    same(expected, mix_uniform(theirs_post, 0.01))
    back = rssm(embed=vector + eyes.out_features)
    from_torchrl(back, theirs, eyes)
    assert torch.equal(back.posterior[0][0][0].weight, ours.posterior[0][0][0].weight)


def whole_agent() -> Agent:
    images = {"image": gym.spaces.Box(0, 255, (16, 16, 3), np.uint8)}
    both = gym.spaces.Dict(dict(tiny.OBS.spaces) | images)
    cfg = tiny.config()
    cfg.model.depth, cfg.world.encoder.mults, cfg.world.decoder.mults = 2, [2, 3], [2, 3]
    cfg.world.decoder.image_blocks = 2
    return build_agent(cfg, Spaces.from_gym(both, tiny.ACTIONS))


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("", "Agent has no counterpart in TorchRL: exchange its parts: world.rssm"),
        ("world", "WorldModel has no counterpart in TorchRL: exchange its parts: rssm"),
        ("behavior", "ActorCritic has no counterpart in TorchRL: exchange its parts: actor"),
        ("world.encoder", "Encoder has no counterpart in TorchRL: exchange its parts: mlp, cnn"),
        (
            "world.encoder.cnn",
            "ImageEncoder with pooling, residual blocks or an outer stage has no",
        ),
        ("world.decoder", "Decoder has no counterpart in TorchRL: exchange its part vector"),
        ("world.decoder.image", "ImageDecoder has no counterpart in TorchRL: TorchRL's begins"),
        ("world.rssm.core", "BlockGRU has no counterpart in TorchRL: TorchRL keeps it inside"),
        ("behavior.actor", "Actor of move (continuous, 2), tool (discrete, 1) has no counterpart"),
        ("behavior.return_norm", "Percentile has no counterpart in TorchRL: no module computes"),
    ],
)
def test_parts_of_an_agent_without_a_counterpart_are_named(part: str, message: str) -> None:
    module = whole_agent().get_submodule(part)
    for exchange in (to_torchrl, lambda m: from_torchrl(m, nn.Identity())):
        with pytest.raises(UsageError, match=re.escape(message)):
            exchange(module)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: rssm(absolute=True), "RSSM with absolute=True has no counterpart"),
        (lambda: rssm(learned_start=True), "RSSM with learned_start=True has no counterpart"),
        (lambda: rssm(style=Style("layer")), "RSSM with LayerNorm has no counterpart"),
        (lambda: rssm(style=Style("none")), "RSSM with Identity has no counterpart"),
        (lambda: rssm(style=Style(bias="unnormed")), "RSSM without all biases has no counterpart"),
        (
            lambda: RSSM(GRU(D, S * K, A, 8), CategoricalLatent(S, K), E, 8),
            "Core GRU has no counterpart",
        ),
        (
            lambda: RSSM(BlockGRU(D, S, A, 8, blocks=2), GaussianLatent(S), E, 8),
            "GaussianLatent has no counterpart in TorchRL: TorchRL's V3 states are categorical",
        ),
        (lambda: MLP(FEAT, 2, 8, Style(act="elu")), "MLP with ELU has no counterpart"),
        (
            lambda: head(TwoHotLayer(8, 41, 1.0, squashed=True)),
            "Head with bins in symlog space has no counterpart",
        ),
        (lambda: head(TwoHotLayer(8, 40, 1.0)), "Head with 40 bins has no counterpart"),
        (lambda: head(nn.Linear(8, 1)), "Head with Linear has no counterpart"),
        (lambda: encoder(outer=True), "ImageEncoder with pooling, residual blocks or an outer"),
        (lambda: encoder(residual=1), "ImageEncoder with pooling, residual blocks or an outer"),
        (lambda: encoder(embed_size=3), "ImageEncoder with a linear layer after its maps has no"),
        (
            lambda: LinearStemDecoder(D, S * K, (16, 16), 3, (4, 6), 8),
            "LinearStemDecoder has no counterpart in TorchRL: TorchRL's has a norm",
        ),
        (
            lambda: VectorDecoder([ObsKey(n, "vector", (2,)) for n in "ab"], MLP(FEAT, 1, 8), True),
            "VectorDecoder of a, b has no counterpart",
        ),
        (
            lambda: Actor(MLP(FEAT, 1, 8), [ActionKey("pair", "discrete", (2,), 3)]),
            "Actor of pair (discrete, 2) has no counterpart",
        ),
        (
            lambda: ImageDecoder(D, S * K, (16, 16), 3, (4, 6), 8, blocks=2),
            "ImageDecoder has no counterpart",
        ),
    ],
)
def test_forms_without_a_counterpart_are_named(make: Callable[[], nn.Module], message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        to_torchrl(make())


def _widths() -> RSSM:
    return RSSM(BlockGRU(D, S * K, A, 6, blocks=2), CategoricalLatent(S, K), E, 8)


def _broken() -> nn.Module:
    theirs = to_torchrl(head(BinaryLayer(8, 1.0)))
    theirs.model[0].bias.data[0] = torch.nan
    return theirs


def _other_activation() -> nn.Module:
    theirs = to_torchrl(rssm())
    theirs.rssm_prior.module.rnn.action_projection[2] = nn.ELU()
    return theirs


def _one_more_activation() -> nn.Module:
    theirs = to_torchrl(head(BinaryLayer(8, 1.0)))
    theirs.model.append(nn.Tanh())
    return theirs


def _plain_gru() -> nn.Module:
    theirs = to_torchrl(rssm())
    theirs.rssm_prior.module = RSSMPriorV3(action_shape=(A,), action_dim=A, unimix=0.01)
    return theirs


@pytest.mark.parametrize(
    ("ours", "theirs", "message"),
    [
        (rssm, lambda: nn.Linear(2, 2), "TorchRL's Linear is no counterpart: pass a RSSMRolloutV3"),
        (rssm, _plain_gru, "RSSMPriorV3 has recurrent_model='gru', here it is 'block_gru'"),
        (rssm, _other_activation, "action_projection.2' is ELU, here it is SiLU"),
        (lambda: head(BinaryLayer(8, 1.0)), _one_more_activation, "is Tanh, here it is missing"),
        (rssm, lambda: to_torchrl(rssm(unimix=0.0)), "has unimix=0.0, here it is 0.01"),
        (
            discrete_actor,
            lambda: to_torchrl(discrete_actor(0.0)),
            "has unimix=0.0, here it is 0.01",
        ),
        (
            lambda: MLP(FEAT, 2, 8),
            lambda: DreamerV3MLP(FEAT, None, 2, 8, norm_eps=1e-5),
            "_DreamerV3RMSNorm has eps=1e-05, here it is 0.0001",
        ),
        (
            lambda: MLP(FEAT, 2, 8),
            lambda: DreamerV3MLP(FEAT, 8, 2, 8),
            "'model.6.bias' has no place here",
        ),
        (
            lambda: head(BinaryLayer(8, 1.0)),
            lambda: DreamerV3MLP(FEAT, 1, 1, 8),
            "has no parameter 'model.4.weight'",
        ),
        (
            lambda: head(BinaryLayer(8, 1.0)),
            lambda: DreamerV3MLP(FEAT + 1, 1, 2, 8),
            "'model.0.weight' would be (8, 29), it must be (8, 28)",
        ),
        (lambda: head(BinaryLayer(8, 1.0)), _broken, "'model.0.bias' holds no values, or some"),
    ],
)
def test_what_does_not_fit_is_named_and_changes_nothing(
    ours: Callable[[], nn.Module], theirs: Callable[[], nn.Module], message: str
) -> None:
    module = ours()
    before = copy.deepcopy(module.state_dict())
    with pytest.raises(UsageError, match=re.escape(message)):
        from_torchrl(module, theirs())
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())


def test_columns_that_read_embedded_images_stay_in_order() -> None:
    """A linear layer after the maps has one order only, so there is nothing to change."""
    ours = rssm()
    tiny.disturb(ours)
    with_eyes, without = to_torchrl(ours, encoder(embed_size=4)), to_torchrl(ours)
    for key, value in without.state_dict().items():
        assert torch.equal(with_eyes.state_dict()[key], value), key


def test_widths_that_torchrl_ties_are_named() -> None:
    """TorchRL has one width for the core's inputs and the layers of prior and posterior."""
    with pytest.raises(UsageError, match=r"projector.0.weight' would be \(8, 21\)"):
        to_torchrl(_widths())


def test_policies_differ_in_the_uniform_share() -> None:
    """The official code mixes none into the policy; TorchRL's default is 1%."""
    theirs = DreamerV3DiscreteActor(4, 2, depth=1, num_cells=4)
    assert (Config().behavior.actor.unimix, theirs.module[0].module.unimix) == (0, 0.01)


def test_images_of_their_decoder_are_not_bounded() -> None:
    """Ours end in a sigmoid, as in the official code."""
    theirs = DreamerV3ImageDecoder(D + S * K, (3, 16, 16), depth=4, mults=(1, 2), num_blocks=1)
    ours = ImageDecoder(D, S * K, (16, 16), 3, (4, 6), 8, blocks=2)
    for module in (theirs, ours):
        for param in module.parameters():
            param.data.mul_(5)
    deter, stoch = noise(7, D), noise(7, S * K)
    assert theirs(stoch, deter).max() > 1 and theirs(stoch, deter).min() < 0
    assert ours(deter, stoch).max() <= 1 and ours(deter, stoch).min() >= 0


def test_the_image_encoder_must_be_the_agents() -> None:
    with pytest.raises(UsageError, match="gives 96 features, the RSSM reads 5"):
        to_torchrl(rssm(), encoder())
    with pytest.raises(UsageError, match="goes with an RSSM, not with MLP"):
        to_torchrl(MLP(FEAT, 1, 8), encoder())
