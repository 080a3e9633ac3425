"""A suite is a grid: variants x discretizers x tasks x seeds, over a common base.

    name: quickstart
    base: {model: ..., optimizer: ..., trainer: ...}       # a run config, in part
    tasks: {digits: {task: digits, ...}, ...}               # run configs, in part, by label
    variants:
      S4D-Lin:
        model: {parametrization: {name: s4d, init: lin}}    # a run config, in part
        discretizers: [zoh, tustin]                         # none: discrete by nature
    seeds: [0, 1]

Later layers win: base, then task, then variant, then discretizer and seed, then the command line.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from ssmbench.config import leaves, merge, parse_overrides, read_yaml, resolve
from ssmbench.errors import UsageError, require, suggest

KEYS = ("name", "base", "tasks", "variants", "seeds")

#: What the labels of a report name; an override would make them lie.
_AXES = {
    "seed",
    "variant",
    *("task", "task.name"),
    *("model.parametrization", "model.parametrization.name"),
    *("model.discretizer", "model.discretizer.name"),
}


@dataclass(frozen=True)
class Cell:
    """One run of a suite, with the labels that its report shows."""

    task: str
    variant: str
    discretizer: str
    seed: int
    config: dict[str, Any]

    @property
    def label(self) -> str:
        """For example ``digits/S4D-Lin-zoh-s0``."""
        middle = "" if self.discretizer == "none" else f"-{self.discretizer}"
        return f"{self.task}/{self.variant}{middle}-s{self.seed}"


@dataclass(frozen=True)
class Suite:
    """A named, resolved grid."""

    name: str
    cells: tuple[Cell, ...]


def load_suite(path: str | Path, overrides: Iterable[str] = ()) -> Suite:
    """The resolved grid of a suite file; overrides act on every run.

    Raises:
        UsageError: anything wrong in the file, the overrides, or a run that they give.
    """
    raw = read_yaml(path)
    for key in raw:
        require(key in KEYS, f"{path}: unknown key {key!r}: {suggest(str(key), KEYS)}")
    raw |= {key: _parts(raw, key, path) for key in ("tasks", "variants")}
    tasks, variants = raw["tasks"], raw["variants"]
    seeds = raw.get("seeds", [0])
    valid = isinstance(seeds, list) and seeds and all(type(s) is int and s >= 0 for s in seeds)
    require(valid, f"{path}: seeds: must be a list of whole numbers from 0, got {seeds!r}")
    over = parse_overrides(overrides)
    for key, _ in leaves(over):
        require(key not in _AXES, f"override {key}: {path} sets it for each run; change it there")
    cells = tuple(
        Cell(
            task, variant, label, seed, _resolve_cell(path, raw, task, variant, choice, seed, over)
        )
        for task in tasks
        for variant in variants
        for (label, choice), seed in product(_discretizers(variants[variant], path), seeds)
    )
    _check_distinct(cells, path)
    return Suite(str(raw.get("name", Path(path).stem)), cells)


def _parts(raw: Mapping[str, Any], key: str, path: str | Path) -> dict[str, Any]:
    value = raw.get(key)
    ok = isinstance(value, dict) and value and all(isinstance(v, dict) for v in value.values())
    require(ok, f"{path}: {key}: must map labels to parts of a run config")
    parts = {str(label): part for label, part in value.items()}
    for label in parts:  # they become names of folders, for TensorBoard
        usable = bool(label) and "/" not in label and not label.startswith(".")
        require(usable, f"{path}: {key}: label {label!r}: must not hold '/' or start with '.'")
    return parts


def _discretizers(variant: Mapping[str, Any], path: str | Path) -> Iterator[tuple[str, Any]]:
    choices = variant.get("discretizers")
    if choices is None:
        model = variant.get("model")
        choice = model.get("discretizer") if isinstance(model, Mapping) else None
        yield "none" if choice is None else component_label(choice), choice
        return
    require(
        isinstance(choices, list) and bool(choices),
        f"{path}: discretizers: must be a list of discretizers, got {choices!r}",
    )
    for choice in choices:
        yield component_label(choice), choice


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


def _check_distinct(cells: Iterable[Cell], path: str | Path) -> None:
    seen: dict[str, Cell] = {}
    for cell in cells:
        if cell.label in seen:
            raise UsageError(f"{path}: two runs are called {cell.label!r}")
        seen[cell.label] = cell
