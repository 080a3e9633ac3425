"""``ssmbench discretize``: a user's continuous matrices, sampled by a method of their choice."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ssmbench.cli.printing import plain, print_json, table
from ssmbench.cli.verb import PATH_ARGUMENT, PATH_OPTION, AsJson
from ssmbench.errors import UsageError, require

if TYPE_CHECKING:
    from ssmbench.systems import ContinuousDense, DiscreteDense


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
    """Discretize your own matrices and say what that did to their poles and gain.

    x' = A x + B u becomes x(k+1) = A x(k) + B u(k); in both, y = C x + D u.
    """
    require(0 < dt < float("inf"), f"--dt must be positive and finite, got {dt}")
    component = _component(method, options or [])
    system = _continuous(path, dt)
    figures, discrete, warning = _sampled(component, system)
    _write(out, discrete, dt)
    if warning:
        print(f"warning: {warning}", file=sys.stderr)
    about = {"method": component, "dt": dt, "out": str(out), **figures}
    if as_json:
        print_json(about)
    else:
        table(("figure", "value"), [(key, plain(value)) for key, value in about.items()])


def _component(method: str, options: list[str]) -> dict[str, Any]:
    from ssmbench import registry
    from ssmbench.config import parse_overrides, resolve_component

    chosen = {"name": method, **parse_overrides(options)}
    require(chosen["name"] == method, "--options: the method is named by --method")
    return resolve_component(registry.discretizers, chosen, "--options")


def _continuous(path: Path, dt: float) -> ContinuousDense:
    import dataclasses

    import torch

    from ssmbench.systems import ContinuousDense
    from ssmbench.systems.io import load_system

    system = load_system(path)
    require(
        isinstance(system, ContinuousDense),
        f"{path}: is discrete already (it has a positive dt); leave dt out for continuous time",
    )
    return dataclasses.replace(system, dt=torch.full_like(system.dt, dt))


def _sampled(
    component: dict[str, Any], system: ContinuousDense
) -> tuple[dict[str, Any], DiscreteDense, str | None]:
    """Figures of the discrete system beside the continuous one's, the system, and a warning."""
    import torch

    from ssmbench import registry
    from ssmbench.analysis.gain import analyse
    from ssmbench.analysis.stability_region import instability, largest_stable_step
    from ssmbench.config import build

    method = build(registry.discretizers, component)
    try:
        discrete = method(system)
    except torch.linalg.LinAlgError:
        raise UsageError(
            f"{component['name']}: a pole of the system times dt is a pole of this method; "
            "choose another step size"
        ) from None
    require(discrete.is_finite(), f"{component['name']}: the result overflows at this step size")
    before, after = analyse(system), analyse(discrete)
    names = {"spectral_abscissa": "spectral_abscissa", "hinf": "hinf_continuous"}
    figures = {
        "stable": after.to_dict()["stable"],
        "spectral_abscissa": before.spectral_abscissa,
        "spectral_radius": after.spectral_radius,
        "hinf_continuous": before.hinf,
        "hinf": after.hinf,
        "hinf_upper_bound": after.hinf_upper_bound,
        "unproved": [names[x] for x in before.unproved if x in names]
        + [x for x in after.unproved if x in ("stable", "spectral_radius", "hinf")],
        "largest_stable_step": float(largest_stable_step(method, system).min()),
    }
    found = instability(method, system)
    return figures, discrete, found and f"{component['name']}: {found.sentence}"


def _write(out: Path, system: DiscreteDense, dt: float) -> None:
    import numpy as np

    arrays = {key: getattr(system, key).numpy() for key in "ABCD"}
    if system.heads == 1:
        arrays = {key: array[0] for key, array in arrays.items()}
    try:
        with out.open("wb") as stream:  # a path would be given the suffix .npz
            np.savez(stream, **arrays, dt=dt)
    except OSError as error:
        raise UsageError(f"{out}: cannot be written: {error.strerror}") from None
