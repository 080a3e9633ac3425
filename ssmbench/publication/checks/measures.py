"""Measures of the layers beside their gains, computed again from the weights.

How far the figures of two computers may lie apart depends on the system, for a measure of any kind:
the matrices are moved at random by :data:`MOVED` units of their precision, and a figure may differ
by :data:`TIMES` what that moves it, by what its proof leaves open, and by 1% of itself. A figure
that is there with some matrices and not with others is one of rounding, and is not compared.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ssmbench.analysis.certificate import TOLERANCE
from ssmbench.analysis.measured import is_worse
from ssmbench.analysis.proofs import NORM
from ssmbench.measures.chosen import Component, chosen, label
from ssmbench.nn.layer import SSMLayer
from ssmbench.results import LayerGains, LayerMeasure
from ssmbench.systems import LinearSystem
from ssmbench.training.layer_measures import layer_measures

MOVED, TIMES, _DRAWS = 16.0, 4.0, 2
_FIGURES = ("value", "lower", "upper")


def asked_measures(config: Mapping[str, Any]) -> list[Component]:
    """The measures that a run's config asks for.

    Raises:
        UsageError: as :func:`ssmbench.measures.chosen.chosen`.
    """
    analysis = config.get("analysis")
    given = analysis.get("measures") if isinstance(analysis, Mapping) else None
    return list(chosen(given or [], "analysis.measures"))


@dataclass(frozen=True)
class MeasuresCheck:
    """What the measures of a network's layers are, by its weights; ``asked``: the names of those
    that the run's config asks for."""

    layers: Sequence[_Recomputed]
    asked: Sequence[str]

    @staticmethod
    def of(layers: Sequence[SSMLayer], asked: Sequence[Component], unit: float) -> MeasuresCheck:
        """``unit``: that of the precision in which the layers' matrices are computed."""
        computed = [_Recomputed.of(layer, asked, unit) for layer in layers]
        return MeasuresCheck(computed, [label(component) for component in asked])

    def put_into(self, layers: Sequence[LayerGains]) -> list[LayerGains]:
        """The layers' figures with these measures."""
        pairs = zip(layers, self.layers, strict=True)
        return [replace(one, measures=tuple(its.found.values())) for one, its in pairs]

    def faults(self, said: Sequence[LayerGains]) -> Iterator[str]:
        """Where the submitted measures are not those of the weights."""
        for index, (one, given) in enumerate(zip(self.layers, said, strict=True)):
            for fault in one.faults(given.measures, self.asked):
                yield f"layer {index}: {fault}"

    def notes(self) -> Iterator[str]:
        """What is not compared."""
        for index, layer in enumerate(self.layers):
            for name in filter(layer.is_of_rounding, layer.found):
                yield f"layer {index}: {name}, which rounding decides"


