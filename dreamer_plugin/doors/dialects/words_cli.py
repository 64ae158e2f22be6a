"""Words of other documents on the command line, in ours.

    theirs                                  ours
    train dreamer                           train
    --algo Dreamerv1                        --config v1
    --env walker-walk --suite dmcontrol     --env dmcontrol/walker-walk
    --resume ckpts/dreamer_step100000.pt    the checkpoint of that step of the run ckpts
    --checkpoint ckpts/dreamer_best.pt      its best one
    --checkpoint runs/walker.pt             the run or checkpoint runs/walker

Nothing heavy is loaded here, and a path of weights is never opened: it leads to a folder of ours.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from dreamer_plugin.doors.dialects import forms
from dreamer_plugin.errors import UsageError

MODEL = "dreamer"  # the only one that `train MODEL` can mean here
_MOMENT = re.compile(r"(?:.*[_-])?(?:(best|latest)|step[_-]?(\d+))")


def overrides(words: Sequence[str] | None) -> list[str]:
    """`key=value` texts, without the name of the model that may stand before them."""
    given = list(words or [])
    return given[1:] if given[:1] == [MODEL] else given


def configs(algo: str | None, config: Sequence[str] | None) -> list[str]:
    """Presets and files, those that `--algo` means first.

    Raises:
        UsageError: there is no such algorithm or preset, or one asks for another agent.
    """
    given = list(config or [])
    if algo is None:
        return given
    preset = forms.version(algo)
    from dreamer_plugin.config.stack import agent_of

    agents = {each: agent_of(each) for each in given}
    other = next((each for each, agent in agents.items() if agent not in (preset, "")), "")
    if other:
        raise UsageError(
            f"--algo {algo} is --config {preset}, and --config {other} is another agent: "
            "leave one of them out."
        )
    return [preset, *(each for each in given if each != preset)]


def env_id(env: str | None, suite: str | None) -> str | None:
    """The env that a task and its suite name; one of them may be all that is given.

    Raises:
        UsageError: a suite without a task, or the env is of another suite.
        dreamer_envs.errors.EnvIdError: there is no such env.
    """
    if suite is None:
        return env
    if env is None:
        raise UsageError(f"--suite {suite} says not which task: add --env TASK.")
    whole = of_suite(env, suite)
    if not whole:
        raise UsageError(f"--env {env} is not of --suite {suite}: leave --suite out.")
    return whole


def of_suite(env: str, suite: str) -> str:
    """The id of a task with or without its suite; empty where it is of another suite than this.

    Raises:
        dreamer_envs.errors.EnvIdError: there is no such env.
    """
    import dreamer_envs

    if "/" not in env:
        return dreamer_envs.canonical(f"{suite}/{env}")
    whole = dreamer_envs.canonical(env)
    try:
        same = dreamer_envs.canonical(f"{suite}/{whole.partition('/')[2]}") == whole
    except ValueError:
        same = False
    return whole if same else ""


def saved(path: Path) -> Path:
    """The run or checkpoint that a path means.

    Args:
        path: of a folder, which is returned as it is; of the `.safetensors` of a checkpoint; or
            one that ends in `.pt`: a folder of that stem, the checkpoint whose `.safetensors` has
            that stem, or the best, latest or numbered checkpoint of the run it would lie in.

    Raises:
        UsageError: it is a file of PyTorch, which is never opened, or nothing of ours is there.
    """
    if path.suffix == ".safetensors" and (path.parent / "manifest.json").is_file():
        return path.parent
    if path.suffix != ".pt" or path.is_dir():
        return path
    if path.is_file():
        raise UsageError(
            f"{path} is a file of PyTorch: unpickling it could run what is hidden in it, so it is "
            "not opened. Give a run folder, or weights by import-weights."
        )
    stem = path.with_suffix("")
    if stem.is_dir():
        return stem
    if stem.with_suffix(".safetensors").is_file():
        return path.parent
    return _of_moment(path, stem.name)


def _of_moment(path: Path, name: str) -> Path:
    """The checkpoint that a name like `dreamer_step100000` means in the run where `path` lies."""
    folder = path.parent
    folder = folder / "checkpoints" if (folder / "checkpoints").is_dir() else folder
    there = {_moment(each.name): each for each in sorted(folder.glob("*/"))}
    wanted = _moment(name)
    if wanted == "latest" and (folder.parent / "config.yaml").is_file():
        return folder.parent
    if wanted and wanted in there:
        return there[wanted]
    known = ", ".join(each.name for moment, each in there.items() if moment)
    hint = f" {folder} holds {known}." if known else " Give a run folder."
    raise UsageError(f"There is no run or checkpoint {path}.{hint}")


def _moment(name: str) -> str:
    """`best`, `latest`, the number of a step without leading zeros, or nothing."""
    match = _MOMENT.fullmatch(name)
    if match is None:
        return ""
    return match[1] or str(int(match[2]))
