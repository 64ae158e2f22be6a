"""Config to objects: the only reader of a config in the core.

Each function builds one part and reads the sections that part needs; the order is the order in
which data flow.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import torch

from dreamer_plugin.agent import Agent
from dreamer_plugin.behavior.actor import Actor
from dreamer_plugin.behavior.actor_critic import ActorCritic, ReturnSettings
from dreamer_plugin.behavior.normalize import Identity, MeanStd, Normalizer, Percentile
from dreamer_plugin.config.schema import (
    ActorConfig,
    Config,
    CriticConfig,
    DecoderConfig,
    EncoderConfig,
    HeadConfig,
    NormConfig,
    OptimConfig,
)
from dreamer_plugin.errors import UsageError, choose, nearest
from dreamer_plugin.nets.codec import Decoder, Encoder, VectorDecoder, flat_size, image_layout
from dreamer_plugin.nets.heads import BinaryLayer, Head, MSELayer, TwoHotLayer
from dreamer_plugin.nets.layers import MLP, Style
from dreamer_plugin.nets.twin import SlowCopy
from dreamer_plugin.nets.vision import ImageDecoder, ImageEncoder, LinearStemDecoder
from dreamer_plugin.optim import Adam, GroupedOptimizer, LaProp
from dreamer_plugin.spaces import ActionKey, ObsKey, Spaces
from dreamer_plugin.world.cores import GRU, AnyCore, BlockGRU
from dreamer_plugin.world.latent import CategoricalLatent
from dreamer_plugin.world.model import WorldModel
from dreamer_plugin.world.rssm import RSSM
from dreamer_plugin.world.scan import DeferredScan, supports


def build_agent(cfg: Config, spaces: Spaces, device: torch.device | str = "cpu") -> Agent:
    """A fresh agent for an env's spaces, seeded with `cfg.seed`, on `device`.

    Raises:
        UsageError: when a value names no part, or an observation does not fit.
    """
    device = torch.device(device)
    if cfg.replay.context not in (0, 1):
        raise UsageError(f"replay.context is {cfg.replay.context}, but must be 0 or 1")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(cfg.seed)
        world = build_world(cfg, spaces).to(device)
        behavior = build_behavior(cfg, spaces, world.rssm.feat_size).to(device)
    scales = vars(cfg.loss_scales).copy()
    reconstruction = scales.pop("rec")
    taken = [key.name for key in spaces.obs if key.name in scales]
    if taken:
        raise UsageError(f"observation {taken[0]!r} has the name of a loss: rename it in the env")
    if not scales["repval"]:
        del scales["repval"]  # the loss is not even computed
    return Agent(
        world,
        behavior,
        {key.name: reconstruction for key in spaces.obs} | scales,
        build_optimizer(cfg.optim, world, behavior),
        spaces.action_size,
        cfg.behavior.imag_horizon,
        cfg.behavior.imag_last,
        choose_precision(cfg.precision, device),
        cfg.seed,
        cfg.replay.context,
        cfg.behavior.true_start,
    )


def build_world(cfg: Config, spaces: Spaces) -> WorldModel:
    """Encoder, RSSM, decoder and heads, initialised from torch's global generator."""
    encoder = _encoder(cfg, spaces)
    rssm = build_rssm(cfg, spaces.action_size, encoder.out_features)
    reward, cont, behavior = cfg.world.reward, cfg.world.cont, cfg.behavior
    if behavior.cont_threshold and cont.output != "binary":
        needed = "behavior.cont_threshold needs world.cont.output=binary"
        raise UsageError(f"{needed}, got {cont.output}")
    return WorldModel(
        encoder,
        rssm,
        _decoder(cfg, spaces, rssm),
        _head(cfg, reward, rssm.feat_size, "world.reward"),
        _head(cfg, cont, rssm.feat_size, "world.cont"),
        cont_discount=1 - 1 / behavior.horizon if behavior.cont_discount else 1.0,
        reward_grad=reward.grad,
        cont_grad=cont.grad,
        cont_threshold=behavior.cont_threshold,
    )


