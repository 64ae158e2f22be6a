"""The official implementation (github.com/danijar/dreamerv3, commit e3f0224), in JAX.

Needs a checkout, given as the folder, and what its requirements.txt names (on a CPU `jax` without
its CUDA extra). Tried on a CPU, never on a GPU.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from worker import Job, Peer, noise, serve, tried


def build(job: Job) -> Peer:
    """Its agent, compiled as it always is, and its own stream with one batch for ever."""
    job.only()
    sys.path[:0] = [job.folder]
    import elements
    import embodied
    import jax
    import numpy as np
    from dreamerv3.agent import Agent

    kind = np.uint8 if job.image else np.float32
    obs = {
        job.obs_key: elements.Space(kind, job.obs_shape),
        "reward": elements.Space(np.float32),
        **{name: elements.Space(bool) for name in ("is_first", "is_last", "is_terminal")},
    }
    actions = {"action": elements.Space(np.float32, (job.actions,), -1, 1)}
    agent = Agent(obs, actions, config(job))
    data = batch(job, agent.spaces)
    stream = iter(agent.stream(embodied.streams.Stateless(lambda: dict(data))))
    carry = agent.init_train(job.rows)

    def update() -> None:
        nonlocal carry
        carry, _, _ = agent.train(carry, next(stream))
        jax.block_until_ready(agent.params)

    return Peer(
        update,
        f"e3f0224, jax {jax.__version__}",
        "batch in memory; no write-back; always compiled",
        tried(job, "jax 0.4.33"),
    )


def config(job: Job) -> Any:
    """Its defaults with the workload's widths."""
    import elements
    import ruamel.yaml as yaml

    text = Path(job.folder, "dreamerv3", "configs.yaml").read_text()
    cfg = elements.Config(yaml.YAML(typ="safe").load(text)["defaults"])
    cfg = cfg.update(
        {
            r".*\.rssm\.(deter)": job.deter,
            r".*\.rssm\.(hidden)": job.hidden,
            r".*\.rssm\.(stoch)": job.groups,
            r".*\.rssm\.(classes)": job.classes,
            r".*\.depth": job.depth,
            r".*\.units": job.units,
            r".*\.imag_length": job.horizon,
            "jax.platform": "cpu" if job.device == "cpu" else "cuda",
            "jax.compute_dtype": job.precision,
            "jax.prealloc": False,
        }
    )
    return elements.Config(
        **cfg.agent,
        logdir=tempfile.mkdtemp(),
        seed=0,
        jax={**cfg.jax, "profiler": False, "precompile": False},
        batch_size=job.rows,
        batch_length=job.length,
        replay_context=1,
        report_length=cfg.report_length,
        replica=0,
        replicas=1,
    )


def batch(job: Job, spaces: dict[str, Any]) -> dict[str, Any]:
    """Arrays `[B, 1+T, ...]` for every space that training reads."""
    import numpy as np

    shape = (job.rows, job.length + 1)
    data = {key: np.zeros((*shape, *space.shape), space.dtype) for key, space in spaces.items()}
    given = noise(job)
    data[job.obs_key] = given["obs"]
    for name in ("action", "reward", "is_first", "is_last", "is_terminal"):
        data[name] = given[name]
    data["consec"][:] = 1
    data["dyn/deter"] = given["deter"]
    data["dyn/stoch"] = np.eye(job.classes, dtype=np.float32)[given["stoch"]]
    return data


if __name__ == "__main__":
    serve(build)
