"""Steps the suites whose simulators do not run here against stand-ins, and writes it down.

    python -m tests.envs.standins                  all
    python -m tests.envs.standins minecraft        this one; what is known of others stays
    python -m tests.envs.standins --keep DIR       environments stay there, and are used again

The library's own Python classes are real and live in a virtual environment of their own; what they
talk to is ours; of `dmlab` and `isaac` the whole library is. Their tests run first, then 1,000
random steps and the checkers, as `tests/envs/matrix.py` does for suites that run. Needs Python 3.10
or 3.11, and the network for the packages.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.envs import matrix
from tests.envs.minecraft_server import Script, Server

# What MineRL 0.4.4 needs to be imported; the versions are those of the recipe in the docs.
OLD_TOOLS = ("pip==23.2.1", "setuptools==57.5.0", "wheel==0.37.1")
MINERL = (
    "numpy==1.23.5", "gym==0.19.0", "gymnasium>=1.0", "opencv-python-headless==4.8.1.78", "lxml",
    "Pyro4", "coloredlogs", "xmltodict==0.12.0", "jinja2", "psutil", "dill", "inflection",
    "requests", "tqdm", "pillow<11", "matplotlib==3.8.4", "contourpy<1.3", "filelock", "daemoniker",
)  # fmt: skip
# numpy.bool, which it reads, is there before 1.24 and from 2.0 on.
MLAGENTS = ("mlagents-envs==0.28.0", "protobuf==3.20.3", "numpy>=2", "gymnasium>=1.0", "pillow")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("suites", nargs="*", help="suites to step; all by default")
    parser.add_argument("--keep", type=Path, help="folder in which environments stay")
    asked = parser.parse_args()
    known: dict[str, Any] = json.loads(matrix.TESTED.read_text())
    with tempfile.TemporaryDirectory() as scratch:
        for suite in asked.suites or sorted(STEPPERS):
            known.pop(suite, None)  # what does not pass is not tested
            known[suite] = STEPPERS[suite](asked.keep or Path(scratch))
            print(f"{suite}: {known[suite]['steps_per_s']} steps/s", flush=True)
            matrix.write(known)
    return 0


def minecraft(folder: Path) -> dict[str, Any]:
    """MineRL's Python side, unpacked from its archive without building the game."""
    python = folder / "minerl" / "bin" / "python"
    if not python.exists():
        with _whole(folder / "minerl"):
            _make(python, OLD_TOOLS, MINERL)
            _unpack_minerl(python)
    _run_tests("tests/envs/test_minecraft_minerl.py", {"DREAMER_MINERL": str(python)})
    server = Server(Script(length=300, inventory={40: {"log": 1}, 90: {"planks": 4}}))
    found = matrix.examined("minecraft/diamond", {"port": server.port}, python, matrix.STEPS)
    server.close()
    return {**found, "options": {}, "version": "0.4.4", "standin": "a server of its TCP protocol"}


def unity(folder: Path) -> dict[str, Any]:
    """ML-Agents' Python package, and a program at the other end of its gRPC."""
    python = folder / "unity" / "bin" / "python"
    if not python.exists():
        with _whole(folder / "unity"):
            _make(python, MLAGENTS)
    _run_tests("tests/envs/test_unity.py", {"DREAMER_MLAGENTS": str(python)})
    with tempfile.TemporaryDirectory() as scratch:
        program, script = Path(scratch) / "scene.x86_64", Path(scratch) / "script.json"
        script.write_text(json.dumps({"continuous": 2, "length": 200}))
        peer = matrix.REPO / "tests/envs/unity_peer.py"
        program.write_text(f'#!/bin/sh\nexec {python} {peer} {script} "$@"\n')
        program.chmod(0o755)
        options = {"file_name": str(program)}
        found = matrix.examined("unity/Walker", options, python, matrix.STEPS)
    return {**found, "options": {}, "standin": "a program of its gRPC"}


def dmlab(folder: Path) -> dict[str, Any]:
    """A module with the documented calls of `deepmind_lab`."""
    return _around("dmlab/rooms_watermaze", {}, "lab_peer", "tests/envs/test_dmlab.py")


def isaac(folder: Path) -> dict[str, Any]:
    """Modules with the documented calls of Isaac Lab."""
    id = "isaac/Isaac-Standin-v0"
    return _around(id, {"device": "cpu"}, "isaac_peer", "tests/envs/test_isaac.py")


def _around(id: str, options: dict[str, Any], peer: str, tests: str) -> dict[str, Any]:
    _run_tests(tests, {})
    here = Path(sys.executable)
    found = matrix.examined(id, options, here, matrix.STEPS, peer)
    return {**found, "standin": "a module with its documented calls"}


class NotInstalled(Exception):
    """The library's packages cannot be had here; says pip's last words."""


@contextmanager
def _whole(folder: Path) -> Iterator[None]:
    """Removes an environment that could not be finished.

    Raises:
        NotInstalled: pip failed.
    """
    try:
        yield
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, subprocess.CalledProcessError):
            raise NotInstalled((error.stderr or str(error)).strip().splitlines()[-1]) from error
        raise


def _make(python: Path, *wanted: tuple[str, ...]) -> None:
    matrix.ran([sys.executable, "-m", "venv", str(python.parents[1])])
    for packages in wanted:
        pip = [str(python), "-m", "pip", "install", "-q", "--no-build-isolation"]
        matrix.ran([*pip, *packages])


def _unpack_minerl(python: Path) -> None:
    root = python.parents[1]
    command = [str(python), "-m", "pip", "download", "-q", "--no-deps", "--no-build-isolation"]
    command += ["--no-binary", "minerl", "-d", str(root), "minerl==0.4.4"]
    matrix.ran(command)
    with tarfile.open(root / "minerl-0.4.4.tar.gz") as archive:
        archive.extractall(root, filter="data")
    packages = matrix.ran(
        [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    )
    link = Path(packages.strip()) / "minerl_part.pth"
    link.write_text(f"{root / 'minerl-0.4.4'}\n")


def _run_tests(path: str, variables: dict[str, str]) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", path]
    subprocess.run(command, check=True, cwd=matrix.REPO, env={**os.environ, **variables})


STEPPERS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "dmlab": dmlab, "isaac": isaac, "minecraft": minecraft, "unity": unity,
}  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
