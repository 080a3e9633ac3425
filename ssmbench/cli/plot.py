"""``ssmbench plot``: figures of runs, and of discretizers with the poles of a system or a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ssmbench.cli.printing import print_json, table
from ssmbench.cli.streams import say
from ssmbench.cli.usage import VerbGroup
from ssmbench.cli.verb import PATH_ARGUMENT, PATH_OPTION, AsJson, add_verb
from ssmbench.errors import require
from ssmbench.paths import absolute

app = typer.Typer(
    cls=VerbGroup, help="Draw figures of runs and discretizers.", no_args_is_help=True
)

Runs = Annotated[list[Path], typer.Argument(help="Folders of runs.", **PATH_ARGUMENT)]
File = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        help="The file to write: .png, .svg, .pdf or .html; else FIGURE.png.",
        **PATH_OPTION,
    ),
]


@app.callback()
def _group() -> None:
    """Draw figures of runs and discretizers."""


def poles(runs: Runs, output: File = None, as_json: AsJson = False) -> None:
    """Draw the poles of trained layers in the unit disc; unstable ones are red."""
    _draw("poles", runs, output, as_json)


def gain(runs: Runs, output: File = None, as_json: AsJson = False) -> None:
    """Draw gain against frequency of trained layers, with the gains that they declare."""
    _draw("gain", runs, output, as_json)


def kernel(runs: Runs, output: File = None, as_json: AsJson = False) -> None:
    """Draw impulse responses of trained layers, those of the largest energy."""
    _draw("kernel", runs, output, as_json)


def hankel(runs: Runs, output: File = None, as_json: AsJson = False) -> None:
    """Draw the Hankel singular values of trained layers."""
    _draw("hankel", runs, output, as_json)


def training(runs: Runs, output: File = None, as_json: AsJson = False) -> None:
    """Draw what was logged in training: losses, scores, gains, spectral radii."""
    _draw("training", runs, output, as_json)


def _draw(kind: str, runs: list[Path], output: Path | None, as_json: bool) -> None:
    from ssmbench.library.plots import plot

    file = output or absolute(f"{kind}.png")
    made = plot(kind, *runs, output=file)
    if as_json:
        folders = {label: str(path) for label, path in made.runs.items()}
        print_json({"output": str(file), "runs": folders, "notes": list(made.notes)})
        return
    for note in made.notes:
        say(note)
    say(f"picture: {file}")


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


for function in (poles, gain, kernel, hankel, training, stability):
    add_verb(app, function)
