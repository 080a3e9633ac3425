"""``ssmbench attack``: the largest gain that an adversary finds in the network of a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from ssmbench.cli.printing.gains import print_attack
from ssmbench.cli.verb import PATH_ARGUMENT, AsJson
from ssmbench.errors import require


def attack(
    run: Annotated[Path, typer.Argument(help="A run's folder.", **PATH_ARGUMENT)],
    steps: Annotated[
        int | None, typer.Option(help="Ascent steps from each start; default: the run's.")
    ] = None,
    restarts: Annotated[int | None, typer.Option(help="Starts; default: the run's.")] = None,
    seed: Annotated[
        int | None, typer.Option(help="Of the adversary's starts; default: the run's.")
    ] = None,
    rate: Annotated[
        float, typer.Option(help="Multiply step sizes; 0.5: sampled twice as fast.")
    ] = 1.0,
    as_json: AsJson = False,
) -> None:
    """Search for the input that the trained network of a run amplifies most.

    The network is rebuilt from the run's config and checkpoint, and the worst input that is found
    is written into its folder as worst_input.npz: base, disturbance, gain, amplitude.
    """
    budget = {"steps": steps, "restarts": restarts, "seed": seed}
    _check_budget(budget)
    require(not run.is_file(), f"{run} is a file, not a run's folder")
    from ssmbench.runs.load import attack_run

    found = attack_run(run, rate, **{f"attack_{name}": value for name, value in budget.items()})
    print_attack(found, as_json)


def _check_budget(budget: Mapping[str, int | None]) -> None:
    """As the same options of a run's config."""
    from ssmbench.config import AnalysisConfig
    from ssmbench.options import declared

    for name, value in budget.items():
        for limit in declared(AnalysisConfig)[f"attack_{name}"] if value is not None else ():
            require(limit.test(value), f"{name}: {limit.problem(value)}")
