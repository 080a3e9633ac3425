"""A run that takes a fraction of a second, and what it leaves in its folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ssmbench import jsonio, registry
from ssmbench.config import typed
from ssmbench.training import check as checking
from ssmbench.training import trainer
from ssmbench.training.trainer import Trained

TOYS = Path(__file__).with_name("toys.py")

TINY = {
    "task": "toy",
    "model": {
        "d_model": 2,
        "n_layers": 1,
        "parametrization": {"name": "s4d", "d_state": 4, "dt_min": 0.1, "dt_max": 0.3},
        "discretizer": "zoh",
    },
    "optimizer": {"lr": 0.02, "ssm_lr": 0.01},
    "analysis": {
        "attack_steps": 3,
        "attack_restarts": 2,
        "every_n_epochs": 0,
        "robustness_sequences": 8,
    },
    "trainer": {
        "max_epochs": 4,
        "devices": 1,
        "accelerator": "cpu",
        "log_every_n_steps": 1,
    },
    "batch_size": 4,
}
STEPS_PER_EPOCH = 4


@contextmanager
def toys_registered() -> Iterator[None]:
    """Know the toys for a while; other tests look at the whole registry."""
    for kind in registry.KINDS.values():
        kind.names()
    with registry.isolated():
        registry.import_file(TOYS)
        yield


def rows(folder: Path) -> list[dict]:
    """The metrics file, line by line."""
    return [jsonio.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def losses(folder: Path) -> dict[int, float]:
    """Training loss by step; the last one written counts."""
    return {r["step"]: r["train/loss"] for r in rows(folder) if "train/loss" in r}


def train(config: Mapping[str, Any], folder: Path, label: str | None = None) -> Trained:
    """Train a resolved config."""
    return trainer.train(typed(config), folder, label)


def check(config: Mapping[str, Any]) -> None:
    """Check a resolved config."""
    checking.check(typed(config))
