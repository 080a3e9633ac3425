"""A suite is a grid: variants x discretizers x tasks x seeds, over a common base.

    name: quickstart
    base: {model: ..., optimizer: ..., trainer: ...}       # a run config, in part
    tasks: {digits: {task: digits, ...}, ...}               # run configs, in part, by label
    variants:
      S4D-Lin:
        model: {parametrization: {name: s4d, init: lin}}    # a run config, in part
        discretizers: [zoh, tustin]                         # omit for discrete-time variants
    seeds: [0, 1]
    launcher: {name: local}                                 # how runs are executed; optional

``discretizers: all`` selects every registered discretizer that can sample the variant; the others
are recorded as refused, with the reason.

Later layers override earlier ones: base, task, variant, discretizer and seed, command line. A
variant without ``discretizers`` has the discretizer of its own ``model`` section, or else that of
its task or of the base; variants in discrete time ignore the latter two.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, TypeVar

from ssmbench import registry
from ssmbench.config import (
    ModelConfig,
    check_part,
    leaves,
    merge,
    parse_overrides,
    read_yaml,
    resolve,
    resolve_component,
)
from ssmbench.discretizers.base import Discretizer
from ssmbench.errors import UsageError, require, suggest
from ssmbench.nn.pairing import check_pairing
from ssmbench.options import SEED
from ssmbench.parametrizations.base import Parametrization
from ssmbench.registry import Entry
from ssmbench.runs.run import Run

T = TypeVar("T")

ALL = "all"
#: Name of the folder for the runs, inside the suite's folder.
RUNS = "runs"
#: Maximum length of a file name in bytes.
_LONGEST_NAME = 255
KEYS = ("name", "base", "tasks", "variants", "seeds", "launcher")

#: Options that appear in the labels of a report; overriding them would make the labels wrong.
_AXES = {
    "seed",
    "variant",
    *("task", "task.name"),
    *("model.parametrization", "model.parametrization.name"),
    *("model.discretizer", "model.discretizer.name"),
}


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
        middle = "" if self.discretizer == "none" else f"-{self.discretizer}"
        return f"{self.task}/{self.variant}{middle}-s{self.seed}"

    def run(self, root: Path) -> Run:
        """The run of this cell, with its folder in ``root``."""
        return Run.of(self.config, root, self.label)


@dataclass(frozen=True)
class Refusal:
    """A variant and a discretizer that cannot be combined, and the reason."""

    variant: str
    discretizer: str
    reason: str


@dataclass(frozen=True)
class Suite:
    """A named, resolved grid, and the combinations that ``discretizers: all`` left out."""

    name: str
    cells: tuple[Cell, ...]
    refused: tuple[Refusal, ...] = ()
    launcher: Mapping[str, Any] = field(default_factory=lambda: {"name": "local"})

    def runs(self, root: Path) -> list[Run]:
        """The run of each cell; ``root`` is the suite's folder. Equal configs share a folder."""
        return [cell.run(root / RUNS) for cell in self.cells]


def load_suite(path: str | Path, overrides: Iterable[str] | Mapping[str, Any] = ()) -> Suite:
    """The resolved grid of a suite file; overrides, ``key=value`` strings or a nested mapping,
    apply to every run.

    Raises:
        UsageError: the file, the overrides, or a resulting run config is invalid.
    """
    raw = read_yaml(path)
    for key in raw:
        require(key in KEYS, f"{path}: unknown key {key!r}: {suggest(str(key), KEYS)}")
    raw |= {key: _parts(raw, key, path) for key in ("tasks", "variants")}
    tasks, variants = raw["tasks"], raw["variants"]
    seeds = _seeds(raw.get("seeds", [0]), path)
    over = overrides if isinstance(overrides, Mapping) else parse_overrides(overrides)
    for key, _ in leaves(over):
        require(key not in _AXES, f"override {key}: {path} sets it for each run; change it there")
    _check_parts(raw, path)
    refused = _expand_all(variants, raw.get("base"), path)
    cells = tuple(
        Cell(
            task, variant, label, seed, _resolve_cell(path, raw, task, variant, choice, seed, over)
        )
        for task in tasks
        for variant in variants
        for (label, choice), seed in product(_discretizers(raw, task, variant, path), seeds)
    )
    _check_labels(cells, path)
    launcher = resolve_component(
        registry.launchers, raw.get("launcher", "local"), f"{path}: launcher"
    )
    return Suite(_name(raw, path), cells, tuple(refused), launcher)


def _seeds(seeds: Any, path: str | Path) -> list[int]:
    listed = isinstance(seeds, list) and len(seeds) > 0
    require(
        listed and all(type(seed) is int and SEED.test(seed) for seed in seeds),
        f"{path}: seeds: must be a list of whole numbers {SEED.words}, got {seeds!r}",
    )
    return seeds


