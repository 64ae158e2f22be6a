"""Where the numbers and films of a run go beside `metrics.jsonl`.

TensorBoard   events in the run folder       run.tensorboard
table         metrics.csv                    run.csv
W&B           offline or online              run.wandb
"""

from __future__ import annotations

import csv
import io
import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from PIL import Image
from tensorboard.compat.proto.summary_pb2 import Summary
from torch.utils.tensorboard import SummaryWriter

from dreamer_plugin.config import Config
from dreamer_plugin.config.secrets import hidden
from dreamer_plugin.config.yamlfile import write_text
from dreamer_plugin.errors import UsageError
from dreamer_plugin.run.metrics import Sink, finite, read_metrics

CSV = "metrics.csv"
PROJECT = "dreamer-plugin"  # of W&B, where WANDB_PROJECT names no other
EXTRA = "pip install 'dreamer-plugin[wandb]'"


def sinks_of(cfg: Config) -> list[Callable[[Path, int | None], Sink]]:
    """What takes the rows of a run, besides `metrics.jsonl`.

    Raises:
        UsageError: for W&B where its package is missing.
    """
    run, found = cfg.run, list[Callable[[Path, "int | None"], Sink]]()
    if run.tensorboard:
        found.append(TensorBoard)
    if run.csv:
        found.append(Table)
    if run.wandb != "off":
        if find_spec("wandb") is None:
            raise UsageError(f"run.wandb={run.wandb} needs the package wandb: {EXTRA}")
        found.append(lambda folder, resumed: WandB(folder, cfg))
    return found


class TensorBoard:
    """Scalars and images of TensorBoard.

    Args:
        folder: of the run. resumed_at: as of `MetricsLog`.
    """

    def __init__(self, folder: Path, resumed_at: int | None) -> None:
        purge = None if resumed_at is None else resumed_at + 1
        self._events = SummaryWriter(log_dir=str(folder), purge_step=purge)

    def row(self, step: int, values: Mapping[str, float], axes: Mapping[str, float]) -> None:
        """Take a row."""
        for name, value in values.items():
            self._events.add_scalar(name, value, global_step=step)

    def film(self, step: int, name: str, file: Path) -> None:
        """Take a film as it is: the browser moves it, and nothing is encoded again."""
        with Image.open(file) as opened:
            width, height = opened.size
        image = Summary.Image(
            height=height, width=width, colorspace=3, encoded_image_string=file.read_bytes()
        )
        summary = Summary(value=[Summary.Value(tag=name, image=image)])
        writer = self._events.file_writer
        assert writer is not None  # until it is closed
        writer.add_summary(summary, step)

    def close(self) -> None:
        """Flush and close."""
        self._events.close()


class Table:
    """`metrics.csv`: a column per number, an empty cell where a row lacks it.

    Rows of losses and of episodes hold other numbers, so columns are added when a row brings new
    ones; then the file is written anew from `metrics.jsonl`, a few times in a run.

    Args:
        folder: of the run, whose `metrics.jsonl` holds what was logged before.
    """

    def __init__(self, folder: Path, resumed_at: int | None) -> None:
        self._folder, self._columns = folder, dict[str, None]()
        self._rewrite()

    def row(self, step: int, values: Mapping[str, float], axes: Mapping[str, float]) -> None:
        """Take a row, which is in `metrics.jsonl` already."""
        row = {"step": step, **axes, **values}
        if row.keys() <= self._columns.keys():
            with (self._folder / CSV).open("a", encoding="utf-8", newline="") as file:
                self._writer(file).writerow({name: finite(value) for name, value in row.items()})
        else:
            self._rewrite()

    def film(self, step: int, name: str, file: Path) -> None:
        """A table shows none."""

    def close(self) -> None:
        """Nothing is open."""

    def _rewrite(self) -> None:
        rows = read_metrics(self._folder)
        self._columns = dict.fromkeys(name for row in rows for name in row)
        text = io.StringIO()
        writer = self._writer(text)
        writer.writeheader()
        writer.writerows(rows)
        write_text(text.getvalue(), self._folder / CSV)

    def _writer(self, file: Any) -> csv.DictWriter[str]:
        return csv.DictWriter(file, list(self._columns), lineterminator="\n")


class WandB:
    """A run of Weights & Biases, offline unless `online` is asked for; it reads its own variables.

    The id stands in the run folder, so that a resumed run goes on in the same one. Curves are drawn
    over `step`, as W&B's own counter cannot go back to a checkpoint.

    Args:
        folder: of the run. cfg: of the run, shown there.
    """

    def __init__(self, folder: Path, cfg: Config) -> None:
        import wandb

        known = folder / "wandb.id"
        if not known.is_file():
            write_text(secrets.token_hex(4), known)
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=os.environ.get("WANDB_NAME", folder.resolve().name),
            id=os.environ.get("WANDB_RUN_ID", known.read_text("utf-8")),
            mode=cfg.run.wandb,
            resume="allow",
            dir=folder,
            config=hidden("", asdict(cfg)),
            settings=wandb.Settings(silent=True, console="off"),
        )
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")
        self._video = wandb.Video

    def row(self, step: int, values: Mapping[str, float], axes: Mapping[str, float]) -> None:
        """Take a row."""
        self._run.log({"step": step, **axes, **values})

    def film(self, step: int, name: str, file: Path) -> None:
        """Take a film."""
        self._run.log({"step": step, name: self._video(str(file), format="gif")})

    def close(self) -> None:
        """Finish it; the run is uploaded by then, or lies in `wandb/` of the run folder."""
        self._run.finish()
