"""Checkpoints written beside the training: one thread, one checkpoint at a time.

training   take ------- steps, updates ------- take, waits if it must -------
thread          segments, parts, publish, prune     segments, parts ...
"""

from __future__ import annotations

import errno
import shutil
import threading
from pathlib import Path

from dreamer_plugin.errors import DiskFullError
from dreamer_plugin.run import checkpoint
from dreamer_plugin.run.folder import RunFolder
from dreamer_plugin.run.records import RecordFiles
from dreamer_plugin.run.snapshot import Snapshot


class Saver:
    """Writes snapshots of one run.

    Args:
        folder: of the run. keep: how many checkpoints stay.
    """

    def __init__(self, folder: RunFolder, keep: int) -> None:
        self._folder, self._keep = folder, keep
        self._records = RecordFiles(folder.records)
        self._thread: threading.Thread | None = None
        self._snapshot: Snapshot | None = None
        self._failure: Exception | None = None

    def continue_from(self, path: Path) -> None:
        """Know the segments of the checkpoint that was restored."""
        inside = path.parent == self._folder.checkpoints
        self._records = RecordFiles(
            self._folder.records, checkpoint.segments(path) if inside else None
        )

    def save(self, snapshot: Snapshot) -> None:
        """Begin to write; call `wait` first."""
        self._snapshot = snapshot
        # A daemon: who ends the process at once loses this checkpoint and never waits for it.
        self._thread = threading.Thread(target=self._run, name="checkpoint", daemon=True)
        self._thread.start()

    def look(self) -> None:
        """If the checkpoint is written, let the replay use its memory again.

        Raises:
            DiskFullError: when it could not be written.
        """
        if self._thread is not None and not self._thread.is_alive():
            self.wait()

    def wait(self, failing: bool = False) -> None:
        """Until the checkpoint is written.

        Args:
            failing: another error is on its way; keep quiet about a failure here.

        Raises:
            DiskFullError: when it could not be written.
        """
        if self._thread is None or self._snapshot is None:
            return
        self._thread.join()
        self._snapshot.replay.thaw()
        self._thread = self._snapshot = None
        failure, self._failure = self._failure, None
        if failure is not None and not failing:
            raise failure

    def _run(self) -> None:
        try:
            self._write()
        except OSError as error:
            self._failure = self._full(error) if error.errno == errno.ENOSPC else error
        except Exception as error:
            self._failure = error

    def _write(self) -> None:
        assert self._snapshot is not None
        try:
            self._snapshot.write(self._folder, self._records)
        except OSError:
            # What this attempt wrote takes room and belongs to no checkpoint.
            checkpoint.drop_segments(self._folder.checkpoints)
            self._records = RecordFiles(self._folder.records)
            raise
        checkpoint.prune(self._folder.checkpoints, self._keep)
        checkpoint.drop_segments(self._folder.checkpoints)

    def _full(self, error: OSError) -> DiskFullError:
        assert self._snapshot is not None
        free = shutil.disk_usage(self._folder.path).free
        steps = checkpoint.steps(self._folder.checkpoints)
        stands = f"the one of step {steps[0][0]:,} stands" if steps else "there is none yet"
        return DiskFullError(
            f"No room for the checkpoint of step {self._snapshot.meta['step']:,} on the disk of "
            f"{self._folder.path} ({free:,} bytes free); {stands}. Free space, lower run.keep or "
            f"set checkpoint.latents=false, then --resume {self._folder.path}."
        )
