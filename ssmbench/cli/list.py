"""``ssmbench list``: list the registered entries."""

from __future__ import annotations

from typing import Annotated

import typer

from ssmbench.cli.printing import print_json, table
from ssmbench.cli.verb import AsJson


def list_(
    kind: Annotated[str | None, typer.Argument(help="Only this kind, for example tasks.")] = None,
    pattern: Annotated[str, typer.Argument(help="Only matching names, for example 's4*'.")] = "*",
    as_json: AsJson = False,
) -> None:
    """List the registered entries: parametrizations, discretizers, tasks, scans, optimizers..."""
    from ssmbench.library.entries import outlines
    from ssmbench.registry import plugin_failures

    found = outlines(kind, pattern)
    if as_json:
        keys = ("kind", "name", "summary", "origin")
        listed = [{key: getattr(outline, key) for key in keys} for outline in found]
        broken = [{"plugin": f.plugin, "reason": f.reason} for f in plugin_failures()]
        print_json({"entries": listed, "failed_plugins": broken})
        return
    table(("kind", "name", "summary"), [(e.kind, e.name, e.summary) for e in found])
