"""Weights of the official code as the beginning of a run, and back out of a run.

FILE.npz -> run folder with checkpoints `best` and step 0      evaluate, load, train --resume
run folder -> FILE.npz                                         official names and layouts
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dreamer_plugin.config import Config, LayersReport, save_config
from dreamer_plugin.errors import UsageError
from dreamer_plugin.interop.weights import export_official, import_official, read_official
from dreamer_plugin.run import snapshot
from dreamer_plugin.run.envs import source_of
from dreamer_plugin.run.evaluate import choose, load_agent
from dreamer_plugin.run.folder import new_folder
from dreamer_plugin.run.parts import build_parts
from dreamer_plugin.run.training import Training

MEASURE = "imported weights, not measured"


def import_run(
    file: str | Path, cfg: Config, layers_report: LayersReport | None = None
) -> tuple[Path, int]:
    """Make a run that begins with official weights, at step 0 and with an empty replay.

    The optimiser and the return normaliser begin anew, for a file of weights does not hold them.

    Args:
        file: npz, see `interop.weights.read_official`.
        cfg: of the agent that the weights are of, and of its env.
        layers_report: kept with the run, as `train` does.

    Returns:
        The run folder, and how many numbers were imported.

    Raises:
        UsageError: when the file or an array does not fit the agent, or a run stands in the
            folder; nothing was written then.
    """
    arrays = read_official(file)
    folder = new_folder(cfg)
    parts = build_parts(cfg, source_of(cfg), folder=folder.path)
    with Training(cfg, parts, folder) as training:
        import_official(training.parts.agent, arrays)
        with folder.locked():
            save_config(cfg, folder.config_path)
            if layers_report is not None:
                layers_report.save(folder.path)
            training.save()
            # So that `evaluate` finds it; the first measured result replaces it.
            snapshot.take_best(training.state, None, MEASURE).write(folder)
    return folder.path, sum(array.size for array in arrays.values())


def export_run(run_dir: str | Path, file: str | Path, which: str = "latest") -> tuple[Path, int]:
    """Write the weights of a run's agent with official names.

    Args:
        run_dir: run folder, or one checkpoint in it. file: npz to make; it must not exist.
        which: `"latest"`, `"best"` or the step of a checkpoint, when `run_dir` is not one.

    Returns:
        The checkpoint they are of, and how many numbers were written.

    Raises:
        UsageError: when there is no run or checkpoint, the file exists or cannot be written, or
            the agent has a part that the official code lacks.
    """
    chosen = choose(run_dir, which)
    agent, _ = load_agent(chosen.cfg, chosen.path, "cpu")
    arrays = export_official(agent)
    try:
        with open(file, "xb") as stream:
            np.savez(stream, **arrays)  # type: ignore[arg-type]  # a weight has no option's name
    except FileExistsError as error:
        raise UsageError(f"{file} exists already: name another file, or remove it.") from error
    except OSError as error:
        raise UsageError(f"Cannot write {str(file)!r}: {error.strerror}.") from error
    return chosen.path, sum(array.size for array in arrays.values())
