"""TorchRL's DreamerV3 modules that correspond to ours, and which part of one is which of the other.

    ours                                  TorchRL
    RSSM                                  RSSMRolloutV3 of RSSMPriorV3 (block_gru), RSSMPosteriorV3
    MLP                                   DreamerV3MLP without an output layer
    Head, VectorDecoder of one key        DreamerV3MLP
    Actor of one discrete choice          DreamerV3DiscreteActor
    ImageEncoder that halves by strides   DreamerV3ImageEncoder

All with RMS norms and SiLU, which TorchRL's always have. Source: torchrl 0.14.1,
`modules/models/model_based.py`, `modules/tensordict_module/actors.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

import torch
from tensordict.nn import TensorDictModule
from torch import nn
from torchrl.modules import (
    DreamerV3DiscreteActor,
    DreamerV3ImageEncoder,
    DreamerV3MLP,
    RSSMPosteriorV3,
    RSSMPriorV3,
    RSSMRolloutV3,
)

from dreamer_plugin.agent import Agent
from dreamer_plugin.behavior.actor import Actor
from dreamer_plugin.behavior.actor_critic import ActorCritic
from dreamer_plugin.errors import UsageError
from dreamer_plugin.nets.codec import Decoder, Encoder, VectorDecoder
from dreamer_plugin.nets.heads import BinaryLayer, Head, MSELayer, NormalLayer, TwoHotLayer
from dreamer_plugin.nets.layers import MLP, NORM_EPS
from dreamer_plugin.nets.vision import ConvStage, ImageDecoder, ImageEncoder, LinearStemDecoder
from dreamer_plugin.world.cores import BlockGRU
from dreamer_plugin.world.latent import CategoricalLatent
from dreamer_plugin.world.model import WorldModel
from dreamer_plugin.world.rssm import RSSM

Part = TypeVar("Part", bound=nn.Module)
Paths = dict[str, str]  # path of our submodule, path of TorchRL's
Pair = tuple[nn.Module, Paths]  # TorchRL's module on the meta device, and where ours stand in it


def counterpart(module: nn.Module) -> Pair:
    """TorchRL's module that corresponds to one of ours.

    Returns:
        It, without weights on the meta device; and the path of each submodule of ours that has
        parameters, to the path of TorchRL's.

    Raises:
        UsageError: there is none; the message says what differs.
    """
    makers: list[tuple[type[nn.Module], Callable[[Any], Pair]]] = [
        (RSSM, _rssm),
        (MLP, _mlp),
        (Head, _head),
        (VectorDecoder, _vector_decoder),
        (Actor, _actor),
        (ImageEncoder, _image_encoder),
    ]
    for kind, make in makers:
        if isinstance(module, kind):
            with torch.device("meta"):
                pair = make(module)
            _check_style(module)
            return pair
    reasons = {
        Agent: "exchange its parts: world.rssm, world.reward, behavior.actor and so on",
        WorldModel: "exchange its parts: rssm, reward, cont, encoder.cnn, decoder.vector and so on",
        ActorCritic: "exchange its parts: actor, critic, slow.copy",
        Encoder: "exchange its parts: mlp, cnn",
        Decoder: "exchange its part vector; its image decoder has no counterpart",
        BlockGRU: "TorchRL keeps it inside RSSMPriorV3: exchange the RSSM that holds it",
        ImageDecoder: "TorchRL's begins with one linear layer for state and belief, ours with a "
        "block-linear layer for deter and two layers for stoch",
        LinearStemDecoder: "TorchRL's has a norm and an activation after the first layer",
    }
    _no_counterpart(type(module).__name__, reasons.get(type(module), "no module computes the same"))


def _rssm(rssm: RSSM) -> Pair:
    if rssm.absolute:
        _no_counterpart("RSSM with absolute=True", "TorchRL's posterior always reads the belief")
    if rssm.start is not None:
        _no_counterpart("RSSM with learned_start=True", "TorchRL begins episodes with zeros")
    core, latent = rssm.core, rssm.latent
    if not isinstance(core, BlockGRU):
        _no_counterpart(f"Core {type(core).__name__}", "TorchRL's dense GRU has no layer norm")
    if not isinstance(latent, CategoricalLatent):
        _no_counterpart(type(latent).__name__, "TorchRL's V3 states are categorical")
    prior_mlp, posterior_mlp = first_part(rssm.prior, MLP), first_part(rssm.posterior, MLP)
    action = first_part(core.from_action, nn.Linear)
    sizes = {
        "hidden_dim": action.out_features,
        "rnn_hidden_dim": core.deter,
        "num_categoricals": latent.groups,
        "num_classes": latent.classes,
        "norm_eps": _eps(rssm),
        "unimix": latent.unimix,
    }
    prior = RSSMPriorV3(
        action_shape=(action.in_features,),
        action_dim=action.in_features,
        recurrent_model="block_gru",
        num_blocks=core.blocks,
        num_layers=len(core.mix),
        prior_num_layers=len(prior_mlp),
        **sizes,
    )
    posterior = RSSMPosteriorV3(
        obs_embed_dim=in_features(posterior_mlp) - core.deter,
        use_rms_norm=True,
        num_layers=len(posterior_mlp),
        **sizes,
    )
    rollout = RSSMRolloutV3(
        TensorDictModule(
            prior,
            in_keys=["state", "belief", "action"],
            out_keys=[("next", "prior_logits"), ("next", "state"), ("next", "belief")],
        ),
        TensorDictModule(
            posterior,
            in_keys=[("next", "belief"), ("next", "encoded_latents")],
            out_keys=[("next", "posterior_logits"), ("next", "state")],
        ),
    )
    return rollout, _rssm_paths(len(core.mix), len(prior_mlp), len(posterior_mlp))


def _rssm_paths(core_layers: int, prior_layers: int, posterior_layers: int) -> Paths:
    prior, posterior = "rssm_prior.module", "rssm_posterior.module"
    inputs = {"deter": "belief", "stoch": "state", "action": "action"}
    paths = {
        f"core.from_{ours}.{i}": f"{prior}.rnn.{theirs}_projection.{i}"
        for ours, theirs in inputs.items()
        for i in (0, 1)
    }
    for i in range(core_layers):
        paths[f"core.mix.{i}"] = f"{prior}.rnn.hidden_layers.{3 * i}"
        paths[f"core.mix_norms.{i}"] = f"{prior}.rnn.hidden_layers.{3 * i + 1}"
    paths["core.gates"] = f"{prior}.rnn.gates"
    paths |= _units("prior.0.", prior_layers, f"{prior}.rnn_to_prior_projector", "prior.1")
    name = f"{posterior}.obs_rnn_to_post_projector"
    return paths | _units("posterior.0.", posterior_layers, name, "posterior.1")


def _mlp(mlp: MLP) -> Pair:
    return _torchrl_mlp(mlp, None), _units("", len(mlp), "model")


def _head(head: Head) -> Pair:
    layer = head.layer
    if not isinstance(layer, TwoHotLayer | BinaryLayer | MSELayer | NormalLayer):
        _no_counterpart(f"Head with {type(layer).__name__}", "its output layer is unknown here")
    outputs = layer.linear.out_features
    if isinstance(layer, TwoHotLayer) and layer.squashed:
        _no_counterpart("Head with bins in symlog space", "TorchRL's bins are in value space")
    if isinstance(layer, TwoHotLayer) and layer.limit != 20:
        _no_counterpart(f"Head with bins up to {layer.limit:g}", "TorchRL's reach symexp(20)")
    if isinstance(layer, TwoHotLayer) and outputs % 2 == 0:
        _no_counterpart(
            f"Head with {outputs} bins",
            "TorchRL places an even number of bins elsewhere; use an odd number",
        )
    return (
        _torchrl_mlp(head.mlp, outputs),
        _units("mlp.", len(head.mlp), "model", "layer.linear"),
    )


def _vector_decoder(decoder: VectorDecoder) -> Pair:
    if len(decoder.keys) > 1:
        names = ", ".join(key.name for key in decoder.keys)
        _no_counterpart(
            f"VectorDecoder of {names}", "TorchRL has no MLP with an output layer for each key"
        )
    theirs = _torchrl_mlp(decoder.mlp, first_part(decoder.heads, nn.Linear).out_features)
    return theirs, _units("mlp.", len(decoder.mlp), "model", "heads.0")


def _actor(actor: Actor) -> Pair:
    keys = actor.keys
    if len(keys) != 1 or keys[0].kind != "discrete" or keys[0].variables != 1:
        parts = ", ".join(f"{key.name} ({key.kind}, {key.variables})" for key in keys)
        _no_counterpart(
            f"Actor of {parts}", "TorchRL's only V3 policy chooses one of several actions"
        )
    theirs = DreamerV3DiscreteActor(
        in_features(actor.mlp),
        keys[0].classes,
        depth=len(actor.mlp),
        num_cells=actor.mlp.out_features,
        norm_eps=_eps(actor),
        unimix=actor.unimix,
    )
    net = "module.0.module"
    paths = _units("mlp.", len(actor.mlp), f"{net}.backbone.model")
    return theirs, paths | {"heads.0.0": f"{net}.logits_head"}


def _image_encoder(encoder: ImageEncoder) -> Pair:
    convs = [stage.conv for stage in encoder.stages if isinstance(stage, ConvStage)]
    if len(convs) < len(encoder.stages) or any(conv.stride != (2, 2) for conv in convs):
        _no_counterpart(
            "ImageEncoder with pooling, residual blocks or an outer stage",
            "TorchRL's halves by strides in every stage and has no more: "
            "world.encoder.downsample=stride, world.encoder.outer=false",
        )
    if encoder.embed is not None:
        what = "ImageEncoder with a linear layer after its maps"
        _no_counterpart(what, "TorchRL's has none: world.encoder.embed_size=0")
    before, size = int(convs[0].padding[0]), convs[0].kernel_size[0]
    theirs = DreamerV3ImageEncoder(
        convs[0].in_channels,
        depth=1,
        mults=tuple(conv.out_channels for conv in convs),
        # The smallest filter that sees every pixel of ours.
        kernel_size=2 * max(before, size - 1 - before) + 1,
        norm_eps=_eps(encoder),
    )
    paths = {}
    for i in range(len(convs)):
        paths[f"stages.{i}.conv"] = f"layers.{3 * i}"
        paths[f"stages.{i}.norm.norm"] = f"layers.{3 * i + 1}"
    return theirs, paths


def _torchrl_mlp(mlp: MLP, outputs: int | None) -> nn.Module:
    made: nn.Module = DreamerV3MLP(
        in_features(mlp),
        outputs,
        depth=len(mlp),
        num_cells=mlp.out_features,
        norm_eps=_eps(mlp),
    )
    return made


def _units(ours: str, layers: int, theirs: str, output: str | None = None) -> Paths:
    """Units of an MLP: TorchRL counts linear layer, norm and activation in one row."""
    paths = {
        f"{ours}{i}.{part}": f"{theirs}.{3 * i + part}" for i in range(layers) for part in (0, 1)
    }
    return paths | ({output: f"{theirs}.{3 * layers}"} if output else {})


def _check_style(module: nn.Module) -> None:
    other = (nn.LayerNorm, nn.Identity, nn.ELU, nn.ReLU)
    for part in module.modules():
        if isinstance(part, other):
            what = f"{type(module).__name__} with {type(part).__name__}"
            _no_counterpart(what, "TorchRL's layers have RMS norms and SiLU: nets.norm, nets.act")
        if getattr(part, "bias", part) is None:
            what = f"{type(module).__name__} without all biases"
            _no_counterpart(what, "TorchRL's layers have them: nets.bias")


def _eps(module: nn.Module) -> float:
    """Of the norms in `module`, which are all alike."""
    norms = (part for part in module.modules() if isinstance(part, nn.RMSNorm))
    return next((norm.eps for norm in norms if norm.eps is not None), NORM_EPS)


def _no_counterpart(what: str, why: str) -> NoReturn:
    raise UsageError(f"{what} has no counterpart in TorchRL: {why}")


def in_features(mlp: MLP) -> int:
    """What an MLP takes, also where it has no layers."""
    return first_part(mlp, nn.Linear).in_features if len(mlp) else mlp.out_features


def first_part(module: nn.Module, kind: type[Part]) -> Part:
    """The first part of `module`, itself included, that is of `kind`."""
    return next(part for part in module.modules() if isinstance(part, kind))
