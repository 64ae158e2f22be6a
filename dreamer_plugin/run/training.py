"""One run in memory: step the envs, fill the replay, update as often as the train ratio says.

    collect one agent step over all envs -> ratio(step) -> updates x (sample, update, write back)

The counter `step` counts agent steps over all envs, reset frames included; simulator frames are
`step` times the env's action repeat. What an exact continuation needs is written by `snapshot.py`.

Source: `dreamerv3/embodied/run/train.py`; `Training.learn` is its `trainfn`.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tensordict import TensorDict
from torch import Tensor

from dreamer_envs.errors import EnvError
from dreamer_plugin.config import Config
from dreamer_plugin.data.collect import EpisodeStats
from dreamer_plugin.data.replay import write_back
from dreamer_plugin.errors import CheckpointError, NotFiniteError, NotFiniteUpdate, UsageError
from dreamer_plugin.run import checkpoint, snapshot
from dreamer_plugin.run.display import NONE_YET, RECENT, Display, Progress
from dreamer_plugin.run.evaluate import evaluate
from dreamer_plugin.run.folder import RunFolder
from dreamer_plugin.run.metrics import MeanMetrics
from dreamer_plugin.run.numerics import NotFiniteWarning, Numerics, describe, report, told
from dreamer_plugin.run.parts import Parts
from dreamer_plugin.run.reporter import Judge, Reporter
from dreamer_plugin.run.saver import Saver
from dreamer_plugin.run.signals import StopSignals
from dreamer_plugin.run.snapshot import RunState

if TYPE_CHECKING:
    from typing_extensions import Self

Callback = Callable[["Training"], "bool | None"]
_EXIT_CODES = {"": 0, "SIGINT": 130, "SIGTERM": 75, "SIGUSR1": 75}


@dataclass(frozen=True)
class RunResult:
    """How a run ended.

    Args:
        run_dir: its folder, None when nothing was written.
        steps: agent steps made, those before a resume included. updates: gradient steps made.
        last_return: mean return of the last episodes, None when none ended.
        interrupted: name of the signal that ended it early, else empty.
    """

    run_dir: Path | None
    steps: int
    updates: int
    last_return: float | None
    interrupted: str

    @property
    def exit_code(self) -> int:
        """What a process should exit with: 0, 130 after INT, 75 (try again) after TERM or USR1."""
        return _EXIT_CODES[self.interrupted]


class Training:
    """Envs, replay, agent and counters, in step with each other; a context that closes the envs.

    Args:
        cfg: everything about the run.
        parts: what it is made of, from `build_parts`.
        folder: where to write; None writes nothing.
        callbacks: called after every agent step with this object; one that returns False ends
            the run.
        judge: says what is wrong after an evaluation, from its first frames.

    Raises:
        UsageError: when evaluation is due on envs that exist only once, or films of an env that
            shows no images.
    """

    def __init__(
        self,
        cfg: Config,
        parts: Parts,
        folder: RunFolder | None = None,
        callbacks: Sequence[Callback] = (),
        judge: Judge | None = None,
    ) -> None:
        if cfg.run.eval_every and not parts.source.fresh:
            message = "run.eval_every needs envs of its own: pass an id, a class or a function."
            raise UsageError(message)
        _check_films(cfg, parts)
        self.cfg, self.parts, self.folder = cfg, parts, folder
        self.callbacks = list(callbacks)
        self.progress = Progress(
            env=cfg.env.id or parts.vector.ids[0],
            steps=cfg.run.steps,
            action_repeat=parts.action_repeat,
            prefill=cfg.run.prefill,
            capacity=cfg.replay.capacity,
            counted="windows" if cfg.replay.sampling == "windows" else "starts",
        )
        self.metrics = MeanMetrics()
        self.state = RunState(parts, self.progress, self.metrics, Numerics())
        self._reporter = Reporter(cfg, folder, judge)
        self._saver = Saver(folder, cfg.run.keep) if folder else None
        self._saved_at = (-1, -1)
        self._before = 0  # the step before the last one of all envs

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._saver is not None and (kind is None or issubclass(kind, Exception)):
            self._saver.wait(failing=kind is not None)
        self.close()

    def close(self) -> None:
        """Close the envs and the log."""
        self.parts.vector.close()
        self._reporter.close()

    @property
    def step(self) -> int:
        """Agent steps over all envs, reset frames included."""
        return self.progress.step

    def restore(self, path: Path) -> str:
        """Continue from a checkpoint of this run; call it before `run`.

        Returns:
            Why it is not continued exactly, empty where it is.
        """
        restored = snapshot.restore(self.state, path)
        if self._saver is not None:
            self._saver.continue_from(path, without=restored.changed)
        self._saved_at = self._moment
        self._before = self.step - self.parts.vector.num_envs
        return restored.why

    def go_on_from(self, step: int) -> None:
        """Continue an agent that made so many agent steps, without what else a checkpoint holds."""
        self.progress.step = step
        self.progress.updates = self.parts.agent.updates
        self.parts.replay.count_from(step)

    def restart_envs(self) -> None:
        """Give up the open episodes: someone else played on these envs."""
        self.parts.collector.truncate_open()
        self.parts.vector.reseed(self.step)

    def settle(self) -> None:
        """Wait for a checkpoint that is being written; the replay is frozen once at a time."""
        if self._saver is not None:
            self._saver.free()

    def run(self, until: int, display: Display, signals: StopSignals) -> RunResult:
        """Train until `step` reaches `until`, a callback returns False or a signal comes.

        The last state is saved, when there is a folder, before this returns.
        """
        self.progress.steps = until
        self._reporter.open(self.step)
        wanted = True
        with display:
            while wanted and not signals.received and (self.step < until or self.progress.owed):
                if not self.progress.owed:  # some are when a signal fell between two updates
                    self.collect()
                self.learn(display, signals)
                if self.progress.owed:
                    break
                self._periodic(display)
                display.tick(self._show_losses)
                wanted = all(callback(self) is not False for callback in self.callbacks)
            self.save()
            if self._saver is not None:
                if self.progress.best == NONE_YET:
                    # Too short a run to have chosen: its end is its best, until it is continued.
                    self._save_best_by_returns()
                self._saver.wait()
        return RunResult(
            run_dir=self.folder.path if self.folder else None,
            steps=self.step,
            updates=self.progress.updates,
            last_return=self.progress.last_return,
            interrupted=signals.received,
        )

    def collect(self) -> list[EpisodeStats]:
        """One agent step of every env, into the replay; says how many updates that makes due.

        Returns:
            The episodes that ended.
        """
        replay, progress = self.parts.replay, self.progress
        self._before, recorded = progress.step, replay.written
        collector = self.parts.collector
        waited = collector.waited
        with self._timed():
            episodes = collector.step()
        progress.waited += collector.waited - waited
        progress.step += replay.written - recorded  # of the envs that are not down
        self._reporter.film(self.step, collector, self.parts.agent.world)
        progress.windows = replay.windows
        # Once begun it goes on with whatever is there: episodes that go take many starts along.
        needed = 1 if self.parts.ratio.started else max(progress.prefill, 1)
        if progress.windows >= needed:
            progress.owed = self.parts.ratio.updates(self.step)
        for episode in episodes:
            self.progress.returns.append(episode.ret)
            values = {"episode/return": episode.ret, "episode/length": episode.length}
            self._write(values, env=episode.env)
        return episodes

    def learn(self, display: Display, signals: StopSignals) -> None:
        """The updates that are due at this step, or those before a signal."""
        progress = self.progress
        if progress.owed and self.step < progress.steps:
            self.parts.collector.begin()
        while progress.owed and not signals.received:
            with self._timed():
                self.update(self.parts.replay.sample())
            display.tick(self._show_losses)

    def update(self, batch: TensorDict) -> dict[str, Tensor]:
        """One update on a batch `[B, 1+T]` of the replay, whose latents become fresh there.

        Returns:
            What is worth logging, 0-d tensors on the agent's device; nothing where the update was
            not finite and was left out.

        Raises:
            NotFiniteError: when too many were, and going back to a checkpoint did not help.
        """
        parts, progress = self.parts, self.progress
        try:
            latents, metrics = parts.agent.update(batch.to(parts.device))
        except NotFiniteUpdate as error:
            self._leave_out(error, batch)
            return {}
        if parts.agent.context:  # else nobody reads them
            write_back(parts.replay, batch["index"][:, 1:], latents)
        self.metrics.add(metrics)
        progress.owed -= 1
        progress.updates += 1
        return metrics

    def _leave_out(self, error: NotFiniteUpdate, batch: TensorDict) -> None:
        """Go on without an update; back at a checkpoint, or not at all, where there are many."""
        progress, numerics = self.progress, self.state.numerics
        progress.owed -= 1
        text = f"Left out an update at step {self.step:,}: {error}"
        warnings.warn(text, NotFiniteWarning, stacklevel=4)
        if numerics.too_many(progress.updates):
            found = describe(error, batch, self.parts.vector.ids)
            if self._saver is None or not numerics.may_roll_back(progress.updates):
                raise self._stop(found)
            self._roll_back(found)

    def _roll_back(self, found: dict[str, Any]) -> None:
        """Go on from the newest checkpoint, with batches other than those that led here."""
        assert self.folder is not None and self._saver is not None
        self._saver.wait()
        latest = checkpoint.newest(self.folder.checkpoints, quarantine=True)
        if latest is None:
            raise self._stop(found)
        numerics, failed = self.state.numerics, self.step
        tried, total = [*numerics.rolled_back, self.progress.updates], numerics.total
        self.restore(latest)
        numerics.skipped, numerics.rolled_back, numerics.total = [], tried, total
        self.parts.replay.reseed([self.cfg.seed, 2, len(tried), self.progress.updates])
        self._before = self.step  # what is due at this step was done before the save
        self._reporter.go_back(self.step)
        text = f"Too many updates are not finite at step {failed:,}: going on from {latest}"
        warnings.warn(text, NotFiniteWarning, stacklevel=5)

    def _stop(self, found: dict[str, Any]) -> NotFiniteError:
        """The error that ends the run."""
        numerics = self.state.numerics
        if self.folder is None:
            return NotFiniteError(f"{told(self.step, numerics)} Lower optim.lr: {found['losses']}")
        return report(self.folder.path, self.step, numerics, found)

    def save(self) -> None:
        """Begin a checkpoint of this step, and write a new best one where the returns say so."""
        if self._saver is None or self._saved_at == self._moment:
            return
        self._saver.free()
        if not self.cfg.run.eval_every and len(self.progress.returns) == RECENT:
            self._save_best_by_returns()
        self._saver.save(snapshot.take(self.state, self.cfg.checkpoint.latents))
        self._saved_at = self._moment

    def evaluate(self) -> None:
        """Play evaluation episodes on envs of their own and keep the agent if it is the best."""
        run, records = self.cfg.run, self._reporter.recorder()
        try:
            report = evaluate(
                self.parts.agent,
                self.parts.source,
                run.eval_episodes,
                seed=self.cfg.seed,
                deterministic=self.cfg.behavior.eval_mode,
                records=records,
            )
        except EnvError as error:  # no reason to end a run whose own envs are well
            reason = str(error).splitlines()[0]
            self.progress.evaluation = f"no evaluation at {self.step:,}: {reason}"
            return
        self.progress.evaluation = f"eval {report.mean:,.2f} ± {report.std:,.2f} at {self.step:,}"
        self._write({f"eval/{name}": value for name, value in report.summary().items()})
        self._reporter.judge(self.parts.agent.world, records)
        self._save_best(report.mean, f"mean of {run.eval_episodes} evaluation episodes")

    @property
    def _moment(self) -> tuple[int, int]:
        return self.step, self.progress.updates

    @contextmanager
    def _timed(self) -> Iterator[None]:
        """Count what is done inside as training time."""
        started = time.monotonic()
        yield
        self.progress.seconds += time.monotonic() - started

    def _periodic(self, display: Display) -> None:
        """What is due every so many steps, by counters alone: evaluation, log, save."""
        run = self.cfg.run
        if self._due(run.eval_every):
            self.evaluate()
            display.note(self.progress.evaluation)
        if self._due(run.log_every):
            self._log_metrics()
            self._reporter.look()
        for alarm in self._reporter.news():
            display.note(f"warning  {alarm}")
        if self._due(run.save_every):
            self.save()
        if self._saver is not None:
            self._saver.look()

    def _due(self, every: int) -> bool:
        """Whether the last agent step of all envs reached or passed a multiple of `every`."""
        return every > 0 and self.step // every > self._before // every

    def _log_metrics(self) -> None:
        self._show_losses()
        values = {**self.metrics.drain(), "replay/windows": self.progress.windows}
        if self.state.numerics.total:
            values["updates_left_out"] = self.state.numerics.total
        self._write(values, waited=round(self.progress.waited, 3))

    def _show_losses(self) -> None:
        means = self.metrics.means()
        losses = {name.removeprefix("loss/"): means[name] for name in means if "loss/" in name}
        self.progress.losses = losses or self.progress.losses

    def _write(self, values: dict[str, float], **axes: float) -> None:
        progress = self.progress
        axes |= {"frames": progress.frames, "updates": progress.updates}
        axes["seconds"] = round(progress.seconds, 3)
        self._reporter.write(self.step, values, **axes)

    def _save_best_by_returns(self) -> None:
        """Keep the agent if its recent returns are the best; a few decide nothing for good."""
        returns = self.progress.returns
        if returns:
            measure = f"mean of the last {len(returns)} episodes"
            self._save_best(sum(returns) / len(returns), measure, final=len(returns) == RECENT)

    def _save_best(self, value: float, measure: str, final: bool = True) -> None:
        if self._saver is None or value <= self.progress.best or value <= self._kept(measure):
            return
        self.progress.best = value if final else NONE_YET
        self._saver.save_best(snapshot.take_best(self.state, value, measure))

    def _kept(self, measure: str) -> float:
        """The best on the disk by this measure: the run may have been further than it is now."""
        best = checkpoint.best(self.folder.checkpoints) if self.folder else None
        try:
            facts = checkpoint.meta(best) if best else {}
        except CheckpointError:  # damaged, so any is better
            return NONE_YET
        return float(facts["value"]) if facts.get("measure") == measure else NONE_YET


def _check_films(cfg: Config, parts: Parts) -> None:
    """Refuse films of what is not seen in images."""
    spaces = parts.native.spaces
    if cfg.run.video_every and not spaces.images:
        raise UsageError(
            f"run.video_every={cfg.run.video_every} films images that an agent sees, and here it "
            f"sees {', '.join(key.name for key in spaces.obs)}, no image; set run.video_every=0."
        )
