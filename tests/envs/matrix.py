"""Installs every suite's extra into a fresh environment, steps the suite there, and writes it down.

    python -m tests.envs.matrix                     all suites
    python -m tests.envs.matrix minigrid procgen    these; what is known of others stays
    python -m tests.envs.matrix --keep DIR          environments stay there, and are used again

For each suite: a virtual environment with its extra of pyproject.toml and without torch; there
1,000 random steps through the registry, our examination and Gymnasium's checker (`stepping.py`);
then, where this Python has them, Stable-Baselines3's and TorchRL's checkers, through `python=`.
Results go to `envs/dreamer_envs/suites/tested.json`, which `dreamer-plugin envs` reads, and to the
table in `docs/environments.md`. Needs Python 3.11 or later, and the network.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import tomllib

REPO = Path(__file__).parents[2]
TESTED = REPO / "envs" / "dreamer_envs" / "suites" / "tested.json"
PAGE = REPO / "docs" / "environments.md"
BEGIN, END = "<!-- matrix: begin -->", "<!-- matrix: end -->"
BASE = ("gymnasium", "numpy", "pillow")
STEPS = 1000
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
    asked = parser.parse_args()
    known: dict[str, Any] = json.loads(TESTED.read_text()) if TESTED.exists() else {}
    failed = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = asked.keep or Path(scratch)
        for suite in asked.suites or sorted(ENVS):
            try:
                known[suite] = stepped(suite, folder, asked.steps)
                print(f"{suite}: {known[suite]['steps_per_s']} steps/s", flush=True)
            except Exception as error:  # a checker's assertion, pip, a simulator: all the same
                known.pop(suite, None)  # what does not pass is not tested
                failed.append(suite)
                said = getattr(error, "stderr", None) or f"{type(error).__name__}: {error}"
                print(f"{suite} failed:\n{said[-2000:]}", flush=True)
            write(known)
    print(f"{len(known)} suites stepped, {len(failed)} failed: {', '.join(failed) or 'none'}")
    return int(bool(failed))


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
    done = subprocess.run(command, capture_output=True, text=True, env=path)
    lines = [line for line in done.stdout.splitlines() if line.startswith("FOUND ")]
    if done.returncode or not lines:
        raise subprocess.CalledProcessError(done.returncode, command, done.stdout, done.stderr)
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
    command = [str(python), "-m", "pip", "install", "-q", *wanted]
    subprocess.run(command, check=True, capture_output=True, text=True)
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

            env = dreamer_envs.make(id, python=str(python), **options)
            scalars = any(part.shape == () for part in env.observation_space.spaces.values())
            if not scalars:  # which its checker cannot index
                check_env(env, skip_render_check=True)
                passed.append("SB3")
            env.close()
        if importlib.util.find_spec("torchrl"):
            from torchrl.envs import GymWrapper
            from torchrl.envs.utils import check_env_specs

            wrapped = GymWrapper(dreamer_envs.make(id, python=str(python), **options))
            check_env_specs(wrapped)
            wrapped.close()
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
        package = f"{found['package']} {found['version']}".strip() or "none"
        notes = [each["check"] for each in found["findings"] if each["grade"] != "ok"]
        checks = ", ".join(found["checks"]) + (f"; notes: {', '.join(notes)}" if notes else "")
        task = f"`{found['id']}`, {found['steps']} steps"
        if "standin" in found:
            task = f"{task}, with a stand-in: {found['standin']}"
        speed = f"{found['steps_per_s']:,}"
        lines.append(f"| `{suite}` | {task} | {package} | {found['date']} | {speed} | {checks} |")
    pythons = ", ".join(sorted({found["python"] for found in known.values()}))
    return "\n".join([*lines, "", f"Stepped with Python {pythons}."])


if __name__ == "__main__":
    sys.exit(main())
