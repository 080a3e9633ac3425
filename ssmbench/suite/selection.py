"""Selectors, which name runs of a suite by their labels or by task, variant, discretizer, seed.
Loads no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Protocol, TypeVar

import yaml

from ssmbench.errors import UsageError, require, suggest

#: The keys of a selector that is a mapping.
FIELDS = ("task", "variant", "discretizer", "seed")


def label_of(task: str, variant: str, discretizer: str) -> str:
    """Label of a run without its seed, for example ``digits/S4D-Lin-zoh``."""
    return f"{task}/{variant}" if discretizer == "none" else f"{task}/{variant}-{discretizer}"


def names_of(task: str, variant: str, discretizer: str, seed: int) -> tuple[str, ...]:
    """What a run may be called: without discretizer and seed, without seed, and its label."""
    label = label_of(task, variant, discretizer)
    return f"{task}/{variant}", label, f"{label}-s{seed}"


class Selectable(Protocol):
    """A run of a suite, whose place in the grid has several names."""

    @property
    def task(self) -> str: ...
    @property
    def variant(self) -> str: ...
    @property
    def discretizer(self) -> str: ...
    @property
    def seed(self) -> int: ...

    def names(self) -> Sequence[str]:
        """``task/variant``, the same with the discretizer, and also with the seed."""
        ...


Chosen = TypeVar("Chosen", bound=Selectable)


@dataclass(frozen=True)
class Selector:
    """Shell patterns of which a run must match one for each field; ``""`` is the field of its
    names. ``text``: as it was written."""

    text: str
    patterns: Mapping[str, tuple[str, ...]]

    def matches(self, run: Selectable) -> bool:
        """Whether the run is one of those that the selector names."""
        return all(
            any(_is_like(value, pattern) for value in _values(run, field) for pattern in patterns)
            for field, patterns in self.patterns.items()
        )

    def check(self, runs: Sequence[Selectable], where: str) -> None:
        """Raise a UsageError with near matches unless the selector matches one of the runs."""
        if any(self.matches(run) for run in runs):
            return
        for field, patterns in self.patterns.items():
            known = list(dict.fromkeys(value for run in runs for value in _values(run, field)))
            for pattern in patterns:
                found = any(_is_like(value, pattern) for value in known)
                what = f"no {field or 'run'} is called {pattern!r}"
                require(found, f"{where}: {what}; {near(pattern, known)}")
        raise UsageError(f"{where}: no run matches {self.text}")


#: How many names an error lists at most.
_MOST_NAMES = 12


def near(name: str, known: Sequence[str]) -> str:
    """A phrase with the names nearest to ``name``, or else with the first of them."""
    hint = suggest(name, known)
    if hint.startswith("known") and len(known) > _MOST_NAMES:
        return f"known: {', '.join(known[:_MOST_NAMES])} and {len(known) - _MOST_NAMES} more"
    return hint


def _values(run: Selectable, field: str) -> Sequence[str]:
    return run.names() if field == "" else [str(getattr(run, field))]


def _is_like(value: str, pattern: str) -> bool:
    return value == pattern or fnmatchcase(value, pattern)


def read_selectors(given: Any, where: str) -> list[Selector]:
    """The selectors in a list, or a single one; none of None.

    A selector is a pattern of labels (``digits/S4D*-s0``; the seed, and the discretizer before it,
    may be left out), or a mapping of task, variant, discretizer or seed to a pattern or a list of
    them.

    Raises:
        UsageError: it is neither.
    """
    listed = given if isinstance(given, list) else [] if given is None else [given]
    several = isinstance(given, list)
    return [
        _selector(one, f"{where}[{place}]" if several else where)
        for place, one in enumerate(listed)
    ]


def parse_selectors(given: Iterable[str], where: str) -> list[Selector]:
    """Selectors of the command line; a mapping is written as in YAML: ``{variant: S4D*, seed: 0}``.

    Raises:
        UsageError: one of them is no selector.
    """
    return [_selector(_parsed(one, where), where) for one in given]


def _parsed(text: str, where: str) -> Any:
    if not text.startswith("{"):
        return text
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        raise UsageError(f"{where} {text!r}: not YAML") from None


def _selector(given: Any, where: str) -> Selector:
    if isinstance(given, str) and given:
        return Selector(repr(given), {"": (given,)})
    if not (isinstance(given, Mapping) and given):
        words = "must be a pattern of labels, or a mapping of task, variant, discretizer or seed"
        raise UsageError(f"{where}: {words}, got {given!r}")
    for key in given:
        require(key in FIELDS, f"{where}: unknown key {key!r}; {suggest(str(key), FIELDS)}")
    patterns = {key: _patterns(value, f"{where}: {key}") for key, value in given.items()}
    text = ", ".join(f"{key}: {'|'.join(values)}" for key, values in patterns.items())
    return Selector("{" + text + "}", patterns)


def _patterns(given: Any, where: str) -> tuple[str, ...]:
    listed = given if isinstance(given, list) else [given]
    usable = listed and all(type(one) in (str, int) for one in listed)
    require(bool(usable), f"{where}: must be a name, a pattern or a list of them, got {given!r}")
    return tuple(map(str, listed))


def select(
    runs: Sequence[Chosen],
    include: Sequence[Selector],
    exclude: Sequence[Selector],
    where: tuple[str, str] = ("include", "exclude"),
) -> list[Chosen]:
    """The runs that one of ``include`` matches, all if there is none, and none of ``exclude``.

    Raises:
        UsageError: a selector matches no run, or no run is left; ``where`` begins the messages.
    """
    for selectors, place in zip((include, exclude), where, strict=True):
        for selector in selectors:
            selector.check(runs, place)
    kept = [
        run
        for run in runs
        if (not include or any(one.matches(run) for one in include))
        and not any(one.matches(run) for one in exclude)
    ]
    require(bool(kept), f"{where[1] if exclude else where[0]}: no run is left")
    return kept
