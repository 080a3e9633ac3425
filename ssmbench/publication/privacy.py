"""What is left out of a published run: where it was computed, and by whom."""

from __future__ import annotations

import getpass
import re
import socket
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

from ssmbench.results import Provenance, Record, Result, Sitting

#: What :func:`without_hosts` and :func:`without_folders` leave out, for the user.
LEFT_OUT = "host names, process ids, Slurm jobs, folders of data and of plugins"
#: An absolute path in a sentence, of at least two parts; a URL and a ratio are none.
_PATH = re.compile(
    r"(?<![\w:/.~-])(?:~|[A-Za-z]:)?[/\\](?:[^\s/\\'\",;:()]+[/\\])+([^\s/\\'\",;:()]*)"
)


def without_hosts(result: Result) -> Result:
    """The result without hosts, processes, jobs and folders; commits and times stay."""
    environment = result.environment
    plugins = tuple(replace(p, file=PurePath(p.file).name) for p in environment.plugins)
    source = replace(result.task, source=without_paths(result.task.source))
    return replace(
        result,
        environment=replace(environment, plugins=plugins),
        provenance=result.provenance and _without_hosts(result.provenance),
        warnings=tuple(map(without_paths, result.warnings)),
        notes=tuple(map(without_paths, result.notes)),
        task=source,
    )


def _without_hosts(provenance: Provenance) -> Provenance:
    sittings = tuple(_anonymous(sitting) for sitting in provenance.sittings)
    return replace(provenance, host="", job=None, sittings=sittings)


def _anonymous(sitting: Sitting) -> Sitting:
    return replace(sitting, host="", pid=0, job=None, why=without_paths(sitting.why))


def without_folders(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config without the folder of the data, which is no part of a run's identity."""
    task = config.get("task")
    if not (isinstance(task, Mapping) and "data_dir" in task):
        return dict(config)
    return {**config, "task": {**task, "data_dir": None}}


def without_paths(text: str) -> str:
    """A sentence with the name of each file or folder in place of its absolute path."""
    return _PATH.sub(lambda found: found[1] or "a folder", text)


def personal_words(value: Any) -> list[str]:
    """What in nested values would say who ran this, or where: absolute paths, and the names of this
    host and this user."""
    return list(dict.fromkeys(word for text in _texts(value) for word in _found_in(text)))


def _found_in(text: str) -> Iterator[str]:
    yield from (found[0] for found in _PATH.finditer(text))
    for name in _names():
        if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text):
            yield name


def _names() -> list[str]:
    """Names of this host and user that are long enough not to be found by chance."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = ""
    given = (socket.gethostname(), user, str(Path.home()))
    return [name for name in given if len(name) > 4 and name not in ("local", "localhost")]


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Record):
        yield from _texts(value.to_dict())
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _texts(key)
            yield from _texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)
