"""The gains of an exported network, for its metadata."""

from __future__ import annotations

import math
from typing import Any

import torch

from ssmbench.analysis.certificate import Bound, GainClaim
from ssmbench.analysis.gain import GainReport, analyse
from ssmbench.analysis.program_bound import SYSTEMS, program_bound, systems_of
from ssmbench.nn.model import SequenceModel
from ssmbench.program import Operation, Program


@torch.no_grad()
def exported_gains(model: SequenceModel, program: Program, length: int) -> dict[str, Any]:
    """Verified gains of the exported matrices, layer by layer, and bounds on the network's gain.

    ``length``: the samples of a training sequence. ``from_steps``: the bound holds for sequences of
    at least so many steps; 1 stands for all. Infinite figures are None.
    """
    reports = [analyse(system) for system in systems_of(program)]
    gains = [report.hinf_upper_bound for report in reports]
    verified = map(_layer, reports)
    layers = [op for op in program.operations if op.kind in (*SYSTEMS, "varying")]
    steps = model.framing.count(length)
    return {
        "layers": [next(verified) if op.kind in SYSTEMS else _varying(op) for op in layers],
        "network": [
            _network(program_bound(program, gains, claim, least), claim, least, model)
            for claim in (GainClaim.incremental, GainClaim.zero_state)
            for least in sorted({1, steps} if _depends_on_steps(program) else {1})
        ],
    }


def _depends_on_steps(program: Program) -> bool:
    """Whether the bound is smaller for long sequences: with a mean over the steps."""
    return any(op.kind == "mean" and op.options["how"] == "mean" for op in program.operations)


def _layer(report: GainReport) -> dict[str, Any]:
    return {
        "verified": _finite(report.hinf),
        "verified_bound": _finite(report.hinf_upper_bound),
        "spectral_radius": _finite(report.spectral_radius),
    }


def _varying(operation: Operation) -> dict[str, Any]:
    """What a time-varying layer declares for all parameter values, so also for exported ones."""
    nothing = {"verified": None, "verified_bound": None, "spectral_radius": None}
    return {**nothing, "declared": operation.options["gain"], "claim": GainClaim.zero_state.value}


def _network(bound: Bound, claim: GainClaim, steps: int, model: SequenceModel) -> dict[str, Any]:
    return {
        "claim": claim.value,
        "bound": _finite(bound.value),
        "from_steps": steps,
        "horizon": "infinite",
        "of": model.gains_from.value,
        "reason": bound.reason,
    }


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
