"""Continuations: what is the same goes on bit-equal, what cannot be is said or refused."""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import tempfile
import time
import warnings
from pathlib import Path

import torch

from dreamer_plugin.config import compose
from dreamer_plugin.errors import UsageError
from dreamer_plugin.run import checkpoint
from dreamer_plugin.run.loop import train
from tests.faults import runs, small
from tests.faults.env_faults import seconds
from tests.faults.runs import Run
from tests.run.conftest import TINY, silent_console

EPISODES = {
    "replay.sampling": "episodes",
    "replay.context": 0,
    "replay.online": False,
    "run.prefill": 8,
}
# Name -> env, settings; each is run whole, and again from its checkpoint at half of its steps.
EXACT = {
    "gym/CartPole-v1": ("gym/CartPole-v1", {}),
    "gym/Pendulum-v1": ("gym/Pendulum-v1", {}),
    "gym/FrozenLake-v1": ("gym/FrozenLake-v1", {}),
    "toy/catch": ("toy/catch", {}),
    "toy/mixed": ("toy/mixed", {}),
    "toy/recall": ("toy/recall", {}),
    "envs in processes": ("gym/CartPole-v1", {"env.processes": True}),
    "one env": ("gym/CartPole-v1", {"env.num_envs": 1}),
    "replay on disk": ("gym/CartPole-v1", {"replay.storage": "disk"}),
    "latents in bfloat16": ("gym/CartPole-v1", {"replay.latent_dtype": "bfloat16"}),
    "a full replay": ("gym/CartPole-v1", {"replay.capacity": 30}),
    "episodes, no online queue": ("toy/recall", {**EPISODES, "replay.batch_length": 6}),
    "evaluation in between": ("toy/recall", {"run.eval_every": 20, "run.eval_episodes": 2}),
    "noise on actions": ("gym/CartPole-v1", {"behavior.explore.amount": 0.3}),
    "random prefill": ("gym/CartPole-v1", {"run.random_prefill": True}),
}
NEEDS = {
    "atari/Pong": ("ale_py", "atari/Pong", {"env.num_envs": 1}),
    "dmc/cartpole-balance": ("dm_control", "dmc/cartpole-balance", {"env.num_envs": 1}),
}
REFUSED = {
    "another number of envs": {"env.num_envs": 3},
    "a smaller replay": {"replay.capacity": 10},
    "another size": {"model.deter": 64},
    "another learning rate": {"optim.lr": 1e-3},
    "another seed": {"seed": 4},
}
ALLOWED = {
    "a larger replay": {"replay.capacity": 900},
    "replay moved to disk": {"replay.storage": "disk"},
    "envs moved to processes": {"env.processes": True},
    "no latents": {"checkpoint.latents": False},
}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this command."""
    parser.add_argument("--only", default="", help="cases by name, with commas between")


def run(given: argparse.Namespace) -> list[dict]:
    """One row for each case."""
    wanted = {name for name in given.only.split(",") if name}
    rows = []

    def case(name, check) -> None:
        if wanted and name not in wanted:
            return
        began = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            good, equal = check(Path(folder))
        taken = seconds([time.perf_counter() - began])
        rows.append(small.row(f"resume: {name}", 1, int(good), recovered=taken, equal=equal))

    for name, (env, settings) in EXACT.items():
        case(name, lambda folder, env=env, settings=settings: _exact(folder, env, settings))
    for name, (module, env, settings) in NEEDS.items():
        if importlib.util.find_spec(module):
            case(name, lambda folder, env=env, settings=settings: _exact(folder, env, settings))
    case("in a new interpreter", _cold)
    for name, settings in REFUSED.items():
        case(name, lambda folder, settings=settings: _refused(folder, settings))
    for name, settings in ALLOWED.items():
        case(name, lambda folder, settings=settings: _allowed(folder, settings))
    if torch.cuda.is_available():
        case("moved to cuda", lambda folder: _allowed(folder, {"device": "cuda"}))
    return rows


def _train(folder: Path, env: str, name: str, settings: dict, resume=None, allow=False):
    base = {"run.steps": 80, "run.logdir": str(folder / name), "seed": 3}
    cfg = compose(env, config=[TINY], options=base | settings).config
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return train(cfg, resume=resume, console=silent_console(), allow_config_change=allow)


def _exact(folder: Path, env: str, settings: dict) -> tuple[bool, str]:
    whole = _train(folder, env, "whole", settings).run_dir
    part = small.part_of(whole, 40, folder / "part")
    said = checkpoint.meta(checkpoint.newest(part / "checkpoints"))["resume"]
    _train(folder, env, "part", settings, resume=part)
    equal = small.same_end(whole, part)
    learned = any("loss/dyn" in row for row in runs.log(part) if row["step"] > 40)
    return equal and said == "exact" and learned, "yes" if equal else "no"


def _cold(folder: Path) -> tuple[bool, str]:
    """Begun by one interpreter, ended by another."""
    whole, part = folder / "whole", folder / "part"
    runs.finish(Run(runs.words(whole, 80, 40), cold=True))
    small.part_of(whole, 40, part)
    code = Run(runs.words(part, 80, 40), cold=True).wait()
    equal = code == 0 and small.same_end(whole, part)
    return equal, "yes" if equal else "no"


def _refused(folder: Path, settings: dict) -> tuple[bool, str]:
    """Refused in one line, and nothing of the run changed."""
    run = _train(folder, "gym/CartPole-v1", "run", {"run.steps": 40}).run_dir
    before = _bytes(run)
    try:
        _train(folder, "gym/CartPole-v1", "run", {"run.steps": 60, **settings}, resume=run)
    except UsageError as error:
        return "\n" not in str(error) and _bytes(run) == before, "-"
    return False, "-"


def _bytes(run: Path) -> dict[str, bytes]:
    """What a run consists of, but its settings and its log files' names."""
    kept = [*run.glob("checkpoints/**/*"), *run.glob("records/*"), run / "metrics.jsonl"]
    return {str(path): path.read_bytes() for path in kept if path.is_file()}


def _allowed(folder: Path, settings: dict) -> tuple[bool, str]:
    """Goes on, and again from what it saves then."""
    run = _train(folder, "gym/CartPole-v1", "run", {"run.steps": 40}).run_dir
    first = _train(folder, "gym/CartPole-v1", "run", {"run.steps": 60, **settings}, resume=run)
    kept = Path(shutil.copytree(run, folder / "kept"))
    then = _train(folder, "gym/CartPole-v1", "kept", {"run.steps": 64, **settings}, resume=kept)
    return (first.steps, then.steps) == (60, 64), "-"
