"""Small runs inside this process, and copies of what they left."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path

from dreamer_plugin.run import checkpoint
from dreamer_plugin.run.loop import train
from tests.faults import runs
from tests.run.conftest import silent_console, tiny_config


def small_run(folder: Path, env: str = "gym/CartPole-v1", resume=None, name="run", **options):
    """Train a tiny agent; how it ended."""
    settings = {key.replace("__", "."): value for key, value in options.items()}
    cfg = tiny_config(folder, env, name, **settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return train(cfg, resume=resume, console=silent_console(), allow_config_change=True)


def part_of(run: Path, step: int, target: Path) -> Path:
    """The run as a kill after the save at `step` would have left it."""
    shutil.copytree(run, target)
    for saved, path in checkpoint.steps(target / "checkpoints"):
        if saved > step:
            shutil.rmtree(path)
    return target


def same_end(one: Path, other: Path) -> bool:
    """Whether two runs end in the same bits, and logged the same."""
    step = runs.newest(one)
    return (
        step == runs.newest(other)
        and runs.tensors(one, step) == runs.tensors(other, step)
        and runs.log(one) == runs.log(other)
    )


def sign(folder: Path, change) -> None:
    """Change the manifest of a checkpoint as somebody would who can compute its hash.

    Args:
        folder: of the checkpoint. change: called with the manifest's body.
    """
    path = folder / checkpoint.MANIFEST
    body = json.loads(path.read_text())
    body.pop("self")
    change(body)
    path.write_bytes(checkpoint._render_manifest(body))


def resign(folder: Path) -> None:
    """Give a checkpoint whose files were changed the manifest that goes with them."""

    def update(body):
        for name in body["files"]:
            file = folder / name
            body["files"][name] = {
                "size": file.stat().st_size,
                "sha256": checkpoint.sha256(file),
            }

    sign(folder, update)


def row(fault: str, injected: int, survived: int, **more) -> dict:
    """One line of the table; good when all were survived."""
    names = {"hung": 0, "corrupt": 0} | more
    return {
        "fault": fault,
        "injected": injected,
        "survived": survived,
        "hung": names["hung"],
        "silently corrupt": names["corrupt"],
        "steps lost, mean/max": more.get("lost", "-"),
        "detected after, mean/max": more.get("detected", "-"),
        "recovered after, mean/max": more.get("recovered", "-"),
        "bit-equal": more.get("equal", "-"),
        "good": survived == injected and injected > 0 and not (names["hung"] or names["corrupt"]),
    }
