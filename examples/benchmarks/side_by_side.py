"""Times one update of ours and of other implementations, on the same workload and in turns.

    python examples/benchmarks/side_by_side.py --workload proprio1m --peer torchrl
    python examples/benchmarks/side_by_side.py --workload vision12m --precision bfloat16 \
        --peer ours+compile --peer torchrl --peer sheeprl@/venvs/sheeprl/bin/python \
        --peer r2dreamer=~/r2dreamer --peer dreamerv3=~/dreamerv3@/venvs/jax/bin/python

A peer is NAME[+OPTION...][=FOLDER][@PYTHON]: which adapter (`peer_NAME.py`), what it is told, where
its checkout is, and which Python runs it. Ours without options comes first in any case, and is what
the others are compared with. Every implementation is a process of its own that stays alive and
makes one update when it is told to, so all of them are timed in the same minutes; a ratio is the
median over the rounds of what both took in one round. `+keep_memory` sets the allocator of a peer
as our training sets it; `ours+default_malloc` leaves ours alone; `+float32` and `+bfloat16` compute
in that whatever `--precision` says, so that each can have what suits it best. `peak GB` is the most
memory that a process has had, libraries and compiling included.

No code of another implementation is part of this repository: install or check out what is to be
compared. Each adapter says in its first lines what it needs.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text
from worker import Job

HERE = Path(__file__).resolve().parent
OURS = "ours"
PRECISIONS = ("float32", "bfloat16")
KEEP_MEMORY = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**62),
    "MALLOC_TOP_PAD_": str(256 * 2**20),
}


@dataclass(frozen=True)
class Entry:
    """One implementation to time: the parts of NAME[+OPTION...][=FOLDER][@PYTHON]."""

    name: str
    options: tuple[str, ...] = ()
    folder: str = ""
    python: str = sys.executable

    @property
    def label(self) -> str:
        """Its name in the table."""
        return "+".join((self.name, *self.options))


def parse(text: str) -> Entry:
    """Read one `--peer`.

    Raises:
        argparse.ArgumentTypeError: when there is no such adapter, naming those that there are.
    """
    rest, _, python = text.partition("@")
    words, _, folder = rest.partition("=")
    name, *options = words.split("+")
    known = sorted(path.stem.removeprefix("peer_") for path in HERE.glob("peer_*.py"))
    if name not in known:
        raise argparse.ArgumentTypeError(f"no adapter for {name!r}; there are {', '.join(known)}")
    place = str(Path(folder).expanduser().resolve()) if folder else ""
    if place and not Path(place).is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {place!r}")
    chosen = str(Path(python).expanduser()) if python else sys.executable
    if not Path(chosen).is_file():
        raise argparse.ArgumentTypeError(f"there is no Python {chosen!r}")
    return Entry(name, tuple(options), place, chosen)


class Worker:
    """A running implementation.

    Args:
        entry: which. command: that starts it. env: its environment.
    """

    def __init__(self, entry: Entry, command: Sequence[str], env: dict[str, str]) -> None:
        self.entry, self.about, self.failed = entry, {}, ""
        self.first = 0.0
        self.peak_rss = 0
        self.seconds: list[float] = []
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, env=env
        )

    def wait_until_ready(self) -> None:
        """Read what it says about itself, or why it cannot run."""
        self.about = self._answer().get("ready", {})

    def update(self) -> float:
        """Seconds of one update; 0 when it failed."""
        self._say({"do": "update"})
        answer = self._answer()
        self.peak_rss = int(answer.get("peak_rss", self.peak_rss))
        return float(answer.get("seconds", 0.0))

    def close(self) -> None:
        """Tell it to leave, and wait."""
        self._say({"do": "quit"})
        self._process.communicate()

    def _say(self, message: dict[str, str]) -> None:
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
        except BrokenPipeError:  # it has said why, or its answer is missing
            pass

    def _answer(self) -> dict[str, Any]:
        line = self._process.stdout.readline()
        answer = json.loads(line) if line else {"error": "it ended without an answer"}
        self.failed = answer.get("error", "")
        return answer


def start(entry: Entry, job: Job) -> Worker:
    """Start the worker of an implementation."""
    env = dict(os.environ)  # threads of those that wait spin for some milliseconds, then sleep
    env.pop("OMP_NUM_THREADS", None)
    if job.threads:
        env["OMP_NUM_THREADS"] = str(job.threads)
    its_own = job_for(entry, job)
    if "keep_memory" in its_own.options and entry.name != OURS:
        env |= KEEP_MEMORY
        its_own.options.remove("keep_memory")
    script = str(HERE / f"peer_{entry.name}.py")
    return Worker(entry, [entry.python, script, json.dumps(asdict(its_own))], env)


def job_for(entry: Entry, job: Job) -> Job:
    """The job as one implementation gets it: in its folder, told its options, in its precision."""
    named = [option for option in entry.options if option in PRECISIONS]
    options = [option for option in entry.options if option not in PRECISIONS]
    precision = named[-1] if named else job.precision
    return replace(job, folder=entry.folder, options=options, precision=precision)


def job_of(workload: str, precision: str, device: str, threads: int) -> Job:
    """The widths of a workload, for those that do not know our configuration."""
    from dreamer_plugin.study.workloads import find

    found = find(workload)
    cfg = found.config([], {})
    model, replay = cfg.model, cfg.replay
    return Job(
        workload=found.name,
        size=found.size,
        precision=precision,
        device=device,
        folder="",
        threads=threads,
        image=found.observation == "vision",
        rows=replay.batch_size,
        length=replay.batch_length,
        horizon=cfg.behavior.imag_horizon,
        **{
            name: getattr(model, name)
            for name in ("deter", "hidden", "units", "depth", "groups", "classes", "blocks")
        },
    )


def run(
    entries: Iterable[Entry],
    job: Job,
    rounds: int,
    tell: Callable[[str], None],
    begin: Callable[[Entry, Job], Worker] = start,
) -> list[Worker]:
    """Start all, warm up, then time one update of each per round; returns them, ended.

    Args:
        entries: ours first. job: the workload. rounds: timed updates of each.
        tell: hears of the progress. begin: starts a worker.
    """
    workers: list[Worker] = []
    try:
        for entry in entries:
            tell(f"{entry.label}: building")
            workers.append(begin(entry, job))
            workers[-1].wait_until_ready()
        for worker in alive(workers):
            tell(f"{worker.entry.label}: first updates")
            worker.first = worker.update()
            if not worker.failed:
                worker.update()
        for i in range(rounds):
            tell(f"round {i + 1} of {rounds}")
            ready = alive(workers)
            for worker in ready[i % len(ready) :] + ready[: i % len(ready)] if ready else []:
                worker.seconds.append(worker.update())
    finally:
        for worker in workers:
            worker.close()
    return workers


def alive(workers: Sequence[Worker]) -> list[Worker]:
    """Those that have not failed."""
    return [worker for worker in workers if not worker.failed]


def report(workers: Sequence[Worker], job: Job) -> dict[str, Any]:
    """The figures, as JSON-able data; ratios are to the first worker."""
    rows = []
    ours = workers[0].seconds
    for worker in workers:
        row: dict[str, Any] = {"implementation": worker.entry.label, **worker.about}
        if worker.failed:
            rows.append(row | {"failed": worker.failed})
            continue
        pairs = zip(worker.seconds, ours, strict=True) if not workers[0].failed else ()
        ratios = [theirs / mine for theirs, mine in pairs]
        row |= {
            "seconds_per_update": statistics.median(worker.seconds),
            "min": min(worker.seconds),
            "max": max(worker.seconds),
            "first": worker.first,
            "ratio": statistics.median(ratios) if ratios else None,
            "peak_rss": worker.peak_rss,
            "each": worker.seconds,
        }
        rows.append(row)
    facts = {"workload": job.workload, "precision": job.precision, "device": job.device}
    return facts | {"threads": job.threads or os.cpu_count(), "implementations": rows}


def shown(result: dict[str, Any]) -> list[Any]:
    """The figures for people: a table, and a line for each remark."""
    title = "{workload}, {precision}, {device}, {threads} threads".format(**result)
    table = Table("implementation", "version", title=title, title_justify="left")
    for name in ("s/update", "min", "max", "first", "ratio", "peak GB"):
        table.add_column(name, justify="right")
    remarks = []
    for row in result["implementations"]:
        name = row["implementation"]
        if "failed" in row:
            remarks.append(Text(f"{name}: not timed: {row['failed']}"))
            continue
        numbers = (f"{row[key]:.3f}" for key in ("seconds_per_update", "min", "max", "first"))
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
        memory = f"{row['peak_rss'] / 1e9:.2f}" if row["peak_rss"] else ""
        table.add_row(name, row["version"], *numbers, ratio, memory)
        notes = [row[key] for key in ("differs", "tried") if row.get(key)]
        remarks += [Text(f"{name}: {'; '.join(notes)}")] if notes else []
    return [table, *remarks]


def main(words: Sequence[str] | None = None) -> int:
    """Time every workload in every precision; returns the exit code: 1 when ours failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workload", nargs="+", default=["proprio1m"])
    parser.add_argument("--precision", nargs="+", default=["float32"])
    parser.add_argument("--peer", action="append", type=parse, default=[])
    parser.add_argument("--updates", type=int, default=9, help="timed updates of each")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=0, help="cores for each; 0: all")
    parser.add_argument("--json", action="store_true", help="one object per line on stdout")
    asked = parser.parse_args(words)
    if asked.updates < 1:
        parser.error(f"--updates {asked.updates}: time at least one")
    progress, console = Console(stderr=True), Console()
    if not console.is_terminal:
        console.width = 120
    failed = False
    for workload in asked.workload:
        for precision in asked.precision:
            job = job_of(workload, precision, asked.device, asked.threads)
            entries = [Entry(OURS), *asked.peer]
            workers = run(entries, job, asked.updates, lambda text: progress.print(text))
            result = report(workers, job)
            failed |= bool(workers[0].failed)
            if asked.json:
                print(json.dumps(result), flush=True)
            else:
                console.print(*shown(result), sep="\n")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
