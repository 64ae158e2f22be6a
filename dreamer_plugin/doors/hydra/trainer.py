"""What `hydra.utils.instantiate(cfg.trainer)` calls: a node's fields to a `DreamerTrainer`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, ListConfig, OmegaConf
from torchrl import logger as torchrl_logger
from torchrl.envs import EnvBase

from dreamer_plugin.config import Config, EnvFacts, MachineLayer, compose
from dreamer_plugin.config.fields import OPTIONS, key_types
from dreamer_plugin.config.layers import on_disk
from dreamer_plugin.config.machine import free_disk, probe
from dreamer_plugin.doors.cli_config import find_gpu, resolve
from dreamer_plugin.doors.hydra.nodes import UNUSED
from dreamer_plugin.errors import UsageError
from dreamer_plugin.interop.vector import TorchRLVector
from dreamer_plugin.run.envs import EnvSource, source_of
from dreamer_plugin.run.folder import RUNS
from dreamer_plugin.run.parts import build_parts
from dreamer_plugin.run.replay import planned_sizes, replay_needs
from dreamer_plugin.run.torchrl_env import TorchRLSource
from dreamer_plugin.run.trainer import DreamerTrainer
from dreamer_plugin.run.training import Training
from dreamer_plugin.spaces import Spaces

_OPTIONS = ("checkpoint_metadata", "log_timings", "save_trainer_file", "save_trainer_interval")
# What the trainer has no use for, and what does the same.
_THEIRS = {
    "run.log_every": "set trainer.log_interval",
    "run.tensorboard": "set trainer.logger",
    "run.save_every": "set trainer.save_trainer_interval",
    "run.keep": "set trainer.checkpoint_rotation",
    "run.eval_episodes": "leave it out",
    "run.keep_memory": "leave it out",
}


def make_trainer(**node: Any) -> DreamerTrainer:
    """A Dreamer trainer from the fields of a trainer node, those of TorchRL among them.

    The env is `env_id` (one of ours, or any that `dreamer_envs` understands), else what
    `create_env_fn`, of the trainer or of its collector, makes.

    Returns:
        The trainer, ready to `train()`.

    Raises:
        UsageError: when there is no env, or a value cannot be used.
    """
    options = _options(node)
    frames = _frames(node)
    if frames is not None:
        options["run.steps"] = _steps(frames, node["frame_skip"], options.get("run.steps"))
    presets = [node["agent"], *node["config"]]
    env_id = node.get("env_id") or options.pop("env.id", "")
    if env_id:
        if node["obs_keys"]:
            raise UsageError(
                f"obs_keys={list(node['obs_keys'])} is for envs of create_env_fn, and env_id is "
                f"{env_id}: leave one of them out."
            )
        cfg = resolve(env_id, config=presets, options=options).config
        source = source_of(cfg)
    else:
        cfg, source = _pipeline(node, presets, options)
    _tell_unused(node)
    training = Training(cfg, build_parts(cfg, source))
    trainer = DreamerTrainer(
        training,
        total_frames=frames,
        frame_skip=node["frame_skip"],
        logger=_made(node["logger"]),
        log_interval=node["log_interval"],
        progress_bar=node["progress_bar"],
        checkpoint=_made(node["checkpoint"]),
        checkpoint_rotation=_made(node["checkpoint_rotation"]),
        **{name: node[name] for name in _OPTIONS},
    )
    for hook in node["hooks"] or ():
        _made(hook).register(trainer)
    return trainer


def _options(node: Mapping[str, Any]) -> dict[str, Any]:
    """Keys of our configuration that the node sets, by dotted name."""
    options: dict[str, Any] = {}
    tree = OmegaConf.create({name: node[name] for name in node if name in _SECTIONS})
    for key in key_types():
        value = None if key == "agent" else OmegaConf.select(tree, key)
        if key == OPTIONS:
            options |= {f"{OPTIONS}.{name}": each for name, each in (value or {}).items()}
        elif value is not None:
            plain = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
            options[key] = plain
    for key, instead in _THEIRS.items():
        if options.get(key):
            raise UsageError(
                f"trainer.{key}={options[key]} is for the loop of the command line: {instead}."
            )
    return options


_SECTIONS = {key.partition(".")[0] for key in key_types()}


def _frames(node: Mapping[str, Any]) -> int | None:
    """TorchRL's total, of the trainer or else of its collector."""
    if node["total_frames"] is not None:
        return int(node["total_frames"])
    collector = node["collector"]
    frames = collector.get("total_frames") if isinstance(collector, DictConfig) else None
    return None if frames is None or frames < 0 else int(frames)


