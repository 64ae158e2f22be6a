"""`dreamer-plugin check-env`: four examinations of an env, what they found, and what to do."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table
from rich.text import Text

import dreamer_envs
from dreamer_envs.checks import Finding, Report, examine
from dreamer_envs.images import enlarged, in_colour
from dreamer_plugin.config.yamlfile import parse_yaml
from dreamer_plugin.doors.cli_text import rendered
from dreamer_plugin.errors import UsageError

SB3, INSTALL = "stable_baselines3", "stable-baselines3"
GAP = 2  # pixels between the frames of the picture
LEAST_SIDE = 192  # small frames are enlarged to at least so many pixels
# What others' checkers complain of and what it means here: words of theirs -> grade, fix.
KNOWN = {
    "Iterable over a 0-d array": (
        "note",
        "its checker cannot read scalars of shape (); nothing is wrong with the env",
    ),
    "not supported by": ("note", "the other library has no such space; ours has"),
}


def run(env_id: str, options: dict[str, Any], steps: int, picture: Path | None) -> Report:
    """Examines an env.

    Args:
        env_id: in any accepted spelling. options: of its suite.
        steps: random steps of our own examination.
        picture: where the first frames go; None for nowhere.

    Raises:
        EnvsError: the env cannot be made.
    """
    make = dreamer_envs.maker(env_id, **options)
    report = examine(make, steps)
    for name, checker in (("Gymnasium", _gymnasium), ("SB3", _sb3), ("TorchRL", _torchrl)):
        report.findings.append(_foreign(name, checker, make))
    if picture is not None and report.pictures:
        save_picture(report.pictures, picture)
        report.add("picture", "ok", f"the first frames are in {picture}: look at them")
    return report


def options_of(words: list[str]) -> dict[str, Any]:
    """Options from words such as `obs=pixels` or `env.obs=pixels`.

    Raises:
        UsageError: a word without `=`, or a value that is no YAML.
    """
    found: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise UsageError(f"Expected an option as key=value, got {word!r}.")
        found[key.removeprefix("env.").removeprefix("options.")] = parse_yaml(value, word)
    return found


def text(report: Report, env_id: str, as_json: bool) -> str:
    """The findings as a table with the fixes, or as a JSON object."""
    if as_json:
        findings = [asdict(finding) for finding in report.findings]
        return json.dumps({"id": env_id, "steps_per_s": report.steps_per_s, "findings": findings})
    table = Table("check", "", "what was seen", "what to do")
    for finding in report.findings:
        row = (finding.check, finding.grade, finding.says, finding.fix)
        table.add_row(*(Text(cell) for cell in row))
    faults = len(report.faults)
    verdict = f"{faults} to repair" if faults else "nothing to repair"
    return f"{rendered(table)}\n{env_id}: {verdict}"


def save_picture(pictures: dict[str, list[np.ndarray]], path: Path) -> None:
    """Writes the first frames: one row for each image of the observation, time to the right."""
    from PIL import Image

    rows = [_row(frames) for frames in pictures.values()]
    width = max(row.shape[1] for row in rows)
    wide = [np.pad(row, ((0, GAP), (0, width - row.shape[1]), (0, 0))) for row in rows]
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(wide)).save(path)


def _row(frames: list[np.ndarray]) -> np.ndarray:
    """Frames side by side, uint8 `[H, W, 3]`; of other than three channels, the last as gray."""
    large = [enlarged(in_colour(f), LEAST_SIDE) for f in frames]
    return np.concatenate([np.pad(f, ((0, 0), (0, GAP), (0, 0))) for f in large], axis=1)


def _foreign(name: str, checker: Callable[[Any], None], make: Callable[[], Any]) -> Finding:
    """What another library's checker says of the env, as one finding."""
    env = make()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # advice about those libraries' own networks
            checker(env)
    except Exception as error:  # its assertions are its findings
        missing = error.name or "" if isinstance(error, ModuleNotFoundError) else ""
        if missing.partition(".")[0] == SB3:  # and not one that the env lacks
            return Finding(name, "note", "not installed, so not asked", f"pip install {INSTALL}")
        says = f"{type(error).__name__}: {error}".splitlines()[0]
        for words, (grade, fix) in KNOWN.items():
            if words in str(error):
                return Finding(name, grade, says, fix)
        return Finding(name, "fault", says, f"see {name}'s documentation of its checker")
    else:
        return Finding(name, "ok", "its own checker passes")
    finally:
        env.close()


def _gymnasium(env: Any) -> None:
    from gymnasium.utils.env_checker import check_env

    check_env(env, skip_render_check=True)


def _sb3(env: Any) -> None:
    from gymnasium import spaces
    from stable_baselines3.common.env_checker import check_env

    if isinstance(env.action_space, spaces.Dict):
        raise ValueError("Dict actions are not supported by Stable-Baselines3")
    if any(part.shape == () for part in env.observation_space.spaces.values()):
        raise ValueError("Iterable over a 0-d array")
    check_env(env, skip_render_check=True)


def _torchrl(env: Any) -> None:
    from torchrl.envs import GymWrapper
    from torchrl.envs.utils import check_env_specs

    log = logging.getLogger("torchrl")  # which tells of its success on stdout
    level = log.level
    log.setLevel(logging.WARNING)
    try:
        check_env_specs(GymWrapper(env))
    finally:
        log.setLevel(level)
