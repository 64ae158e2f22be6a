"""Recorded reproductions and the table of them.

    DIR/README.md                            the table stands between two markers
    DIR/tasks.yaml                           rows of the table: env, agent, obs if not the usual
    DIR/others.csv                           what other implementations report
    DIR/<suite>-<task>[-pixels]/<agent>/     results of one, as `reproduce_results.py` writes them

A task without results has a row that says so.
"""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from dreamer_plugin.config import compose
from dreamer_plugin.config.yamlfile import read_yaml
from dreamer_plugin.errors import UsageError
from dreamer_plugin.study.published_curves import PRESETS, curve_of
from dreamer_plugin.study.published_curves import seen as seen_by
from dreamer_plugin.study.reproduce import FULL, Reproduction
from dreamer_plugin.study.reproduce_found import (
    RESULT,
    SEEDS,
    Found,
    read_recorded,
    read_result,
    refuse_other,
    together,
)
from dreamer_plugin.study.reproduce_results import NOT_THE_SAME, write_results

BEGIN, END = "<!-- generated: begin -->", "<!-- generated: end -->"
PAGE = "README.md"
NOT_RUN = "not run"
_HEADER = ("task", "agent", "published", "at the end", "ours", "share", "verdict", "protocol",
           "updates", "hours", "other PyTorch implementations", "command")  # fmt: skip
_KEPT = ("curve.csv", SEEDS, "curve.png", RESULT)

Key = tuple[str, str, str]  # env, obs, agent


def record(found: Found, shelf: Path) -> Path:
    """Put what was found to its place on a shelf, and make its table anew.

    What was recorded there before of the same protocol stays, as far as it is not run again.

    Args:
        found: what the runs came to. shelf: with `README.md` and the tables beside it.

    Returns:
        The place.

    Raises:
        UsageError: when results of another protocol lie there.
    """
    place = place_of(found.plan, shelf)
    all_found = together(read_recorded(place), found, place)
    with TemporaryDirectory() as folder:
        files, _ = write_results(all_found, Path(folder))
        place.mkdir(parents=True, exist_ok=True)
        made = {file.name: file for file in files}
        fresh = [name for name in _KEPT if name in made]  # the result last: it says what is there
        neighbours = {name: place / f".{name}.new" for name in fresh}
        try:  # all of them stand beside the old ones before one of those goes
            for name, neighbour in neighbours.items():
                shutil.copyfile(made[name], neighbour)
            for name, neighbour in neighbours.items():
                neighbour.replace(place / name)
        finally:
            for neighbour in neighbours.values():
                neighbour.unlink(missing_ok=True)
        for name in set(_KEPT) - set(made):
            (place / name).unlink(missing_ok=True)
    write_table(shelf)
    return place


def check(plan: Reproduction, shelf: Path) -> None:
    """See that a shelf can take what is going to be found.

    Raises:
        UsageError: when it is none, or holds results of another protocol in that place.
    """
    if not (shelf / PAGE).is_file():
        raise UsageError(f"--record {shelf}: there is no {PAGE} with a table to add to.")
    with_table((shelf / PAGE).read_text("utf-8"), shelf)  # says what is wrong with it
    place = place_of(plan, shelf)
    if (recorded := read_recorded(place)) is not None:
        refuse_other(recorded.plan, plan, place)


def place_of(plan: Reproduction, shelf: Path) -> Path:
    """Where on a shelf a reproduction is recorded."""
    return shelf / name(plan.env, plan.seen) / plan.agent


def name(env: str, seen: str) -> str:
    """Folder of a task."""
    return env.replace("/", "-") + (f"-{seen}" if seen else "")


def write_table(shelf: Path) -> Path:
    """Make the table of a shelf anew; what stands around it stays.

    Raises:
        UsageError: when its page has no place for the table.
    """
    path = shelf / PAGE
    if not path.is_file():
        raise UsageError(f"{shelf} is no folder of results: it has no {PAGE}.")
    path.write_text(with_table(path.read_text("utf-8"), shelf), encoding="utf-8")
    return path


