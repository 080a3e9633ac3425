"""Folders that a report is made of: suites that were run, and published folders."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ssmbench import jsonio
from ssmbench.config import fingerprint
from ssmbench.errors import UsageError
from ssmbench.publication.layout import is_published
from ssmbench.report.against import different_tasks, task_facts
from ssmbench.report.collect import RunRecord, collect
from ssmbench.report.contents import About, refused_of
from ssmbench.suite.record import read_suite
from ssmbench.yamlio import read_yaml

_Row = tuple[str, str, str]


@dataclass(frozen=True)
class Source:
    """The runs of one folder."""

    folder: Path
    about: About
    records: tuple[RunRecord, ...]


def read_source(folder: Path) -> Source:
    """The runs in a suite's folder, or in a published one, which is called as it is.

    Raises:
        UsageError: no suite was run there.
    """
    records = tuple(collect(folder))
    if is_published(folder):
        return Source(folder, About(folder.name), records)
    suite = read_suite(folder)
    about = About(suite["name"], refused=tuple(refused_of(suite.get("refused", []))))
    return Source(folder, about, records)


def distinct_names(folders: Sequence[Path]) -> list[str]:
    """The shortest end of each path that no other one has.

    Raises:
        UsageError: a folder is given twice.
    """
    resolved = [folder.resolve() for folder in folders]
    for place, folder in enumerate(resolved):
        if folder in resolved[:place]:
            raise UsageError(f"{folders[place]}: given twice")
    deepest = max(len(folder.parts) for folder in resolved)
    for depth in range(1, deepest + 1):
        names = ["/".join(folder.parts[-depth:]) for folder in resolved]
        if len(set(names)) == len(names):
            return names
    return [str(folder) for folder in resolved]


def joined(sources: Sequence[Source]) -> Source:
    """All runs as those of one suite, each with its source.

    A task whose data or metric differ between the sources becomes one task for each kind, and a
    variant whose settings differ on a task becomes one for each kind; the name of the first source
    of the kind is added to theirs. Equal cells of two sources are both kept.

    Raises:
        UsageError: a folder is given twice.
    """
    names = distinct_names([source.folder for source in sources])
    records = [
        replace(record, source=name)
        for name, source in zip(names, sources, strict=True)
        for record in source.records
    ]
    warnings = different_tasks({n: [r for r in records if r.source == n] for n in names})
    records = _apart_by_task(records, set(warnings))
    records, differing = _apart_by_settings(records)
    refused = tuple(dict.fromkeys(one for source in sources for one in source.about.refused))
    about = About(
        name=" + ".join(dict.fromkeys(source.about.name for source in sources)),
        sources=tuple(names),
        refused=refused,
        warnings=(*warnings.values(), *differing),
    )
    return Source(sources[0].folder, about, tuple(records))


def _apart_by_task(records: Sequence[RunRecord], tasks: set[str]) -> list[RunRecord]:
    """With the names of ``tasks`` followed by the first source that has the same data and metric,
    if the source has results; those without any keep to the first kind."""
    sources = dict.fromkeys(record.source for record in records)
    facts = {name: task_facts(r for r in records if r.source == name) for name in sources}

    def renamed(record: RunRecord) -> RunRecord:
        mine = facts[record.source].get(record.task)
        if record.task not in tasks or mine is None:
            return record
        first = next(name for name in sources if facts[name].get(record.task) == mine)
        return replace(record, task=f"{record.task} ({first})")

    return [renamed(record) for record in records]


def _apart_by_settings(records: Sequence[RunRecord]) -> tuple[list[RunRecord], list[str]]:
    """With the variants of rows with several settings followed by the first source that has the
    same settings; a sentence for each such row."""
    settings = _settings(records)
    kinds: dict[_Row, dict[str, str]] = {}
    for record in records:
        kind = settings.get((_row_of(record), record.source))
        if kind is not None:
            kinds.setdefault(_row_of(record), {}).setdefault(kind, record.source)

    def renamed(record: RunRecord) -> RunRecord:
        mine = kinds.get(_row_of(record), {})
        kind = settings.get((_row_of(record), record.source))
        if kind is None or len(mine) < 2:
            return record
        return replace(record, variant=f"{record.variant} ({mine[kind]})")

    sentences = [
        f"{row[0]}, {row[1]}, {row[2]}: the settings of {' and '.join(known.values())} differ, so "
        "their runs are not joined"
        for row, known in kinds.items()
        if len(known) > 1
    ]
    return [renamed(record) for record in records], sentences


def _settings(records: Iterable[RunRecord]) -> dict[tuple[_Row, str], str]:
    """What determines the results of a row of one source, but for the seed: of the first of its
    runs that has a config."""
    found: dict[tuple[_Row, str], str] = {}
    for record in records:
        place = (_row_of(record), record.source)
        if place not in found and record.folder is not None:
            config = record.folder / "config.yaml"
            if config.is_file():
                found[place] = _identity(config)
    return found


def _row_of(record: RunRecord) -> _Row:
    return record.task, record.variant, record.discretizer


def _identity(config: Path) -> str:
    """The fingerprint that a run would have with the seed 0; the text of a config whose plugins
    are not here."""
    content = {**read_yaml(config), "seed": 0}
    try:
        return fingerprint(content)
    except UsageError:
        return jsonio.dumps(content, sort_keys=True)
