"""Drawing MuJoCo scenes without a screen: which OpenGL library, and the error if there is none."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Sequence
from typing import Any

from dreamer_envs.errors import MissingPackageError

EGL_LIBRARIES = ("libEGL.so.1", "libGL.so.1")  # both: PyOpenGL resolves GL calls through the second
OSMESA_LIBRARIES = (("libOSMesa.so.8",), ("libOSMesa.so.6",), ("libOSMesa.so",))
REMEDY = (
    "on Debian or Ubuntu: apt-get install -y --no-install-recommends libegl1 libgl1 "
    "(or libosmesa6, and set MUJOCO_GL=osmesa)"
)


def select_backend(needed: bool, who: str) -> str | None:
    """Sets `MUJOCO_GL` where there is no screen; must run before MuJoCo's renderer is imported.

    A value that is set already stays. With none: EGL if its libraries load, else OSMesa, else
    drawing is disabled, which leaves everything but images working.

    Args:
        needed: whether images will be drawn.
        who: env id, for the message.

    Returns:
        The backend, or `None` where MuJoCo's own default serves (not Linux, or a screen).

    Raises:
        MissingPackageError: images are needed and no library can draw them.
    """
    chosen = os.environ.get("MUJOCO_GL")
    if not chosen:
        if sys.platform != "linux" or os.environ.get("DISPLAY"):
            return None
        chosen = _probe()
        os.environ["MUJOCO_GL"] = chosen
    if needed and chosen.lower() in ("disabled", "disable", "off", "false", "0"):
        raise no_renderer(who, "no OpenGL library is usable (MUJOCO_GL is 'disabled')")
    return chosen


def no_renderer(who: str, reason: object) -> MissingPackageError:
    """The error for an env that cannot draw."""
    return MissingPackageError(f"{who} cannot draw images: {reason}; {REMEDY}.")


def cheapen(model: Any) -> None:
    """Turns shadows and antialiasing off in a MuJoCo model; before its first image only."""
    model.vis.quality.shadowsize = 0
    model.vis.quality.offsamples = 0


def _probe() -> str:
    if _loads(EGL_LIBRARIES):
        return "egl"
    return "osmesa" if any(_loads(names) for names in OSMESA_LIBRARIES) else "disabled"


def _loads(libraries: Sequence[str]) -> bool:
    try:
        for library in libraries:
            ctypes.CDLL(library)
    except OSError:
        return False
    return True
