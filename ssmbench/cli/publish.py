"""``ssmbench publish``: a suite's runs as a small folder for others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ssmbench.cli.printing.publications import print_published
from ssmbench.cli.verb import PATH_ARGUMENT, AsJson, Output


def publish(
    folder: Annotated[Path, typer.Argument(help="A suite's folder, or a run's.", **PATH_ARGUMENT)],
    output: Output = None,
    licence: Annotated[
        str, typer.Option("--license", "--licence", help="Of the weights, for example mit.")
    ] = "",
    with_hosts: Annotated[
        bool, typer.Option("--with-hosts", help="Keep host names, process ids and folders.")
    ] = False,
    hub: Annotated[
        str | None,
        typer.Option(help="Also upload it to this repository (OWNER/NAME) of Hugging Face."),
    ] = None,
    hub_kind: Annotated[str, typer.Option(help="The repository's kind: dataset or model.")] = (
        "dataset"
    ),
    as_json: AsJson = False,
) -> None:
    """Write results, configs, weights and cards of complete runs to a folder fit for a repository.

    Runs that the folder has already are replaced, others stay in it. `ssmbench verify` checks it.
    """
    from ssmbench.library import publications

    found = publications.publish(
        folder,
        output=output,
        licence=licence,
        with_hosts=with_hosts,
        hub=hub,
        hub_kind=hub_kind,
    )
    print_published(found, as_json)
