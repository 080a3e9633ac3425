"""The git commits that a run was started from."""

from __future__ import annotations

import os
import subprocess
from functools import cache
from pathlib import Path

#: What the package lies in.
_ROOT = Path(__file__).parents[2]
#: Seconds after which git is not waited for, for example on a slow network file system.
_PATIENCE = 10.0


@cache
def commit_of(folder: Path) -> str | None:
    """The commit of the git repository that a folder lies in, and ``-dirty`` if tracked files have
    been changed since; None without a repository or without git.

    The first answer is kept: it is closest to the code that this process has imported.
    """
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        done = subprocess.run(
            [*command, "--exclude=*"],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},  # it only reads
            timeout=_PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None


def commit_of_ssmbench() -> str | None:
    """That of ssmbench itself, if it is a checkout and not an installed package."""
    return commit_of(_ROOT) if (_ROOT / ".git").exists() else None