def _steps(frames: int, skip: int, said: int | None) -> int:
    """Agent steps of TorchRL's total, which must be those of `run.steps` where both are said."""
    if skip < 1:
        raise UsageError(f"trainer.frame_skip={skip}: it must be at least 1")
    steps = math.ceil(frames / skip)
    if said not in (None, steps):
        raise UsageError(
            f"total_frames={frames} at frame_skip={skip} are {steps} steps, and trainer.run.steps "
            f"is {said}: leave one of them out, or say trainer.total_frames={said * skip}"
        )
    return steps


def _pipeline(
    node: Mapping[str, Any], presets: list[str], options: dict[str, Any]
) -> tuple[Config, EnvSource]:
    """Config and envs of a pipeline that brings its own env."""
    seed = options.get("seed", Config().seed)
    vector = TorchRLVector(_env(node), seed, node["obs_keys"])
    if vector.left_out:
        torchrl_logger.info(f"dreamer does not look at {', '.join(vector.left_out)}")
    try:
        spaces = Spaces.from_gym(vector.observation_space, vector.action_space)
        options = {**options, "env.num_envs": vector.num_envs, "env.processes": False}
        plain = compose("", config=presets, options=options).config
        cfg = compose("", config=presets, options=options, machine=_machine(spaces, plain)).config
    except BaseException:
        vector.close()
        raise
    return cfg, TorchRLSource((), fresh=False, made=vector, frame_skip=node["frame_skip"])


def _machine(spaces: Spaces, plain: Config) -> MachineLayer:
    """Fits sizes to this machine, as the command line does.

    Args:
        spaces: of the pipeline's env. plain: what was asked for, for its device and disk.
    """
    images = [key.shape for key in spaces.images]
    facts = EnvFacts(
        lambda cfg: replay_needs(cfg, spaces, cfg.env.num_envs, **planned_sizes(cfg))["total"],
        sum(height * width for height, width, _ in images),
    )
    place = Path(plain.replay.folder or plain.run.logdir or RUNS)
    disk = free_disk(place) if on_disk(plain) else 0
    return MachineLayer(probe(*find_gpu(plain.device), disk), facts)


def _env(node: Mapping[str, Any]) -> EnvBase:
    """The pipeline's env."""
    collector = node["collector"]
    make = node["create_env_fn"]
    if make is None and isinstance(collector, DictConfig):
        make = collector.get("create_env_fn")
    if make is None:
        raise UsageError("No env: set trainer.env_id, or collector.create_env_fn as TorchRL does.")
    env = _made(make)
    if not isinstance(env, EnvBase) and isinstance(env, Callable):  # type: ignore[arg-type]
        env = env()
    if not isinstance(env, EnvBase):
        raise UsageError(f"create_env_fn gives a {type(env).__name__}, not a TorchRL env")
    return env


def _made(value: Any) -> Any:
    """What a section describes; anything else as it is."""
    return instantiate(value) if isinstance(value, (DictConfig, ListConfig)) else value


def _tell_unused(node: Mapping[str, Any]) -> None:
    """One line with what the pipeline sets and Dreamer has no use for."""
    unused = [name for name in UNUSED if node.get(name) is not None]
    if isinstance(node["collector"], DictConfig):
        unused.append("collector but for its env")
    if unused:
        torchrl_logger.info(f"dreamer does not use {', '.join(unused)}")
