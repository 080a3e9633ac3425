"""``ssmbench attack``: the largest gain that an adversary finds in the network of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ssmbench.cli.printing.gains import print_attack
from ssmbench.cli.verb import PATH_ARGUMENT, AsJson


def attack(
    run: Annotated[Path, typer.Argument(help="A run's folder.", **PATH_ARGUMENT)],
    steps: Annotated[
        int | None, typer.Option(help="Ascent steps from each start; default: the run's.")
    ] = None,
    restarts: Annotated[int | None, typer.Option(help="Starts; default: the run's.")] = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed of the adversary's starts; default: the run's.")
    ] = None,
    rate: Annotated[
        float,
        typer.Option(help="Factor on step sizes; 0.5 for inputs sampled twice as fast."),
    ] = 1.0,
    as_json: AsJson = False,
) -> None:
    """Search for the input that the trained network of a run amplifies most.

    The network is rebuilt from the run's config and checkpoint. The worst input found is written to
    worst_input.npz in the run's folder: base, disturbance, gain, amplitude.
    """
    from ssmbench.library import runs

    found = runs.attack(run, steps=steps, restarts=restarts, seed=seed, rate=rate)
    print_attack(found, as_json)
