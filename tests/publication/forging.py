"""What a forger does to a published folder: every digest is right afterwards."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from ssmbench import jsonio
from ssmbench.config import fingerprint
from ssmbench.publication.layout import (
    CONFIG,
    LEADERBOARD,
    RESULT,
    RUNS,
    WEIGHTS,
    Entry,
    leaderboard_text,
    read_leaderboard,
)
from ssmbench.publication.verify import Verification, verify
from ssmbench.publication.write import write_digests
from ssmbench.yamlio import dump_yaml, read_yaml

#: Of :meth:`Forger.result`: where in a result the worst figures over the layers lie.
_OF_LAYERS = ("declared", "verified", "attacked", "spectral_radius", "margin")


class Forger:
    """A copy of a published folder with some of its runs, by their variants and seeds."""

    def __init__(self, published: Path, folder: Path, *labels: str):
        shutil.copytree(published, folder)
        self.folder = folder
        known = {entry.label: entry for entry in read_leaderboard(folder)}
        for label in known.keys() - set(labels):
            shutil.rmtree(folder / RUNS / known[label].fingerprint)
        self.write([known[label] for label in labels])

    @property
    def entries(self) -> list[Entry]:
        return read_leaderboard(self.folder)

    def run(self, index: int = 0) -> Path:
        return self.folder / RUNS / self.entries[index].fingerprint

    def write(self, entries: list[Entry]) -> None:
        (self.folder / LEADERBOARD).write_text(leaderboard_text(entries))
        write_digests(self.folder)

    def listed(self, index: int = 0, **changes: Any) -> None:
        """Change an entry of leaderboard.json."""
        plain = [entry.to_dict() for entry in self.entries]
        plain[index] |= changes
        self.write([Entry.from_dict(one) for one in plain])

    def result(self, change: Callable[[dict[str, Any]], None], index: int = 0) -> None:
        """Change a result, and what leaderboard.json says of it."""
        file = self.run(index) / RESULT
        content = jsonio.read(file)
        change(content)
        file.write_text(jsonio.dumps(content))
        gain, scores = content["gain"], content["scores"] or {}
        network = {f"network_{k}": gain["network"][k] for k in ("declared", "bound", "attacked")}
        layers = {name: gain[name] for name in ("declared", "verified", "attacked")}
        kept = {"val": scores.get("val"), "test": scores.get("test"), "seed": content["seed"]}
        self.listed(index, **layers, **network, **kept)

    def layers(self, index: int = 0, **figures: Any) -> None:
        """Change figures of every layer, and the worst over them."""

        def change(content: dict[str, Any]) -> None:
            for layer in content["gain"]["layers"]:
                layer |= figures
            content["gain"] |= {k: v for k, v in figures.items() if k in _OF_LAYERS}
            content["gain"]["violations"] = []

        self.result(change, index)

    def weights(self, change: Callable[[dict[str, Tensor]], None], index: int = 0) -> None:
        file = self.run(index) / WEIGHTS
        content = load_file(file)
        change(content)
        save_file({name: value.contiguous() for name, value in content.items()}, file)
        write_digests(self.folder)

    def config(self, change: Callable[[dict[str, Any]], None], index: int = 0) -> str:
        """Change a config and name the run after it everywhere; returns the new name."""
        old = self.run(index)
        content = read_yaml(old / CONFIG)
        change(content)
        name = fingerprint(content)
        (old / CONFIG).write_text(dump_yaml(content))
        old.rename(old.with_name(name))
        entries = [entry.to_dict() for entry in self.entries]
        entries[index] |= {"fingerprint": name, "seed": content["seed"]}
        self.write([Entry.from_dict(one) for one in entries])

        def named(result: dict[str, Any]) -> None:
            result |= {"fingerprint": name, "seed": content["seed"]}

        self.result(named, index)
        return name

    def verify(self, **options: Any) -> Verification:
        return verify(self.folder, isolated=False, **options)

    def reasons(self, index: int = 0, **options: Any) -> str:
        """Why a run is rejected, in one string."""
        found = self.verify(**options)
        assert not found.accepted
        return "; ".join(found.verdicts[index].reasons)
