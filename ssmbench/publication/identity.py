"""Which parts of a config decide what a network was trained by, and what its scores are of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ssmbench import jsonio
from ssmbench.config import NOT_FINGERPRINTED, leaves

#: Options that decide what is measured of a trained network, and nothing about its training.
_MEASURING = ("analysis.", "length_factors", "sampling.test_dropped")
#: Options that decide what a score is a score of.
_SCORED = ("task.", "sampling.", "data_digest", "trainer.limit_test_batches")


def trained_by(config: Mapping[str, Any]) -> dict[str, Any]:
    """What decides the weights: runs with the same of it have the same weights."""
    left_out = (*_MEASURING, *NOT_FINGERPRINTED)
    return {path: value for path, value in leaves(config) if not path.startswith(left_out)}


def scored_on(config: Mapping[str, Any]) -> str:
    """The task, its options and its data: runs with the same of it have comparable scores."""
    found = {p: v for p, v in leaves(config) if p.startswith(_SCORED) and p != "task.data_dir"}
    return jsonio.dumps(found, sort_keys=True)
