"""Training runs as processes that can be watched and ended, and what is left of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from dreamer_plugin.run.folder import WRITTEN
from dreamer_plugin.run.metrics import TIMES

TINY = Path(__file__).parent.parent / "run" / "tiny.yaml"
TEMPORARY = (".tmp-*", ".old-*", *(f".{name}.*" for name in WRITTEN))


class Run:
    """A process of the command line, leader of a group of its own.

    Args:
        words: of the command. cold: a new interpreter; else a fork of this process, which has
            loaded everything before and so is where the run begins within a blink.
        out: file for what it prints; thrown away without.
    """

    def __init__(self, words: list[str], cold: bool = False, out: Path | None = None) -> None:
        self.code: int | None = None
        target = open(out or os.devnull, "wb")
        if cold:
            self._popen = subprocess.Popen(
                [sys.executable, "-m", "dreamer_plugin", *words],
                stdout=target,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
            )
            self.pid = self._popen.pid
        else:
            self._popen = None
            self.pid = _fork(words, target.fileno())
        target.close()

    def poll(self) -> int | None:
        """Its exit code, negative for the signal that ended it; None while it lives."""
        if self.code is None and self._popen is not None:
            self.code = self._popen.poll()
        elif self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
        return self.code

    def wait(self, seconds: float = 600) -> int | None:
        """Its exit code; None, and it is killed, when it takes longer."""
        end = time.monotonic() + seconds
        while self.poll() is None:
            if time.monotonic() > end:
                self.kill()
                return None
            time.sleep(0.005)
        return self.code

    def signal(self, number: int) -> None:
        """Send a signal to it alone."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """End it and all of its group, as a machine that loses power would."""
        os.killpg(self.pid, signal.SIGKILL)
        while self.poll() is None:
            time.sleep(0.002)

    def orphans(self) -> list[int]:
        """Processes of its session that are still there."""
        listing = subprocess.run(["ps", "-eo", "pid,sid"], capture_output=True, text=True).stdout
        rows = [line.split() for line in listing.splitlines()[1:]]
        return [int(pid) for pid, session in rows if int(session) == self.pid]


def _fork(words: list[str], out: int) -> int:
    from dreamer_plugin.doors.cli import app
    from dreamer_plugin.run import loop  # noqa: F401  what a run needs, loaded once

    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.setsid()
        for target in (1, 2):
            os.dup2(out, target)
        app(words)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def words(folder: Path, steps: int, every: int, *settings: str, env: str = "gym/CartPole-v1"):
    """Command line of a tiny run, fresh or resumed."""
    return [
        *("train", "--env", env, "--config", str(TINY), "--logdir", str(folder)),
        *("--steps", str(steps), "--resume", "auto", f"run.save_every={every}"),
        *("run.log_every=4", "seed=3", *settings),
    ]


def finish(run: Run) -> None:
    """Wait for the end of a run that nobody disturbs."""
    code = run.wait()
    if code:
        raise RuntimeError(f"the run ended with exit code {code}")


def newest(folder: Path) -> int:
    """Step of the newest checkpoint that was published; 0 without one."""
    found = (folder / "checkpoints").glob("step-*/manifest.json")
    return max((int(path.parent.name.split("-")[1]) for path in found), default=0)


def last_step(folder: Path) -> int:
    """The last step that was logged."""
    return max((row["step"] for row in log(folder)), default=0)


def log(folder: Path) -> list[dict]:
    """Rows of the log without times; one that is being written is left out."""
    path = folder / "metrics.jsonl"
    rows = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return [{k: v for k, v in row.items() if k not in TIMES} for row in rows]


def tensors(folder: Path, step: int) -> dict[str, str]:
    """Hashes of all tensor files of a checkpoint, and of its segments of records."""
    manifest = folder / "checkpoints" / f"step-{step:09d}" / "manifest.json"
    body = json.loads(manifest.read_text())
    files = {k: facts["sha256"] for k, facts in body["files"].items() if "safetensors" in k}
    return files | {k: facts["sha256"] for k, facts in body["segments"].items()}


def leftovers(folder: Path) -> list[str]:
    """Temporary files and folders that a run left behind."""
    return [str(path) for mask in TEMPORARY for path in folder.rglob(mask)]
