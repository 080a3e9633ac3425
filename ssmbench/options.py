"""Allowed values of config options, stated where each option is declared.

    @dataclass
    class Config:
        d_state: int = option(64, SIZE)
        data_dir: str | None = option(None, FOLDER)

Every config that is read from a file is checked against these, including the options of plugins.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ssmbench.errors import suggest

_ALLOWED, _ADDED = "allowed", "added"


@dataclass(frozen=True)
class Allowed:
    """The values that an option may have: a description, a test, and for a choice all names."""

    words: str
    test: Callable[[Any], bool]
    names: tuple[str, ...] = ()

    def problem(self, value: Any) -> str:
        """What is wrong with a value that fails the test, for an error message."""
        if self.names:
            return f"{value!r} is not a choice; {suggest(str(value), self.names)}"
        return f"must be {self.words}, got {value}"


#: A path, which is expanded and made absolute when the config is read.
FOLDER = Allowed("a folder", lambda value: True)

POSITIVE = Allowed("positive", lambda v: v > 0)
NOT_NEGATIVE = Allowed("finite and not negative", lambda v: 0 <= v < math.inf)
FRACTION = Allowed("in [0, 1]", lambda v: 0 <= v <= 1)
PROPER_FRACTION = Allowed("in [0, 1)", lambda v: 0 <= v < 1)
SEED = Allowed("from 0 to 2^32 - 1", lambda v: 0 <= v < 2**32)
#: A dimension of an array; anything larger would not fit in memory.
SIZE = (POSITIVE, Allowed("at most 2^20", lambda v: v <= 2**20))
#: A number of states that occur in pairs: conjugate modes, or position and velocity.
PAIRED_SIZE = (*SIZE, Allowed("even (states come in pairs)", lambda v: v % 2 == 0))
COUNT = (NOT_NEGATIVE, Allowed("below 2^31", lambda v: v < 2**31))
POSITIVE_COUNT = (POSITIVE, Allowed("below 2^31", lambda v: v < 2**31))


def one_of(*names: str) -> Allowed:
    """One of a few names."""
    return Allowed(f"one of {', '.join(names)}", lambda value: value in names, names)


def option(default: Any, allowed: Allowed | tuple[Allowed, ...] = (), *, added: int = 0) -> Any:
    """A field of a config dataclass, with the allowed values of the option.

    Two conditions keep earlier runs valid when an option is added: its default must reproduce the
    previous behaviour, and ``added`` must be the version of the config schema at the time of the
    addition (:data:`ssmbench.config.SCHEMA_VERSION`). An option with its default value is left out
    of the fingerprints of that version, so earlier runs keep their fingerprints.
    """
    return dataclasses.field(default=default, metadata=metadata(allowed, added=added))


def metadata(allowed: Allowed | tuple[Allowed, ...] = (), *, added: int = 0) -> dict[str, Any]:
    """What :func:`option` notes of a field, for one whose default is a list or a mapping:
    ``field(default_factory=list, metadata=metadata(...))``."""
    every = (allowed,) if isinstance(allowed, Allowed) else allowed
    return {_ALLOWED: every, _ADDED: added}


def default_of(field: dataclasses.Field[Any]) -> Any:
    """The default of a field; None if it has none."""
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return None if field.default is dataclasses.MISSING else field.default


def added(schema: type) -> Mapping[str, tuple[int, Any]]:
    """The options that were added to a config dataclass later, by name: the version of the config
    schema at the time of the addition, and the default."""
    fields = dataclasses.fields(schema)
    return {f.name: (f.metadata[_ADDED], default_of(f)) for f in fields if f.metadata.get(_ADDED)}


def declared(schema: type) -> Mapping[str, tuple[Allowed, ...]]:
    """The allowed values of a config dataclass's options, by name, for options that state them."""
    fields = dataclasses.fields(schema)
    return {f.name: f.metadata[_ALLOWED] for f in fields if f.metadata.get(_ALLOWED)}
