"""Data for figures, from the systems and runs of a caller."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from ssmbench.errors import require
from ssmbench.library.runs import Run, load
from ssmbench.library.systems import SystemLike, continuous
from ssmbench.systems import ContinuousSystem


def sampled_poles(source: SystemLike, dt: float | None = None) -> np.ndarray:
    """z = dt lambda for every pole lambda of a continuous system, (H N,) complex: the points at
    which a discretizer's stability function is evaluated.

    ``dt``: the step size; None for that of the system.

    Raises:
        UsageError: the source is no system or a discrete one, or the step size is not positive and
            finite.
    """
    system = continuous(source, dt, owner="plot")
    return (system.dt[:, None] * system.poles()).detach().flatten().numpy()


def sampled_poles_of_run(run: Run | str | Path) -> np.ndarray:
    """:func:`sampled_poles` of the trained layers of a run, at their own step sizes.

    Raises:
        UsageError: the folder holds no trained run, or the run's layers have no continuous system.
    """
    trained = run if isinstance(run, Run) else load(run)
    layers = [layer for layer in trained.model.layers if layer.discretizer is not None]
    with torch.no_grad():
        systems = [layer.parametrization() for layer in layers if not layer.time_varying]
    found = [sampled_poles(system) for system in systems if isinstance(system, ContinuousSystem)]
    where = f"{trained.folder}: its layers have no continuous system"
    require(bool(found), f"{where}, so there is no step size times a pole to draw")
    return np.concatenate(found)
