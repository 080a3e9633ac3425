"""``ssmbench new``: write a plugin that works, to be changed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ssmbench.cli.printing import print_json
from ssmbench.cli.streams import say
from ssmbench.cli.verb import PATH_OPTION, AsJson


def new(
    kind: Annotated[str, typer.Argument(help="parametrization, discretizer, task, ...")],
    name: Annotated[str, typer.Argument(help="Its name in configs, for example my_modes.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The folder; by default ./plugins.", **PATH_OPTION),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a plugin that works: one file, a config that uses it, and its test.

    Nothing is overwritten. Plugins in ./plugins are found by themselves.
    """
    from ssmbench.errors import shown_path
    from ssmbench.library.new import new as write
    from ssmbench.registry import PLUGINS_FOLDER

    made = write(kind, name, output=output or PLUGINS_FOLDER)
    files = [shown_path(file) for file in made.files]
    if as_json:
        print_json(
            {"kind": made.kind, "name": made.name, "files": files, "commands": made.commands}
        )
        return
    say("wrote " + ", ".join(files))
    say("\n".join(["next:", *(f"  {command}" for command in made.commands)]))
