"""Inject faults and print what became of them; exits with 0 only if all were survived.

python -m tests.faults env --kinds raise,exit,kill9,segv,hang,nan --n 100
python -m tests.faults kill9 --n 50
"""

from __future__ import annotations

import argparse
import importlib
import sys

COMMANDS = {
    "env": "failures of environments in a vector of processes",
    "kill9": "kills of a training run, some during a save",
}


def main(words: list[str] | None = None) -> int:
    """Run one command; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    chosen = {}
    for name, text in COMMANDS.items():
        chosen[name] = importlib.import_module(f"tests.faults.{name}_faults")
        chosen[name].arguments(commands.add_parser(name, help=text))
    given = parser.parse_args(words)
    rows = chosen[given.command].run(given)
    print(table(rows))
    return 0 if all(row.get("good", False) for row in rows) else 1


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
