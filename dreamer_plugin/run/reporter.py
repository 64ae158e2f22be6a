"""What a run tells of itself while it goes on: rows of numbers, films, and alarms, each once."""

from __future__ import annotations

from collections.abc import Callable

from tensordict import TensorDict

from dreamer_plugin.config import Config
from dreamer_plugin.data.collect import VectorCollector
from dreamer_plugin.run.films import Camera, film_path, filmed, write_gif
from dreamer_plugin.run.folder import RunFolder
from dreamer_plugin.run.metrics import MetricsLog, read_metrics
from dreamer_plugin.run.recording import Recorder
from dreamer_plugin.run.sinks import sinks_of
from dreamer_plugin.run.symptoms import Alarm, Watch
from dreamer_plugin.world.model import WorldModel

Judge = Callable[[WorldModel, "list[TensorDict]", Watch], "list[Alarm]"]
_JUDGED = 512  # frames of an evaluation that a judge is shown


class Reporter:
    """Where the numbers of a run go, and what is noticed in them.

    Args:
        cfg: of the run.
        folder: where rows and films are written; without one there are alarms alone.
        judge: says what is wrong after an evaluation, from its first frames.

    Raises:
        UsageError: when a package is missing that the numbers are to be sent with.
    """

    def __init__(self, cfg: Config, folder: RunFolder | None, judge: Judge | None) -> None:
        self._cfg, self._folder, self._judge = cfg, folder, judge
        self._sinks = sinks_of(cfg) if folder else []
        self._camera = Camera(cfg.run.video_every) if cfg.run.video_every else None
        self._log: MetricsLog | None = None
        self._watch, self._known = Watch(cfg), set[str]()
        self._news = list[Alarm]()

    def open(self, step: int) -> None:
        """Go on after a step: later rows are dropped, and what an earlier process told is known."""
        if self._folder is None or self._log is not None:
            return
        self._go_on(self._folder, step)
        self._known.update(alarm.name for alarm in self._watch.alarms())

    def go_back(self, step: int) -> None:
        """Go on after an earlier step than the last one told of: what came later is forgotten."""
        if self._folder is not None and self._log is not None:
            self._log.close()
            self._go_on(self._folder, step)

    def _go_on(self, folder: RunFolder, step: int) -> None:
        self._log = MetricsLog(folder.path, step, self._sinks)
        self._watch = Watch(self._cfg)
        for row in read_metrics(folder.path):
            self._watch.add(row)

    def close(self) -> None:
        """Flush and close what is open."""
        if self._log is not None:
            self._log.close()

    def write(self, step: int, values: dict[str, float], **axes: float) -> None:
        """Tell a row of numbers, as `MetricsLog.write` does."""
        self._watch.add({"step": step, **axes, **values})
        if self._log is not None:
            self._log.write(step, values, **axes)

    def film(self, step: int, collector: VectorCollector, world: WorldModel) -> None:
        """Show what was played just now, and what the world model makes of it, where it is due."""
        if self._camera is None or self._log is None or self._folder is None:
            return
        assert collector.frames is not None
        episode = self._camera.take(step, collector.frames, collector.actions)
        if episode is None:
            return
        for name, film in filmed(world, episode, self._cfg.seed).items():
            file = film_path(self._folder.path, step, name)
            write_gif(file, film)
            self._log.film(step, f"film/{name}", file)

    def recorder(self) -> Recorder | None:
        """What is to keep the frames of an evaluation, None where nobody judges them."""
        return None if self._judge is None else Recorder(_JUDGED)

    def judge(self, world: WorldModel, records: Recorder | None) -> None:
        """Look at what `recorder` kept."""
        if self._judge is not None and records is not None:
            self._notice(self._judge(world, records.episodes(), self._watch))

    def look(self) -> None:
        """Look at the rows up to here."""
        self._notice(self._watch.alarms())

    def news(self) -> list[Alarm]:
        """What was noticed since the last call, each alarm once in a run."""
        news, self._news = self._news, []
        return news

    def _notice(self, alarms: list[Alarm]) -> None:
        for alarm in alarms:
            if alarm.name not in self._known:
                self._known.add(alarm.name)
                self._news.append(alarm)
