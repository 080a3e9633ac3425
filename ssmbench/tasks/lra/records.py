"""What the tasks share that read the Arena's files or generate data of the same kind."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from ssmbench.errors import UsageError
from ssmbench.tasks.data import DATA_VARIABLE, find_data

#: The release's archive, unpacked in the data folder or beside its content.
_RELEASE = ("", "lra_release/", "lra_release/lra_release/")


class Records(Enum):
    """Which data: ``auto`` takes the published ones where a data folder holds them."""

    auto = "auto"
    published = "published"
    generated = "generated"


def places(name: str, released: str, renamed: str) -> tuple[str, ...]:
    """Where a file or folder (with a slash at its end) may be in the data folder.

    ``released``: its folder in the Arena's own release; ``renamed``: that in the folder layout of
    the S4 repository. Both end with a slash. The data folder may also be that folder itself.
    """
    found = *(f"{top}{released}{name}" for top in _RELEASE), f"{renamed}{name}", name
    return tuple(dict.fromkeys(found))


def resolved(records: Records, task: str, data_dir: str | None, names: Sequence[str]) -> Records:
    """Which records ``auto`` means on this machine, by whether one of ``names`` is there.

    Raises:
        UsageError: published records are asked for, or a folder is given, without them.
    """
    if records is Records.auto:
        return Records.published if find_data(data_dir, *names) else Records.generated
    if records is Records.published and find_data(data_dir, *names) is None:
        raise UsageError(
            f"{task}: records=published needs the data folder: set data_dir or {DATA_VARIABLE} to "
            f"one that holds {names[0]}"
        )
    return records
