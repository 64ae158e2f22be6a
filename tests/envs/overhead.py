"""What the adapters add to a step: ours beside the backend stepped with the same preparation.

    python -m tests.envs.overhead [PAIR …] [--steps 200] [--turns 60] [--write]

Processor time of this process, in microseconds per step. Other work on the machine makes a step
slower, through shared caches, and never faster: so the two sides take many short turns, each goes
first in half of them, and the mean of the fastest quarter of a side's turns counts. The range holds
nine of ten results when pairs of turns are drawn anew. The limit is 15 % or 20 us, whichever is
larger. `--write` puts the table into `docs/environments.md`. A pair whose packages are not
installed is left out.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

import dreamer_envs
from dreamer_envs.images import resize

PAGE = Path(__file__).parents[2] / "docs" / "environments.md"
BEGIN, END = "<!-- overhead: begin -->", "<!-- overhead: end -->"
TURNS, REDRAWN = 60, 400
SHARE, LEAST = 0.15, 20.0  # of the backend's time, and microseconds

Stepper = Iterator[None]


def stepped(env: gym.Env[Any, Any]) -> Stepper:
    """An env under random actions, which are drawn before."""
    env.action_space.seed(0)
    actions = [env.action_space.sample() for _ in range(256)]
    env.reset(seed=0)
    while True:
        for action in actions:
            _, _, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                env.reset()
            yield


def ours(id: str, **options: Any) -> Stepper:
    """Our env under random actions."""
    return stepped(dreamer_envs.make(id, **options))


def gymnasium(id: str) -> Stepper:
    """Gymnasium's env, its observation cast to float32 and its reward to a float."""
    env = gym.make(id, disable_env_checker=True)
    env.action_space.seed(0)
    actions = [env.action_space.sample() for _ in range(256)]
    env.reset(seed=0)
    while True:
        for action in actions:
            obs, reward, terminated, truncated, _ = env.step(action)
            np.asarray(obs, np.float32), float(reward)  # inline: a call would be timed too
            if terminated or truncated:
                env.reset()
            yield


def atari_preprocessing(size: int, gray: bool) -> Stepper:
    """Gymnasium's AtariPreprocessing: 4 frames, maximum of 2, resized by OpenCV."""
    import ale_py

    gym.register_envs(ale_py)
    bare = gym.make("ALE/Pong-v5", frameskip=1, repeat_action_probability=0.0)
    env = gym.wrappers.AtariPreprocessing(
        bare, frame_skip=4, screen_size=size, grayscale_obs=gray, noop_max=0
    )
    return stepped(env)


def emulator() -> Stepper:
    """The emulator itself: 4 frames, maximum of 2, PIL's bilinear resize to 64x64."""
    import ale_py
    from ale_py import roms

    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
    ale = ale_py.ALEInterface()
    ale.setFloat("repeat_action_probability", 0.0)
    ale.loadROM(roms.get_rom_path("pong"))
    legal = ale.getMinimalActionSet()
    frames = [np.zeros((210, 160, 3), np.uint8) for _ in range(2)]
    rng = np.random.default_rng(0)
    while True:
        for action in rng.integers(len(legal), size=256):
            for repeat in range(4):
                ale.act(legal[action])
                if repeat >= 2:
                    ale.getScreenRGB(frames[repeat - 2])
            resize(np.maximum(*frames), 64, 64)
            if ale.game_over():
                ale.reset_game()
            yield


def control_suite() -> Stepper:
    """dm_control's env, its observations cast to float32."""
    from dm_control import suite

    env = suite.load("walker", "walk", task_kwargs={"random": 0})
    actions = np.random.default_rng(0).uniform(-1, 1, (256, 6))
    env.reset()
    while True:
        for action in actions:
            now = env.step(action)
            {key: np.asarray(value, np.float32) for key, value in now.observation.items()}
            if now.last():
                env.reset()
            yield


def crafter() -> Stepper:
    """Crafter itself."""
    import crafter

    env = crafter.Env(seed=0)
    actions = np.random.default_rng(0).integers(17, size=256)
    env.reset()
    while True:
        for action in actions:
            if env.step(int(action))[2]:
                env.reset()
            yield


