"""Where registered components are defined: files and lines, for messages to their authors."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ssmbench import registry
from ssmbench.errors import PluginError, ShapeError, UsageError, line_within, one_line, shown_path

_PACKAGE = Path(__file__).resolve().parent


def where(definition: Any) -> str:
    """File, line and name of a class, a function, a method, or an object's class.

    ``plugins/x.py:41 (class Foo)``, ``plugins/x.py:52 (Foo.forward)``; the name alone where the
    source is not known, as for code that was typed into an interpreter.
    """
    is_code = inspect.isclass(definition) or inspect.isroutine(definition)
    code = inspect.unwrap(definition) if is_code else type(definition)
    name = f"class {code.__qualname__}" if inspect.isclass(code) else code.__qualname__
    try:
        file, (_, line) = inspect.getsourcefile(code), inspect.getsourcelines(code)
    except (OSError, TypeError):
        return name
    return f"{shown_path(file)}:{line} ({name})" if file else name


def plugin_files() -> list[Path]:
    """The files of all entries that are not built in; for an entry in a package, the package."""
    origins = (
        entry.origin.rpartition(":")[0] for kind in registry.KINDS.values() for entry in kind
    )
    files = {Path(file).resolve() for file in origins}
    return sorted({_package_of(file) for file in files if _PACKAGE not in file.parents})


def _package_of(file: Path) -> Path:
    place = file
    while (place.parent / "__init__.py").exists():
        place = place.parent
    return place


def plugin_line(error: BaseException) -> str | None:
    """The innermost traceback line that lies in a plugin's file, as ``plugins/x.py:41 in forward``;
    None if no plugin is involved.
    """
    return line_within(error, plugin_files())


def located(error: UsageError) -> UsageError:
    """The error; a :class:`ShapeError` is given the line of the plugin that made the matrices.

    The messages of other usage errors name their place already.
    """
    line = plugin_line(error) if isinstance(error, ShapeError) else None
    return UsageError(f"{error} ({line})") if line else error


def explained(error: Exception, traceback_file: Path) -> str:
    """A crash on one line: the error, the innermost line of a plugin if one is involved, and the
    file that holds the full traceback.
    """
    line, full = plugin_line(error), f"full traceback: {shown_path(traceback_file)}"
    return f"{one_line(error)} ({line}; {full})" if line else f"{one_line(error)} ({full})"


def plugin_error(definition: Any, fault: str) -> PluginError:
    """The error that names a definition's file and line, and what is wrong with it."""
    return PluginError(f"{where(definition)}: {fault}")


def plugin_require(condition: bool, definition: Any, fault: Callable[[], str] | str) -> None:
    """Raise a :class:`PluginError` about ``definition`` unless ``condition`` holds."""
    if not condition:
        raise plugin_error(definition, fault if isinstance(fault, str) else fault())


# --- words for these messages ----------------------------------------------------------------


def with_article(noun: str) -> str:
    """A noun with its indefinite article, *a* or *an*."""
    return f"an {noun}" if noun[0] in "aeiouAEIOU" else f"a {noun}"


def a_kind_of(value: Any) -> str:
    """The type of a value; with its package, unless it is from ssmbench, a plugin or Python."""
    kind = type(value)
    package = kind.__module__.partition(".")[0]
    familiar = package in ("builtins", "ssmbench") or package.startswith("ssmbench_plugin_")
    return with_article(kind.__name__ if familiar else f"{package}.{kind.__name__}")


def plain(dtype: Any) -> str:
    """The name of a torch dtype without the prefix ``torch.``."""
    return str(dtype).removeprefix("torch.")
