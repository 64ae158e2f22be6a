"""The world model, part by part, in the order in which data flow."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from dreamer_plugin.build.heads import discount_of, make_head, make_style, require_multiple
from dreamer_plugin.config.schema import (
    Config,
    DecoderConfig,
    EncoderConfig,
)
from dreamer_plugin.errors import UsageError, choose
from dreamer_plugin.nets.codec import Decoder, Encoder, VectorDecoder, flat_size, image_layout
from dreamer_plugin.nets.layers import MLP
from dreamer_plugin.nets.subpixel import subpixel_conv
from dreamer_plugin.nets.vae import VAEEncoder, code_size
from dreamer_plugin.nets.vision import ImageDecoder, ImageEncoder, LinearStemDecoder, UpConv
from dreamer_plugin.nets.vision_valid import ValidImageDecoder, ValidImageEncoder
from dreamer_plugin.ops.scaling import symlog
from dreamer_plugin.spaces import ObsKey, Spaces
from dreamer_plugin.world.balance import Harmony
from dreamer_plugin.world.cores import GRU, AnyCore, BlockGRU, PlainGRU
from dreamer_plugin.world.latent import CategoricalLatent, GaussianLatent, Latent
from dreamer_plugin.world.model import WorldModel
from dreamer_plugin.world.recompute import RecomputingScan
from dreamer_plugin.world.rssm import RSSM
from dreamer_plugin.world.scan import DeferredScan, supports


def build_world(cfg: Config, spaces: Spaces) -> WorldModel:
    """Encoder, RSSM, decoder and heads, initialised from torch's global generator."""
    encoder = _encoder(cfg, spaces)
    rssm = build_rssm(cfg, spaces.action_size, encoder.out_features)
    world, behavior = cfg.world, cfg.behavior
    reward, cont = world.reward, world.cont
    for setting in ("cont_threshold", "true_start"):
        if getattr(behavior, setting) and cont.output != "binary":
            needed = f"behavior.{setting} needs world.cont.output=binary"
            raise UsageError(f"{needed}, got {cont.output}")
    transform = choose(_REWARD_TRANSFORMS, world.reward_transform, "world.reward_transform")
    return WorldModel(
        encoder,
        rssm,
        _decoder(cfg, spaces, rssm),
        make_head(cfg, reward, rssm.feat_size, "world.reward", _reward_clip(cfg)),
        None if cont.output == "none" else make_head(cfg, cont, rssm.feat_size, "world.cont"),
        cont_discount=discount_of(cfg) if behavior.cont_discount else 1.0,
        reward_grad=reward.grad,
        cont_grad=cont.grad,
        cont_threshold=behavior.cont_threshold,
        reward_transform=transform,
        balance=choose(_BALANCES, world.loss_balance, "world.loss_balance")(cfg, spaces),
    )


def _harmony(cfg: Config, spaces: Spaces) -> Harmony:
    """Groups of the source: reconstructions, the reward, and the KL losses."""
    kl = ("dyn",) if cfg.world.kl == "plain" else ("dyn", "rep")
    rec = tuple(key.name for key in spaces.obs)
    return Harmony({"rec": rec, "reward": ("reward",), "kl": kl})


_BALANCES: dict[str, Callable[[Config, Spaces], Harmony | None]] = {
    "fixed": lambda cfg, spaces: None,
    "harmony": _harmony,
}


def _reward_clip(cfg: Config) -> float:
    """Bound of predicted rewards in symlog space; infinite where it is off."""
    clip, output = cfg.world.reward_clip, cfg.world.reward.output
    if clip and output not in _SQUASHED:
        raise UsageError(
            f"world.reward_clip is {clip:g}, but world.reward.output={output} does not predict in "
            f"symlog space: set world.reward_clip=0, or one of {', '.join(_SQUASHED)}"
        )
    return clip or math.inf


_SQUASHED = ("symexp_mse", "learned_symexp_mse", "symlog_twohot")
_REWARD_TRANSFORMS: dict[str, Callable[[Tensor], Tensor] | None] = {
    "identity": None,
    "tanh": torch.tanh,
    "sign": torch.sign,
    "symlog": symlog,
}


def _encoder(cfg: Config, spaces: Spaces) -> Encoder:
    part, style = cfg.world.encoder, make_style(cfg)
    vectors, images = _by_kind(spaces.obs)
    mlp = cnn = None
    if vectors:
        features = sum(map(flat_size, vectors))
        mlp = MLP(features, part.layers, part.units or cfg.model.units, style)
    if images:
        words = _image_words(cfg, part, images)
        kind = choose(_ENCODERS, part.downsample, "world.encoder.downsample")
        out = code_size(part.vae_dim, part.vae_std) if part.vae_dim else part.embed_size
        cnn = kind(**words, downsample=part.downsample, embed_size=out)
    if part.shift and not images:
        raise UsageError(f"world.encoder.shift is {part.shift}, but there is no image: set 0")
    if not part.vae_dim:
        return Encoder(spaces.obs, mlp, cnn, part.symlog, part.symlog_images)
    if cnn is None:
        raise UsageError(f"world.encoder.vae_dim is {part.vae_dim}, but there is no image: set 0")
    if part.embed_size:
        raise UsageError(
            f"world.encoder.embed_size is {part.embed_size} and world.encoder.vae_dim "
            f"{part.vae_dim}, but the code takes the place of that layer: set one of them to 0"
        )
    squashes = part.symlog, part.symlog_images
    return VAEEncoder(spaces.obs, mlp, cnn, *squashes, part.vae_dim, part.vae_std)


