"""Export the network of a run, and load exported networks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssmbench.paths import absolute

if TYPE_CHECKING:
    from ssmbench.exporters.base import Exported
    from ssmbench.runs.export import ExportReport


def export_run(
    run: str | Path,
    format: str,
    *,
    weights: str = "float32",
    output: str | Path | None = None,
    name: str = "network",
    **options: Any,
) -> ExportReport:
    """The trained network of a run in files that run without ssmbench, checked against its stream.

    >>> import ssmbench as sb
    >>> over = {"trainer.max_epochs": 1, "trainer.limit_train_batches": 2, "model.n_layers": 1}
    >>> run = sb.train("digits_s4d", over, progress=False)
    >>> report = sb.export_run(run.folder, "npz", weights="int8")
    >>> report.metadata["weights"]["stored"], report.difference < 1e-5
    ('int8', True)

    Args:
        run: the run's folder.
        format: a registered name; see ``list("exporters")``.
        weights: how matrices are stored: "float32", "float16" or "int8". The gains in the metadata
            are those of the stored matrices.
        output: the folder of the files; None for ``export`` in the run's folder.
        name: of the network: of the files, and of the functions and types in C.
        options: options of the format; see ``show("exporter", name)``.

    Raises:
        UsageError: an unknown format; a package that it needs is missing; a part of the network
            cannot be exported; or the exported network differs from the network's stream.
    """
    from ssmbench.runs.export import ExportRequest
    from ssmbench.runs.export import export_run as execute

    place = None if output is None else absolute(output, "output")
    return execute(absolute(run), ExportRequest(format, weights, options, name), place)


def load_exported(path: str | Path) -> Exported:
    """An exported network, ready to run on NumPy arrays; ``path`` is one of its files.

    >>> import numpy as np
    >>> import ssmbench as sb
    >>> over = {"trainer.max_epochs": 1, "trainer.limit_train_batches": 2, "model.n_layers": 1}
    >>> run = sb.train("digits_s4d", over, progress=False)
    >>> network = sb.load_exported(sb.export_run(run.folder, "npz").files[0])
    >>> y, state = network.step(np.ones((2, 1)), network.initial(2))
    >>> y.shape
    (2, 10)

    It has ``metadata``, ``initial(batch)``, ``step(u, state)`` and ``sequence(u, state)``; see
    docs/exporting.md.

    Raises:
        UsageError: the file does not exist, or is in none of the formats.
    """
    from ssmbench.runs.export import read_exported

    return read_exported(absolute(path))
