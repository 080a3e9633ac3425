"""``ssmbench discretize``: sample a continuous system with a chosen method."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ssmbench.cli.printing import plain, print_json, table
from ssmbench.cli.streams import warn
from ssmbench.cli.verb import PATH_ARGUMENT, PATH_OPTION, AsJson
from ssmbench.errors import require


def discretize(
    path: Annotated[
        Path, typer.Argument(help="An .npz with A, B, C, D of x' = A x + B u.", **PATH_ARGUMENT)
    ],
    method: Annotated[str, typer.Option(help="As in `ssmbench list discretizers`.")],
    dt: Annotated[float, typer.Option(help="The step size, in the time unit of A.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="The .npz to write: A, B, C, D, dt.", **PATH_OPTION)
    ],
    options: Annotated[
        list[str] | None, typer.Option(help="key=value, for example alpha=0.75; may be repeated.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Discretize a continuous system and report the effect on its poles and gain.

    x' = A x + B u becomes x(k+1) = A x(k) + B u(k); in both, y = C x + D u.
    """
    from ssmbench.config import parse_overrides
    from ssmbench.library.systems import discretization
    from ssmbench.systems.io import save_system

    chosen = parse_overrides(options or [])
    require("name" not in chosen, "--options: the method is named by --method")
    found = discretization(path, method, dt, **chosen)
    save_system(out, found.system, dt)
    if found.warning:
        warn(found.warning)
    about = {"method": found.method, "dt": dt, "out": str(out), **found.to_dict()}
    if as_json:
        print_json(about)
    else:
        table(("figure", "value"), [(key, plain(value)) for key, value in about.items()])
