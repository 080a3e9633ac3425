"""Paths given by a user are expanded and made absolute once, where they enter the program."""

from __future__ import annotations

import os
from pathlib import Path

from ssmbench.errors import UsageError, require


def absolute(given: str | Path, where: str = "path") -> Path:
    """The absolute path, with ``~`` and ``$VARIABLE`` in ``given`` expanded.

    A variable that is not set is left as it is. ``where`` names the option in error messages.

    Raises:
        UsageError: ``~name`` for a user that does not exist, or a character that no path can have.
    """
    expanded = os.path.expanduser(os.path.expandvars(given))
    require(not expanded.startswith("~"), f"{where} {str(given)!r}: there is no such user")
    try:
        os.fsencode(expanded)
    except UnicodeEncodeError:
        raise UsageError(f"{where} {str(given)!r}: not a name that this system can store") from None
    require("\0" not in expanded, f"{where} {str(given)!r}: not a name that this system can store")
    return Path(os.path.abspath(expanded))


def shown(path: Path) -> Path:
    """The path relative to the working folder if it lies inside it, else unchanged."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
