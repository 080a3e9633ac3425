"""``ssmbench list``: what is registered."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from ssmbench.cli.printing import print_json, table
from ssmbench.cli.verb import AsJson


def list_(
    kind: Annotated[str | None, typer.Argument(help="Only this kind, for example tasks.")] = None,
    as_json: AsJson = False,
) -> None:
    """List what is registered: parametrizations, discretizers, tasks, scans, optimizers..."""
    from ssmbench import registry

    kinds = [registry.kind_named(kind)] if kind else list(registry.KINDS.values())
    entries = [entry for k in kinds for entry in k.entries()]
    failures = registry.plugin_failures()
    if as_json:
        keys = ("kind", "name", "summary", "origin")
        listed = [{key: getattr(entry, key) for key in keys} for entry in entries]
        broken = [{"plugin": f.plugin, "reason": f.reason} for f in failures]
        print_json({"entries": listed, "failed_plugins": broken})
        return
    table(("kind", "name", "summary"), [(e.kind, e.name, e.summary) for e in entries])
    for failure in failures:
        print(f"plugin failed: {failure.plugin}: {failure.reason}", file=sys.stderr)
