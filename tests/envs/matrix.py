"""Installs every suite's extra into a fresh environment, steps the suite there, and writes it down.

    python -m tests.envs.matrix                     all suites
    python -m tests.envs.matrix minigrid procgen    these; what is known of others stays
    python -m tests.envs.matrix --keep DIR          environments stay there, and are used again
    python -m tests.envs.matrix --limit 900         seconds for one suite, its installation included

For each suite: a virtual environment with its extra of pyproject.toml and without torch; there
1,000 random steps through the registry, our examination and Gymnasium's checker (`stepping.py`);
then, where this Python has them, Stable-Baselines3's and TorchRL's checkers, through `python=`.
Results go to `envs/dreamer_envs/suites/tested.json`, which `dreamer-plugin envs` reads, and to the
table in `docs/environments.md`; a suite that fails or takes too long is not tested, as its row says
with the reason. Needs Python 3.11 or later, Linux or macOS, and the network.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NoReturn

import tomllib

REPO = Path(__file__).parents[2]
TESTED = REPO / "envs" / "dreamer_envs" / "suites" / "tested.json"
PAGE = REPO / "docs" / "environments.md"
BEGIN, END = "<!-- matrix: begin -->", "<!-- matrix: end -->"
BASE = ("gymnasium", "numpy", "pillow")
STEPS = 1000
LIMIT = 1800  # seconds of one suite
SAID = 160  # characters of a failure in a row
# suite -> task that stands for it, options, random steps where 1,000 would take too long.
ENVS: dict[str, tuple[str, dict[str, Any], int]] = {
    "atari": ("Pong", {}, STEPS),
    "atari100k": ("Breakout", {}, STEPS),
    "babyai": ("GoTo-v0", {}, STEPS),
    "brax": ("inverted_pendulum", {}, STEPS),
    "bsuite": ("catch", {}, STEPS),
    "craftax": ("classic-pixels", {}, STEPS),
    "crafter": ("reward", {}, STEPS),
    "dmc": ("walker-walk", {}, STEPS),
    "envpool": ("WalkerWalk-v1", {}, STEPS),
    "gym": ("CartPole-v1", {}, STEPS),
    "loconav": ("ant_maze_m", {}, STEPS),
    "memorymaze": ("9x9", {}, STEPS),
    "metaworld": ("reach", {}, STEPS),
    "minetest": ("dig", {"length": 200}, STEPS),
    "minigrid": ("DoorKey-5x5-v0", {}, STEPS),
    "nle": ("Score", {}, STEPS),
    "pinpad": ("three", {}, STEPS),
    "playground": ("CartpoleBalance", {}, STEPS),
    "procgen": ("coinrun", {"size": 64}, STEPS),
    "robosuite": ("Lift", {}, STEPS),
    "toy": ("catch", {}, STEPS),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("suites", nargs="*", help="suites to step; all by default")
    parser.add_argument("--keep", type=Path, help="folder in which environments stay")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--limit", type=int, default=LIMIT, help="seconds of one suite at most")
    asked = parser.parse_args()
    known: dict[str, Any] = json.loads(TESTED.read_text()) if TESTED.exists() else {}
    failed = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = asked.keep or Path(scratch)
        for suite in asked.suites or sorted(ENVS):
            known[suite] = tried(suite, folder, asked.steps, asked.limit)
            if "failed" in known[suite]:
                failed.append(suite)
            else:
                print(f"{suite}: {known[suite]['steps_per_s']} steps/s", flush=True)
            write(known)
    stepped_ones = sum("failed" not in found for found in known.values())
    print(f"{stepped_ones} suites stepped, {len(failed)} failed: {', '.join(failed) or 'none'}")
    return int(bool(failed))


def tried(suite: str, folder: Path, steps: int, limit: float) -> dict[str, Any]:
    """What was found of a suite, or `failed`: why there is nothing.

    Args:
        suite: its name. folder: of environments. steps: at most. limit: seconds.
    """
    try:
        with deadline(limit):
            return stepped(suite, folder, steps)
    except (Exception, OutOfTime) as error:  # an assertion, pip, a simulator: all the same
        said = getattr(error, "stderr", None) or f"{type(error).__name__}: {error}"
        print(f"{suite} failed:\n{said[-2000:]}", flush=True)
        why = str(error) if isinstance(error, OutOfTime) else said.strip().splitlines()[-1]
        return {"failed": why[:SAID], "date": datetime.date.today().isoformat()}


class OutOfTime(BaseException):
    """A deadline is over; no error that the code in between could take for one of its own."""


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Raises `OutOfTime` in the main thread after so many seconds, whatever it waits for."""

    def expired(*_: object) -> NoReturn:
        raise OutOfTime(f"timed out after {seconds:g} s")

    usual = signal.signal(signal.SIGALRM, expired)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, usual)


