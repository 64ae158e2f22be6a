"""An env that lives in another Python, with packages that this one cannot have.

    here                                     the other Python, started with `python=PATH`
    RemoteEnv   -- ["step", action] -->      remote_worker: `dreamer_envs.make(id)`, step
                <-- {"ok": [obs, ...]} --    or {"error": text, "kind": name of the error}

The other Python needs Gymnasium, numpy, pillow and the suite's package, but not this package: it
reads the same files. Messages are those of `wire`. It ends with this process, whatever happens.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import threading
import weakref
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import gymnasium as gym

from dreamer_envs import errors, shared, wire

PATIENCE = 5.0  # seconds that closing waits before the other Python is killed
PACKAGE = Path(__file__).parent
# What the other Python runs first: this package from its folder, and nothing else of that place.
START = """
import sys
del sys.path[0]  # the current folder, whose files could stand in for the modules below
import importlib.util, json, os, struct
folder, handle, tied = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "tied"
def refuse(text, kind):
    text = json.dumps({"error": text, "kind": kind}).encode()
    os.write(handle, struct.pack("!II", len(text) + 4, len(text)) + text)
    sys.exit(1)
if sys.version_info < (3, 10):
    refuse("Python 3.10 or later is needed, this is %d.%d" % sys.version_info[:2], "EnvOptionError")
try:
    spec = importlib.util.spec_from_file_location(
        "dreamer_envs", folder + "/__init__.py", submodule_search_locations=[folder])
    sys.modules["dreamer_envs"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    from dreamer_envs import remote_worker
except ImportError as error:
    refuse("%s; in that Python: pip install 'gymnasium>=1.0' numpy pillow" % error,
           "MissingPackageError")
remote_worker.serve(handle, tied)
"""


class RemoteEnv(gym.Env[Any, Any]):
    """An env of this package in another Python, in the common form.

    Args:
        python: path of the other Python, or the folder of a virtual environment.
        id: of the env there. options: of its suite.

    Raises:
        EnvOptionError: there is no such Python, or it is too old.
        EnvsError: the same errors as `make`, from there.
        EnvError: that Python ended, or sent what is no message.
    """

    def __init__(self, python: str, id: str, options: Mapping[str, Any]) -> None:
        self._name = f"{id} in {python}"
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = _launch(find_python(python), theirs.fileno())
        self._link = ours
        self._end = weakref.finalize(self, _end, ours, self._process)
        try:
            about = self._ask("make", id, dict(options))
        except BaseException:
            self.close()
            raise
        spaces = shared.decode_spaces(about["spaces"].encode())
        self.observation_space, self.action_space, self.can_save = spaces
        self.action_repeat = about["action_repeat"]
        self.render_mode = about["render_mode"]
        self.metadata = about["metadata"]

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Starts an episode."""
        super().reset(seed=seed)
        obs, info = self._ask("reset", seed, wire.plain(options or {}))
        return obs, info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """One step; of `info`, what can be sent."""
        obs, reward, terminated, truncated, info = self._ask("step", action)
        return obs, reward, terminated, truncated, info

    def render(self) -> Any:
        """The picture."""
        return self._ask("render")

    def get_state(self) -> dict[str, Any]:
        """The state of the env there."""
        state: dict[str, Any] = self._ask("get_state")
        return state

    def set_state(self, saved: dict[str, Any]) -> None:
        """Goes back to a state of `get_state`."""
        self._ask("set_state", saved)

    def close(self) -> None:
        """Ends the other Python."""
        self._end()

    def _ask(self, *message: Any) -> Any:
        question = wire.pack(message)
        try:
            wire.send(self._link, question)
            answer = wire.receive(self._link)
        except (EOFError, OSError) as error:
            raise errors.EnvError(f"{self._name} is gone: {self._fate()}.") from error
        except ValueError as error:
            self.close()
            raise errors.EnvError(f"{self._name} sent what is no message: {error}") from error
        except BaseException:  # a late answer would be taken for that to the next question
            self.close()
            raise
        if "error" in answer:
            raise _error(answer["kind"], f"{self._name}: {answer['error']}")
        return answer["ok"]

    def _fate(self) -> str:
        if not self._end.alive:
            return "it was closed"
        with suppress(subprocess.TimeoutExpired):
            code = self._process.wait(PATIENCE)
            return f"that Python ended with exit code {code}; what it said stands above"
        return "that Python closed the connection"


def _error(kind: str, text: str) -> errors.EnvsError:
    """An error of that name."""
    if kind == errors.UnknownOptionError.__name__:  # takes the option, which the text names
        return errors.EnvOptionError(text)
    found = getattr(errors, kind, None)
    if isinstance(found, type) and issubclass(found, errors.EnvsError):
        return found(text)
    return errors.EnvError(text)


def find_python(path: str) -> str:
    """The program that a path means: itself, or the Python of a virtual environment.

    Raises:
        EnvOptionError: there is none.
    """
    inside = Path(path) / "bin" / "python"
    found = shutil.which(str(inside) if Path(path).is_dir() else path)
    if found is None:
        raise errors.EnvOptionError(
            f"python is {path!r}, which is no program and no virtual environment: give a path such "
            "as venvs/metaworld/bin/python."
        )
    return found


def _launch(python: str, handle: int) -> subprocess.Popen[bytes]:
    # Variables that say where this Python's packages are would mislead the other one.
    ours = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PYTHONSTARTUP")
    environment = {key: value for key, value in os.environ.items() if key not in ours}
    # Linux' signal at the parent's death comes at the death of the thread that started the child.
    lasting = threading.current_thread() is threading.main_thread()
    command = [python, "-c", START, str(PACKAGE), str(handle), "tied" if lasting else "loose"]
    return subprocess.Popen(command, pass_fds=[handle], stdin=subprocess.DEVNULL, env=environment)


def _end(link: socket.socket, process: subprocess.Popen[bytes]) -> None:
    with suppress(OSError):
        link.shutdown(socket.SHUT_RDWR)  # which it understands
    link.close()
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
