"""Certified accuracy of a published run: against its own other figures, and where the data are,
computed again from the weights."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ssmbench.analysis.proofs import NORM
from ssmbench.errors import UsageError, last_line
from ssmbench.publication.checks.gains import layers_of
from ssmbench.publication.checks.network import Rebuilt
from ssmbench.publication.checks.scores import COUNTED, TOLERANCE
from ssmbench.publication.checks.verdict import Findings
from ssmbench.results import Result
from ssmbench.training.certificates import Certificates, certificates
from ssmbench.training.composed import KnownPairs

#: How far a radius may move between two computers, relatively: by what the proofs of the layers'
#: gains leave open, and by the tolerance of scores.
_RADIUS = 4 * NORM + TOLERANCE


def false_certificates(result: Result) -> Iterator[str]:
    """Certified scores that the run's other figures contradict, whatever the data."""
    curves = {kind: _curve(result, kind) for kind in ("certified", "adversarial")}
    proved, attacked = curves["certified"], curves["adversarial"]
    counted = 1 if result.certified is None else max(1, result.certified.sequences)
    for energy, share in proved.items():
        found = attacked.get(energy)
        if found is not None and share > found + COUNTED / counted:
            yield (
                f"certified {share:.6g} under disturbances of {energy:g}, but the adversary "
                f"left {found:.6g}"
            )
    if proved and math.isinf(result.gain.network.bound):
        yield "has a certified score, but its network has no finite bound"


def _curve(result: Result, kind: str) -> dict[float, float]:
    return {p.energy: p.score for p in result.robustness if p.kind == kind and p.score is not None}


def check_certified(run: Rebuilt, result: Result, known: KnownPairs | None) -> Findings:
    """Compare the submitted certified figures with those of the weights, and with the gains that
    are ``known`` besides; without data, say so."""
    said = result.certified
    if said is None:  # of an earlier version, or not measured
        claimed = _curve(result, "certified")
        without = "has certified scores, but does not say of which predictions"
        return Findings(rejected=(without,)) if claimed else Findings()
    if run.task is None:
        return Findings(not_checked=("certified scores",))
    layers = layers_of(run.model, result.gain)
    try:
        about = run.model, run.task, run.config.analysis, layers, known
        found = certificates(*about, widened=1 + _RADIUS)
    except UsageError as error:
        return Findings(not_checked=(f"certified scores: {last_line(error)}",))
    return Findings(rejected=tuple(_overclaims(result, found)))


def _overclaims(result: Result, found: Certificates) -> Iterator[str]:
    """Figures above those of the weights, whose radii were counted as larger by as much as two
    computers may differ; a smaller claim is true as well."""
    said = result.certified
    assert said is not None, "checked before"
    mine = {point.energy: point.score for point in found.curve}
    for energy, share in _curve(result, "certified").items():
        proved = mine.get(energy) or 0.0
        if share > proved + COUNTED / max(1, said.sequences):
            yield (
                f"certified {share:.6g} under disturbances of {energy:g}, but the gains of the "
                f"weights prove {proved:.6g}"
            )
    radius = (found.figures and found.figures.median_radius) or 0.0
    if said.median_radius is not None and said.median_radius > radius + TOLERANCE:
        yield f"certified median radius {said.median_radius:.6g}, but the weights have {radius:.6g}"
