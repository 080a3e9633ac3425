"""One run: its resolved config, its identity, and its folder, held together."""

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
    """A resolved config with the folder that its fingerprint names.

    ``label`` is what people call it, for example ``digits/S4D-zoh-s0``.
    """

    config: Mapping[str, Any]
    folder: RunFolder
    label: str = ""

    @classmethod
    def of(cls, config: Mapping[str, Any], root: Path, label: str = "") -> Run:
        """The run of a resolved config, in a folder of ``root``; nothing is written yet."""
        return cls(config, RunFolder(root / fingerprint(config)), label)

    @classmethod
    def load(cls, path: Path) -> Run:
        """The run that a folder holds; its fingerprint is the folder's name.

        The digest of its data is the recorded one: it is compared where the data are read. Warns of
        plugins whose code has changed since.

        Raises:
            UsageError: not a run's folder, or a config that this version does not take.
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
        """12 hex digits: the identity of what determines the result."""
        return self.folder.path.name

    @cached_property
    def typed(self) -> RunConfig:
        """The config as a dataclass; its components stay dicts."""
        return typed(self.config)

    @property
    def is_distributed(self) -> bool:
        """Whether it takes several processes, or may take them."""
        return ranks(self.config["trainer"]) != 1

    @property
    def with_other_code(self) -> list[Path]:
        """Folders beside its own, of runs of the same config with other code of its plugins."""
        return earlier_sources(self.folder.path.parent, self.config)

    def labelled(self, label: str) -> Run:
        """The same run under another label."""
        return replace(self, label=label)

    def create(self) -> RunFolder:
        """Make the folder where it is missing, with a config in it.

        Raises:
            UsageError: the folder cannot be made.
        """
        try:
            self.folder.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"{self.folder.path}: cannot be made: {error.strerror}") from None
        if not _is_readable(self.folder.path / "config.yaml"):
            self.folder.write_config(self.config)
        return self.folder

    def reset(self) -> bool:
        """Delete what the run left behind, so that it starts anew; False if a process holds it."""
        if not self.folder.path.is_dir():
            return True
        with self.folder.lock() as mine:
            if mine:
                self.folder.clear()
        return mine


def _is_readable(config: Path) -> bool:
    try:
        return fingerprint(read_yaml(config)) != ""
    except (UsageError, TypeError):
        return False
