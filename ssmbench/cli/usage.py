"""Errors in the arguments of a verb that typer finds, each as one line in ssmbench's own form."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer
from typer.core import TyperGroup

from ssmbench.errors import UsageError, suggest


class VerbGroup(TyperGroup):
    """A group of verbs that answers an unknown name with the nearest known ones."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name = args[0]
        if self.get_command(ctx, name) is None:
            known = suggest(name, self.list_commands(ctx))
            raise UsageError(f"{_prefix(ctx)}unknown verb {name!r}: {known}")
        return super().resolve_command(ctx, args)


def usage_message(error: Exception) -> str | None:
    """The one-line message of a usage error that typer raised; None for every other error.

    Typer's own classes differ between its versions, so they are recognised by their attributes.
    """
    message = getattr(error, "format_message", None)
    if message is None:
        return None
    context: typer.Context | None = getattr(error, "ctx", None)
    name = getattr(error, "option_name", None)
    if type(error).__name__ == "NoSuchOption" and context is not None and name is not None:
        known = suggest(name, _option_names(context))
        return f"{_prefix(context)}unknown option {name!r}: {known}"
    text = str(message()).rstrip(".")
    text = text[:1].lower() + text[1:]
    if context is None:
        return text
    return f"{_prefix(context)}{text}; see {' '.join(['ssmbench', *_verb(context)])} --help"


def _prefix(context: Any) -> str:
    verb = " ".join(_verb(context))
    return f"{verb}: " if verb else ""


def _verb(context: Any) -> list[str]:
    """The words of the verb, for example ["plot", "stability"], without the program's name."""
    words: list[str] = []
    while context is not None and context.parent is not None:
        words.insert(0, context.info_name)
        context = context.parent
    return [word for word in words if word]  # a verb that is implied has no word


def _option_names(context: Any) -> Iterator[str]:
    for parameter in context.command.get_params(context):
        if not getattr(parameter, "hidden", False):
            yield from (name for name in parameter.opts if name.startswith("-"))
