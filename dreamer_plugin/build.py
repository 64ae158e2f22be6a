"""Config to objects: the only reader of a config in the core.

Each function builds one part and reads the sections that part needs; the order is the order in
which data flow.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from typing import Any

import torch

from dreamer_plugin.agent import Agent
from dreamer_plugin.behavior.actor import Actor
from dreamer_plugin.behavior.actor_critic import ActorCritic, ReturnSettings
from dreamer_plugin.behavior.normalize import Identity, MeanStd, Normalizer, Percentile
from dreamer_plugin.config.schema import Config, HeadConfig, NormConfig
from dreamer_plugin.errors import UsageError, nearest
from dreamer_plugin.nets.codec import Decoder, Encoder, VectorDecoder, flat_size, image_layout
from dreamer_plugin.nets.heads import BinaryLayer, Head, MSELayer, TwoHotLayer
from dreamer_plugin.nets.layers import MLP
from dreamer_plugin.nets.twin import SlowCopy
from dreamer_plugin.nets.vision import ImageDecoder, ImageEncoder
from dreamer_plugin.optim import LaProp
from dreamer_plugin.spaces import Spaces
from dreamer_plugin.world.cores import BlockGRU
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
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(cfg.seed)
        world = build_world(cfg, spaces).to(device)
        behavior = build_behavior(cfg, spaces, world.rssm.feat_size).to(device)
    scales = vars(cfg.loss_scales).copy()
    reconstruction = scales.pop("rec")
    taken = [key.name for key in spaces.obs if key.name in scales]
    if taken:
        raise UsageError(f"observation {taken[0]!r} has the name of a loss: rename it in the env")
    trained = [*world.parameters(), *(p for p in behavior.parameters() if p.requires_grad)]
    return Agent(
        world,
        behavior,
        {key.name: reconstruction for key in spaces.obs} | scales,
        LaProp(_optim_groups(trained, cfg.optim.weight_decay), **_optim_arguments(cfg)),
        spaces.action_size,
        cfg.behavior.imag_horizon,
        cfg.behavior.imag_last,
        choose_precision(cfg.precision, device),
        cfg.seed,
    )


def build_world(cfg: Config, spaces: Spaces) -> WorldModel:
    """Encoder, RSSM, decoder and heads, initialised from torch's global generator."""
    encoder = _encoder(cfg, spaces)
    rssm = build_rssm(cfg, spaces.action_size, encoder.out_features)
    behavior = cfg.behavior
    return WorldModel(
        encoder,
        rssm,
        _decoder(cfg, spaces, rssm),
        _head(cfg.world.reward, rssm.feat_size, cfg.model.units, "world.reward"),
        _head(cfg.world.cont, rssm.feat_size, cfg.model.units, "world.cont"),
        cont_discount=1 - 1 / behavior.horizon if behavior.cont_discount else 1.0,
        reward_grad=cfg.world.reward.grad,
        cont_grad=cfg.world.cont.grad,
    )


def build_rssm(cfg: Config, action_size: int, embed: int) -> RSSM:
    """Core, latent and the nets between them."""
    model, world = cfg.model, cfg.world
    if world.latent.kind != "categorical":
        raise UsageError(nearest(world.latent.kind, ["categorical"], "world.latent.kind"))
    if world.core.kind != "block_gru":
        raise UsageError(nearest(world.core.kind, ["block_gru"], "world.core.kind"))
    _require_multiple("model.deter", model.deter, "model.blocks", model.blocks)
    latent = CategoricalLatent(model.groups, model.classes, world.latent.unimix)
    core = BlockGRU(
        model.deter, latent.params_size, action_size, model.hidden, model.blocks, world.core.layers
    )
    rssm = RSSM(
        core,
        latent,
        embed,
        model.hidden,
        world.prior_layers,
        world.posterior_layers,
        world.absolute,
        world.free_nats,
    )
    if supports(rssm):
        rssm.scan = DeferredScan()
    return rssm