def with_table(text: str, shelf: Path) -> str:
    """A page with its table made anew.

    Args:
        text: of the page. shelf: where the results lie.
    """
    before, begun, rest = text.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not (begun and ended) or text.count(BEGIN) + text.count(END) != 2:
        raise UsageError(f"{shelf / PAGE} must have one line {BEGIN} and below it one {END}.")
    rows = ([cell.replace("|", "\\|") for cell in row] for row in table(shelf))
    lines = [f"| {' | '.join(row)} |" for row in rows]
    lines.insert(1, f"| {' | '.join(['---'] * len(_HEADER))} |")
    return f"{before}{BEGIN}\n" + "\n".join(lines) + f"\n{END}{after}"


def table(shelf: Path) -> list[list[str]]:
    """The table, its header first: the tasks of `tasks.yaml`, then what else was recorded."""
    results = map(read_result, sorted(shelf.glob(f"*/*/{RESULT}")))
    found = {_key(each): each for each in results}
    path = shelf / "tasks.yaml"
    listed = read_yaml(path).get("tasks", []) if path.is_file() else []
    try:
        wanted = [(row["env"], row.get("obs", ""), row["agent"]) for row in listed]
        others = _rows(shelf / "others.csv")
        keys = dict.fromkeys([*wanted, *found])
        return [list(_HEADER), *(_row(key, found.get(key), others) for key in keys)]
    except KeyError as error:
        raise UsageError(f"a row of {path} or of others.csv beside it lacks {error}.") from error


def _row(
    key: Key, facts: Mapping[str, Any] | None, others: Iterable[Mapping[str, str]]
) -> list[str]:
    env, seen, agent = key
    family = agent.partition("_")[0]
    curve = curve_of(env, seen, facts["curve"] if facts else family)
    whose = f" ({curve.agent})" if curve and curve.agent != family else ""
    theirs = [
        f"{_at(float(row['mean']), int(row['frames']))} ({row['implementation']})"
        for row in others
        if (row["env"], row["obs"]) == (env, seen)
    ]
    cells = dict.fromkeys(_HEADER, "") | {
        "task": f"{env} from {seen}" if seen else env,
        "agent": agent,
        "at the end": _at(curve.mean[-1], curve.frames[-1]) + whose if curve else "none",
        "ours": NOT_RUN,
        "other PyTorch implementations": "; ".join(theirs),
    }
    verdicts = facts["verdicts"] if facts else []
    told = next((each for each in verdicts if each["variant"] == FULL), None)
    if facts is None or told is None:
        return list((cells | {"command": f"`{_command(key)}`"}).values())
    found = _recorded(facts, told, f"{name(env, seen)}/{agent}/{RESULT}")
    found["published"] += whose
    return list((cells | found).values())


def _recorded(facts: Mapping[str, Any], told: Mapping[str, Any], link: str) -> dict[str, str]:
    """Cells of a row with results.

    Args:
        facts: of `result.json`. told: the verdict on the full agent. link: to that file.
    """
    runs = [run for run in facts["runs"] if run["variant"] == FULL and run["frames"]]
    other = f"{NOT_THE_SAME}: {len(facts['differences'])} differences"
    return {
        "published": _at(f"{told['published']:.4g} ± {told['deviation']:.3g}", told["frames"]),
        "ours": f"{told['ours']:.4g} ± {told['spread']:.3g}, seeds: {told['seeds']}",
        "share": "" if told["share"] is None else f"{told['share']:.0%}",
        "verdict": f"[{told['word']}]({link})",
        "protocol": "published" if told["same_protocol"] else other,
        "updates": ", ".join(f"{run['updates']:,}" for run in runs),
        "hours": ", ".join(f"{run['seconds'] / 3600:.1f}" for run in runs),
        "command": f"`{facts['commands'][-1]}`",
    }


def _key(facts: Mapping[str, Any]) -> Key:
    return facts["env"], facts["seen"], facts["agent"]


def _command(key: Key) -> str:
    """That would run a row."""
    env, seen, agent = key
    family = agent.partition("_")[0]
    usual = seen_by(compose(env, config=[agent]).config)
    words = ["dreamer-plugin reproduce", env]
    words += [f"env.obs={seen or 'proprio'}"] if seen != usual else []
    words += [f"--agent {family}"] if family != "v3" else []
    return " ".join([*words, *([f"--config {agent}"] if agent != PRESETS.get(family) else [])])


def _at(score: float | str, frames: int) -> str:
    """A score and when it was reached: `956 at 1M`."""
    short = f"{frames / 1e6:g}M" if frames >= 10**6 else f"{frames / 1e3:g}k"
    return f"{score:.4g} at {short}" if isinstance(score, float) else f"{score} at {short}"


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
