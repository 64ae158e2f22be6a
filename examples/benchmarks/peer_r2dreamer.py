"""r2dreamer (github.com/NM512/r2dreamer, commit 546e4fa) with the decoder of DreamerV3.

Needs a checkout, given as the folder, and torch, tensordict, torchrl, hydra-core and tensorboard.
Its autocast is fixed to float16; here it is set to the precision that was asked for. Options:
`compile`. Tried on a CPU; never on a GPU, never compiled.
"""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Any

from worker import Job, Peer, noise, serve, tried, waiting


class Fixed:
    """Stands where its replay buffer stands: always the same batch, and nothing is written back."""

    def __init__(self, batch: Any, start: tuple[Any, Any]) -> None:
        self._batch, self._start = batch, start

    def sample(self) -> tuple[Any, None, tuple[Any, Any]]:
        """Batch, positions, latents before it."""
        return self._batch.clone(), None, self._start

    def update(self, index: None, stoch: Any, deter: Any) -> None:
        """Do nothing."""


def build(job: Job) -> Peer:
    """Its agent with `rep_loss=dreamer`."""
    job.only("compile")
    sys.path.insert(0, job.folder)
    import gymnasium as gym
    import numpy as np
    import torch

    torch.set_float32_matmul_precision("high")  # as its train.py does
    import dreamer

    low = {"dtype": torch.bfloat16} if job.precision == "bfloat16" else {"enabled": False}
    original = dreamer.autocast

    @functools.wraps(original)
    def autocast(device_type: str, dtype: Any) -> Any:
        return original(device_type=device_type, **low)

    dreamer.autocast = autocast
    bounds = (0, 255, job.obs_shape, np.uint8) if job.image else (-9, 9, job.obs_shape, np.float32)
    obs = gym.spaces.Dict({job.obs_key: gym.spaces.Box(*bounds)})
    actions = gym.spaces.Box(-1, 1, (job.actions,), np.float32)
    agent = dreamer.Dreamer(config(job), obs, actions).to(job.device)
    replay = batch(job)
    return Peer(
        waiting(lambda: agent.update(replay), job.device),
        "546e4fa",
        "batch in memory; no write-back",
        tried(job, "torch 2.13"),
    )


def config(job: Job) -> Any:
    """The `model` section of its configuration, with the workload's widths."""
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    overrides = [
        f"env=dmc_{'vision' if job.image else 'proprio'}",
        "model=size12M",
        f"device={job.device}",
        "model.rep_loss=dreamer",
        f"model.compile={'compile' in job.options}",
        f"model.deter={job.deter}",
        f"model.hidden={job.hidden}",
        f"model.discrete={job.classes}",
        f"model.depth={job.depth}",
        f"model.units={job.units}",
        f"model.rssm.stoch={job.groups}",
        f"model.imag_horizon={job.horizon}",
    ]
    with initialize_config_dir(str(Path(job.folder, "configs").resolve()), version_base=None):
        composed = compose("configs", overrides)
    model = composed.model
    return OmegaConf.create(OmegaConf.to_container(model, resolve=True))


def batch(job: Job) -> Fixed:
    """The batch as its buffer gives it: actions one step back, scalars with a last axis of 1."""
    import torch
    from tensordict import TensorDict

    data = {name: torch.from_numpy(value) for name, value in noise(job).items()}
    shape = [job.rows, job.length]
    fields = {
        job.obs_key: data["obs"][:, 1:],
        "action": data["action"][:, :-1],
        "is_first": data["is_first"][:, 1:],
        **{key: data[key][:, 1:, None] for key in ("reward", "is_last", "is_terminal")},
    }
    stoch = torch.nn.functional.one_hot(data["stoch"][:, 0], job.classes).float()
    start = (stoch.to(job.device), data["deter"][:, 0].to(job.device))
    return Fixed(TensorDict(fields, shape).to(job.device), start)


if __name__ == "__main__":
    serve(build)
