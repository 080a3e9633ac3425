"""Small results for tests of their readers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ssmbench.results import Environment, Gains, NetworkGains, Result, Scores, TaskFacts
from ssmbench.runs.folder import RunFolder

NETWORK = NetworkGains(declared=None, bound=1.0, reason="", attacked=0.5)
FINISHED = Result(
    status="finished",
    diverged_at=None,
    scores=Scores(val=1.0, test=1.0),
    task=TaskFacts(name="t", source="s", metric="rmse", higher_is_better=False, unit=""),
    gain=Gains(declared=0.5, verified=0.5, attacked=0.5, spectral_radius=0.5, network=NETWORK),
    robustness=(),
    parameters=1,
    steps_per_second=None,
    environment=Environment(device="cpu", threads=1),
)
DIVERGED = replace(FINISHED, status="diverged", diverged_at=0, scores=None)


def complete(folder: RunFolder, state: str = "finished", **over: Any) -> None:
    """Write what makes a run complete."""
    np.savez(folder.path / "poles.npz", layer0=np.array([0.5 + 0j]))
    folder.write_result(replace(FINISHED if state == "finished" else DIVERGED, **over))
    folder.write_status(state)
