"""``ssmbench reduce``: an exponential sum with fewer terms."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ssmbench.cli.printing import plain, print_json, table
from ssmbench.cli.verb import PATH_ARGUMENT, PATH_OPTION, AsJson


def reduce(
    path: Annotated[
        Path,
        typer.Argument(
            help="An .npz with a and c of f(t) = sum of c_k exp(-a_k t).", **PATH_ARGUMENT
        ),
    ],
    tolerance: Annotated[
        float | None, typer.Option("--tol", help="The largest bound on the H-infinity error.")
    ] = None,
    order: Annotated[int | None, typer.Option(help="Instead: the largest number of terms.")] = None,
    share: Annotated[
        float | None, typer.Option(help="Instead: the share of the terms that is removed.")
    ] = None,
    relative: Annotated[
        bool, typer.Option("--relative", help="--tol is a share of the largest singular value.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The .npz to write: a, c.", **PATH_OPTION),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Reduce a sum of exponentials to fewer terms, by balanced truncation.

    The bound, twice the sum of the removed singular values, holds for the H-infinity norm of the
    difference. The largest difference at any time is measured beside it, and may exceed the bound.
    """
    from ssmbench.library.reduction import reduce_exponentials

    found = reduce_exponentials(
        path, tolerance, order=order, share=share, relative=relative, output=output
    )
    about = {
        "terms": len(found.hankel),
        "order": len(found.sum),
        "bound": found.bound,
        "hinf_error": found.hinf_error,
        "sup_error": found.sup_error,
        "sup_time": found.sup_time,
        **({"output": str(output)} if output else {}),
    }
    if as_json:
        print_json(about)
    else:
        table(("figure", "value"), [(key, plain(value)) for key, value in about.items()])