@dataclass(frozen=True)
class _Recomputed:
    """The measures of a layer by their names: of its matrices, and of moved ones."""

    found: Mapping[str, LayerMeasure]
    moved: Sequence[Mapping[str, LayerMeasure]]

    @staticmethod
    def of(layer: SSMLayer, asked: Sequence[Component], unit: float) -> _Recomputed:
        drawn = [_Moved(unit, seed) for seed in range(_DRAWS)]
        found = _by_name(layer_measures(layer, asked))
        if not any(one.value is not None for one in found.values()):
            return _Recomputed(found, [])
        return _Recomputed(found, [_by_name(layer_measures(layer, asked, one)) for one in drawn])

    def faults(self, said: Sequence[LayerMeasure], asked: Sequence[str]) -> Iterator[str]:
        """Where the submitted measures are not those of the weights. Results from before declared
        measures were always taken may lack those; ``asked``: the names of those that may not."""
        given = _by_name(said)
        if len(given) < len(said):
            yield "has a measure twice"
        for name in asked:
            if name not in given:
                yield f"{name}: the config asks for it, but it is missing"
        for name, one in given.items():
            if name not in self.found:
                yield f"{name}: a measure that neither the config nor the layer asks for"
                continue
            yield from (f"{name}: {fault}" for fault in self._faults(name, one))

    def _faults(self, name: str, said: LayerMeasure) -> Iterator[str]:
        found = self.found[name]
        for what in ("unit", "larger_is_worse"):
            if getattr(found, what) != getattr(said, what):
                yield f"{what} is {getattr(said, what)!r}, but must be {getattr(found, what)!r}"
        if not _near(found.declared, said.declared, TOLERANCE * abs(found.declared or 0.0)):
            yield f"declared is {_shown(said.declared)}, but the layer has {_shown(found.declared)}"
        if self.is_of_rounding(name):
            return
        for what in _FIGURES:
            one, other = getattr(found, what), getattr(said, what)
            if not _near(one, other, self._slack(name, what)):
                yield f"{what} is {_shown(other)}, but that of the weights is {_shown(one)}"
        yield from self._unlike_details(name, said)
        if said.note not in {one[name].note for one in (self.found, *self.moved)}:
            yield f"says {said.note!r:.80}, but of the weights {found.note!r:.80} holds"
        yield from self._beyond(name, said)

    def _unlike_details(self, name: str, said: LayerMeasure) -> Iterator[str]:
        found = self.found[name].details
        for what in sorted({*found, *said.details}):
            one, other = found.get(what), said.details.get(what)
            if not _near(one, other, self._slack(name, what)):
                yield f"{what} is {_shown(other)}, but that of the weights is {_shown(one)}"

    def _beyond(self, name: str, said: LayerMeasure) -> Iterator[str]:
        """An attack that reached more than is proved to be possible."""
        found, worse = self.found[name], said.larger_is_worse
        end = "upper" if worse else "lower"
        bound = getattr(found, end)
        if said.attacked is None or bound is None or not math.isfinite(bound):
            return
        allowed = bound + self._slack(name, end) * (1 if worse else -1)
        if is_worse(said.attacked, allowed, worse, found.scale):
            yield f"attacked {said.attacked:.6g}, but {bound:.6g} is proved to be the most possible"

    def is_of_rounding(self, name: str) -> bool:
        """Whether a figure is finite for some matrices only."""
        for what in _FIGURES:
            values = [_figure(one[name], what) for one in (self.found, *self.moved)]
            finite = [value is not None and math.isfinite(value) for value in values]
            if any(finite) and not all(finite):
                return True
        return False

    def _slack(self, name: str, what: str) -> float:
        """By how much a figure, or a detail, may differ."""
        found = self.found[name]
        value = _figure(found, what)
        if value is None or not math.isfinite(value):
            return 0.0
        others = [_figure(one[name], what) for one in self.moved]
        moved = [abs(other - value) for other in others if other is not None]
        left_open = _width(found) if what in _FIGURES else 0.0
        return NORM * abs(value) + TIMES * max(moved, default=0.0) + left_open


class _Moved:
    """A system whose entries are all moved by some units of their precision."""

    def __init__(self, unit: float, seed: int):
        self.size, self.seed = MOVED * unit, seed

    def __call__(self, system: LinearSystem) -> LinearSystem:
        generator = torch.Generator().manual_seed(self.seed)

        def moved(x: Tensor) -> Tensor:
            change = torch.randn(x.shape, generator=generator, dtype=torch.float64)
            if x.is_complex():
                other = torch.randn(x.shape, generator=generator, dtype=torch.float64)
                change = torch.complex(change, other)
            return x * (1 + self.size * change)

        return system.double().map(moved)


def _by_name(given: Sequence[LayerMeasure]) -> dict[str, LayerMeasure]:
    return {one.name: one for one in given}


def _width(measure: LayerMeasure) -> float:
    """Of the proved interval; 0 where an end is open."""
    if measure.lower is None or measure.upper is None:
        return 0.0
    width = measure.upper - measure.lower
    return width if math.isfinite(width) else 0.0


def _figure(measure: LayerMeasure, what: str) -> float | None:
    return getattr(measure, what) if what in _FIGURES else measure.details.get(what)


def _near(found: float | None, said: float | None, slack: float) -> bool:
    if found is None or said is None:
        return found is said
    return found == said or (math.isfinite(found) and abs(found - said) <= slack)


def _shown(value: float | None) -> str:
    return "none" if value is None else f"{value:.6g}"
