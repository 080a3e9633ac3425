"""The conformance kit's part for launchers: every run comes back, once, as its folder says."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from ssmbench.config import resolve
from ssmbench.launchers.base import Ended
from ssmbench.runs.run import Run
from ssmbench.testing.report import Subject

_LIMITS = dict.fromkeys(("limit_train_batches", "limit_val_batches", "limit_test_batches"), 1)
_SMALL: dict[str, Any] = {
    "task": "digits",
    "batch_size": 8,
    "model": {"d_model": 2, "n_layers": 1, "parametrization": "l2ru", "discretizer": None},
    "analysis": {"attack_steps": 1, "attack_restarts": 1, "robustness": False},
    "trainer": {"accelerator": "cpu", "devices": 1, "max_epochs": 1, **_LIMITS},
}
#: More examples than the task has.
_TOO_LARGE = {"batch_size": 1_000_000}


def builds(subject: Subject) -> None:
    """It is made from its options."""
    subject.build()


def yields_every_run_once_as_its_folder_says(subject: Subject) -> None:
    """Of a run that works and one that fails, each is yielded once with its state on disk."""
    with tempfile.TemporaryDirectory() as place:
        ended = _launch(subject, place)
        labels = sorted(run.label for run, _ in ended)
        assert labels == ["fails", "works"], f"launched 2 runs, and yielded {labels}"
        for run, state in ended:
            found = run.folder.state
            assert state == found, f"says {state} of a run that is {found}"
        states = {run.label: state for run, state in ended}
        assert states == {"works": "finished", "fails": "failed"}, str(states)


def _launch(subject: Subject, place: str) -> list[Ended]:
    configs = {"works": _SMALL, "fails": _SMALL | _TOO_LARGE}
    root = Path(place) / "runs"
    runs = [Run.of(resolve(config, label), root, label) for label, config in configs.items()]
    for run in runs:
        run.create()
    return list(subject.build().launch(runs, 1))


CHECKS = (builds, yields_every_run_once_as_its_folder_says)
