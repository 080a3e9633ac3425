"""One run: its resolved config, its identity and its folder."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ssmbench.config import (
    RunConfig,
    changed_sources,
    earlier_sources,
    fingerprint,
    ranks,
    read_yaml,
    resolve,
    typed,
)
from ssmbench.errors import UsageError, require
from ssmbench.runs.folder import RunFolder


@dataclass(frozen=True, eq=False)
class Run:
    """A resolved config with its folder, whose name is the fingerprint of the config.

    ``label`` is a readable name, for example ``digits/S4D-zoh-s0``.
    """

    config: Mapping[str, Any]
    folder: RunFolder
    label: str = ""

    @classmethod
    def of(cls, config: Mapping[str, Any], root: Path, label: str = "") -> Run:
        """The run of a resolved config, with its folder in ``root``; nothing is written."""
        return cls(config, RunFolder(root / fingerprint(config)), label)

    @classmethod
    def load(cls, path: Path) -> Run:
        """The run in a folder; its fingerprint is the folder's name.

        The recorded data digest is kept, and compared when the data are read. Warns of plugins
        whose code has changed since the run.

        Raises:
            UsageError: the folder is not that of a run, or its config is not supported.
        """
        require(path.is_dir(), f"{path}: no such folder")
        file = path / "config.yaml"
        require(file.exists(), f"{path}: not the folder of a run (it has no config.yaml)")
        stored = read_yaml(file)
        for change in changed_sources(stored):
            warnings.warn(f"{path}: {change}", stacklevel=2)
        digest = str(stored.pop("data_digest", ""))
        return cls(resolve(stored, str(file)) | {"data_digest": digest}, RunFolder(path))

    @property
    def fingerprint(self) -> str:
        """12 hex digits that identify everything that determines the result."""
        return self.folder.path.name

    @cached_property
    def typed(self) -> RunConfig:
        """The config as a dataclass; its components stay dicts."""
        return typed(self.config)

    @property
    def is_distributed(self) -> bool:
        """Whether the run uses, or may use, several processes."""
        return ranks(self.config["trainer"]) != 1

    @property
    def runs_of_other_code(self) -> list[Path]:
        """Folders in the same root of runs with the same config, but different plugin code."""
        return earlier_sources(self.folder.path.parent, self.config)

    def labelled(self, label: str) -> Run:
        """The same run under another label."""
        return replace(self, label=label)

    def create(self) -> RunFolder:
        """Create the folder, and the config in it, if missing.

        Raises:
            UsageError: the folder cannot be created.
        """
        try:
            self.folder.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"{self.folder.path}: cannot be created: {error.strerror}") from None
        if not _is_readable(self.folder.path / "config.yaml"):
            self.folder.write_config(self.config)
        return self.folder

    def reset(self) -> bool:
        """Delete the run's output, so that it starts again; False if another process has it."""
        if not self.folder.path.is_dir():
            return True
        with self.folder.lock() as held:
            if held is not None:
                held.clear()
        return held is not None


def _is_readable(config: Path) -> bool:
    try:
        return fingerprint(read_yaml(config)) != ""
    except (UsageError, TypeError):
        return False