def ran(command: Sequence[str], env: dict[str, str] | None = None) -> str:
    """What a command printed; if it is given up on, all that it started ends too.

    Raises:
        CalledProcessError: it failed.
    """
    process = subprocess.Popen(
        command, env=env, text=True, start_new_session=True, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        out, err = process.communicate()
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, out, err)
    return out


def stepped(suite: str, folder: Path, steps: int) -> dict[str, Any]:
    """What was found of a suite, in an environment of its own.

    Raises:
        CalledProcessError: its package does not install, or its env does not pass.
    """
    task, options, usual = ENVS[suite]
    python = environment(suite, folder)
    return examined(f"{suite}/{task}", options, python, min(steps, usual))


def examined(
    id: str, options: dict[str, Any], python: Path, steps: int, peer: str = ""
) -> dict[str, Any]:
    """What is found of an env in another Python, or around a stand-in for its package.

    Raises:
        CalledProcessError: the env does not pass.
    """
    command = [str(python), str(REPO / "tests/envs/stepping.py"), id, json.dumps(options)]
    command += [str(steps), peer]
    path = {**os.environ, "PYTHONPATH": str(REPO / "envs")}
    lines = [line for line in ran(command, path).splitlines() if line.startswith("FOUND ")]
    found: dict[str, Any] = json.loads(lines[-1].removeprefix("FOUND "))
    found["id"] = id
    found["options"] = options
    found["date"] = datetime.date.today().isoformat()
    found["checks"] = ["ours", "gymnasium"]
    if not peer:  # a stand-in lives in that one process
        found["checks"] += other_checkers(id, options, python)
    return found


def environment(suite: str, folder: Path) -> Path:
    """Python of the environment of a suite's extra, made where it is missing."""
    project = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
    extra = extra_of(suite)
    python = folder / (extra or "base") / "bin" / "python"
    if python.exists():
        return python
    subprocess.run([sys.executable, "-m", "venv", str(python.parents[1])], check=True)
    wanted = [need for need in project["dependencies"] if need.startswith(BASE)]
    wanted += project["optional-dependencies"].get(extra, [])
    try:
        ran([str(python), "-m", "pip", "install", "-q", *wanted])
    except BaseException:
        shutil.rmtree(python.parents[1])  # half an environment is none
        raise
    return python


def extra_of(suite: str) -> str:
    from dreamer_envs.suites import BUILTIN

    return next(spec.extra for spec in BUILTIN if spec.name == suite)


def other_checkers(id: str, options: dict[str, Any], python: Path) -> list[str]:
    """Names of the checkers of other libraries that pass here, through the other Python."""
    import dreamer_envs

    passed = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if importlib.util.find_spec("stable_baselines3"):
            from stable_baselines3.common.env_checker import check_env

            with closing(dreamer_envs.make(id, python=str(python), **options)) as env:
                scalars = any(part.shape == () for part in env.observation_space.spaces.values())
                if not scalars:  # which its checker cannot index
                    check_env(env, skip_render_check=True)
                    passed.append("SB3")
        if importlib.util.find_spec("torchrl"):
            from torchrl.envs import GymWrapper
            from torchrl.envs.utils import check_env_specs

            with closing(dreamer_envs.make(id, python=str(python), **options)) as env:
                check_env_specs(GymWrapper(env))
            passed.append("TorchRL")
    return passed


def write(known: dict[str, Any]) -> None:
    """Writes the results for programs and for people."""
    TESTED.write_text(json.dumps(dict(sorted(known.items())), indent=1) + "\n")
    text = PAGE.read_text()
    head, tail = text.partition(BEGIN)[0], text.partition(END)[2]
    PAGE.write_text(f"{head}{BEGIN}\n{table(known)}\n{END}{tail}")


def table(known: dict[str, Any]) -> str:
    """The results as a table in Markdown; suites that were not stepped say so."""
    lines = ["| suite | stepped | package | date | steps/s | checks |", "| --- " * 6 + "|"]
    for suite in sorted({*ENVS, *known}):
        if suite not in known:
            lines.append(f"| `{suite}` | not tested | | | | |")
            continue
        found = known[suite]
        if "failed" in found:
            why = f"not tested: {found['failed']}".replace("|", "/")
            lines.append(f"| `{suite}` | {why} | | {found['date']} | | |")
            continue
        package = f"{found['package']} {found['version']}".strip() or "none"
        notes = [each["check"] for each in found["findings"] if each["grade"] != "ok"]
        checks = ", ".join(found["checks"]) + (f"; notes: {', '.join(notes)}" if notes else "")
        task = f"`{found['id']}`, {found['steps']} steps"
        if "standin" in found:
            task = f"{task}, with a stand-in: {found['standin']}"
        speed = f"{found['steps_per_s']:,}"
        lines.append(f"| `{suite}` | {task} | {package} | {found['date']} | {speed} | {checks} |")
    pythons = ", ".join(sorted({found["python"] for found in known.values() if "python" in found}))
    return "\n".join([*lines, "", f"Stepped with Python {pythons}."])


if __name__ == "__main__":
    sys.exit(main())
