"""`--seed` of the commands that play a trained agent."""

from __future__ import annotations

from typing import Annotated

import typer

# The bound is that of the setting `seed`, which is not loaded before there is something to do.
Seed = Annotated[int, typer.Option(metavar="N", min=0, max=2**32 - 1, help="Of envs and noise.")]
