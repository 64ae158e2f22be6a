"""An evaluation as files: JSON, tables, a picture and films.

evaluation.json     everything but the images
episodes.csv        a row per episode
open_loop.csv       a row per number of frames ahead
evaluation.png      the curves of the open loops, and one of them to look at
episode-<image>.gif, open_loop-<image>.gif
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dreamer_envs.images import Image, in_colour
from dreamer_plugin.errors import UsageError
from dreamer_plugin.run import checkpoint
from dreamer_plugin.run.evaluate import choose
from dreamer_plugin.run.films import write_gif
from dreamer_plugin.run.native import NativeForm
from dreamer_plugin.study.evaluation import Evaluation
from dreamer_plugin.study.quality import Quality

EXTRA = "pip install 'dreamer-plugin[plot]'"
NAMES = (
    *("evaluation.json", "episodes.csv", "open_loop.csv", "evaluation.png"),
    *("episode-*.gif", "open_loop-*.gif"),
)
SHOWN = (0, 1, 2, 5, 10, 20, 45)  # frames ahead


def write(found: Evaluation, folder: Path, video: bool = False) -> list[Path]:
    """Write everything that was found, in place of what an earlier evaluation left there.

    Args:
        found: the evaluation. folder: where to; made if needed.
        video: films too.

    Returns:
        The files. The picture is missing where matplotlib is not installed.
    """
    require_folder(folder)
    for name in NAMES:  # of another evaluation, to which this one would seem to belong
        for file in folder.glob(name):
            file.unlink()
    files = [folder / "evaluation.json", folder / "episodes.csv"]
    files[0].write_text(json.dumps(found.to_dict(), indent=1, allow_nan=False) + "\n")
    write_rows(files[1], ("policy", "episode", "return", "length", "success"), _episodes(found))
    if found.quality is not None:
        loops = found.quality
        files.append(folder / "open_loop.csv")
        rows = zip(range(len(loops.starts)), loops.starts, *loops.open_loop.values(), strict=True)
        write_rows(files[-1], ("ahead", "starts", *loops.open_loop), rows)
        if has_matplotlib():
            files.append(folder / "evaluation.png")
            _draw(files[-1], found.quality, found.foreseen)
    films = _films(found) if video else {}
    for name, frames in films.items():
        files.append(folder / f"{name.replace('/', '-')}.gif")
        write_gif(files[-1], frames)
    return files


def require_folder(folder: Path) -> None:
    """Make the folder, before anything is played for it.

    Raises:
        UsageError: when nothing can be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        why = error.strerror
        raise UsageError(f"Cannot write into {folder}: {why}; name another one.") from error
    if not os.access(folder, os.W_OK):
        raise UsageError(f"Cannot write into {folder}: it is not yours; name another one.")


def require_images(run: Path, which: str) -> None:
    """See that there is something to film, before anything is played.

    Args:
        run, which: as of `run.evaluate.evaluate_run`.

    Raises:
        UsageError: when the agent sees no images, or there is no such run or checkpoint.
    """
    chosen = choose(run, which)
    saved = checkpoint.read(chosen.path, ["spaces"])
    with checkpoint.understood(chosen.path):
        spaces = NativeForm.from_dict(saved["spaces"]).spaces
    if not spaces.images:
        names = sorted(key.name for key in spaces.obs)
        env = chosen.cfg.env.id
        raise UsageError(f"--video: {env} shows no images here, only {names}; leave --video out.")


def has_matplotlib() -> bool:
    """Whether the picture can be drawn; `EXTRA` says how it could."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        return False
    return True


def write_rows(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a table as CSV, its header first."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _episodes(found: Evaluation) -> Iterable[Sequence[Any]]:
    for report in found.reports:
        policy = "mode" if report.deterministic else "sampled"
        told = report.successes
        success = [""] * len(report.returns) if told is None else [str(int(each)) for each in told]
        rows = zip(report.returns, report.lengths, success, strict=True)
        for number, row in enumerate(rows):
            yield policy, number, *row


def _films(found: Evaluation) -> dict[str, Tensor]:
    """Frames uint8 `[T, H, W, C]` by the name of the film."""
    films = {f"open_loop-{name}": frames for name, frames in found.foreseen.items()}
    obs = {} if found.episode is None else dict(found.episode["obs"].items())
    images = {name: x for name, x in obs.items() if x.dtype == torch.uint8 and x.ndim == 4}
    return films | {f"episode-{name}": frames for name, frames in images.items()}


def _draw(path: Path, quality: Quality, foreseen: dict[str, Tensor]) -> None:
    """One panel per curve; below them what was foreseen of each image."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    curves = {name: c for name, c in quality.open_loop.items() if not name.endswith("still_mse")}
    rows = -(-len(curves) // 3) + len(foreseen)
    figure = plt.figure(figsize=(11, 3.2 * rows), layout="constrained")
    grid = figure.add_gridspec(rows, 3)
    for place, (name, curve) in enumerate(curves.items()):
        axes = figure.add_subplot(grid[divmod(place, 3)])
        axes.plot(curve, label="model")
        still = quality.open_loop.get(f"{name.removesuffix('mse')}still_mse")
        if still is not None and name.endswith("/mse"):
            axes.plot(still, "--", label="last seen frame")
            axes.legend()
        axes.set(title=name, xlabel="frames ahead")
        axes.grid(alpha=0.3)
    for row, (name, frames) in enumerate(foreseen.items(), rows - len(foreseen)):
        axes = figure.add_subplot(grid[row, :])
        strip, shown = _strip(frames, quality.context - 1)
        axes.imshow(strip)
        axes.set(title=f"{name}: truth, model, error", yticks=[], xlabel="frames ahead")
        width = strip.shape[1] / len(shown)
        axes.set_xticks([width * (i + 0.5) for i in range(len(shown))], shown)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _strip(frames: Tensor, start: int) -> tuple[Image, list[str]]:
    """Some frames side by side, truth above model above error, and how far ahead each one is."""
    ahead = [k for k in SHOWN if start + k < len(frames)]
    chosen = frames[[start + k for k in ahead]]
    columns = [torch.cat(frame.chunk(3, 1)) for frame in chosen]
    return in_colour(torch.cat(columns, 1).numpy()), [str(k) for k in ahead]
