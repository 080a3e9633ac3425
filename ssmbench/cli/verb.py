"""The command class of all verbs, and the options that several of them have."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from ssmbench.cli import streams
from ssmbench.paths import absolute

#: For every argument and option that is a path: verbs receive expanded, absolute paths.
PATH_ARGUMENT: dict[str, Any] = {"parser": absolute}
PATH_OPTION: dict[str, Any] = {"parser": absolute, "metavar": "PATH"}

AsJson = Annotated[bool, typer.Option("--json", help="Print only JSON on stdout.")]
Plugins = Annotated[
    list[Path] | None,
    typer.Option(
        "--plugins", help="A plugin file or a folder of them; may be repeated.", **PATH_OPTION
    ),
]
Overrides = Annotated[
    list[str] | None, typer.Argument(help="key=value, for example model.d_model=64.")
]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="Where results are written.", **PATH_OPTION),
]

Force = Annotated[bool, typer.Option("--force", help="Run again even if already complete.")]


class Verb(TyperCommand):
    """A command that writes only its answer to standard output."""

    def invoke(self, ctx: typer.Context) -> Any:
        with streams.redirected():
            return super().invoke(ctx)


def add_verb(app: typer.Typer, function: Callable[..., None]) -> None:
    """Make a function a verb of ``app`` under the function's name.

    ``--plugins`` is accepted both before and after the verb.
    """
    app.command(function.__name__.rstrip("_"), cls=Verb)(_with_plugins(function))


def add_plugins(plugins: Plugins = None) -> None:
    """Add plugin files and folders to those that the registry searches."""
    from ssmbench import registry

    registry.add_plugin_paths(plugins or [])


def _with_plugins(function: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(function)
    def verb(*, plugins: list[Path] | None = None, **arguments: Any) -> None:
        add_plugins(plugins)
        function(**arguments)

    own, shared = (inspect.signature(f, eval_str=True) for f in (function, add_plugins))
    parameters = {**own.parameters, **shared.parameters}
    setattr(verb, "__signature__", own.replace(parameters=list(parameters.values())))  # noqa: B010
    verb.__annotations__ = {name: p.annotation for name, p in parameters.items()}
    return verb