def _name(raw: Mapping[str, Any], path: str | Path) -> str:
    name = raw.get("name", Path(path).stem)
    require(isinstance(name, str | int | float), f"{path}: name: must be a word, got {name!r}")
    check_file_name(str(name), f"{path}: name")
    return str(name)


def check_file_name(name: str, where: str) -> None:
    """Raise a UsageError unless ``name`` is a valid name of a folder inside another one."""
    usable = bool(name) and "/" not in name and not name.startswith(".") and name.isprintable()
    require(
        usable,
        f"{where} {name!r}: must not contain '/' or unprintable characters, or start with '.'",
    )
    try:
        size = len(os.fsencode(name))
    except UnicodeEncodeError:
        raise UsageError(f"{where} {name!r}: not a name that this system can store") from None
    require(
        size <= _LONGEST_NAME,
        f"{where} {name[:20]!r}...: must have at most {_LONGEST_NAME} bytes, not {size}",
    )


def _check_parts(raw: Mapping[str, Any], path: str | Path) -> None:
    """Check every part, including values that a later layer replaces."""
    if raw.get("base") is not None:
        check_part(raw["base"], f"{path}: base")
    for key in ("tasks", "variants"):
        for label, part in raw[key].items():
            own = {k: v for k, v in part.items() if key == "tasks" or k != "discretizers"}
            check_part(own, f"{path}: {key}: {label}")


def _expand_all(variants: dict[str, Any], base: Any, path: str | Path) -> list[Refusal]:
    """Replace ``discretizers: all`` by the names of those that can sample the variant; returns the
    refused combinations."""
    refused = []
    for variant, part in variants.items():
        if part.get("discretizers") != ALL:
            continue
        config = merge(base or {}, part)
        kind = _parametrization(config.get("model"), f"{path}: {variant}")
        reasons = {entry.name: _reason(kind, entry) for entry in registry.discretizers}
        variants[variant] = part | {"discretizers": [n for n, why in reasons.items() if not why]}
        refused += [Refusal(variant, name, why) for name, why in reasons.items() if why]
    return refused


def _class_of(entry: Entry, base: type[T]) -> type[T]:
    """The class of an entry, whose class methods are called before anything is built."""
    if not (isinstance(entry.factory, type) and issubclass(entry.factory, base)):
        raise UsageError(f"{entry.kind} {entry.name}: must be a class derived from {base.__name__}")
    return entry.factory


def _parametrization(model: Any, where: str) -> type[Parametrization]:
    component = model.get("parametrization") if isinstance(model, Mapping) else None
    name = component.get("name") if isinstance(component, Mapping) else component
    require(name is not None, f"{where}: discretizers: all needs model.parametrization")
    kind = _class_of(registry.parametrizations.get(str(name)), Parametrization)
    require(
        kind.is_continuous(),
        f"{where}: discretizers: {kind.__name__} takes none: {kind.no_discretizer_reason}",
    )
    return kind


def _reason(kind: type[Parametrization], discretizer: Entry) -> str:
    """Why the discretizer cannot sample the parametrization's systems; "" if it can."""
    try:
        check_pairing(kind, _class_of(discretizer, Discretizer))
    except UsageError as error:
        return str(error)
    return ""


def _parts(raw: Mapping[str, Any], key: str, path: str | Path) -> dict[str, Any]:
    value = raw.get(key)
    if not (isinstance(value, dict) and value and all(isinstance(v, dict) for v in value.values())):
        raise UsageError(f"{path}: {key}: must map labels to parts of a run config")
    parts = {str(label): part for label, part in value.items()}
    for label in parts:  # labels become folder names, for TensorBoard
        check_file_name(label, f"{path}: {key}: label")
    return parts


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


def _resolve_cell(
    path: str | Path,
    raw: Mapping[str, Any],
    task: str,
    variant: str,
    discretizer: Any,
    seed: int,
    over: Mapping[str, Any],
) -> dict[str, Any]:
    layers = [
        raw.get("base") or {},
        raw["tasks"][task],
        {k: v for k, v in raw["variants"][variant].items() if k != "discretizers"},
        {"model": {"discretizer": discretizer}, "seed": seed, "variant": variant},
        over,
    ]
    config: dict[str, Any] = {}
    for layer in layers:
        require(isinstance(layer, Mapping), f"{path}: base: must be a part of a run config")
        config = merge(config, layer)
    return resolve(config, f"{path} ({task}, {variant})")


def _check_labels(cells: Iterable[Cell], path: str | Path) -> None:
    seen: set[str] = set()
    for cell in cells:
        require(cell.label not in seen, f"{path}: two runs are called {cell.label!r}")
        seen.add(cell.label)
        check_file_name(cell.label.removeprefix(f"{cell.task}/"), f"{path}: label")
