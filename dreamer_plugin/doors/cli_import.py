"""`--allow-env-import`: the only way in which a command line imports a module for its envs."""

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