def _encoder(cfg: Config, spaces: Spaces) -> Encoder:
    part, style = cfg.world.encoder, _style(cfg)
    vectors, images = _by_kind(spaces.obs)
    mlp = cnn = None
    if vectors:
        features = sum(map(flat_size, vectors))
        mlp = MLP(features, part.layers, part.units or cfg.model.units, style)
    if images:
        cnn = ImageEncoder(**_image_words(cfg, part, images), downsample=part.downsample)
    return Encoder(spaces.obs, mlp, cnn, part.symlog)


def _decoder(cfg: Config, spaces: Spaces, rssm: RSSM) -> Decoder:
    part, model, style = cfg.world.decoder, cfg.model, _style(cfg)
    units = part.units or model.units
    vectors, images = _by_kind(spaces.obs)
    vector = image = None
    if vectors:
        vector = VectorDecoder(vectors, MLP(rssm.feat_size, part.layers, units, style), part.symlog)
    if images:
        stems = {"blocks": ImageDecoder, "linear": LinearStemDecoder}
        stem = choose(stems, part.stem, "world.decoder.stem")
        if stem is ImageDecoder:
            blocks, last = "world.decoder.image_blocks", "model.depth times the last decoder mult"
            _require_multiple("model.deter", model.deter, blocks, part.image_blocks)
            _require_multiple(last, model.depth * part.mults[-1], blocks, part.image_blocks)
        image = stem(
            rssm.core.deter,
            rssm.stoch_size,
            **_image_words(cfg, part, images),
            units=units,
            blocks=part.image_blocks,
            upsample=part.upsample,
            sigmoid=part.sigmoid,
        )
    return Decoder(spaces.obs, vector, image)


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
        "style": _style(cfg),
        "residual": part.residual,
    }


def build_rssm(cfg: Config, action_size: int, embed: int) -> RSSM:
    """Core, latent and the nets between them."""
    model, world = cfg.model, cfg.world
    kind = choose({"categorical": CategoricalLatent}, world.latent.kind, "world.latent.kind")
    latent = kind(model.groups, model.classes, world.latent.unimix)
    rssm = RSSM(
        _core(cfg, latent.params_size, action_size),
        latent,
        embed,
        model.hidden,
        world.prior_layers,
        world.posterior_layers,
        world.absolute,
        world.free_nats,
        world.learned_start,
        _style(cfg),
    )
    if supports(rssm):
        rssm.scan = DeferredScan()
    return rssm


def _core(cfg: Config, stoch: int, action: int) -> AnyCore:
    model, part = cfg.model, cfg.world.core
    kind = choose({"block_gru": BlockGRU, "gru": GRU}, part.kind, "world.core.kind")
    sizes = model.deter, stoch, action, model.hidden
    if kind is GRU:
        return GRU(*sizes, _style(cfg))
    _require_multiple("model.deter", model.deter, "model.blocks", model.blocks)
    return BlockGRU(*sizes, model.blocks, part.layers, _style(cfg))


def _head(cfg: Config, part: HeadConfig | CriticConfig, feat: int, section: str) -> Head:
    layers: dict[str, Callable[..., torch.nn.Module]] = {
        "twohot": partial(TwoHotLayer, bins=part.bins),
        "symlog_twohot": partial(TwoHotLayer, bins=part.bins, squashed=True),
        "binary": BinaryLayer,
        "mse": partial(MSELayer, symlog=False),
        "symlog_mse": partial(MSELayer, symlog=True),
    }
    layer = choose(layers, part.output, f"{section}.output")
    style = _style(cfg)
    mlp = MLP(feat, part.layers, cfg.model.units, style)
    return Head(mlp, layer(mlp.out_features, outscale=part.outscale, fan=style.fan))


def _style(cfg: Config) -> Style:
    nets = cfg.nets
    return Style(nets.norm, nets.eps, nets.act, nets.fan, nets.bias)


def _require_multiple(name: str, value: int, of: str, blocks: int) -> None:
    if value % blocks:
        near = max(round(value / blocks), 1) * blocks
        raise UsageError(f"{name} is {value}, no multiple of {of}, {blocks}; {near} would do")


