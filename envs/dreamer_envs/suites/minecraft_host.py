"""Whether this machine can start MineRL's Minecraft: the built game, Java 8, a screen."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from dreamer_envs.errors import MissingPackageError
from dreamer_envs.suites.recipes import MINERL

JAR = "build/libs/MalmoMod-0.37.0-fat.jar"
PATIENCE = 30.0  # seconds that Java may take to say its version


def prepare(name: str, folder: Path) -> None:
    """Looks for what the game needs before it is started, and has it draw off screen.

    Without these checks MineRL would begin to build the game, or fail minutes later.

    Args:
        name: id of the env, for messages. folder: where MineRL keeps Minecraft.

    Raises:
        MissingPackageError: something is missing.
    """
    missing = _jar(folder) or _java() or _screen()
    if missing:
        raise MissingPackageError(f"{name} cannot start Minecraft: {missing}; {MINERL}.")


def _jar(folder: Path) -> str:
    built = (folder / JAR).exists()
    return "" if built else f"minerl is installed without the game, {folder / JAR} is not there"


def _java() -> str:
    java = shutil.which("java")
    if java is None:
        return "there is no Java"
    done = subprocess.run(
        [java, "-version"], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    said = (done.stderr or done.stdout).strip()
    if 'version "1.8' in said:
        return ""
    return f"Java 8 is needed, {java} is {said.splitlines()[0] if said else 'silent'}"


def _screen() -> str:
    if os.environ.get("DISPLAY"):
        return ""
    if shutil.which("xvfb-run") is None:
        return "there is no screen, and no xvfb-run to make one (apt-get install xvfb)"
    os.environ["MINERL_HEADLESS"] = "1"
    return ""
