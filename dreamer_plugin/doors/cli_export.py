"""`dreamer-plugin export`: an agent as one file for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dreamer_plugin.doors import cli_evaluate
from dreamer_plugin.doors.cli_meter import metered
from dreamer_plugin.errors import UsageError, nearest

FORMATS = ("onnx", "safetensors")


def export(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="A run folder, or a checkpoint in one.")
    ],
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="To make; RUN's name by default.")
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option("--format", metavar="onnx|safetensors", help="By FILE's ending, else onnx."),
    ] = None,
    which: Annotated[
        str | None, typer.Option(metavar="best|latest|STEP", help="Which checkpoint of the run.")
    ] = None,
    deterministic: Annotated[
        bool | None,
        typer.Option(
            "--deterministic/--sampled",
            help="onnx: likeliest or drawn actions; the authors' by default.",
        ),
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option(metavar="float32|bfloat16", help="safetensors: of the weights; float32."),
    ] = None,
) -> None:
    """Write the agent of a run to one file."""
    path = cli_evaluate.chosen(run, None, which)
    form = _format(kind, file)
    if form == "onnx" and dtype is not None:
        raise UsageError("--dtype is of safetensors; an ONNX graph computes in float32.")
    if form == "safetensors" and deterministic is not None:
        raise UsageError("--deterministic and --sampled are of onnx; weights act both ways.")
    target = file or Path(f"{path.resolve().name}.{form}")
    from dreamer_plugin.run import export as files

    best = which or "best"
    if form == "onnx":
        with metered():
            facts = files.export_onnx(path, target, best, deterministic)
        how = "likeliest" if facts["deterministic"] else "drawn"
        made = f"one decision, {how} actions"
    else:
        facts = files.export_weights(path, target, best, dtype or "float32")
        made = f"weights in {facts['dtype']}"
    size = target.stat().st_size / 1e6
    typer.echo(f"{target}: {made} of {facts['checkpoint']} (step {facts['step']:,}), {size:.2f} MB")


def _format(given: str | None, file: Path | None) -> str:
    """The format that is asked for, or that the name of the file says."""
    ending = "" if file is None else file.suffix.removeprefix(".")
    if given is None:
        if file is not None and ending not in FORMATS:
            raise UsageError(f"{file} does not say its format: end it in .onnx or .safetensors.")
        return ending or FORMATS[0]
    if given not in FORMATS:
        raise UsageError(nearest(given, FORMATS, "format"))
    if ending in FORMATS and ending != given:
        raise UsageError(f"--format {given}, but {file} ends in .{ending}: leave one of them out.")
    return given
