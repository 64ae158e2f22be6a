"""`--allow-env-import` and `--allow-env-python`: what files may not ask for, typed."""

from __future__ import annotations

from typing import Annotated

import typer

from dreamer_plugin.doors import cli_help


def _import(modules: list[str] | None) -> list[str] | None:
    if modules:
        import dreamer_envs

        for module in modules:
            dreamer_envs.allow_import(module)
    return modules


def _allow(programs: list[str] | None) -> list[str] | None:
    if programs:
        from dreamer_plugin.config.trust import allow_program

        for path in programs:
            allow_program(path)
    return programs


EnvPython = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-env-python",
        metavar="PATH",
        help="Run the env of the saved settings in the Python that they name.",
        callback=_allow,
    ),
]
EnvImport = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-env-import",
        metavar="MODULE",
        help="Import MODULE, for envs named MODULE:Id-v0; no file can ask for that.",
        rich_help_panel=cli_help.WHERE,
        callback=_import,
    ),
]
