"""Import weights that were trained elsewhere, as a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ssmbench.library.configs import Overrides, read_overrides
from ssmbench.library.runs import Run
from ssmbench.paths import absolute


def import_run(
    checkpoint: str | Path,
    layout: str,
    overrides: Overrides = None,
    *,
    output: str | Path,
    partial: bool = False,
    force: bool = False,
    **options: Any,
) -> Run:
    """A run made of other people's trained weights, with verified and attacked gains.

    >>> import numpy as np, tempfile
    >>> import ssmbench as sb
    >>> folder = tempfile.mkdtemp()
    >>> A, B, C, D = 0.5 * np.eye(2), np.eye(2), np.eye(2), np.zeros((2, 2))
    >>> layer = {f"blocks.0.layer.{name}": m for name, m in dict(A=A, B=B, C=C, D=D).items()}
    >>> np.savez(f"{folder}/layer.npz", **layer)
    >>> run = sb.import_run(f"{folder}/layer.npz", "npz", output=f"{folder}/run")
    >>> round(run.gains.verified, 6)
    2.0

    Args:
        checkpoint: a NumPy .npz file, or a torch file that holds tensors alone.
        layout: a registered name; see ``list("importers")``.
        overrides: values of the run's config, as for :func:`ssmbench.train`: ``task`` for scores on
            it, or parts of ``model`` that the checkpoint does not show. Without a task, no data are
            needed, and there are no scores.
        output: the run's folder, which must be new or empty.
        partial: leave out keys that the layout does not have, and put the identity in the place of
            an encoder or a decoder that is missing.
        force: replace what is in the folder.
        options: options of the layout; see ``show("importer", name)``.

    Raises:
        UsageError: the file cannot be read, or not in this layout (the message names the key), it
            does not fit the overrides, or the folder is not empty.
    """
    from ssmbench.runs.imports import ImportRequest
    from ssmbench.runs.imports import import_run as execute

    given = read_overrides(overrides)
    request = ImportRequest(absolute(checkpoint), layout, options, given, partial)
    return Run(execute(request, absolute(output, "output"), force=force))
