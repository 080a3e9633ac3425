"""What the registry knows of one name."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Generic, TypeVar

from ssmbench.errors import UsageError

T = TypeVar("T")


@dataclass
class NoOptions:
    """The config of an entry that has nothing to configure."""


@dataclass(frozen=True)
class Entry(Generic[T]):
    """What the registry knows of one name.

    ``factory`` is called as ``factory(config, **context)``: every kind is built the same way.
    """

    kind: str
    name: str
    factory: Callable[..., T]
    config: type
    citation: str
    summary: str
    origin: str

    def build(self, config: Any = None, **context: Any) -> T:
        """The object, from an instance of :attr:`config` (its defaults where None).

        Raises:
            UsageError: a choice, among the options, that is not one of its enum's members.
        """
        options = self.config() if config is None else config
        self._check_choices(options)
        return self.factory(options, **context)

    def _check_choices(self, options: Any) -> None:
        """A string would pass for a member, and every comparison with one would fail in silence."""
        for option in dataclasses.fields(self.config):
            kind, value = type(option.default), getattr(options, option.name, option.default)
            if isinstance(option.default, Enum) and not isinstance(value, kind):
                names = ", ".join(f"{kind.__name__}.{member.name}" for member in kind)
                raise UsageError(
                    f"{self.kind} {self.name}: {option.name}: {value!r} is none of {names}"
                )
