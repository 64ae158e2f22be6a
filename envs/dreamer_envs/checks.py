"""Our own examination of an env: what an agent that learns from it relies on.

Each finding is graded: `ok`, `note` (fine, but know it) or `fault` (learning will suffer), with the
fix. Gymnasium's, TorchRL's and Stable-Baselines3's own checkers stand beside it in
`dreamer-plugin check-env`.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import numpy as np

from dreamer_envs.errors import EnvsError, FrameError

SLOW = 30.0  # steps per second, below which collecting takes longer than learning
KEPT = 8  # first pictures that are kept
STEPS = "random steps"  # as they are told of
COMPARED = 200  # first frames that are looked at for what never changes
PAIRED = 30  # steps that two envs of one seed are compared over

Env = gym.Env[Any, Any]
Obs = dict[str, Any]


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Args:
        check: its name. grade: `ok`, `note` or `fault`. says: what was seen. fix: what helps.
    """

    check: str
    grade: str
    says: str
    fix: str = ""


@dataclass
class Report:
    """All findings of an env.

    Args:
        findings: in the order of the checks. steps_per_s: of this process alone.
        pictures: the first frames' images by name, uint8 `[H, W, C]` each; empty without images.
    """

    findings: list[Finding] = field(default_factory=list)
    steps_per_s: float = 0.0
    pictures: dict[str, list[np.ndarray]] = field(default_factory=dict)

    @property
    def faults(self) -> list[Finding]:
        """The findings that need a fix."""
        return [finding for finding in self.findings if finding.grade == "fault"]

    def add(self, check: str, grade: str, says: str, fix: str = "") -> None:
        """One more finding."""
        self.findings.append(Finding(check, grade, says, fix))


@dataclass
class _Walk:
    """What random steps showed."""

    obs: list[Obs]
    lengths: list[int]  # of complete episodes
    terminated: int = 0
    truncated: int = 0
    both: int = 0
    seconds: float = 0.0
    steps: int = 0
    rewards: set[float] = field(default_factory=set)  # of all steps
    last_rewards: set[float] = field(default_factory=set)  # of steps that ended an episode
    earlier_rewards: set[float] = field(default_factory=set)  # of the others

    @property
    def ends_are_judged(self) -> bool:
        """Whether all reward comes with the end and differs: what a task does, no mere limit."""
        return self.earlier_rewards == {0.0} and len(self.last_rewards) > 1


def _silent(what: str, done: float, total: float) -> None:
    """Tells nobody."""


def examine(
    make: Callable[[], Env],
    steps: int = 1000,
    seed: int = 0,
    tell: Callable[[str, float, float], None] = _silent,
) -> Report:
    """Steps an env at random and looks at what it does.

    Args:
        make: builds the env in the common form (`dreamer_envs.maker(id)`, or a function that
            returns `dreamer_envs.wrap(env)`); called twice.
        steps: random steps.
        seed: of the actions and the first reset.
        tell: hears what is done, how much of it, and of how much.

    Returns:
        The findings. A fault that makes going on senseless ends them.
    """
    report = Report()
    env, twin = make(), make()
    try:
        walk = _walk(env, steps, seed, tell)
        report.steps_per_s = walk.steps / walk.seconds
        report.add("frames", "ok", f"{steps} random steps fit the spaces, all numbers are finite")
        _pictures(report, walk)
        for check in (_judge_ends, _judge_rewards, _judge_variety, _judge_speed):
            check(report, walk)
        _judge_seeds(report, env, twin, seed)
    except FrameError as error:
        says, colon, fix = str(error).rpartition(": ")  # what is wrong: what to do
        report.add("frames", "fault", *((says, fix) if colon else (fix, "repair that in the env")))
    except EnvsError:  # a package, an option: not for who wrote the env to repair
        raise
    except Exception as error:
        report.add("frames", "fault", *_failure(error))
    finally:
        env.close()
        twin.close()
    return report


def _failure(error: Exception) -> tuple[str, str]:
    """What an env's own error says and where it came from, and what helps."""
    says = f"it failed with {type(error).__name__}: {error}"
    if isinstance(error, TypeError) and str(error).endswith(("'seed'", "'options'")):
        fix = "write it as reset(self, *, seed=None, options=None)"
        return says, f"{fix} and begin with super().reset(seed=seed)"
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{says} ({last.filename}, line {last.lineno})", "repair it: step and reset may not fail"


def _walk(env: Env, steps: int, seed: int, tell: Callable[[str, float, float], None]) -> _Walk:
    env.action_space.seed(seed)
    walk = _Walk(obs=[_kept(env.reset(seed=seed)[0])], lengths=[])
    length = 0
    began = time.perf_counter()
    for _ in range(steps):
        tell(STEPS, walk.steps, steps)
        obs, reward, terminated, truncated, _ = env.step(env.action_space.sample())
        length += 1
        walk.steps += 1
        walk.rewards.add(float(reward))
        if len(walk.obs) < COMPARED:
            walk.obs.append(_kept(obs))
        _fits(env, obs)
        if terminated or truncated:
            walk.both += terminated and truncated
            walk.terminated += terminated
            walk.truncated += truncated
            walk.lengths.append(length)
            walk.last_rewards.add(float(reward))
            length = 0
            _fits(env, env.reset()[0])
        else:
            walk.earlier_rewards.add(float(reward))
    walk.seconds = max(time.perf_counter() - began, 1e-9)
    tell(STEPS, steps, steps)
    return walk


