"""``ssmbench reduce``: an exponential sum with fewer terms, or a run with fewer states."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ssmbench.cli.printing import plain, print_json, table
from ssmbench.cli.printing.reduction import print_reduction
from ssmbench.cli.verb import PATH_ARGUMENT, PATH_OPTION, AsJson
from ssmbench.errors import require

Joint = Annotated[
    bool,
    typer.Option("--joint", help="Of a run: the share is of all states; --order limits a head."),
]


def reduce(
    path: Annotated[
        Path,
        typer.Argument(
            help="A run's folder; or an .npz with a and c of f(t) = sum of c_k exp(-a_k t).",
            **PATH_ARGUMENT,
        ),
    ],
    tolerance: Annotated[
        float | None,
        typer.Option("--tol", help="The largest bound on the H-infinity error, of each head."),
    ] = None,
    order: Annotated[
        int | None, typer.Option(help="Instead: the largest number of terms, or order of a head.")
    ] = None,
    share: Annotated[
        float | None, typer.Option(help="Instead: the share of terms or states that is removed.")
    ] = None,
    joint: Joint = False,
    relative: Annotated[
        bool, typer.Option("--relative", help="--tol is a share of the largest singular value.")
    ] = False,
    measured: Annotated[
        bool, typer.Option("--measured", help="--tol limits the measured error, not the bound.")
    ] = False,
    reducer: Annotated[
        str | None, typer.Option(help="Of a run: one of `ssmbench list reducers`.")
    ] = None,
    norm: Annotated[
        float | None,
        typer.Option(help="Of a run: the l2 norm of inputs up to which the change is certified."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="The .npz to write: a, c; or the new run's folder, by default RUN-reduced.",
            **PATH_OPTION,
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace what is in the new run's folder.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Reduce the SSM layers of a run to fewer states, or a sum of exponentials to fewer terms.

    Balanced truncation bounds the H-infinity norm of each layer's error by twice the sum of the
    removed singular values. Of a run, every SSM layer is reduced, and the network becomes a new run
    with its own scores and gains; printed are what was kept, the errors, and how much the
    prediction changes for inputs of at most a norm: certified, and attacked. Of a sum, the largest
    difference at any time is measured beside the bound, and may exceed it.
    """
    amount = {
        **{"tolerance": tolerance, "order": order, "share": share},
        **{"relative": relative, "measured": measured},
    }
    if path.is_dir():
        from ssmbench.library.reduction import reduce_run

        extra = {"reducer": reducer, "norm": norm, "joint": joint or None}
        options = {name: value for name, value in extra.items() if value is not None}
        found = reduce_run(path, **amount, **options, output=output, force=force)
        print_reduction(found, as_json)
        return
    of_runs = (("--reducer", reducer), ("--norm", norm), ("--force", force or None))
    for flag, given in (*of_runs, ("--joint", joint or None)):
        require(given is None, f"{flag}: only applies to a run's folder")
    _reduce_sum(path, amount, output, as_json)


def _reduce_sum(path: Path, amount: dict[str, Any], output: Path | None, as_json: bool) -> None:
    from ssmbench.library.reduction import reduce_exponentials

    found = reduce_exponentials(path, **amount, output=output)
    about = {
        "terms": len(found.hankel),
        "order": len(found.sum),
        "bound": found.bound,
        "hinf_error": found.hinf_error,
        "above_bound": found.above_bound,
        "sup_error": found.sup_error,
        "sup_time": found.sup_time,
        **({"output": str(output)} if output else {}),
    }
    if as_json:
        print_json(about)
    else:
        table(("figure", "value"), [(key, plain(value)) for key, value in about.items()])
