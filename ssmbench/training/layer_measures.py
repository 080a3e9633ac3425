"""The measures of SSM layers beside their gains: those that a config asks for, and those of which
a parametrization declares a bound."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import torch

from ssmbench.analysis.measured import Measured, is_worse
from ssmbench.config import build
from ssmbench.errors import UsageError
from ssmbench.measures.base import VARYING, Measure
from ssmbench.measures.chosen import Component, chosen, label
from ssmbench.nn.bounds import is_finite
from ssmbench.nn.layer import SSMLayer
from ssmbench.registry import measures
from ssmbench.results import LayerGains, LayerMeasure
from ssmbench.systems import LinearSystem


def layer_measures(
    layer: SSMLayer,
    components: Iterable[Component] | None,
    changed: Callable[[LinearSystem], LinearSystem] = lambda system: system,
) -> tuple[LayerMeasure, ...]:
    """The measures of a layer that are asked for, then those that it declares besides; one that
    cannot be taken has a note that says why, and no figures.

    Computed on the CPU in float64, from the matrices that the layer's scan runs, which ``changed``
    may replace.
    """
    declared = _declared(layer)
    taken = {label(one): one for one in components or ()}
    taken |= {name: one for name, (one, _) in declared.items() if name not in taken}
    promises = {name: promise for name, (_, promise) in declared.items()}
    return tuple(
        _measure(layer, changed, component, promises.get(name)) for name, component in taken.items()
    )


def _declared(layer: SSMLayer) -> dict[str, tuple[Component, float]]:
    """What a layer declares of measures, by their labels."""
    where = f"{type(layer.parametrization).__name__}.declared_measures"
    promises = layer.declared_measures()
    components = chosen(list(promises), where)
    pairs = zip(components, promises.values(), strict=True)
    return {label(component): (component, promise) for component, promise in pairs}


def _measure(
    layer: SSMLayer,
    changed: Callable[[LinearSystem], LinearSystem],
    component: Component,
    declared: float | None,
) -> LayerMeasure:
    name, measure = label(component), build(measures, component)
    if layer.time_varying:
        return _none(name, measure, VARYING)
    if not is_finite(layer):
        return _none(name, measure, "a parameter is not finite")
    try:
        with torch.no_grad():
            system = layer.system().to("cpu")
            assert isinstance(system, LinearSystem), "asked of layers that are not time-varying"
            found = measure.measure(changed(system))
    except UsageError as error:
        return _none(name, measure, str(error))
    return _record(name, found, declared)


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
