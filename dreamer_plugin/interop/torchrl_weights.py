"""Weights of TorchRL's own DreamerV3 modules to ours, and back.

    ours                                  TorchRL
    RSSM                                  RSSMRolloutV3 of RSSMPriorV3 (block_gru), RSSMPosteriorV3
    MLP                                   DreamerV3MLP without an output layer
    Head, VectorDecoder of one key        DreamerV3MLP
    Actor of one discrete choice          DreamerV3DiscreteActor
    ImageEncoder that halves by strides   DreamerV3ImageEncoder

All with RMS norms and SiLU, which TorchRL's always have.

Tensors mean the same on both sides and only names differ, except where images enter:

- On sides of even length a filter of ours reaches one pixel further after than before (XLA's
  SAME), a filter of TorchRL as far in both directions. So filters are placed by the pixels they
  see, with zeros around them.
- Our feature maps are flattened as (h, w, c), TorchRL's as (c, h, w). So the posterior's columns
  are put in order where the RSSM reads an image.

Features are `[deter, stoch]` here: TorchRL's heads take belief first, then state. Source:
torchrl 0.14.1, `modules/models/model_based.py`, `modules/tensordict_module/actors.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

import torch
import torch.nn.functional as F
from tensordict.nn import TensorDictModule
from torch import Tensor, nn
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
from dreamer_plugin.nets.heads import BinaryLayer, Head, MSELayer, TwoHotLayer
from dreamer_plugin.nets.layers import MLP, NORM_EPS
from dreamer_plugin.nets.vision import ConvStage, ImageDecoder, ImageEncoder, LinearStemDecoder
from dreamer_plugin.ops.distributions import TwoHot
from dreamer_plugin.world.cores import BlockGRU
from dreamer_plugin.world.latent import CategoricalLatent
from dreamer_plugin.world.model import WorldModel
from dreamer_plugin.world.rssm import RSSM

Part = TypeVar("Part", bound=nn.Module)
Paths = dict[str, str]  # path of our submodule, path of TorchRL's
Pair = tuple[nn.Module, Paths]  # TorchRL's module on the meta device, and where ours stand in it

# What two modules must agree on beside shapes: attributes of TorchRL's modules.
_SETTINGS = "recurrent_model", "num_categoricals", "num_classes", "num_blocks", "unimix", "eps"


def to_torchrl(module: nn.Module, image_encoder: ImageEncoder | None = None) -> nn.Module:
    """TorchRL's module that computes what `module` computes, with copies of its weights.

    Args:
        module: one of ours in the table above.
        image_encoder: with an RSSM, the encoder whose maps end its embeddings, if any.

    Returns:
        A module on the same device. An RSSM becomes an `RSSMRolloutV3` with TorchRL's usual keys;
        its parts are `rssm_prior.module` and `rssm_posterior.module`. Heads return logits or a
        raw number, to decode with `SymExpTwoHot` or a sigmoid.

    Raises:
        UsageError: TorchRL has no such module; the message says what differs.
    """
    theirs, paths = _pair(module)
    names = _names(module, paths)
    order = _columns(module, image_encoder)
    expected = dict(theirs.named_parameters())
    weights = {}
    for ours, param in module.named_parameters():
        value, name = param.detach(), names[ours]
        if value.ndim == 4:
            value = _filters(value, _conv(module, ours), _conv(theirs, name))
        if ours in order:
            value = value[:, order[ours]]
        _check_shape(name, value.shape, expected[name].shape)
        weights[name] = value.clone()
    theirs.load_state_dict(weights, assign=True)
    return theirs.requires_grad_()


def from_torchrl(
    module: nn.Module, theirs: nn.Module, image_encoder: ImageEncoder | None = None
) -> None:
    """Fill one of our modules with the weights of TorchRL's, in place.

    Args:
        module: one of ours in the table above, of the right sizes.
        theirs: its counterpart. image_encoder: as in `to_torchrl`.

    Raises:
        UsageError: TorchRL has no such module, or `theirs` is of another kind, size or setting;
            then nothing was changed.
    """
    expected, paths = _pair(module)
    _check_kind(theirs, expected)
    names = _names(module, paths)
    given = dict(theirs.named_parameters())
    _check_names(set(given), set(names.values()))
    order = _columns(module, image_encoder)
    values = {}
    for ours, param in module.named_parameters():
        name = names[ours]
        value = _finite(name, given[name].detach())
        if value.ndim == 4:
            value = _filters(value, _conv(theirs, name), _conv(module, ours))
        _check_shape(name, value.shape, param.shape)
        values[ours] = value[:, order[ours].argsort()] if ours in order else value
    with torch.no_grad():
        for ours, param in module.named_parameters():
            param.copy_(values[ours])


def _pair(module: nn.Module) -> Pair:
    """TorchRL's counterpart without weights, and which submodule of ours is which of its."""
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
    prior_mlp, posterior_mlp = _first(rssm.prior, MLP), _first(rssm.posterior, MLP)
    action = _first(core.from_action, nn.Linear)
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
        obs_embed_dim=_in_features(posterior_mlp) - core.deter,
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
    if not isinstance(layer, TwoHotLayer | BinaryLayer | MSELayer):
        _no_counterpart(f"Head with {type(layer).__name__}", "its output layer is unknown here")
    outputs = layer.linear.out_features
    if isinstance(layer, TwoHotLayer) and layer.kind is not TwoHot:
        _no_counterpart("Head with bins in symlog space", "TorchRL's bins are in value space")
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
    theirs = _torchrl_mlp(decoder.mlp, _first(decoder.heads, nn.Linear).out_features)
    return theirs, _units("mlp.", len(decoder.mlp), "model", "heads.0")


