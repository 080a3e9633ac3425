"""Publish runs as a small folder, and verify such a folder of somebody else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssmbench.errors import require
from ssmbench.launchers.slots import available_cores
from ssmbench.paths import absolute

if TYPE_CHECKING:
    from ssmbench.publication.verify import Verification
    from ssmbench.publication.write import Published

#: Name of the folder that is written in that of the suite.
DEFAULT_FOLDER = "published"


def publish(
    folder: str | Path,
    *,
    output: str | Path | None = None,
    licence: str = "",
    with_hosts: bool = False,
    hub: str | None = None,
    hub_kind: str = "dataset",
    hub_client: Any = None,
) -> Published:
    """Write the complete runs of a suite, or one run, as a folder fit for a repository.

    Runs that the folder has already are replaced, others stay. A diverged run is published without
    weights: that it diverged is its result.

    >>> import ssmbench as sb
    >>> sb.publish("outputs/quickstart").folder.name  # doctest: +SKIP
    'published'

    Args:
        folder: that of a suite or of a run.
        output: the published folder; None for ``published`` in ``folder``.
        licence: of the weights, as Hugging Face names it, for example "mit".
        with_hosts: keep host names, process ids, jobs and folders of data.
        hub: a repository OWNER/NAME of the Hugging Face hub, to which the folder is uploaded.
        hub_kind: "dataset" or "model".
        hub_client: stands in for ``huggingface_hub.HfApi()``.

    Raises:
        UsageError: no run can be published, the output holds something else, or the hub refuses.
    """
    from ssmbench.publication import write
    from ssmbench.publication.hub import check_repo, client, upload

    root = absolute(folder)
    require(root.is_dir(), f"{root}: no such folder")
    if hub is not None:
        check_repo(hub, hub_kind)
        hub_client = hub_client or client()
    place = root / DEFAULT_FOLDER if output is None else absolute(output, "output")
    found = write.publish(root, place, licence=licence, with_hosts=with_hosts)
    if hub is None:
        return found
    return replace(found, uploaded=upload(place, hub, hub_kind, hub_client))


def verify(
    folder: str | Path,
    *,
    with_data: bool = False,
    run_plugins: bool = False,
    time_limit: float = 120.0,
    jobs: int | None = None,
) -> Verification:
    """Compute again, on the CPU, what can be proved of a published folder's runs, and compare.

    Nothing in the folder is trusted: its code is not executed, and each run is checked in a process
    with limits of time and memory.

    >>> import ssmbench as sb
    >>> sb.verify("outputs/quickstart/published").accepted  # doctest: +SKIP
    True

    Args:
        folder: one that :func:`publish` wrote, on any computer.
        with_data: also compute test scores again, where the data are here.
        run_plugins: execute the submitted plugins that runs need; read them first.
        time_limit: seconds for each run.
        jobs: runs that are checked at once; None for the number of CPUs.

    Raises:
        UsageError: it is not a published folder.
    """
    from ssmbench.publication.checks.processes import Limits
    from ssmbench.publication.verify import verify as check

    require(time_limit > 0, f"time_limit: must be positive, got {time_limit}")
    require(jobs is None or jobs >= 1, f"jobs: must be at least 1, got {jobs}")
    limits = Limits(time_limit, jobs or available_cores(), run_plugins)
    return check(absolute(folder), with_data=with_data, limits=limits)
