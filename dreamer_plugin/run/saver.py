"""Checkpoints written beside the training, in threads that follow each other.

training   take ------- steps, updates ------- take, waits if it must -------
thread          segments, parts, publish, prune     segments, parts ...

The best agent is written the same way, after what is already waiting.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from pathlib import Path

from dreamer_plugin.errors import DiskFullError
from dreamer_plugin.run import checkpoint
from dreamer_plugin.run.folder import RunFolder
from dreamer_plugin.run.limits import FULL, full_text
from dreamer_plugin.run.records import RecordFiles
from dreamer_plugin.run.snapshot import Best, Snapshot


class Saver:
    """Writes snapshots of one run.

    Args:
        folder: of the run. keep: how many checkpoints stay.
    """

    def __init__(self, folder: RunFolder, keep: int) -> None:
        self._folder, self._keep = folder, keep
        self._records = RecordFiles(folder.records)
        self._thread: threading.Thread | None = None  # the last one
        self._snapshot: Snapshot | None = None
        self._failure: Exception | None = None

    def continue_from(self, path: Path, without: Collection[str] = ()) -> None:
        """Know the segments of the checkpoint that was restored, but for these."""
        inside = path.parent == self._folder.checkpoints
        entries = checkpoint.segments(path) if inside else {}
        known = {name: entry for name, entry in entries.items() if name not in without}
        self._records = RecordFiles(self._folder.records, known)

    def free(self) -> None:
        """Wait for the checkpoint before: the replay is frozen once at a time.

        Raises:
            DiskFullError: when something could not be written.
        """
        if self._snapshot is not None:
            self.wait()

    def save(self, snapshot: Snapshot) -> None:
        """Begin to write; call `free` before the snapshot is taken."""
        self._snapshot = snapshot
        self._begin(lambda: self._write(snapshot), f"the checkpoint of step {snapshot.step:,}")

    def save_best(self, best: Best) -> None:
        """Begin to write the best agent, in the place of the one before."""
        self._begin(lambda: best.write(self._folder), f"the best agent, of step {best.step:,}")

    def look(self) -> None:
        """If all is written, let the replay use its memory again.

        Raises:
            DiskFullError: when something could not be written.
        """
        if self._thread is not None and not self._thread.is_alive():
            self.wait()

    def wait(self, failing: bool = False) -> None:
        """Until all is written.

        Args:
            failing: another error is on its way; keep quiet about a failure here.

        Raises:
            DiskFullError: when something could not be written.
        """
        if self._thread is None:
            return
        self._thread.join()
        if self._snapshot is not None:
            self._snapshot.replay.thaw()
        self._thread = self._snapshot = None
        failure, self._failure = self._failure, None
        if failure is not None and not failing:
            raise failure

    def _begin(self, job: Callable[[], object], what: str) -> None:
        # A daemon: who ends the process at once loses this checkpoint and never waits for it.
        self._thread = threading.Thread(
            target=self._run, args=(job, what, self._thread), name="checkpoint", daemon=True
        )
        self._thread.start()

    def _run(self, job: Callable[[], object], what: str, before: threading.Thread | None) -> None:
        if before is not None:
            before.join()
        try:
            job()
        except OSError as error:
            full = error.errno in FULL
            self._note(DiskFullError(full_text(self._folder.path, what)) if full else error)
        except Exception as error:
            self._note(error)

    def _note(self, failure: Exception) -> None:
        """Keep the first failure for whoever waits."""
        self._failure = self._failure or failure

    def _write(self, snapshot: Snapshot) -> None:
        try:
            snapshot.write(self._folder, self._records)
        except OSError:
            # What this attempt wrote takes room and belongs to no checkpoint.
            checkpoint.drop_segments(self._folder.checkpoints)
            self._records = RecordFiles(self._folder.records)
            raise
        checkpoint.prune(self._folder.checkpoints, self._keep)
        checkpoint.drop_segments(self._folder.checkpoints)
