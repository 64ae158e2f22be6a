"""Damage to the files of checkpoints: every changed byte is noticed, and a run goes on."""

from __future__ import annotations

import argparse
import os
import random
import shutil
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

from dreamer_plugin.errors import CheckpointError
from dreamer_plugin.run import checkpoint
from tests.faults import small
from tests.faults.env_faults import seconds

Damage = Callable[[bytes, random.Random], "bytes | None"]


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this command."""
    parser.add_argument("--n", type=int, default=2000, help="damages in all")
    parser.add_argument("--seed", type=int, default=0)


def _flip(data: bytes, chance: random.Random) -> bytes:
    place = chance.randrange(len(data))
    return data[:place] + bytes([data[place] ^ 1 << chance.randrange(8)]) + data[place + 1 :]


def _cut(data: bytes, chance: random.Random) -> bytes:
    return data[: chance.randrange(len(data))]


def _zeros(data: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(data))
    block = bytes(min(512, len(data) - start))
    changed = data[:start] + block + data[start + len(block) :]
    return changed if changed != data else _flip(data, chance)


def _grow(data: bytes, chance: random.Random) -> bytes:
    return data + bytes([chance.randrange(256)])


def _missing(data: bytes, chance: random.Random) -> None:
    return None


DAMAGES: dict[str, Damage] = {
    "a flipped bit": _flip,
    "cut short": _cut,
    "a block of zeros": _zeros,
    "grown": _grow,
    "missing": _missing,
}


def run(given: argparse.Namespace) -> list[dict]:
    """One row for each kind of damage, and one for runs that go on after it."""
    chance = random.Random(given.seed)
    with tempfile.TemporaryDirectory() as folder:
        whole = small.small_run(Path(folder)).run_dir
        part = Path(shutil.copytree(whole, Path(folder) / "part"))
        newest, older = [path for _, path in checkpoint.steps(part / "checkpoints")]
        entries = checkpoint.segments(newest)
        files = [*sorted(newest.iterdir())]
        files += [part / "records" / entry["file"] for entry in entries.values()]
        rows = []
        for kind, damage in DAMAGES.items():
            count = given.n // len(DAMAGES)
            times, noticed = [], 0
            for number in range(count):
                file = files[number % len(files)]
                with _damaged(file, damage(file.read_bytes(), chance)):
                    began = time.perf_counter()
                    noticed += _noticed(newest, older, file)
                    times.append(time.perf_counter() - began)
            text = f"checkpoint: {kind}"
            silent = count - noticed
            rows.append(small.row(text, count, noticed, corrupt=silent, detected=seconds(times)))
        rows.append(_goes_on(Path(folder), whole))
    return rows


class _damaged:
    """Context in which a file has other bytes, or is not there."""

    def __init__(self, file: Path, data: bytes | None) -> None:
        self.file, self.whole = file, file.read_bytes()
        os.unlink(file) if data is None else file.write_bytes(data)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self.file.write_bytes(self.whole)


def _noticed(newest: Path, older: Path, file: Path) -> bool:
    """Whether it is refused, and the right one taken in its place."""
    try:
        checkpoint.verify(newest)
        return False
    except CheckpointError:
        pass
    if file.parent == newest:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return checkpoint.newest(newest.parent) == older
    return len(checkpoint.damaged_segments(newest)) == 1


def _goes_on(folder: Path, whole: Path) -> dict:
    """Resume after damage to the newest checkpoint: the end is that of a run never damaged."""
    equal, times, lost_steps = [], [], []
    for number, name in enumerate(["agent.safetensors", "loop.json", "manifest.json"]):
        part = Path(shutil.copytree(whole, folder / f"on-{number}"))
        file = part / "checkpoints" / "step-000000080" / name
        file.write_bytes(file.read_bytes()[:-3])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            taken = checkpoint.newest(file.parents[1])
        lost_steps.append(80 - int(taken.name.split("-")[1]))
        began = time.perf_counter()
        small.small_run(folder, name=part.name, resume=part)
        times.append(time.perf_counter() - began)
        equal.append(small.same_end(whole, part))
    lost = small.small_run(folder, name="lost", run__steps=80).run_dir
    entry = next(iter(checkpoint.segments(lost / "checkpoints" / "step-000000080").values()))
    (lost / "records" / entry["file"]).unlink()
    result = small.small_run(folder, name="lost", resume=lost, run__steps=100)
    mended = result.steps == 100 and checkpoint.verify(lost / "checkpoints" / "step-000000100")
    return small.row(
        "checkpoint: damaged, then resumed",
        len(equal) + 1,
        sum(equal) + bool(mended),
        lost=f"{statistics.fmean(lost_steps):g} / {max(lost_steps)}",
        recovered=seconds(times),
        equal=f"{sum(equal)} of {len(equal)}",
    )
