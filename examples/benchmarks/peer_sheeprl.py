"""sheeprl's `dreamer_v3_5`, version 0.8.4, by its `train` function. Options: `compile`.

Needs `pip install sheeprl==0.8.4` in the environment that runs this file, or a folder with it.
Tried on a CPU, compiled too; never on a GPU.
"""

from __future__ import annotations

import sys
from typing import Any

from worker import Job, Peer, noise, serve, tried, waiting


def build(job: Job) -> Peer:
    """Agent, optimiser and batch from the configuration that its command line would use."""
    job.only("compile")
    if job.folder:
        sys.path.insert(0, job.folder)
    import hydra
    import torch
    from sheeprl.algos.dreamer_v3_5.agent import build_agent
    from sheeprl.algos.dreamer_v3_5.dreamer_v3_5 import train, update_target_critic
    from sheeprl.algos.dreamer_v3_5.utils import Moments

    cfg = config(job)
    torch.set_float32_matmul_precision(cfg.float32_matmul_precision)
    fabric = hydra.utils.instantiate(cfg.fabric, _convert_="all")
    fabric.launch()
    actions = (job.actions,)
    world, actor, critic, slow, _ = build_agent(fabric, actions, True, cfg, spaces(job))
    params = [p for net in (world, actor, critic) for p in net.parameters()]
    optimizer = fabric.setup_optimizers(
        hydra.utils.instantiate(cfg.algo.optimizer, params=params, _convert_="all")
    )
    shares = cfg.algo.actor.moments
    moments = Moments(shares.decay, shares.max, shares.percentile.low, shares.percentile.high)
    data, nets = batch(job, fabric.device), (world, actor, critic, slow)

    def update() -> None:
        train(fabric, cfg, *nets, optimizer, moments, dict(data), None, actions)
        update_target_critic(critic, slow, cfg.algo.critic.tau)

    return Peer(
        waiting(update, job.device),
        "0.8.4",
        "batch in memory; no write-back; stored deter in float16",
        tried(job, "torch 2.13", compiled=True),
    )


def config(job: Job) -> Any:
    """Its experiment `dreamer_v3_5` with the workload's widths."""
    from hydra import compose, initialize_config_module
    from omegaconf import OmegaConf
    from sheeprl.utils.utils import dotdict

    images, vectors = ("[rgb]", "[]") if job.image else ("[]", "[state]")
    world = "algo.world_model"
    overrides = [
        "exp=dreamer_v3_5",
        "env=dummy",
        f"algo.cnn_keys.encoder={images}",
        f"algo.mlp_keys.encoder={vectors}",
        f"algo.dense_units={job.units}",
        f"algo.cnn_channels_multiplier={job.depth}",
        f"algo.horizon={job.horizon}",
        f"algo.per_rank_batch_size={job.rows}",
        f"algo.per_rank_sequence_length={job.length}",
        f"{world}.discrete_size={job.classes}",
        f"{world}.stochastic_size={job.groups}",
        f"{world}.recurrent_model.recurrent_state_size={job.deter}",
        f"{world}.recurrent_model.hidden_size={job.hidden}",
        f"{world}.recurrent_model.blocks={job.blocks}",
        f"algo.compile.enabled={'compile' in job.options}",
        f"fabric.accelerator={'cpu' if job.device == 'cpu' else 'cuda'}",
        f"fabric.precision={'32-true' if job.precision == 'float32' else 'bf16-mixed'}",
        "metric.log_level=0",
    ]
    with initialize_config_module("sheeprl.configs", version_base="1.3"):
        composed = compose("config", overrides)
    # Names of folders stand in it that only a run of Hydra can resolve; they are not needed here.
    wanted = {name: composed[name] for name in ("algo", "env", "buffer", "fabric", "checkpoint")}
    wanted["float32_matmul_precision"] = composed.float32_matmul_precision
    wanted["fabric"] = OmegaConf.create({**composed.fabric, "callbacks": None})
    plain = {
        name: OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
        for name, value in wanted.items()
    }
    return dotdict(plain)


def spaces(job: Job) -> Any:
    """Observation space, images with the channels first."""
    import gymnasium as gym
    import numpy as np

    if job.image:
        return gym.spaces.Dict({"rgb": gym.spaces.Box(0, 255, (3, 64, 64), np.uint8)})
    return gym.spaces.Dict({"state": gym.spaces.Box(-np.inf, np.inf, job.obs_shape, np.float32)})


def batch(job: Job, device: Any) -> dict[str, Any]:
    """The batch, time first: `[1+T, B, ...]`, scalars with an axis of their own."""
    import numpy as np
    import torch

    data = {name: value.swapaxes(0, 1) for name, value in noise(job).items()}
    flags = {
        "rewards": data["reward"],
        "is_first": data["is_first"],
        "terminated": data["is_terminal"],
        "truncated": data["is_last"],
    }
    arrays = {name: value[..., None].astype(np.float32) for name, value in flags.items()}
    arrays["actions"] = data["action"]
    arrays["deter"] = data["deter"].astype(np.float16)
    arrays["stoch"] = data["stoch"].astype(np.uint8)
    name, order = ("rgb", (0, 1, 4, 2, 3)) if job.image else ("state", (0, 1, 2))
    arrays[name] = data["obs"].transpose(order)
    return {
        key: torch.from_numpy(np.ascontiguousarray(value)).to(device)
        for key, value in arrays.items()
    }


if __name__ == "__main__":
    serve(build)
