"""The measures of SSM layers that a config asks for, beside their gains."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch

from ssmbench.analysis.measured import Measured, is_worse
from ssmbench.config import build
from ssmbench.errors import UsageError
from ssmbench.measures.base import VARYING, Measure
from ssmbench.measures.chosen import label
from ssmbench.nn.bounds import is_finite
from ssmbench.nn.layer import SSMLayer
from ssmbench.registry import measures
from ssmbench.results import LayerGains, LayerMeasure


def layer_measures(
    layer: SSMLayer, components: Iterable[Mapping[str, Any]] | None
) -> tuple[LayerMeasure, ...]:
    """The measures of a layer; one that cannot be taken has a note that says why, and no figures.

    Computed on the CPU in float64, from the matrices that the layer's scan runs.
    """
    return tuple(_measure(layer, component) for component in components or ())


def _measure(layer: SSMLayer, component: Mapping[str, Any]) -> LayerMeasure:
    name, measure = label(component), build(measures, component)
    if layer.time_varying:
        return _none(name, measure, VARYING)
    if not is_finite(layer):
        return _none(name, measure, "a parameter is not finite")
    try:
        with torch.no_grad():
            found = measure.measure(layer.system().to("cpu"))
    except UsageError as error:
        return _none(name, measure, str(error))
    return _record(name, found, layer.declared_measures().get(name))


def _none(name: str, measure: Measure, reason: str) -> LayerMeasure:
    return LayerMeasure(
        name, None, None, None, None, larger_is_worse=measure.larger_is_worse, note=reason
    )


def _record(name: str, found: Measured, declared: float | None) -> LayerMeasure:
    return LayerMeasure(
        name=name,
        value=_known(found.value),
        lower=found.proved.lower,
        upper=found.proved.upper,
        attacked=_known(found.attacked),
        declared=declared,
        larger_is_worse=found.larger_is_worse,
        unit=found.unit,
        note=found.note,
        details={key: value for key, value in found.details.items() if not math.isnan(value)},
        scale=found.scale,
    )


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def measure_violations(layers: Sequence[LayerGains]) -> Iterator[str]:
    """One sentence for each measure of a layer that breaks what is declared or proved of it."""
    for index, layer in enumerate(layers):
        for found in layer.measures:
            where, worse = f"layer {index}: {found.name}", found.larger_is_worse
            proved, bound = (found.lower, found.upper) if worse else (found.upper, found.lower)
            for word, value, than, promised in (
                ("verified", proved, "declared", found.declared),
                ("attacked", found.attacked, "declared", found.declared),
                ("attacked", found.attacked, "verified", bound),
            ):
                if value is None or promised is None:
                    continue
                if not is_worse(value, promised, worse, found.scale):
                    continue
                yield f"{where}: {word} {value:g} {'>' if worse else '<'} {than} {promised:g}"
