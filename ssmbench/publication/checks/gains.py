"""Declared and verified gains and poles of the weights, computed again, against the submitted ones.

Two computers may round differently. A layer's matrices are computed from its parameters in their
precision, whose unit u moves a pole by about u, and the gain of a mode at the distance m from the
unit circle by u / m, relatively. So these agree:

* declared gains to within :data:`TOLERANCE`;
* verified gains to within what their proofs leave open (1%) and 16 u / m;
* spectral radius and margin to within 1000 u, at least 1e-6;
* measures as :mod:`ssmbench.publication.checks.measures` says.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch

from ssmbench.analysis.certificate import TOLERANCE, Bound, GainClaim
from ssmbench.analysis.proofs import NORM, POLES
from ssmbench.measures.chosen import Component
from ssmbench.nn.freeze import precision
from ssmbench.nn.layer import SSMLayer
from ssmbench.nn.model import SequenceModel
from ssmbench.publication.checks.measures import MeasuresCheck
from ssmbench.publication.checks.tighter import TighterCheck
from ssmbench.publication.checks.verdict import Findings
from ssmbench.results import Gains, LayerGains, NetworkGains
from ssmbench.training.composed import composed_bound, proved_layer_gains, zero_state_bound
from ssmbench.training.gains import proved_gains, summary
from ssmbench.training.layer_analysis import declared_gain
from ssmbench.training.violations import violations

#: Of 16 u / m, at which a gain says nothing any more.
_MEANINGLESS = 0.5


def check_gains(
    model: SequenceModel,
    said: Gains,
    steps: int,
    tighter: TighterCheck,
    asked: Sequence[Component] = (),
) -> Findings:
    """Compare the submitted gains with those that follow from the weights.

    ``steps``: the length for which the submitted bound of the network is said to hold;
    ``tighter``: proves its tighter bound again; ``asked``: measures that the run's config asks for.
    """
    if len(said.layers) != len(model.layers):
        count = f"gains of {len(said.layers)} layers, but the network has {len(model.layers)}"
        return Findings(rejected=(count,))
    unit = torch.finfo(precision(model)).eps
    measures = MeasuresCheck.of(model.layers, asked, unit)
    layers = measures.put_into(layers_of(model, said))
    pairs = list(zip(layers, said.layers, strict=True))
    bound = composed_bound(model, layers, steps)
    network = _network(model, layers, bound, said.network, steps)
    least = tighter.bound(model, bound, proved_layer_gains(layers), said.network)
    faults = [*_lies(layers, said, network)]
    for index, (found, given) in enumerate(pairs):
        faults += [f"layer {index}: {fault}" for fault in _faults(found, given, unit)]
    faults += measures.faults(said.layers)
    faults += _network_faults(layers, network, said.network, unit)
    if not any(_is_meaningless(layer, unit) for layer in layers):
        faults += tighter.faults(least, said.network, _joint_slack(layers, unit))
    faults += _summary_faults(summary(model, list(said.layers), said.network), said)
    whole = summary(model, layers, network)
    notes = (*_not_checked(model, layers, unit), *measures.notes())
    return Findings(
        rejected=tuple(dict.fromkeys(faults)),
        not_checked=(*notes, *tighter.notes(said.network)),
        declared=whole.declared,
        verified=whole.verified,
        network_bound=least.value,
    )


def _network(
    model: SequenceModel,
    layers: list[LayerGains],
    bound: Bound,
    said: NetworkGains,
    steps: int,
) -> NetworkGains:
    """The figures of the network that follow from its weights, with the submitted attack."""
    figures = NetworkGains(model.declared_gain, bound.value, bound.reason, said.attacked)
    if model.declared_by_bound:
        figures = replace(figures, declared_lengths=said.declared_lengths)
    if model.gain_claim is GainClaim.incremental:
        return figures
    from_zero = zero_state_bound(model, layers, steps)
    return replace(
        figures,
        claim=model.gain_claim.value,
        zero_state_bound=from_zero.value if from_zero.finite else None,
    )


def layers_of(model: SequenceModel, said: Gains) -> list[LayerGains]:
    """The figures of the layers that follow from the weights; the others as submitted."""
    return [_layer(layer, given) for layer, given in zip(model.layers, said.layers, strict=True)]


def _layer(layer: SSMLayer, said: LayerGains) -> LayerGains:
    """The figures of a layer that need no data; the others are those submitted."""
    if not layer.time_varying:
        return proved_gains(layer, said.attacked)
    return LayerGains(
        declared=declared_gain(layer),
        verified=None,
        attacked=said.attacked,
        peak_frequency=said.peak_frequency,
        spectral_radius=said.spectral_radius,
        margin=said.margin,
        frozen=said.frozen,
        note=said.note,
        claim=layer.gain_claim.value,
        attacked_incremental=said.attacked_incremental,
    )


def _lies(layers: Sequence[LayerGains], said: Gains, network: NetworkGains) -> Iterator[str]:
    """Declarations that the weights break."""
    calm = [replace(layer, attacked=0.0) for layer in layers]  # attacks: see the other functions
    quiet = replace(network, attacked=0.0)
    if network.declared_lengths:  # the bound that keeps the gain is compared with what is proved
        quiet = replace(quiet, bound=said.network.bound)
    for fault in violations(calm, quiet):
        yield f"false declaration: {fault}"
    for index, (found, given) in enumerate(zip(layers, said.layers, strict=True)):
        if _exceeds(found.verified, given.declared) and not _exceeds(
            found.verified, found.declared
        ):
            yield (
                f"false declaration: layer {index} declares {given.declared:.6g}, but has the "
                f"verified gain {found.verified:.6g}"
            )
    if said.violations:
        yield f"a bound does not hold, by its own result: {said.violations[0]}"


def _exceeds(figure: float | None, bound: float | None) -> bool:
    return figure is not None and bound is not None and figure > bound * (1 + TOLERANCE) ** 2


def _slack(found: LayerGains, unit: float) -> float:
    """By how much two computers may differ about a gain, relatively."""
    return NORM + 16 * unit / max(abs(found.margin), unit)


def _is_meaningless(found: LayerGains, unit: float) -> bool:
    return found.verified is not None and _slack(found, unit) > _MEANINGLESS


def _faults(found: LayerGains, said: LayerGains, unit: float) -> Iterator[str]:
    yield from _differing("declared gain", found.declared, said.declared, TOLERANCE)
    if found.verified is None:
        if said.verified is not None or said.verified_bound is not None:
            yield "has a verified gain, but its system depends on its input"
        return
    yield from _differing("promised gain", found.promised, said.promised, TOLERANCE)
    moved = max(POLES, 1000 * unit) * max(1.0, found.spectral_radius)
    for name in ("spectral_radius", "margin"):
        one, other = getattr(found, name), getattr(said, name)
        if not (one == other or abs(one - other) <= moved):
            yield f"{name.replace('_', ' ')} is {other:.8g}, but that of the weights is {one:.8g}"
    if _is_meaningless(found, unit):
        return
    slack = _slack(found, unit)
    yield from _differing("verified gain", found.verified, said.verified, slack)
    yield from _proof_faults(found, said, slack)


def _proof_faults(found: LayerGains, said: LayerGains, slack: float) -> Iterator[str]:
    bound, lower = said.verified_bound, found.verified
    assert lower is not None, "asked of layers with a verified gain only"
    if bound is not None and bound < lower * (1 - slack):
        yield f"said to be proved at most {bound:.6g}, but is {lower:.6g}"
    upper = math.inf if found.verified_bound is None else found.verified_bound
    claimed = bound is not None and math.isfinite(bound)
    if claimed and math.isinf(upper):
        yield f"said to be proved at most {bound:.6g}, but no proof succeeds here"
    if said.attacked > upper * (1 + slack):
        yield f"attacked gain {said.attacked:.6g} exceeds what is proved, {upper:.6g}"
    missing = sorted(set(found.unproved) - set(said.unproved))
    if missing:
        yield f"{', '.join(missing)}: not proved here, but not marked as an estimate"


def _differing(what: str, found: float | None, said: float | None, slack: float) -> Iterator[str]:
    """A sentence if a submitted figure is not, to within ``slack``, that of the weights."""
    if found is None and said is None:
        return
    if found is not None and said is not None:
        near = math.isfinite(found) and abs(found - said) <= slack * abs(found)
        if found == said or near:
            return
    words = ["none" if value is None else f"{value:.6g}" for value in (said, found)]
    yield f"{what} is {words[0]}, but that of the weights is {words[1]}"


def _joint_slack(layers: Sequence[LayerGains], unit: float) -> float:
    """By how much two computers may differ about the product of all layers' gains, relatively."""
    return math.prod(1 + _slack(layer, unit) for layer in layers if layer.verified) - 1


