"""An entry of a registry."""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Generic, TypeVar

from ssmbench.errors import UsageError, require
from ssmbench.options import declared

T = TypeVar("T")

_PACKAGE = __name__.partition(".")[0]


@dataclass
class NoOptions:
    """The config class of an entry without options."""


@dataclass(frozen=True)
class Entry(Generic[T]):
    """A registered component: its factory, the class of its options, and where it is defined.

    ``factory`` is called as ``factory(config, **context)``, for every kind. ``origin`` is the
    file:line of the registration, ``module`` the name of its module. ``source_digest`` is
    :func:`ssmbench.registry.source_digest` at the time of registration, and so describes the code
    that runs; it is "" for built-in entries, which are identified by the version of ssmbench.
    """

    kind: str
    name: str
    factory: Callable[..., T]
    config: type
    citation: str
    summary: str
    origin: str
    module: str = ""
    source_digest: str = ""

    @property
    def builtin(self) -> bool:
        """Whether the entry is part of ssmbench."""
        return self.module.partition(".")[0] == _PACKAGE

    @property
    def package(self) -> str:
        """The installed package of the entry; "" for a plugin file or a notebook cell."""
        return _PACKAGE if self.builtin else _package_of(self.module.partition(".")[0])

    @property
    def version(self) -> str:
        """The version of :attr:`package`; "" if it is not installed."""
        try:
            return importlib.metadata.version(self.package) if self.package else ""
        except importlib.metadata.PackageNotFoundError:
            return ""

    def build(self, config: Any = None, **context: Any) -> T:
        """Build the component from an instance of :attr:`config`, by default with its defaults.

        Raises:
            UsageError: the config class does not allow the value of an option, or the factory
                raises it; the message begins with the entry's kind and name.
        """
        options = self.config() if config is None else config
        try:
            self._check_choices(options)
            self._check_limits(options)
            return self.factory(options, **context)
        except UsageError as error:
            problem = str(error).removeprefix(f"{self.name}: ")
            error.args = (f"{self.kind} {self.name}: {problem}", *error.args[1:])
            raise

    def _check_limits(self, options: Any) -> None:
        for name, limits in declared(self.config).items():
            value = getattr(options, name)
            for limit in limits if value is not None else ():
                require(limit.test(value), f"{name}: {limit.problem(value)}")

    def _check_choices(self, options: Any) -> None:
        """Refuse a string for an enum member, which would compare unequal to all members."""
        for option in dataclasses.fields(self.config):
            default = option.default
            value = getattr(options, option.name, default)
            if isinstance(default, Enum) and not isinstance(value, type(default)):
                names = ", ".join(str(member) for member in type(default))
                raise UsageError(f"{option.name}: {value!r} is none of {names}")


@functools.cache
def _package_of(module: str) -> str:
    """The installed package that contains a top-level module; "" if there is none."""
    return next(iter(importlib.metadata.packages_distributions().get(module, ())), "")