def build_behavior(cfg: Config, spaces: Spaces, feat: int) -> ActorCritic:
    """Actor, critic, its slow copy and the normalisers."""
    behavior = cfg.behavior
    actor, critic = behavior.actor, behavior.critic
    discount = 1 - 1 / behavior.horizon
    value = _head(cfg, critic, feat, "behavior.critic")
    return ActorCritic(
        Actor(
            MLP(feat, actor.layers, cfg.model.units, _style(cfg)),
            spaces.actions,
            actor.outscale,
            actor.unimix,
            actor.min_std,
            actor.max_std,
        ),
        value,
        SlowCopy(value, critic.slow_rate, critic.slow_every),
        _normalizer(behavior.return_norm),
        _normalizer(behavior.value_norm),
        _normalizer(behavior.advantage_norm),
        ReturnSettings(
            discount=discount,
            dream_discount=1.0 if behavior.cont_discount else discount,
            lambda_=behavior.return_lambda,
            entropy=actor.entropy,
            slow_reg=critic.slow_reg,
            slow_target=critic.slow_target,
            replay_grad=critic.replay_grad,
            dynamics=_dynamics_share(actor, spaces.actions),
        ),
    )


def _dynamics_share(actor: ActorConfig, keys: Sequence[ActionKey]) -> float:
    """How much of the actor's objective goes through the dream, by the word for its gradient."""
    continuous = all(key.kind == "continuous" for key in keys)
    shares = {"reinforce": 0.0, "dynamics": 1.0, "mixed": actor.mix, "auto": float(continuous)}
    return choose(shares, actor.gradient, "behavior.actor.gradient")


def _normalizer(part: NormConfig) -> Normalizer:
    makers: dict[str, Callable[[], Normalizer]] = {
        "none": Identity,
        "percentile": lambda: Percentile(part.rate, part.low, part.high, part.limit, part.debias),
        "meanstd": lambda: MeanStd(part.rate, part.limit, part.debias),
    }
    return choose(makers, part.kind, "normaliser kind")()


def build_optimizer(
    part: OptimConfig, world: WorldModel, behavior: ActorCritic
) -> GroupedOptimizer:
    """One optimiser over all trained parameters, in one group or one for each of the three."""
    kind = choose({"laprop": LaProp, "adam": Adam}, part.kind, "optim.kind")
    joint = choose({"joint": True, "separate": False}, part.groups, "optim.groups")
    trained = {"model": list(world.parameters())}
    trained |= {name: list(getattr(behavior, name).parameters()) for name in ("actor", "critic")}
    own: dict[str, dict[str, float]] = {
        name: asdict(getattr(part, name)) for name in ("actor", "critic")
    }
    if joint:
        trained, own = {"all": [p for params in trained.values() for p in params]}, {}
    groups = [
        {**group, **own.get(name, {}), "name": name}
        for name, params in trained.items()
        for group in _decayed(params, part.weight_decay)
    ]
    apart = ("kind", "groups", "actor", "critic", "weight_decay")
    shared = {name: value for name, value in vars(part).items() if name not in apart}
    return kind(groups, **shared)


def _decayed(params: list[torch.nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    """Decay matrices and filters, never biases and norm scales, which have one axis."""
    kernels = [p for p in params if p.ndim > 1]
    rest = [p for p in params if p.ndim <= 1]
    return [
        {"params": kernels, "weight_decay": weight_decay},
        {"params": rest, "weight_decay": 0.0},
    ]


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """`auto` is bfloat16 where the hardware multiplies it natively, else float32.

    Args:
        name: `auto`, `float32` or `bfloat16`.
    """
    if name == "auto":
        name = "bfloat16" if _native_bfloat16(device) else "float32"
    dtypes = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    if name not in dtypes:
        raise UsageError(nearest(name, ["auto", *dtypes], "precision"))
    return dtypes[name]


def _native_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu" and platform.machine() in ("x86_64", "AMD64"):
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return False
