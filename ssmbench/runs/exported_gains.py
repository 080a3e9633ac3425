"""The gains of an exported network, for its metadata."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from ssmbench.analysis.certificate import Bound, GainClaim
from ssmbench.analysis.gain import GainReport, analyse
from ssmbench.analysis.program_bound import SYSTEMS, program_bound, systems_of
from ssmbench.nn.model import SequenceModel
from ssmbench.program import Operation, Program

#: Why the bound may be above the gamma that the network keeps.
LARGER = (
    "composed operation by operation: the certificates of whole parts, such as a nonlinearity of "
    "several matrices, are not proved again"
)
ROUNDED = "the stored weights are not those that the network's certificate holds for"


@torch.no_grad()
def exported_gains(
    model: SequenceModel, program: Program, length: int, weights: str
) -> dict[str, Any]:
    """Verified gains of the exported matrices, layer by layer, and bounds on the network's gain.

    ``length``: the samples of a training sequence. ``from_steps``: the bound holds for sequences of
    at least so many steps; 1 stands for all. ``weights``: how matrices are stored. Figures that are
    infinite or not proved are None.
    """
    reports = [analyse(system) for system in systems_of(program)]
    gains = [report.hinf_upper_bound for report in reports]
    verified = map(_layer, reports)
    layers = [op for op in program.operations if op.kind in (*SYSTEMS, "varying")]
    steps = model.framing.count(length)
    return {
        "layers": [next(verified) if op.kind in SYSTEMS else _varying(op) for op in layers],
        "network": [
            _network(bound, claim, least, model, weights)
            for claim in (GainClaim.incremental, GainClaim.zero_state)
            for least, bound in _bounds(program, gains, claim, steps)
        ],
    }


def _bounds(
    program: Program, gains: Sequence[float], claim: GainClaim, steps: int
) -> list[tuple[int, Bound]]:
    """The bound for all lengths, and that for ``steps`` steps and more where it is smaller."""
    every, long = (program_bound(program, gains, claim, least) for least in (1, steps))
    return [(1, every), (steps, long)] if long.value < every.value else [(1, every)]


def _layer(report: GainReport) -> dict[str, Any]:
    known = {"hinf", "spectral_radius"}.difference(report.unproved)
    return {
        "verified": _finite(report.hinf) if "hinf" in known else None,
        "verified_bound": _finite(report.hinf_upper_bound),
        "spectral_radius": _finite(report.spectral_radius) if "spectral_radius" in known else None,
    }


def _varying(operation: Operation) -> dict[str, Any]:
    """What a time-varying layer declares for all parameter values, so also for exported ones."""
    nothing = {"verified": None, "verified_bound": None, "spectral_radius": None}
    return {**nothing, "declared": operation.options["gain"], "claim": GainClaim.zero_state.value}


def _network(
    bound: Bound, claim: GainClaim, steps: int, model: SequenceModel, weights: str
) -> dict[str, Any]:
    declared = model.declared_gain if claim is model.gain_claim else None
    larger = declared is not None and bound.value > declared
    return {
        "claim": claim.value,
        "bound": _finite(bound.value),
        "from_steps": steps,
        "horizon": "infinite",
        "of": model.gains_from.value,
        "reason": bound.reason,
        "declared": declared,
        "above_declared": _why_larger(weights) if larger and bound.finite else "",
    }


def _why_larger(weights: str) -> str:
    return LARGER if weights == "float32" else f"{LARGER}; {ROUNDED}"


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