_ENCODERS: dict[str, type[ImageEncoder | ValidImageEncoder]] = {
    "pool": ImageEncoder,
    "stride": ImageEncoder,
    "valid": ValidImageEncoder,
}


_STEMS: dict[str, type[ImageDecoder | ValidImageDecoder]] = {
    "blocks": ImageDecoder,
    "linear": LinearStemDecoder,
}


def _decoder(cfg: Config, spaces: Spaces, rssm: RSSM) -> Decoder:
    part, model, style = cfg.world.decoder, cfg.model, make_style(cfg)
    units = part.units or model.units
    vectors, images = _by_kind(spaces.obs)
    vector = image = None
    if vectors:
        mlp = MLP(rssm.feat_size, part.layers, units, style)
        vector = VectorDecoder(vectors, mlp, part.symlog, part.output)
    if images:
        own_stem = choose(_STEMS, part.stem, "world.decoder.stem")
        decoders = {"nearest": own_stem, "transposed": own_stem, "valid": ValidImageDecoder}
        kind = choose(decoders, part.upsample, "world.decoder.upsample")
        if kind is ImageDecoder:
            blocks, last = "world.decoder.image_blocks", "model.depth times the last decoder mult"
            require_multiple("model.deter", model.deter, blocks, part.image_blocks)
            require_multiple(last, model.depth * part.mults[-1], blocks, part.image_blocks)
        image = kind(
            rssm.core.deter,
            rssm.stoch_size,
            **_image_words(cfg, part, images),
            units=units,
            blocks=part.image_blocks,
            upsample=part.upsample,
            sigmoid=part.sigmoid,
        )
        for layer in image.modules():
            if isinstance(layer, UpConv) and part.kernel % 2:
                layer.fast = subpixel_conv
    return Decoder(spaces.obs, vector, image, part.output, part.symlog_images)


def _by_kind(keys: Sequence[ObsKey]) -> tuple[list[ObsKey], list[ObsKey]]:
    """Keys that an MLP sees, and images."""
    vectors = [key for key in keys if key.kind != "image"]
    return vectors, [key for key in keys if key.kind == "image"]


def _image_words(
    cfg: Config, part: EncoderConfig | DecoderConfig, images: list[ObsKey]
) -> dict[str, Any]:
    """What image encoders and decoders are told alike."""
    size, channels = image_layout(images)
    return {
        "size": size,
        "channels": channels,
        "depths": [cfg.model.depth * mult for mult in part.mults],
        "kernel": part.kernel,
        "outer": part.outer,
        "key": images[0].name,
        "style": make_style(cfg),
        "residual": part.residual,
    }


_SMALL = 1024  # D of a state; size 1m has 512, 12m 2048


def build_rssm(cfg: Config, action_size: int, embed: int) -> RSSM:
    """Core, latent and the nets between them."""
    model, world = cfg.model, cfg.world
    latent = _latent(cfg)
    rssm = RSSM(
        _core(cfg, math.prod(latent.shape), action_size),
        latent,
        embed,
        model.hidden,
        world.prior_layers,
        world.posterior_layers,
        world.absolute,
        world.free_nats,
        world.learned_start,
        make_style(cfg),
        world.free_over,
        world.kl,
    )
    if world.recompute:
        rssm.scan = RecomputingScan(world.recompute)
    elif supports(rssm):
        rssm.scan = DeferredScan(small=_SMALL)
    return rssm


def _latent(cfg: Config) -> Latent:
    model, part = cfg.model, cfg.world.latent
    makers: dict[str, Callable[[], Latent]] = {
        "categorical": lambda: CategoricalLatent(
            model.groups, model.classes, part.unimix, part.gradient, part.gumbel_tau
        ),
        "gaussian": lambda: GaussianLatent(model.groups, part.min_std, part.std),
    }
    return choose(makers, part.kind, "world.latent.kind")()


def _core(cfg: Config, stoch: int, action: int) -> AnyCore:
    model, part, style = cfg.model, cfg.world.core, make_style(cfg)
    sizes = model.deter, stoch, action, model.hidden
    makers: dict[str, Callable[[], AnyCore]] = {
        "block_gru": lambda: BlockGRU(*sizes, model.blocks, part.layers, style),
        "gru": lambda: GRU(*sizes, style, part.update_bias),
        "plain_gru": lambda: PlainGRU(*sizes, style),
    }
    maker = choose(makers, part.kind, "world.core.kind")
    if part.kind == "block_gru":
        require_multiple("model.deter", model.deter, "model.blocks", model.blocks)
    return maker()
