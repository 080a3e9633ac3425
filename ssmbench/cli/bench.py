"""``ssmbench bench``: how fast and how accurate the scans are on this machine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ssmbench.cli.printing import print_json, table
from ssmbench.cli.streams import say
from ssmbench.cli.verb import PATH_OPTION, AsJson


def bench(
    what: Annotated[str, typer.Argument(help="What to time: scans.")] = "scans",
    quick: Annotated[
        bool, typer.Option("--quick", help="Small sizes: a check, not a measurement.")
    ] = False,
    rounds: Annotated[int, typer.Option(help="Timed rounds; medians are shown.")] = 7,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Also write the results as JSON.", **PATH_OPTION),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Time every scan, compared with a memory copy and peers; errors are relative to complex128."""
    from ssmbench.errors import require

    require(what == "scans", f"bench {what!r}: only scans can be timed")
    require(rounds >= 1, f"--rounds must be at least 1, got {rounds}")
    from ssmbench import jsonio
    from ssmbench.bench import scans
    from ssmbench.bench.standing import standings, summary

    results = []
    for result in scans.run(scans.default_device(), rounds, quick, apart=True):
        print(f"{result.operation}: {result.backend}", file=sys.stderr, flush=True)
        results.append(result)
    listed = scans.as_dicts(results)
    if output:
        output.write_text(jsonio.dumps(listed, indent=1), encoding="utf-8")
    if as_json:
        print_json(listed)
        return
    table(scans.COLUMNS, [scans.row(result) for result in results], title=results[0].device)
    for line in ("", *summary(standings(listed))):
        say(line)
