"""The data of tasks: what each needs, whether it is there, and how to get it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssmbench import registry
from ssmbench.config import options_of, resolve_component
from ssmbench.errors import UsageError, require
from ssmbench.registry import Entry
from ssmbench.tasks.base import Task
from ssmbench.tasks.data import data_folder, find_data
from ssmbench.tasks.published import PublishedData


@dataclass(frozen=True)
class TaskData:
    """The data of one task.

    ``published``: what it reads; None of a task whose data are generated or come with a package,
    and of one that reads files of the user's own (``reads_own_files``). ``missing``: the places
    that the data folder does not have, alternatives together.
    """

    task: str
    summary: str
    published: PublishedData | None
    missing: tuple[tuple[str, ...], ...]
    reads_own_files: bool = False

    @property
    def state(self) -> str:
        """``not needed``, ``your own``, ``found``, ``missing``, ``incomplete``, or ``optional``:
        without the files the task generates data, or reads those of an installed package."""
        if self.published is None:
            return "your own" if self.reads_own_files else "not needed"
        if not self.missing:
            return "found"
        if self.published.optional:
            return "optional"
        return "incomplete" if len(self.missing) < len(self.published.places) else "missing"

    def what_is_missing(self) -> str:
        """The missing places and where users get them, in one sentence; "" where none are."""
        if self.published is None or not self.missing:
            return ""
        places = ", ".join(names[0] for names in self.missing)
        known = self.published.downloads or self.published.package_loader
        fetch = f", or run `ssmbench data fetch {self.task}`" if known else ""
        return f"needs {places}; get it from {self.published.page}{fetch}"


@dataclass(frozen=True)
class DataCheck:
    """Whether a task's data could be loaded; ``finding`` is what was found or what is wrong."""

    task: str
    ok: bool
    finding: str


def data_of(name: str, data_dir: str | None = None) -> TaskData:
    """What a task needs, and what of it the data folder has.

    Args:
        name: of a task.
        data_dir: the data folder; None for the one that SSMBENCH_DATA names.

    Raises:
        UsageError: an unknown task, or a data folder that does not exist.
    """
    entry = registry.tasks.get(name)
    published: PublishedData | None = getattr(entry.factory, "published", None)
    data_folder(data_dir)  # refuses one that does not exist
    places = () if published is None else published.places
    missing = tuple(names for names in places if not _is_in(data_dir, names))
    reads = getattr(entry.factory, "data_files", Task.data_files) is not Task.data_files
    return TaskData(entry.name, entry.summary, published, missing, reads and published is None)


def _is_in(data_dir: str | None, names: Sequence[str]) -> bool:
    try:
        return find_data(data_dir, *names) is not None
    except UsageError:
        return False


def all_data(data_dir: str | None = None) -> list[TaskData]:
    """:func:`data_of` every task, by name. Raises what it raises."""
    return [data_of(entry.name, data_dir) for entry in registry.tasks]


def check_data(name: str, options: Mapping[str, Any] | None = None) -> DataCheck:
    """Load a task's data with its own checks.

    Raises:
        UsageError: an unknown task or option.
    """
    needs = data_of(name, (options or {}).get("data_dir"))
    if needs.state in ("missing", "incomplete"):
        return DataCheck(name, False, needs.what_is_missing())
    try:
        return DataCheck(name, True, describe_contents(make_data(name, options)))
    except UsageError as error:
        return DataCheck(name, False, str(error))


def make_data(name: str, options: Mapping[str, Any] | None = None) -> Task:
    """The task with its data loaded: generated data are kept in the cache for later runs.

    Raises:
        UsageError: an unknown task or option, or data that cannot be made or read.
    """
    entry: Entry[Task] = registry.tasks.get(name)
    component = resolve_component(registry.tasks, {"name": name, **(options or {})}, f"task {name}")
    task = entry.build(options_of(registry.tasks, component), batch_size=1, seed=0)
    task.setup()
    return task


def describe_contents(task: Task) -> str:
    """The source, the splits and their sizes, in one line."""
    splits = ("train", "val", "test", *task.further_tests())
    sizes = ", ".join(f"{name} {len(task.split(name)):,}" for name in splits)
    return f"{task.source}: {sizes} sequences, at most {task.sizes.length:,} steps"


def fetch_data(name: str, data_dir: str | None = None) -> list[Path]:
    """Download a task's published files into the data folder, and unpack archives.

    A file that is there already, with the right checksum, is not downloaded again.

    Raises:
        UsageError: an unknown task, no data folder, a task without downloads, a package is not
            installed, a download that failed, or a file with another checksum.
    """
    from ssmbench.tasks.benchmark_package import download
    from ssmbench.tasks.fetch import fetch

    needs = data_of(name)
    published = needs.published
    require(published is not None, f"task {name}: its data need no files")
    assert published is not None
    require(
        bool(published.downloads or published.package_loader),
        f"task {name}: no download is known; get the files from {published.page}",
    )
    folder = data_folder(data_dir, create=True)
    require(folder is not None, "set SSMBENCH_DATA, or give --to, the folder for the data")
    assert folder is not None
    if published.package_loader:
        return download(published.package_loader, folder)
    return [fetch(one, folder) for one in published.downloads]