def _kept(frame: Obs) -> Obs:
    """A copy: an env may fill the same arrays at each step."""
    return {key: np.array(value) for key, value in frame.items()}


def _fits(env: Env, obs: Obs) -> None:
    """Raises `FrameError` for a part that lies outside of its space."""
    space: Any = env.observation_space
    for key, part in space.spaces.items():
        if key not in obs:
            raise FrameError(f"the observation lacks {key!r}")
        value = np.asarray(obs[key])
        if not part.contains(obs[key]):
            raise FrameError(
                f"observation {key!r} holds values from {value.min()} to {value.max()}, outside of "
                f"{part}: widen the space or clip in the env"
            )


def _pictures(report: Report, walk: _Walk) -> None:
    for key, value in walk.obs[0].items():
        if np.asarray(value).dtype == np.uint8 and np.ndim(value) == 3:
            report.pictures[key] = [np.asarray(obs[key]) for obs in walk.obs[:KEPT]]


def _judge_ends(report: Report, walk: _Walk) -> None:
    told = f"{walk.terminated} ended by the task, {walk.truncated} by a limit"
    if walk.both:
        fix = "report a limit as truncated only, and nothing but the task's own end as terminated"
        report.add("ends", "fault", f"{walk.both} frames are terminated and truncated at once", fix)
    elif not walk.lengths:
        fix = "give --steps more, or a limit (max_episode_steps) if the task has no end"
        report.add("ends", "note", f"no episode ended within {walk.steps} steps", fix)
    elif _like_a_limit(walk):
        fix = (
            "if it is a time limit, return it as truncated: nothing is worth anything after a "
            "terminal state, and the agent would learn that"
        )
        says = (
            f"all {walk.terminated} episodes were terminated after exactly {walk.lengths[0]} steps"
        )
        report.add("ends", "note", says, fix)
    else:
        episodes = f"{len(walk.lengths)} episode{'s' if len(walk.lengths) > 1 else ''}"
        report.add("ends", "ok", f"{episodes}: {told}")


def _like_a_limit(walk: _Walk) -> bool:
    """Whether the task seems to end when a time is over."""
    same_length = walk.terminated >= 3 and not walk.truncated and len(set(walk.lengths)) == 1
    return same_length and not walk.ends_are_judged


def _judge_rewards(report: Report, walk: _Walk) -> None:
    low, high = min(walk.rewards), max(walk.rewards)
    if low < high:
        report.add("rewards", "ok", f"from {low:g} to {high:g}")
    elif low and walk.terminated and len(set(walk.lengths)) > 1:
        # The usual way to pay for staying alive, or for being quick.
        says = f"every reward was {low:g}, so the length of an episode is what it pays"
        report.add("rewards", "ok", says)
    else:
        fix = "random play never meets a reward that differs: expect slow learning, or explore"
        report.add("rewards", "note", f"every reward was {low:g}", fix)


def _judge_variety(report: Report, walk: _Walk) -> None:
    still = [
        key
        for key in walk.obs[0]
        if all(np.array_equal(obs[key], walk.obs[0][key]) for obs in walk.obs)
    ]
    if still:
        fix = "leave out what carries nothing, or check that it is filled"
        report.add("variety", "note", f"never changed: {', '.join(still)}", fix)
    else:
        report.add("variety", "ok", "every part of the observation changes")


def _judge_speed(report: Report, walk: _Walk) -> None:
    says = f"{report.steps_per_s:.0f} steps per second"
    if report.steps_per_s < SLOW:
        fix = "more processes (env.num_envs), smaller images, or env.fast_render=true for MuJoCo"
        report.add("speed", "note", says, fix)
    else:
        report.add("speed", "ok", says)


def _judge_seeds(report: Report, env: Env, twin: Env, seed: int) -> None:
    one, two = (_episode(each, seed) for each in (env, twin))
    place = _first_difference(one, two)
    if place is None:
        report.add("seeds", "ok", f"the same seed and actions gave the same {PAIRED} steps twice")
    else:
        fix = (
            "draw everything from self.np_random, after super().reset(seed=seed); a simulator that "
            "cannot be repeated trains too, but its runs cannot be compared step by step"
        )
        says = f"the same seed and actions differ from {place}"
        report.add("seeds", "note", says, fix)
    other = env.reset(seed=seed + 1)[0]
    if all(np.array_equal(other[key], one[0][key]) for key in other):
        fix = "fine where all episodes start alike; else use the seed of reset()"
        report.add("other seed", "note", "another seed starts with the same frame", fix)
    else:
        report.add("other seed", "ok", "another seed starts elsewhere")


def _episode(env: Env, seed: int) -> list[Obs]:
    env.action_space.seed(seed)
    frames = [_kept(env.reset(seed=seed)[0])]
    for _ in range(PAIRED):
        obs, reward, terminated, truncated, _ = env.step(env.action_space.sample())
        frames.append(_kept({**obs, "reward": reward, "ends": (terminated, truncated)}))
        if terminated or truncated:
            frames.append(_kept(env.reset()[0]))
    return frames


def _first_difference(one: list[Obs], two: list[Obs]) -> str | None:
    for step, (left, right) in enumerate(zip(one, two, strict=False)):
        for key in left:
            if key not in right or not np.array_equal(left[key], right[key]):
                return f"step {step} on, in {key!r}"
    return None if len(one) == len(two) else "the lengths of the episodes"
