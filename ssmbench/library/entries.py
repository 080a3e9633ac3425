"""List, describe and add registered entries."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterable
from typing import Any

from ssmbench import registry
from ssmbench.errors import UsageError, suggest
from ssmbench.registry import Entry, Outline


class UnknownKindError(UsageError, AttributeError):
    """``register.`` is followed by an unknown kind of entry."""


def entries(kind: str | None = None, pattern: str = "*") -> builtins.list[Entry]:
    """The registered entries, as :class:`ssmbench.registry.Entry`, sorted by kind and name.

    Args:
        kind: for example "task" or "tasks"; None for all kinds.
        pattern: a shell pattern that names must match.

    Raises:
        UsageError: an unknown kind.
    """
    return [entry for one in _kinds(kind) for entry in one.entries(pattern)]


def outlines(kind: str | None = None, pattern: str = "*") -> builtins.list[Outline]:
    """Kind, name, summary and origin of :func:`entries`, in a fraction of the time: built-in
    entries are read from the source instead of imported.

    Raises:
        UsageError: an unknown kind.
    """
    return [outline for one in _kinds(kind) for outline in one.outlines(pattern)]


def _kinds(kind: str | None) -> Iterable[registry.Registry]:
    return [registry.get_kind(kind)] if kind else registry.KINDS.values()


def list(kind: str, pattern: str = "*") -> builtins.list[str]:
    """The sorted names of one kind that match a shell pattern.

    >>> import ssmbench as sb
    >>> sb.list("parametrizations", "s4*")
    ['s4', 's4d']

    Raises:
        UsageError: an unknown kind.
    """
    return [outline.name for outline in outlines(kind, pattern)]


def show(kind: str, name: str) -> dict[str, Any]:
    """Describe one entry: kind, name, summary, citation, origin, options with defaults, and facts.

    >>> import ssmbench as sb
    >>> sb.show("discretizer", "zoh")["facts"]["a_stable"]
    True

    Raises:
        UsageError: an unknown kind or name.
    """
    return registry.describe(registry.get_kind(kind).get(name))


class Register:
    """A decorator for each kind: ``register.parametrization("my_name", config=Config)``.

    A class defined in a notebook cell or a script is registered in that process only, and replaced
    when the cell runs again; a class in a plugin file is registered in every process.

    >>> import ssmbench as sb
    >>> "parametrization" in dir(sb.register)
    True
    """

    def __getattr__(self, kind: str) -> Callable[..., Callable[[Any], Any]]:
        """The method :meth:`ssmbench.registry.Registry.register` of a kind.

        Raises:
            UsageError: there is no such kind; the error is an AttributeError as well.
        """
        if kind not in registry.KINDS:
            raise UnknownKindError(
                f"register.{kind}: no such kind; {suggest(kind, registry.KINDS)}"
            )
        return registry.KINDS[kind].register

    def __dir__(self) -> builtins.list[str]:
        return [*registry.KINDS]

    def __repr__(self) -> str:
        return f"register: a decorator for each kind: {', '.join(registry.KINDS)}"


register = Register()
