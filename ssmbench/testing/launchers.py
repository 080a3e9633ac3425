"""Conformance checks of launchers: each run is yielded once, with the state in its folder."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from ssmbench.config import resolve
from ssmbench.launchers.base import Ended
from ssmbench.runs.run import Run
from ssmbench.testing.report import Subject, skip_unless

_LIMITS = dict.fromkeys(("limit_train_batches", "limit_val_batches", "limit_test_batches"), 1)
_SMALL: dict[str, Any] = {
    "task": "digits",
    "batch_size": 8,
    "model": {"d_model": 2, "n_layers": 1, "parametrization": "l2ru", "discretizer": None},
    "analysis": {"attack_steps": 1, "attack_restarts": 1, "robustness": False},
    "trainer": {"accelerator": "cpu", "devices": 1, "max_epochs": 1, **_LIMITS},
}
#: More sequences than the task has: the run fails.
_TOO_LARGE = {"batch_size": 1_000_000}


def builds(subject: Subject) -> None:
    """It can be built from its options."""
    subject.build()


def yields_each_run_once_with_its_state(subject: Subject) -> None:
    """A run that finishes and one that fails are each yielded once, with the state that the run's
    folder records.
    """
    missing = subject.build().why_unavailable()
    skip_unless(not missing, missing)
    with tempfile.TemporaryDirectory() as folder:
        ended = _launch(subject, Path(folder))
        labels = sorted(run.label for run, _ in ended)
        assert labels == ["fails", "works"], f"yields {labels} for the runs fails and works"
        for run, state in ended:
            stored = run.folder.state
            assert state == stored, f"yields the state {state} for a run whose folder says {stored}"
        states = {run.label: state for run, state in ended}
        assert states == {"works": "finished", "fails": "failed"}, f"yields the states {states}"


def _launch(subject: Subject, folder: Path) -> list[Ended]:
    configs = {"works": _SMALL, "fails": _SMALL | _TOO_LARGE}
    runs = [
        Run.of(resolve(config, label), folder / "runs", label) for label, config in configs.items()
    ]
    for run in runs:
        run.create()
    return list(subject.build().launch(runs, 1))


CHECKS = (builds, yields_each_run_once_with_its_state)
