"""The places in the grid of a suite file, each with the layers of its config."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby, product
from pathlib import Path
from typing import Any

from ssmbench import registry
from ssmbench.config import ModelConfig, copied, leaves, merge, nested, resolve
from ssmbench.errors import require
from ssmbench.runs.run import Run
from ssmbench.suite.composition import OVERRIDES
from ssmbench.suite.file import read_suite
from ssmbench.suite.selection import Selector, label_of, names_of, read_selectors, select

#: Options that appear in the labels of a report; overriding them would make the labels wrong.
AXES = {
    "seed",
    "variant",
    *("task", "task.name"),
    *("model.parametrization", "model.parametrization.name"),
    *("model.discretizer", "model.discretizer.name"),
}


def check_axes(over: Mapping[str, Any], where: str, path: str) -> None:
    """Raise a UsageError if options are overridden that a suite sets for each run; ``where`` stands
    before their names."""
    for key, _ in leaves(over):
        require(key not in AXES, f"{where}{key}: {path} sets it for each run; change it there")


@dataclass(frozen=True)
class Cell:
    """One run of a suite, with its labels in the report."""

    task: str
    variant: str
    discretizer: str
    seed: int
    config: dict[str, Any]

    @property
    def label(self) -> str:
        """Label of the run, for example ``digits/S4D-Lin-zoh-s0``."""
        return names_of(self.task, self.variant, self.discretizer, self.seed)[-1]

    def names(self) -> tuple[str, ...]:
        """What the run may be called; see :func:`names_of`."""
        return names_of(self.task, self.variant, self.discretizer, self.seed)

    def run(self, root: Path) -> Run:
        """The run of this cell, with its folder in ``root``."""
        return Run.of(self.config, root, self.label)


@dataclass(frozen=True)
class Patch:
    """Options that a suite file sets for the runs that one of the selectors matches."""

    selectors: tuple[Selector, ...]
    part: Mapping[str, Any]


@dataclass(frozen=True)
class Place:
    """A place in the grid of a suite file; its config is resolved when it is asked for."""

    path: str | Path
    raw: Mapping[str, Any]
    task: str
    variant: str
    discretizer: str
    choice: Any
    seed: int
    #: What the file's ``overrides`` set for this run, in their order.
    patches: tuple[Mapping[str, Any], ...] = field(default=())

    @property
    def label(self) -> str:
        return label_of(self.task, self.variant, self.discretizer)

    def names(self) -> tuple[str, ...]:
        """What the run may be called; see :func:`names_of`."""
        return names_of(self.task, self.variant, self.discretizer, self.seed)

    def cell(self, over: Mapping[str, Any]) -> Cell:
        """The run, with overrides."""
        own = self.raw["variants"][self.variant]
        layers = [
            self.raw.get("base") or {},
            self.raw["tasks"][self.task],
            {k: v for k, v in own.items() if k != "discretizers"},
            {"model": {"discretizer": self.choice}, "seed": self.seed, "variant": self.variant},
            *self.patches,
            over,
        ]
        config: dict[str, Any] = {}
        for layer in layers:
            valid = isinstance(layer, Mapping)
            require(valid, f"{self.path}: base: must be a part of a run config")
            config = merge(config, layer)
        resolved = resolve(config, f"{self.path} ({self.task}, {self.variant})")
        return Cell(self.task, self.variant, self.discretizer, self.seed, resolved)


def cells_of(places: Iterable[Place], over: Mapping[str, Any]) -> Iterator[Cell]:
    """The runs of places, with overrides. A config is resolved once for all seeds that differ in
    nothing else, unless it contains references, which may be to the seed."""
    for _, group in groupby(places, lambda place: (place.label, place.patches)):
        first, *others = group
        cell = first.cell(over)
        yield cell
        if others and "${" in repr((first.raw, over)):
            yield from (place.cell(over) for place in others)
            continue
        for place in others:
            config = copied(cell.config) | {"seed": place.seed}
            yield replace(cell, seed=place.seed, config=config)


def load_places(path: str | Path) -> list[Place]:
    """The places in the grid of a suite file, in the suite's order; their configs may be resolved
    again and again, with different overrides.

    Raises:
        UsageError: a part of the file is invalid.
    """
    return places_of(read_suite(path)[0], path)


def places_of(raw: Mapping[str, Any], path: str | Path) -> list[Place]:
    """The places in the grid of a suite file with this content, without those that ``include`` and
    ``exclude`` leave out.

    Raises:
        UsageError: as :func:`load_places`; a selector matches no run.
    """
    grid = list(_grid(raw, path))
    where = (f"{path}: include", f"{path}: exclude")
    lists = [read_selectors(raw.get(key), one) for key, one in zip(_LISTS, where, strict=True)]
    patches = _patches(raw.get(OVERRIDES), grid, path)
    return [_patched(place, patches) for place in select(grid, lists[0], lists[1], where)]


_LISTS = ("include", "exclude")


def _patches(given: Any, grid: Sequence[Place], path: str | Path) -> list[Patch]:
    patches = []
    for place, one in enumerate(given or ()):
        where = f"{path}: {OVERRIDES}[{place}]"
        selectors = read_selectors(one["for"], f"{where}: for")
        for selector in selectors:
            selector.check(grid, f"{where}: for")
        part = nested(one["set"])
        check_axes(part, f"{where}: set: ", "the grid")
        patches.append(Patch(tuple(selectors), part))
    return patches


def _patched(place: Place, patches: Iterable[Patch]) -> Place:
    own = (patch.part for patch in patches if any(one.matches(place) for one in patch.selectors))
    return replace(place, patches=tuple(own))


def _grid(raw: Mapping[str, Any], path: str | Path) -> Iterator[Place]:
    for task, variant in product(raw["tasks"], raw["variants"]):
        for label, choice in _discretizers(raw, task, variant, path):
            for seed in raw["seeds"]:
                yield Place(path, raw, task, variant, label, choice, seed)


def _discretizers(
    raw: Mapping[str, Any], task: str, variant: str, path: str | Path
) -> Iterator[tuple[str, Any]]:
    part = raw["variants"][variant]
    choices = part.get("discretizers")
    if choices is None:
        choice = _only_discretizer(raw.get("base") or {}, raw["tasks"][task], part)
        yield "none" if choice is None else component_label(choice), choice
        return
    require(
        isinstance(choices, list) and bool(choices),
        f"{path}: discretizers: must be all or a list of discretizers, got {choices!r}",
    )
    for choice in choices:
        yield component_label(choice), choice


def _only_discretizer(base: Mapping[str, Any], task: Mapping[str, Any], part: Any) -> Any:
    own, merged = (_model(layer) for layer in (part, merge(merge(base, task), part)))
    if "discretizer" in own:
        return own["discretizer"]
    return None if _is_discrete(merged) else merged.get("discretizer")


def _model(part: Mapping[str, Any]) -> Mapping[str, Any]:
    model = part.get("model")
    return model if isinstance(model, Mapping) else {}


def _is_discrete(model: Mapping[str, Any]) -> bool:
    component = model.get("parametrization", ModelConfig.parametrization)
    name = component.get("name") if isinstance(component, Mapping) else component
    return not registry.parametrizations.get(str(name)).factory.is_continuous()


def component_label(component: Any) -> str:
    """``name``, or ``name(option=value, ...)`` where options are given."""
    if not isinstance(component, Mapping):
        return str(component)
    options = ", ".join(f"{k}={v}" for k, v in component.items() if k != "name")
    name = str(component.get("name"))
    return f"{name}({options})" if options else name
