"""What is registered: listed, shown, and added to."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from typing import Any

from ssmbench import registry
from ssmbench.errors import UsageError, suggest
from ssmbench.registry import Entry


class UnknownKindError(UsageError, AttributeError):
    """``register.`` followed by what is no kind of entry."""


def entries(kind: str | None = None, pattern: str = "*") -> builtins.list[Entry]:
    """What is registered, as :class:`ssmbench.registry.Entry`, by kind and name.

    Args:
        kind: for example "task" or "tasks"; all kinds where None.
        pattern: a shell pattern of names.

    Raises:
        UsageError: an unknown kind.
    """
    kinds = [registry.kind_named(kind)] if kind else registry.KINDS.values()
    return [entry for one in kinds for entry in one.entries(pattern)]


def list(kind: str, pattern: str = "*") -> builtins.list[str]:
    """The sorted names of one kind that match a shell pattern.

    >>> import ssmbench as sb
    >>> sb.list("parametrizations", "s4*")
    ['s4', 's4d']

    Raises:
        UsageError: an unknown kind.
    """
    return [entry.name for entry in entries(kind, pattern)]


def show(kind: str, name: str) -> dict[str, Any]:
    """One entry: kind, name, summary, citation, origin, options with defaults, and facts.

    >>> import ssmbench as sb
    >>> sb.show("discretizer", "zoh")["facts"]["a_stable"]
    True

    Raises:
        UsageError: an unknown kind or name.
    """
    return registry.describe(registry.kind_named(kind).get(name))


class Register:
    """A decorator for each kind: ``register.parametrization("mine", config=Config)``.

    A class that a notebook's cell or a script defines is known from then on in the same process,
    and replaced when the cell runs again; one in a plugin file is known to every process.

    >>> import ssmbench as sb
    >>> "parametrization" in dir(sb.register)
    True
    """

    def __getattr__(self, kind: str) -> Callable[..., Callable[[Any], Any]]:
        """The :meth:`ssmbench.registry.Registry.register` of a kind.

        Raises:
            UsageError: no such kind; an AttributeError as well.
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
