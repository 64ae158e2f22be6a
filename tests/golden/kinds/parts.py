"""What several kinds need: spaces and settings from a file, forced samples, gradients by name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from unittest import mock

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor, nn

from dreamer_plugin.agent import Agent
from dreamer_plugin.behavior.actor import ActionDistribution, Actor
from dreamer_plugin.build import build_agent
from dreamer_plugin.config.schema import Config
from dreamer_plugin.interop.weights import export_official, official_names
from dreamer_plugin.ops.distributions import straight_through
from dreamer_plugin.spaces import Spaces
from dreamer_plugin.world.latent import CategoricalLatent

from ..reading import Golden, grad_of


class ForcedLatent(CategoricalLatent):
    """The production latent, but a sample is the one-hot that stands in the noise's place.

    Attributes:
        raw: the network outputs that came in, newest last, `[..., S, K]`.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.noise_shape = self.shape
        self.raw: list[Tensor] = []

    def params(self, raw: Tensor) -> Tensor:
        self.raw.append(raw.unflatten(-1, self.shape))
        return super().params(raw)

    def sample(self, params: Tensor, noise: Tensor) -> Tensor:
        return straight_through(noise, params.exp())

    def draw(self, raw: Tensor, noise: Tensor) -> Tensor:
        return self.sample(self.params(raw), noise)


class ForcedActions(ActionDistribution):
    """The production distribution, but a sample is the action that stands in the noise's place."""

    def sample(self, noise: Tensor) -> Tensor:
        return noise


class ForcedActor(Actor):
    """The production actor with forced samples."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self.noise_size = sum(key.size for key in self.keys)

    def forward(self, feat: Tensor) -> ForcedActions:
        drawn = super().forward(feat)
        return ForcedActions(drawn.parts, drawn.keys)


def forced_agent(cfg: Config, spaces: Spaces) -> Agent:
    """The agent that `build_agent` makes, its two samplers replaced by forced ones."""
    latent = mock.patch("dreamer_plugin.build.world.CategoricalLatent", ForcedLatent)
    actor = mock.patch("dreamer_plugin.build.behavior.Actor", ForcedActor)
    with latent, actor:
        return build_agent(cfg, spaces)


def force_noise(agent: Agent, draws: Sequence[Tensor]) -> Iterator[Tensor]:
    """Let the agent's next updates draw these tensors instead of random ones."""
    queue = iter(draws)

    def draw(*shape: int) -> Tensor:
        value = next(queue)
        assert value.shape == shape, f"the agent draws {shape}, the file holds {tuple(value.shape)}"
        return value

    agent.noise = draw  # type: ignore[method-assign]
    return queue


def spaces_of(g: Golden, observations: str = "obs/") -> Spaces:
    """Spaces of a file: shapes and classes from `meta/`, in the file's order.

    Args:
        observations: where the arrays of observations are, for their kinds.
    """
    obs = {}
    for prefix in ("meta/shape/", "meta/obs_shape/"):
        for name in g.names(prefix):
            shape = tuple(g.array(prefix + name).tolist())
            places = (prefix.replace("shape", "classes"), "meta/classes/")
            classes = next((int(g.number(p + name)) for p in places if p + name in g), 0)
            obs[name] = _obs_space(shape, g.arrays[observations + name].dtype, classes)
    if "meta/keys_sorted" in g and sorted(obs) != g.array("meta/keys_sorted").tolist():
        g.failures.append("meta/keys_sorted: not the names of meta/shape")
    # Pairs keep the file's order; a dictionary would be sorted.
    ordered = gym.spaces.Dict(list(obs.items()) or [("none", _box(()))])
    return Spaces.from_gym(ordered, action_space(g))


def _obs_space(shape: tuple[int, ...], dtype: np.dtype, classes: int) -> gym.Space:
    if dtype == np.uint8:
        return gym.spaces.Box(0, 255, shape, np.uint8)
    return discrete(shape, classes) if classes else _box(shape)


def action_space(g: Golden) -> gym.spaces.Dict:
    """The action space in `meta/`; a file without one gets a continuous action of size 1."""
    entries: dict[str, gym.Space] = {}
    for name in g.names("meta/action_classes/"):
        classes = int(g.number("meta/action_classes/" + name))
        key = f"meta/action_shape/{name}"
        entries[name] = discrete(tuple(g.array(key).tolist()) if key in g else (), classes)
    for name in g.names("meta/action_shape/"):
        if name not in entries:
            entries[name] = _box(tuple(g.array("meta/action_shape/" + name).tolist()))
    return gym.spaces.Dict(entries or {"action": _box((1,))})


def _box(shape: tuple[int, ...]) -> gym.spaces.Box:
    return gym.spaces.Box(-np.inf, np.inf, shape, np.float32)


def discrete(shape: tuple[int, ...], classes: int) -> gym.Space:
    """One discrete variable, or an array of them with as many classes each."""
    if not shape:
        return gym.spaces.Discrete(classes)
    return gym.spaces.MultiDiscrete(np.full(shape, classes))


def encoded(spaces: Spaces, native: dict[str, np.ndarray]) -> Tensor:
    """Native actions of a file as encoded vectors `[..., A]`."""
    return torch.from_numpy(spaces.encode_action(native))


def config_of(g: Golden) -> Config:
    """The configuration a file was made with: official defaults, and what `meta/` says."""
    cfg = Config(precision="float32")
    model = cfg.model
    model.deter = int(g.number("meta/deter", model.deter))
    model.hidden = int(g.number("meta/hidden", 1))
    model.groups = int(g.number("meta/stoch", 1))
    model.classes = int(g.number("meta/classes", 2))
    model.blocks = int(g.number("meta/blocks", 1))
    model.depth = int(g.number("meta/depth", 1))
    model.units = int(g.number("meta/units", 1))
    world, behavior = cfg.world, cfg.behavior
    world.prior_layers = int(g.number("meta/imglayers", world.prior_layers))
    world.posterior_layers = int(g.number("meta/obslayers", world.posterior_layers))
    world.core.layers = int(g.number("meta/dynlayers", world.core.layers))
    world.absolute = bool(g.number("meta/absolute", world.absolute))
    layers = int(g.number("meta/layers", 3))
    bins = int(g.number("meta/bins", 255))
    for part in (world.encoder, world.decoder, behavior.actor, behavior.critic):
        part.layers = layers
    world.reward.bins = behavior.critic.bins = bins
    world.decoder.image_blocks = int(g.number("meta/bspace", 8))
    if "meta/mults" in g:
        world.encoder.mults = world.decoder.mults = g.array("meta/mults").tolist()
    world.encoder.outer = world.decoder.outer = bool(g.number("meta/outer", False))
    if g.number("meta/strided", False):
        world.encoder.downsample, world.decoder.upsample = "stride", "transposed"
    if "meta/H" in g:
        behavior.imag_horizon = int(g.number("meta/H"))
    return cfg


def official_grads(module: nn.Module, trained_only: bool = False) -> dict[str, np.ndarray]:
    """Gradients of a module by official name, in official layout; zeros where nothing arrived.

    Args:
        trained_only: leave out parameters that take no gradient (the slow critic).
    """
    kept = {param: param.data for param in module.parameters()}
    fixed = {
        official
        for ours, official in official_names(module).items()
        if not module.get_parameter(ours).requires_grad
    }
    try:
        for param in kept:
            param.data = grad_of(param)
        grads = export_official(module)
    finally:
        for param, data in kept.items():
            param.data = data
    return {name: grad for name, grad in grads.items() if not (trained_only and name in fixed)}