def build_behavior(cfg: Config, spaces: Spaces, feat: int) -> ActorCritic:
    """Actor, critic, its slow copy and the normalisers."""
    behavior, units = cfg.behavior, cfg.model.units
    actor, critic = behavior.actor, behavior.critic
    discount = 1 - 1 / behavior.horizon
    value = _head(
        HeadConfig(critic.layers, critic.output, critic.bins, critic.outscale),
        feat,
        units,
        "behavior.critic",
    )
    return ActorCritic(
        Actor(
            MLP(feat, actor.layers, units),
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
        ),
    )


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


def _encoder(cfg: Config, spaces: Spaces) -> Encoder:
    part, model = cfg.world.encoder, cfg.model
    vectors = [key for key in spaces.obs if key.kind != "image"]
    images = [key for key in spaces.obs if key.kind == "image"]
    mlp = cnn = None
    if vectors:
        mlp = MLP(sum(map(flat_size, vectors)), part.layers, model.units)
    if images:
        size, channels = image_layout(images)
        depths = [model.depth * mult for mult in part.mults]
        cnn = ImageEncoder(
            size, channels, depths, part.kernel, part.downsample, part.outer, images[0].name
        )
    return Encoder(spaces.obs, mlp, cnn, part.symlog)


def _decoder(cfg: Config, spaces: Spaces, rssm: RSSM) -> Decoder:
    part, model = cfg.world.decoder, cfg.model
    vectors = [key for key in spaces.obs if key.kind != "image"]
    images = [key for key in spaces.obs if key.kind == "image"]
    vector = image = None
    if vectors:
        vector = VectorDecoder(vectors, MLP(rssm.feat_size, part.layers, model.units), part.symlog)
    if images:
        size, channels = image_layout(images)
        blocks, last = "world.decoder.image_blocks", "model.depth times the last decoder mult"
        _require_multiple("model.deter", model.deter, blocks, part.image_blocks)
        _require_multiple(last, model.depth * part.mults[-1], blocks, part.image_blocks)
        image = ImageDecoder(
            rssm.core.deter,
            rssm.stoch_size,
            size,
            channels,
            [model.depth * mult for mult in part.mults],
            model.units,
            part.image_blocks,
            part.kernel,
            part.upsample,
            part.outer,
            images[0].name,
        )
    return Decoder(spaces.obs, vector, image)


def _head(part: HeadConfig, feat: int, units: int, section: str) -> Head:
    mlp = MLP(feat, part.layers, units)
    layers: dict[str, Callable[[int], torch.nn.Module]] = {
        "twohot": lambda n: TwoHotLayer(n, part.bins, part.outscale),
        "binary": lambda n: BinaryLayer(n, part.outscale),
        "mse": lambda n: MSELayer(n, part.outscale, symlog=False),
        "symlog_mse": lambda n: MSELayer(n, part.outscale, symlog=True),
    }
    if part.output not in layers:
        raise UsageError(nearest(part.output, layers, f"{section}.output"))
    return Head(mlp, layers[part.output](mlp.out_features))


def _require_multiple(name: str, value: int, of: str, blocks: int) -> None:
    if value % blocks:
        near = max(round(value / blocks), 1) * blocks
        raise UsageError(f"{name} is {value}, no multiple of {of}, {blocks}; {near} would do")


def _normalizer(part: NormConfig) -> Normalizer:
    if part.kind == "none":
        return Identity()
    if part.kind == "percentile":
        return Percentile(part.rate, part.low, part.high, part.limit, part.debias)
    if part.kind == "meanstd":
        return MeanStd(part.rate, part.limit, part.debias)
    raise UsageError(nearest(part.kind, ["none", "percentile", "meanstd"], "normaliser kind"))


def _optim_groups(params: list[torch.nn.Parameter], weight_decay: float) -> list[dict[str, object]]:
    """Decay matrices and filters, never biases and norm scales, which have one axis."""
    kernels = [p for p in params if p.ndim > 1]
    rest = [p for p in params if p.ndim <= 1]
    return [
        {"params": kernels, "weight_decay": weight_decay},
        {"params": rest, "weight_decay": 0.0},
    ]


def _optim_arguments(cfg: Config) -> dict[str, Any]:
    arguments = vars(cfg.optim).copy()
    arguments.pop("weight_decay")
    return arguments
