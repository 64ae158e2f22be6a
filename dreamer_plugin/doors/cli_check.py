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
from dreamer_plugin.config.schema import EncoderConfig
from dreamer_plugin.config.yamlfile import parse_yaml
from dreamer_plugin.doors.cli_text import rendered
from dreamer_plugin.errors import UsageError
from dreamer_plugin.run.telling import counted, tell

SB3, INSTALL = "stable_baselines3", "stable-baselines3"
GAP, PAPER = 2, 255  # pixels between the frames of the picture, and their white
ENDINGS = (".png", ".jpg", ".jpeg")
LEAST_SIDE = 192  # small frames are enlarged to at least so many pixels
# What others' checkers complain of: words of theirs -> grade, what it is, and what helps.
FINE = "nothing is wrong with the env"
KNOWN = {
    "Iterable over a 0-d array": (
        "note",
        "its checker cannot read an observation that is a single number, of shape ()",
        FINE,
    ),
    "not supported by": ("note", "it has no such space", FINE),
    "eterministic": ("note", "to it too a seed does not repeat an episode", "see seeds above"),
    "does not call `super().reset(seed=seed)`": (
        "fault",
        "reset forgets the seed",
        "begin reset with super().reset(seed=seed) and draw from self.np_random",
    ),
    "share an object": (
        "fault",
        "two frames are one array, which the next step changes",
        "return a copy in reset and step",
    ),
}


def run(env_id: str, options: dict[str, Any], steps: int, picture: Path | None) -> Report:
    """Examines an env.

    Args:
        env_id: in any accepted spelling. options: of its suite.
        steps: random steps of our own examination.
        picture: where the first frames go; None for nowhere.

    Raises:
        EnvsError: the env cannot be made.
        UsageError: the picture cannot be written.
    """
    if picture is not None:
        _require_picture(picture)
    make = dreamer_envs.maker(env_id, **options)
    report = examine(make, steps, tell=tell)
    if all(fault.check != "frames" for fault in report.faults):  # or each would stumble over it
        others = (("Gymnasium", _gymnasium), ("SB3", _sb3), ("TorchRL", _torchrl))
        for name, checker in counted("others' checkers", others):
            report.findings.append(_foreign(name, checker, make))
    _see(report)
    if picture is not None:
        _draw(report, env_id, picture)
    return report


def _see(report: Report) -> None:
    """Whether DreamerV3 takes images of such sizes."""
    from dreamer_plugin.nets.vision import halved

    stages = len(EncoderConfig().mults)
    for name, frames in report.pictures.items():
        height, width, _ = frames[0].shape
        try:
            halved((height, width), stages, name)
        except UsageError as error:
            says, _, fix = str(error).partition("; ")
            report.add("DreamerV3", "fault", says, fix)
        else:
            report.add("DreamerV3", "ok", f"it takes images of {height}x{width}")


def _require_picture(path: Path) -> None:
    """Refuse a place where no picture can be written, before anything is examined."""
    from dreamer_plugin.study.evaluation_files import require_folder

    if path.suffix.lower() not in ENDINGS or path.is_dir():
        raise UsageError(f"{path} is no picture: name a file that ends in {ENDINGS[0]}.")
    require_folder(path.parent)


def _draw(report: Report, env_id: str, path: Path) -> None:
    if report.pictures:
        save_picture(report.pictures, path)
        report.add("picture", "ok", f"the first frames are in {path}: look at them")
    else:
        can_draw = "obs" in dreamer_envs.options(env_id)
        fix = "env.obs=pixels shows what the simulator draws" if can_draw else ""
        report.add("picture", "note", f"{path} was not written: no image was observed", fix)


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
    wide = [_padded(row, GAP, width - row.shape[1]) for row in rows]
    Image.fromarray(np.concatenate(wide)).save(path)


def _row(frames: list[np.ndarray]) -> np.ndarray:
    """Frames side by side, uint8 `[H, W, 3]`; of other than three channels, the last as gray."""
    large = [enlarged(in_colour(f), LEAST_SIDE) for f in frames]
    return np.concatenate([_padded(f, 0, GAP) for f in large], axis=1)


def _padded(frame: np.ndarray, below: int, right: int) -> np.ndarray:
    return np.pad(frame, ((0, below), (0, right), (0, 0)), constant_values=PAPER)


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
        for words, (grade, meaning, fix) in KNOWN.items():
            if words in str(error):
                return Finding(name, grade, meaning, fix)
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
