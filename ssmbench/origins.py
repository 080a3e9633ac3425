"""The files and lines in which registered components are defined, for error messages."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ssmbench import registry
from ssmbench.errors import (
    OutOfMemoryError,
    PluginError,
    ShapeError,
    UsageError,
    line_within,
    one_line,
    shown_path,
)

_PACKAGE = Path(__file__).resolve().parent


def source_location(definition: Any) -> str:
    """File, line and name of a class, function or method; for any other object, of its class.

    For example ``plugins/x.py:41 (class Foo)`` or ``plugins/x.py:52 (Foo.forward)``. If the source
    file is unknown, as for code entered in an interpreter, only the name.
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
    """The files that define entries which are not built in; for an entry in a package, the folder
    of the outermost package."""
    origins = (
        entry.origin.rpartition(":")[0] for kind in registry.KINDS.values() for entry in kind
    )
    files = {Path(file).resolve() for file in origins}
    return sorted({_package_of(file) for file in files if _PACKAGE not in file.parents})


def _package_of(file: Path) -> Path:
    path = file
    while (path.parent / "__init__.py").exists():
        path = path.parent
    return path


def plugin_line(error: BaseException) -> str | None:
    """The innermost traceback line that lies in a plugin's file, as ``plugins/x.py:41 in forward``;
    None if no plugin is involved.
    """
    return line_within(error, plugin_files())


def with_plugin_line(error: UsageError) -> UsageError:
    """Add to a :class:`ShapeError` the line of the plugin that made the matrices.

    Other usage errors are returned unchanged: their messages give a location already.
    """
    line = plugin_line(error) if isinstance(error, ShapeError) else None
    return UsageError(f"{error} ({line})") if line else error


def crash_message(error: Exception, traceback_file: Path) -> str:
    """One line for an unexpected error: its type and message, the innermost line of a plugin if one
    is involved, and the file with the full traceback."""
    line, full = plugin_line(error), f"full traceback: {shown_path(traceback_file)}"
    said = str(error) if isinstance(error, OutOfMemoryError) else one_line(error)
    return f"{said} ({line}; {full})" if line else f"{said} ({full})"


def plugin_error(definition: Any, fault: str) -> PluginError:
    """An error whose message is the definition's file and line, followed by ``fault``."""
    return PluginError(f"{source_location(definition)}: {fault}")


def plugin_require(condition: bool, definition: Any, fault: Callable[[], str] | str) -> None:
    """Raise a :class:`PluginError` about ``definition`` unless ``condition`` holds."""
    if not condition:
        raise plugin_error(definition, fault if isinstance(fault, str) else fault())


# --- phrases in error messages ------------------------------------------------------------------


def with_article(noun: str) -> str:
    """A noun with its indefinite article, *a* or *an*."""
    return f"an {noun}" if noun[0] in "aeiouAEIOU" else f"a {noun}"


def describe_type(value: Any) -> str:
    """The name of a value's type, with its article, as in *a list* or *a numpy.ndarray*.

    The package is left out for types of ssmbench, of plugins and of Python itself.
    """
    kind = type(value)
    package = kind.__module__.partition(".")[0]
    familiar = package in ("builtins", "ssmbench") or package.startswith("ssmbench_plugin_")
    return with_article(kind.__name__ if familiar else f"{package}.{kind.__name__}")


def dtype_name(dtype: Any) -> str:
    """The name of a torch dtype without the prefix ``torch.``."""
    return str(dtype).removeprefix("torch.")