def _network_faults(
    layers: Sequence[LayerGains], found: NetworkGains, said: NetworkGains, unit: float
) -> Iterator[str]:
    yield from (f"network: {f}" for f in _differing("gamma", found.declared, said.declared, 1e-9))
    if set(said.declared_lengths) != set(found.declared_lengths and said.bound_lengths):
        yield (
            "network: the lengths for which its gain is declared are not those for which a bound "
            "keeps it"
        )
    if found.claim != said.claim:
        yield f"network: claims a gain that is {said.claim}, but its layers claim {found.claim}"
    slack = _joint_slack(layers, unit)
    if any(_is_meaningless(layer, unit) for layer in layers):
        return
    composed = said.bound if said.product_bound is None else said.product_bound
    overflows = math.isinf(composed) and found.bound > torch.finfo(torch.float32).max
    if not overflows:
        yield from (f"network: {f}" for f in _differing("bound", found.bound, composed, slack))
    if said.bound > composed * (1 + slack):
        yield f"network: bound {said.bound:.6g} exceeds the composed one, {composed:.6g}"
    if said.attacked > found.bound * (1 + slack):
        yield f"network: attacked gain {said.attacked:.6g} exceeds its bound {found.bound:.6g}"
    limit, reached = found.zero_state_bound, said.zero_state
    yield from (
        f"network: {f}" for f in _differing("zero-state bound", limit, said.zero_state_bound, slack)
    )
    if limit is not None and reached is not None and reached > limit * (1 + slack + TOLERANCE):
        yield f"network: attacked from zero {reached:.6g} exceeds its bound {limit:.6g}"
    start = said.attacked_from_zero
    if start is not None and start > said.attacked * (1 + TOLERANCE):
        yield f"network: attacked from zero {start:.6g} exceeds attacked {said.attacked:.6g}"


def _summary_faults(found: Gains, said: Gains) -> Iterator[str]:
    """Where the worst figures over the layers are not those of the submitted layers."""
    for name in ("promised", "declared", "verified", "attacked", "spectral_radius", "margin"):
        one, other = getattr(found, name), getattr(said, name)
        optional = other is None and name in ("promised", "margin")  # earlier results have none
        if one != other and not optional:
            yield f"gain.{name} is {other}, but the worst of its layers is {one}"
    if found.arithmetic != said.arithmetic:
        yield f"gain.arithmetic is {said.arithmetic!r:.20}, but the weights are {found.arithmetic}"


def _not_checked(model: SequenceModel, layers: Sequence[LayerGains], unit: float) -> Iterator[str]:
    yield "attacked gains, except that they do not exceed what is proved"
    if any(layer.time_varying for layer in model.layers):
        yield "frozen gains and poles of time-varying layers, which depend on the data"
    for index, found in enumerate(layers):
        if _is_meaningless(found, unit):
            yield f"gain of layer {index}: its margin {found.margin:.3g} is one of rounding"