def _actor(actor: Actor) -> Pair:
    keys = actor.keys
    if len(keys) != 1 or keys[0].kind != "discrete" or keys[0].variables != 1:
        parts = ", ".join(f"{key.name} ({key.kind}, {key.variables})" for key in keys)
        _no_counterpart(
            f"Actor of {parts}", "TorchRL's only V3 policy chooses one of several actions"
        )
    theirs = DreamerV3DiscreteActor(
        _in_features(actor.mlp),
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
        _in_features(mlp),
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


def _names(module: nn.Module, paths: Paths) -> dict[str, str]:
    """Our parameter names to TorchRL's."""
    split = ((name, *name.rpartition(".")) for name, _ in module.named_parameters())
    return {name: f"{paths[path]}.{leaf}" for name, path, _, leaf in split}


def _columns(module: nn.Module, encoder: ImageEncoder | None) -> dict[str, Tensor]:
    """Name of our parameter that reads image features, and which of its columns TorchRL's are."""
    if encoder is None:
        return {}
    if not isinstance(module, RSSM):
        raise UsageError(f"image_encoder goes with an RSSM, not with {type(module).__name__}")
    mlp = _first(module.posterior, MLP)
    seen, image = _in_features(mlp), encoder.out_features
    first = seen - image
    if first < module.core.deter:
        raise UsageError(
            f"the image encoder gives {image} features, the RSSM reads {seen - module.core.deter}: "
            "pass the encoder of the same agent"
        )
    channels = [part for part in encoder.modules() if isinstance(part, nn.Conv2d)][-1].out_channels
    by_channel = torch.arange(image).unflatten(0, (-1, channels)).T.flatten()
    name = "posterior.0.0.0.weight" if len(mlp) else "posterior.1.weight"
    return {name: torch.cat([torch.arange(first), first + by_channel])}


def _filters(weight: Tensor, have: nn.Conv2d, want: nn.Conv2d) -> Tensor:
    """Filters `[out, in, k, k]` of one convolution, placed in those of another.

    Index i of a filter sees the pixel `i - padding`; a filter that loses a weight is an error.
    """
    before = int(want.padding[0]) - int(have.padding[0])
    after = want.kernel_size[0] - have.kernel_size[0] - before
    placed = F.pad(weight, (before, after, before, after))
    if placed.count_nonzero() != weight.count_nonzero():
        reach = int(have.padding[0])
        raise UsageError(
            f"filters that see {reach} pixels in each direction do not fit into ours of size "
            f"{want.kernel_size[0]}: build the encoder with kernel={2 * reach + 2}"
        )
    return placed


def _check_style(module: nn.Module) -> None:
    other = (nn.LayerNorm, nn.Identity, nn.ELU, nn.ReLU)
    for part in module.modules():
        if isinstance(part, other):
            what = f"{type(module).__name__} with {type(part).__name__}"
            _no_counterpart(what, "TorchRL's layers have RMS norms and SiLU: nets.norm, nets.act")


def _eps(module: nn.Module) -> float:
    """Of the norms in `module`, which are all alike."""
    norms = (part for part in module.modules() if isinstance(part, nn.RMSNorm))
    return next((norm.eps for norm in norms if norm.eps is not None), NORM_EPS)


def _check_kind(theirs: nn.Module, expected: nn.Module) -> None:
    """Class and settings that names and shapes do not show."""
    if not isinstance(theirs, type(expected)):
        raise UsageError(
            f"TorchRL's {type(theirs).__name__} is no counterpart: pass a {type(expected).__name__}"
        )
    parts = dict(theirs.named_modules())
    for path, part in expected.named_modules():
        for setting in _SETTINGS:
            # Read past TensorDictModule, which answers for the module inside.
            want, have = (vars(p).get(setting) for p in (part, parts.get(path, part)))
            if want is not None and have is not None and want != have:
                raise UsageError(
                    f"TorchRL's {type(parts[path]).__name__} has {setting}={have!r}, here it is "
                    f"{want!r}: the two would not compute the same"
                )


def _check_names(given: set[str], expected: set[str]) -> None:
    for name in sorted(expected - given):
        raise UsageError(f"TorchRL's module has no parameter {name!r}: it has fewer layers")
    for name in sorted(given - expected):
        raise UsageError(f"TorchRL's parameter {name!r} has no place here: it has more layers")


def _check_shape(name: str, have: torch.Size, want: torch.Size) -> None:
    if have != want:
        raise UsageError(f"TorchRL's {name!r} would be {tuple(have)}, it must be {tuple(want)}")


def _finite(name: str, value: Tensor) -> Tensor:
    if value.is_meta or not value.isfinite().all():
        raise UsageError(f"TorchRL's {name!r} holds no values, or some that are not finite")
    return value


def _no_counterpart(what: str, why: str) -> NoReturn:
    raise UsageError(f"{what} has no counterpart in TorchRL: {why}")


def _in_features(mlp: MLP) -> int:
    return _first(mlp, nn.Linear).in_features if len(mlp) else mlp.out_features


def _first(module: nn.Module, kind: type[Part]) -> Part:
    """The first part of `module`, itself included, that is of `kind`."""
    return next(part for part in module.modules() if isinstance(part, kind))


def _conv(module: nn.Module, param: str) -> nn.Conv2d:
    """The convolution that holds a parameter."""
    conv = module.get_submodule(param.rpartition(".")[0])
    assert isinstance(conv, nn.Conv2d)
    return conv
