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

_KEY = "allowed"


@dataclass(frozen=True)
class Allowed:
    """The values that a number may have: in words, and as a test."""

    words: str
    test: Callable[[float], bool]


#: A path: expanded and made absolute when the config is read.
FOLDER = Allowed("a folder", lambda value: True)

POSITIVE = Allowed("positive", lambda v: v > 0)
NOT_NEGATIVE = Allowed("finite and not negative", lambda v: 0 <= v < math.inf)
FRACTION = Allowed("in [0, 1]", lambda v: 0 <= v <= 1)
PROPER_FRACTION = Allowed("in [0, 1)", lambda v: 0 <= v < 1)
SEED = Allowed("from 0 to 2^32 - 1", lambda v: 0 <= v < 2**32)
#: A dimension of an array: what is larger has no place in any memory.
SIZE = (POSITIVE, Allowed("at most 2^20", lambda v: v <= 2**20))
COUNT = (NOT_NEGATIVE, Allowed("below 2^31", lambda v: v < 2**31))
POSITIVE_COUNT = (POSITIVE, Allowed("below 2^31", lambda v: v < 2**31))


def option(default: Any, allowed: Allowed | tuple[Allowed, ...]) -> Any:
    """A field of a config dataclass with what its value may be."""
    every = (allowed,) if isinstance(allowed, Allowed) else allowed
    return dataclasses.field(default=default, metadata={_KEY: every})


def declared(schema: type) -> Mapping[str, tuple[Allowed, ...]]:
    """What the options of a config dataclass may be, by name, where they say so."""
    fields = dataclasses.fields(schema)
    return {field.name: field.metadata[_KEY] for field in fields if _KEY in field.metadata}
