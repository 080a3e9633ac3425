"""``ssmbench show``: describe one registered entry."""

from __future__ import annotations

from typing import Annotated

import typer

from ssmbench.cli.printing import plain, print_json, table
from ssmbench.cli.verb import AsJson


def show(
    kind: Annotated[str, typer.Argument(help="parametrization, discretizer, task, ...")],
    name: Annotated[str, typer.Argument(help="Its name, as in `ssmbench list`.")],
    as_json: AsJson = False,
) -> None:
    """Show one entry: its summary, its options with their defaults, its facts and its source."""
    from ssmbench.library import entries

    about = entries.show(kind, name)
    if as_json:
        print_json(about)
        return
    rows = [(key, plain(value)) for key, value in about.items() if not isinstance(value, dict)]
    rows += [(f"option {key}", plain(value)) for key, value in about["options"].items()]
    rows += [(f"fact {key}", plain(value)) for key, value in about["facts"].items()]
    table(("", name), rows)
