"""``ssmbench check``: check an entry against the contract of its kind."""

from __future__ import annotations

from typing import Annotated

import typer

from ssmbench.cli.printing import print_json
from ssmbench.cli.streams import say
from ssmbench.cli.verb import AsJson


def check(
    kind: Annotated[str, typer.Argument(help="parametrization, discretizer, task, ...")],
    name: Annotated[str, typer.Argument(help="Its name, as in `ssmbench list`.")],
    as_json: AsJson = False,
) -> None:
    """Check one entry, built in or from a plugin, against the contract of its kind.

    Every check is listed by name: passed, failed with the finding, or skipped with the reason. The
    exit code is 1 if a check fails.
    """
    from ssmbench.library.conformance import check as examine

    report = examine(kind, name)
    if as_json:
        print_json(report.to_dict())
    else:
        say(str(report))
    if not report.ok:
        raise typer.Exit(1)
