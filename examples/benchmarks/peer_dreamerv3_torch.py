"""dreamerv3-torch (github.com/NM512/dreamerv3-torch, commit 6ef8646): the agent of 2023.

Needs a checkout, given as the folder, and torch, numpy, ruamel.yaml and tensorboard. Float32 only.
Tried on a CPU, never on a GPU.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

from worker import Job, Peer, noise, serve, tried, waiting


def build(job: Job) -> Peer:
    """World model and behaviour, trained one after the other as in its `Dreamer._train`."""
    job.only()
    if job.precision != "float32":
        raise ValueError("its reduced precision is float16 on a GPU: only float32 here")
    sys.path.insert(0, job.folder)
    import gymnasium as gym
    import models
    import networks
    import numpy as np

    made = networks.MLP.__init__

    def on_device(self: Any, *args: Any, **options: Any) -> None:
        """Its encoder names no device, and the default is a GPU."""
        made(self, *args, **{"device": job.device, **options})

    networks.MLP.__init__ = on_device
    shapes = {"image": (64, 64, 3) if job.image else (1, 1, 3)}  # it asks for an image in any case
    spaces = {name: gym.spaces.Box(0, 255, shape, np.uint8) for name, shape in shapes.items()}
    if not job.image:
        spaces["vector"] = gym.spaces.Box(-9, 9, job.obs_shape, np.float32)
    cfg = config(job)
    actions = gym.spaces.Box(-1, 1, (job.actions,), np.float32)
    world = models.WorldModel(gym.spaces.Dict(spaces), actions, 0, cfg).to(job.device)
    behavior = models.ImagBehavior(cfg, world).to(job.device)
    for net in (world, behavior):
        net.requires_grad_(False)
    data = batch(job)

    def reward(feat: Any, state: Any, action: Any) -> Any:
        return world.heads["reward"](world.dynamics.get_feat(state)).mode()

    def update() -> None:
        start, _, _ = world._train(data)
        behavior._train(start, reward)

    return Peer(
        waiting(update, job.device),
        "6ef8646",
        "batch in memory; agent of 2023: dense GRU, three optimisers, no replayed value loss",
        tried(job, "torch 2.13"),
    )


def config(job: Job) -> Namespace:
    """Its defaults for control suites with the workload's widths."""
    import ruamel.yaml as yaml

    text = Path(job.folder, "configs.yaml").read_text()
    presets = yaml.YAML(typ="safe", pure=True).load(text)
    cfg = presets["defaults"]
    merge(cfg, presets["dmc_vision" if job.image else "dmc_proprio"])
    for part in ("encoder", "decoder"):
        merge(cfg[part], {"mlp_units": job.units, "mlp_layers": 3, "cnn_depth": job.depth})
        cfg[part]["mlp_keys"] = "$^" if job.image else "vector"
    for part, layers in (("actor", 3), ("critic", 3), ("reward_head", 1), ("cont_head", 1)):
        cfg[part]["layers"] = layers
    widths = {
        "dyn_deter": job.deter,
        "dyn_hidden": job.hidden,
        "dyn_stoch": job.groups,
        "dyn_discrete": job.classes,
        "units": job.units,
    }
    rest = {"device": job.device, "imag_horizon": job.horizon, "num_actions": job.actions}
    return Namespace(**{**cfg, **widths, **rest, "imag_gradient": "reinforce", "compile": False})


def merge(base: dict[str, Any], change: dict[str, Any]) -> None:
    """Change entries, and entries of entries, in place."""
    for name, value in change.items():
        if isinstance(value, dict) and isinstance(base.get(name), dict):
            merge(base[name], value)
        else:
            base[name] = value


def batch(job: Job) -> dict[str, Any]:
    """NumPy arrays `[B, T, ...]`, which it copies to the device itself."""
    import numpy as np

    data = noise(job)
    small = np.zeros((job.rows, job.length, 1, 1, 3), np.uint8)
    return {
        "image": data["obs"][:, 1:] if job.image else small,
        **({} if job.image else {"vector": data["obs"][:, 1:]}),
        "action": data["action"][:, :-1],
        "reward": data["reward"][:, 1:],
        "is_first": data["is_first"][:, 1:].astype(np.float32),
        "is_terminal": data["is_terminal"][:, 1:].astype(np.float32),
    }


if __name__ == "__main__":
    serve(build)
