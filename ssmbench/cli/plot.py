"""``ssmbench plot``: figures of discretizers, with the poles of a given system or run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ssmbench.cli.printing import print_json, table
from ssmbench.cli.streams import say
from ssmbench.cli.usage import VerbGroup
from ssmbench.cli.verb import PATH_OPTION, AsJson, add_verb
from ssmbench.errors import require

app = typer.Typer(cls=VerbGroup, help="Draw figures of discretizers.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Draw figures of discretizers."""


def stability(
    names: Annotated[list[str], typer.Argument(help="Discretizers, for example zoh rk4.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The PNG file to write.", **PATH_OPTION)
    ] = Path("stability.png"),
    run: Annotated[
        Path | None, typer.Option(help="Also h lambda of a run's trained layers.", **PATH_OPTION)
    ] = None,
    system: Annotated[
        Path | None,
        typer.Option(help="Also h lambda of an .npz with A, B, C, D; needs --dt.", **PATH_OPTION),
    ] = None,
    dt: Annotated[float | None, typer.Option(help="The step size for --system.")] = None,
    as_json: AsJson = False,
) -> None:
    """Draw the stability region |R(z)| <= 1 of each discretizer, and a system's z = h lambda."""
    from ssmbench import registry
    from ssmbench.library import figures

    require(run is None or system is None, "--run and --system: give one of them")
    require((dt is None) == (system is None), "--system and --dt: give both or neither")
    methods = {name: registry.discretizers.get(name).build() for name in names}
    points = None
    if run is not None:
        points = figures.sampled_poles_of_run(run)
    elif system is not None:
        points = figures.sampled_poles(system, dt)
    from ssmbench.figures.saving import save_figure
    from ssmbench.report.figures.stability import count_stable, stability_regions

    save_figure(stability_regions(methods, points), output)
    counts = count_stable(methods, points)
    total = None if points is None else len(points)
    if as_json:
        print_json({"output": str(output), "points": total, "stable_points": counts})
        return
    if total is not None:
        table(
            ("method", "stable poles", "of"), [(n, str(c), str(total)) for n, c in counts.items()]
        )
    say(f"picture: {output}")


add_verb(app, stability)