Side = Callable[[], Stepper]
PAIRS: dict[str, tuple[str, Side, Side]] = {
    "gym/CartPole-v1 and Gymnasium": (
        "gymnasium", lambda: ours("gym/CartPole-v1"), lambda: gymnasium("CartPole-v1"),
    ),
    "atari100k/Pong and the emulator": ("ale_py", lambda: ours("atari100k/Pong"), emulator),
    "atari100k/Pong and AtariPreprocessing": (
        "cv2", lambda: ours("atari100k/Pong"), lambda: atari_preprocessing(64, gray=False),
    ),
    "atari/Pong and AtariPreprocessing": (
        "cv2", lambda: ours("atari/Pong", actions="minimal"),
        lambda: atari_preprocessing(96, gray=True),
    ),
    "dmc/walker-walk and dm_control": (
        "dm_control", lambda: ours("dmc/walker-walk"), control_suite,
    ),
    "crafter/reward and crafter": ("crafter", lambda: ours("crafter/reward"), crafter),
}  # fmt: skip


def cost(stepper: Stepper, steps: int) -> float:
    """Microseconds of processor time per step."""
    began = time.process_time()
    for _ in range(steps):
        next(stepper)
    return 1e6 * (time.process_time() - began) / steps


def measured(left: Side, right: Side, steps: int, turns: int) -> np.ndarray:
    """Microseconds per step of both sides in each turn, `[turns, 2]`."""
    sides = [left(), right()]
    for side in sides:
        cost(side, 50)  # what is slow the first time
    found = np.zeros((turns, 2))
    for turn in range(turns):
        for which in (0, 1) if turn % 2 else (1, 0):
            found[turn, which] = cost(sides[which], steps)
    return found


def undisturbed(turns: np.ndarray) -> np.ndarray:
    """Mean of the fastest quarter of each column."""
    return np.sort(turns, axis=0)[: max(1, len(turns) // 4)].mean(axis=0)


def added_range(turns: np.ndarray) -> tuple[float, float]:
    """Range of what is added, microseconds, that holds nine of ten redrawn results."""
    rng = np.random.default_rng(0)
    drawn = rng.integers(len(turns), size=(REDRAWN, len(turns)))
    added = [float(mine - theirs) for mine, theirs in (undisturbed(turns[one]) for one in drawn)]
    low, high = np.quantile(added, (0.05, 0.95))
    return float(low), float(high)


def row(name: str, turns: np.ndarray) -> tuple[str, bool]:
    """A row of the table, and whether the pair keeps to the limit."""
    mine, theirs = undisturbed(turns)
    low, high = added_range(turns)
    fits = bool(mine - theirs <= max(SHARE * theirs, LEAST))
    added = f"{mine - theirs:+.0f} us ({low:+.0f} to {high:+.0f}), {mine / theirs - 1:+.0%}"
    return f"| {name} | {mine:.0f} | {theirs:.0f} | {added} | {'yes' if fits else 'no'} |", fits


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pairs", nargs="*", help="parts of their names; all by default")
    parser.add_argument("--steps", type=int, default=200, help="steps of a turn")
    parser.add_argument("--turns", type=int, default=TURNS)
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    lines = ["| pair | ours, us | backend, us | added | within the limit |", "| --- " * 5 + "|"]
    missed = 0
    for name, (module, left, right) in PAIRS.items():
        if asked.pairs and not any(part in name for part in asked.pairs):
            continue
        if importlib.util.find_spec(module) is None:
            print(f"{name}: {module} is not installed, left out")
            continue
        line, fits = row(name, measured(left, right, asked.steps, asked.turns))
        missed += not fits
        lines.append(line)
        print(line, flush=True)
    if asked.write:
        write(lines)
    return int(bool(missed))


def write(lines: list[str]) -> None:
    """Puts the rows into the page; rows of pairs that were not measured stay."""
    text = PAGE.read_text()
    head, tail = text.partition(BEGIN)[0], text.partition(END)[2]
    known = dict.fromkeys(PAIRS, "")
    for line in [*text[len(head) : len(text) - len(tail)].splitlines(), *lines]:
        name = line.strip("| ").partition(" | ")[0]
        if name in known:
            known[name] = line
    table = "\n".join([*lines[:2], *filter(None, known.values())])
    PAGE.write_text(f"{head}{BEGIN}\n{table}\n{END}{tail}")


if __name__ == "__main__":
    sys.exit(main())
