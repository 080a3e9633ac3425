"""Paths that a user gives: expanded and made absolute once, at the entrance."""

from __future__ import annotations

import os
from pathlib import Path

from ssmbench.errors import UsageError, require


def absolute(given: str | Path, where: str = "path") -> Path:
    """The absolute path that ``~`` and ``$VARIABLE`` in ``given`` stand for.

    A variable that is not set is a part of the name. ``where`` says who asked, for the error.

    Raises:
        UsageError: the home folder of a user that there is not, or a character no path can have.
    """
    expanded = os.path.expanduser(os.path.expandvars(given))
    require(not expanded.startswith("~"), f"{where} {str(given)!r}: there is no such user")
    try:
        os.fsencode(expanded)
    except UnicodeEncodeError:
        raise UsageError(f"{where} {str(given)!r}: not a name that this system can store") from None
    require("\0" not in expanded, f"{where} {str(given)!r}: not a name that this system can store")
    return Path(os.path.abspath(expanded))
