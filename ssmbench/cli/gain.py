"""``ssmbench gain``: stability and L2 gain of a system, or of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ssmbench.cli.attack import attack as attack_verb
from ssmbench.cli.printing.gains import print_figures
from ssmbench.cli.verb import PATH_ARGUMENT, AsJson
from ssmbench.errors import require


def gain(
    path: Annotated[
        Path, typer.Argument(help="An .npz with A, B, C, D, or a run's folder.", **PATH_ARGUMENT)
    ],
    horizon: Annotated[
        int | None, typer.Option(help="Also the gain over this many steps (discrete time).")
    ] = None,
    measure: Annotated[
        list[str] | None,
        typer.Option(
            help="Also a measure, written as in analysis.measures of a config: for example "
            "`band_gain(low=0.1, high=1)`; see `ssmbench list measures`. May be repeated."
        ),
    ] = None,
    # The old spelling, from before ``attack`` was a verb: still accepted, but hidden from --help.
    attack: Annotated[bool, typer.Option("--attack", hidden=True)] = False,
    attack_steps: Annotated[int | None, typer.Option(hidden=True)] = None,
    attack_restarts: Annotated[int | None, typer.Option(hidden=True)] = None,
    seed: Annotated[int | None, typer.Option(hidden=True)] = None,
    rate: Annotated[float, typer.Option(hidden=True)] = 1.0,
    as_json: AsJson = False,
) -> None:
    """Compute stability and L2 gain of a system, or show those of a run.

    An .npz file holds A, B, C, D and, optionally, dt. Without dt, or if dt is 0, the system is
    continuous, x' = A x + B u; otherwise it is discrete, x(k+1) = A x(k) + B u(k).

    See `ssmbench attack` for an adversarial search for the gain of a run's trained network.
    """
    budget = {"--attack-steps": attack_steps, "--attack-restarts": attack_restarts, "--seed": seed}
    if attack:
        require(horizon is None, "--horizon: applies to .npz files, not to --attack")
        require(not measure, "--measure: applies to .npz files, not to --attack")
        attack_verb(path, attack_steps, attack_restarts, seed, rate, as_json)
        return
    for flag, value in budget.items():
        require(value is None, f"{flag}: only applies with --attack")
    require(rate == 1, "--rate: only applies with --attack")
    print_figures(_figures(path, horizon, measure or []), as_json)


def _figures(path: Path, horizon: int | None, measures: list[str]) -> dict[str, Any]:
    if path.is_dir():
        require(horizon is None, "--horizon: only applies to .npz files")
        where = "a run's layers are measured as its config's analysis.measures says"
        require(not measures, f"--measure: only applies to .npz files; {where}")
        return _gains_of_run(path)
    from ssmbench.library.systems import analyse

    return analyse(path, horizon, measures=measures).to_dict()


def _gains_of_run(path: Path) -> dict[str, Any]:
    from ssmbench.library.runs import read_result

    gains = read_result(path).gain.to_dict()
    network = {f"network_{key}": value for key, value in gains["network"].items()}
    left_out = ("layers", "network", *(() if gains["note"] else ("note", "frozen")))
    return {k: v for k, v in gains.items() if k not in left_out} | network
