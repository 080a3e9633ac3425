"""Read a suite file: the parts of its grid, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ssmbench import registry
from ssmbench.config import check_part, merge, nested
from ssmbench.discretizers.base import Discretizer
from ssmbench.errors import UsageError, require
from ssmbench.nn.pairing import check_pairing
from ssmbench.options import SEED
from ssmbench.parametrizations.base import Parametrization
from ssmbench.registry import Entry
from ssmbench.suite.composition import OVERRIDES, check_file_name, read_composed

T = TypeVar("T")

ALL = "all"
#: Of which a suite file may give the number alone.
_MOST_SEEDS = 100_000


@dataclass(frozen=True)
class Refusal:
    """A variant and a discretizer that cannot be combined, and the reason."""

    variant: str
    discretizer: str
    reason: str


def read_suite(path: str | Path) -> tuple[dict[str, Any], list[Refusal]]:
    """The content of a suite file, its parts checked and ``discretizers: all`` replaced; and the
    combinations which that leaves out.

    Raises:
        UsageError: a key is unknown, or a part is not one of a run config.
    """
    raw = read_composed(path)
    raw |= {key: _parts(raw, key, path) for key in ("tasks", "variants")}
    raw["seeds"] = _seeds(raw.get("seeds", [0]), path)
    _check_parts(raw, path)
    return raw, _expand_all(raw["variants"], raw.get("base"), path)


def _seeds(seeds: Any, path: str | Path) -> list[int]:
    if type(seeds) is int and 0 < seeds <= _MOST_SEEDS:
        return list(range(seeds))
    listed = seeds if isinstance(seeds, list) else []
    if listed and all(type(one) is int and SEED.test(one) for one in listed):
        return listed
    words = f"must be a list of whole numbers {SEED.words}, or how many from 0"
    raise UsageError(f"{path}: seeds: {words}, got {seeds!r}")


def _check_parts(raw: Mapping[str, Any], path: str | Path) -> None:
    """Check every part, including values that a later layer replaces."""
    if raw.get("base") is not None:
        check_part(raw["base"], f"{path}: base")
    for key in ("tasks", "variants"):
        for label, part in raw[key].items():
            own = {k: v for k, v in part.items() if key == "tasks" or k != "discretizers"}
            check_part(own, f"{path}: {key}: {label}")
    _check_overrides(raw.get(OVERRIDES), f"{path}: {OVERRIDES}")


def _check_overrides(given: Any, where: str) -> None:
    listed = given is None or isinstance(given, list)
    require(listed, f"{where}: must be a list of mappings with the keys for and set, got {given!r}")
    for place, one in enumerate(given or ()):
        fields = isinstance(one, dict) and set(one) == {"for", "set"}
        require(fields, f"{where}[{place}]: must have the keys for and set, got {one!r}")
        require(
            one["for"] not in (None, []), f"{where}[{place}]: for: must be a selector or several"
        )
        check_part(_nested(one["set"], f"{where}[{place}]: set"), f"{where}[{place}]: set")


def _nested(part: Any, where: str) -> dict[str, Any]:
    require(isinstance(part, Mapping), f"{where}: must be a part of a run config, got {part!r}")
    return nested(part)


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
