"""Inject faults and print what became of them; exits with 0 only if all were survived.

python -m tests.faults env --kinds raise,exit,kill9,segv,hang,nan --n 100
python -m tests.faults kill9 --n 50
python -m tests.faults corrupt | diskfull | signal | nan | resume-matrix | security
python -m tests.faults fuzz --seconds 120
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import warnings

os.environ.setdefault("OMP_NUM_THREADS", "1")  # what is forked must have no threads

COMMANDS = {
    "env": "failures of environments in a vector of processes",
    "kill9": "kills of a training run, some during a save",
    "corrupt": "flipped, cut and missing bytes of checkpoints",
    "diskfull": "a disk without room, at different moments",
    "signal": "INT, TERM and USR1 at any moment, and two of them",
    "nan": "losses and gradients that are not finite",
    "resume-matrix": "continuations: envs, agents, replays, other machines and settings",
    "security": "files of an attacker: pickles, links, paths, names that import",
    "fuzz": "thousands of mutated inputs",
}


def main(words: list[str] | None = None) -> int:
    """Run one command; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    chosen = {}
    given_first = next((word for word in words or sys.argv[1:] if word in COMMANDS), None)
    for name, text in COMMANDS.items():
        if given_first not in (None, name):
            continue  # each loads what it tests
        chosen[name] = importlib.import_module(f"tests.faults.{name.replace('-', '_')}_faults")
        chosen[name].arguments(commands.add_parser(name, help=text))
    given = parser.parse_args(words)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they are what is provoked
        rows = chosen[given.command].run(given)
    print(table(rows))
    # Without a row nothing was injected: a name that no case has, or a run that ended too soon.
    return 0 if rows and all(row.get("good", False) for row in rows) else 1


def table(rows: list[dict]) -> str:
    """Rows as a Markdown table; what a row does not have is a dash."""
    names = [
        "fault",
        "injected",
        "survived",
        "hung",
        "silently corrupt",
        "steps lost, mean/max",
        "detected after, mean/max",
        "recovered after, mean/max",
        "bit-equal",
    ]
    lines = [f"| {' | '.join(names)} |", f"|{' --- |' * len(names)}"]
    lines += [f"| {' | '.join(str(row.get(name, '-')) for name in names)} |" for row in rows]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
