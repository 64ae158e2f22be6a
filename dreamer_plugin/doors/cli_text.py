"""Rich tables as text."""

from __future__ import annotations

import shutil
import sys

from rich.console import Console, RenderableType


def rendered(what: RenderableType) -> str:
    """Text of something Rich can print: as wide as the terminal, or wide enough for a file."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 160
    console = Console(width=width, highlight=False)
    with console.capture() as capture:
        console.print(what)
    return capture.get().rstrip("\n")
