"""Upload of a published folder to the Hugging Face hub."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ssmbench.errors import UsageError, one_line, require
from ssmbench.publication.layout import DIGESTS, LEADERBOARD, PLUGINS, RUNS

_REPO = re.compile(r"[\w.-]+/[\w.-]+")
#: Kinds of repositories, as the hub calls them.
KINDS = ("dataset", "model")


def check_repo(repo: str, kind: str) -> None:
    """Raise a UsageError unless this names a repository."""
    require(bool(_REPO.fullmatch(repo)), f"--hub {repo!r}: must be OWNER/NAME")
    require(kind in KINDS, f"--hub-kind {kind!r}: must be {' or '.join(KINDS)}")


def client() -> Any:
    """The hub's client, with the token that its own tools have stored.

    Raises:
        UsageError: its package is not installed.
    """
    try:
        from huggingface_hub import HfApi  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise UsageError("--hub needs huggingface_hub: pip install 'ssmbench[hub]'") from None
    return HfApi()


def upload(folder: Path, repo: str, kind: str = "dataset", api: Any = None) -> str:
    """Upload the folder in one commit, and make the repository if need be; returns its address.

    Files of the repository that are no published ones stay.

    Raises:
        UsageError: the package is missing, or the hub refuses.
    """
    check_repo(repo, kind)
    api = client() if api is None else api
    try:
        api.create_repo(repo, repo_type=kind, exist_ok=True)
        api.upload_folder(
            repo_id=repo,
            repo_type=kind,
            folder_path=str(folder),
            allow_patterns=["*.md", LEADERBOARD, DIGESTS, f"{RUNS}/**", f"{PLUGINS}/**"],
            delete_patterns=[f"{RUNS}/**", f"{PLUGINS}/**"],
            commit_message="Results of ssmbench",
        )
    except Exception as error:  # of the network, of the hub, of the token: many types
        raise UsageError(f"--hub {repo}: {one_line(error)}") from None
    return f"https://huggingface.co/{'datasets/' if kind == 'dataset' else ''}{repo}"
