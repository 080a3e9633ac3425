"""What an option of a config may be, declared where the option is declared.

    @dataclass
    class Config:
        d_state: int = option(64, SIZE)
        data_dir: str | None = option(None, FOLDER)

A config that is read from a file is held to it; so is a plugin's.
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
    """The values that an option may have: in words, and as a test; or the names of all."""

    words: str
    test: Callable[[Any], bool]
    names: tuple[str, ...] = ()

    def problem(self, value: Any) -> str:
        """What is wrong with a value that fails the test, for an error."""
        if self.names:
            return f"{value!r} is not a choice; {suggest(str(value), self.names)}"
        return f"must be {self.words}, got {value}"


#: A path: expanded and made absolute when the config is read.
FOLDER = Allowed("a folder", lambda value: True)

POSITIVE = Allowed("positive", lambda v: v > 0)
NOT_NEGATIVE = Allowed("finite and not negative", lambda v: 0 <= v < math.inf)
FRACTION = Allowed("in [0, 1]", lambda v: 0 <= v <= 1)
PROPER_FRACTION = Allowed("in [0, 1)", lambda v: 0 <= v < 1)
SEED = Allowed("from 0 to 2^32 - 1", lambda v: 0 <= v < 2**32)
#: A dimension of an array: what is larger has no place in any memory.
SIZE = (POSITIVE, Allowed("at most 2^20", lambda v: v <= 2**20))
#: A number of states that come in pairs: conjugate modes, or a position and a velocity.
PAIRED_SIZE = (*SIZE, Allowed("even (states come in pairs)", lambda v: v % 2 == 0))
COUNT = (NOT_NEGATIVE, Allowed("below 2^31", lambda v: v < 2**31))
POSITIVE_COUNT = (POSITIVE, Allowed("below 2^31", lambda v: v < 2**31))


def one_of(*names: str) -> Allowed:
    """One of a few names."""
    return Allowed(f"one of {', '.join(names)}", lambda value: value in names, names)


def option(default: Any, allowed: Allowed | tuple[Allowed, ...] = (), *, added: int = 0) -> Any:
    """A field of a config dataclass with what its value may be.

    What a new option must do so that earlier runs still count: have a default with which a run
    does what it did before, and name in ``added`` the config schema's version in whose time it is
    added (:data:`ssmbench.config.SCHEMA_VERSION`). While the option has its default it is left out
    of the fingerprints of that version, so the runs of before keep theirs.
    """
    every = (allowed,) if isinstance(allowed, Allowed) else allowed
    return dataclasses.field(default=default, metadata={_ALLOWED: every, _ADDED: added})


def added(schema: type) -> Mapping[str, tuple[int, Any]]:
    """The options that were added to a config dataclass, by name: the version of the config schema
    in whose time they were, and their default."""
    fields = dataclasses.fields(schema)
    return {f.name: (f.metadata[_ADDED], f.default) for f in fields if f.metadata.get(_ADDED)}


def declared(schema: type) -> Mapping[str, tuple[Allowed, ...]]:
    """What the options of a config dataclass may be, by name, where they say so."""
    fields = dataclasses.fields(schema)
    return {f.name: f.metadata[_ALLOWED] for f in fields if f.metadata.get(_ALLOWED)}
