"""The IMDB reviews as published: the tree ``aclImdb/{train,test}/{pos,neg}/*.txt``, or its archive,
which is read without being unpacked."""

from __future__ import annotations

import lzma
import re
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from ssmbench.errors import UsageError
from ssmbench.tasks.lra.characters import Text

PARTS = ("train", "test")
CLASSES = {"neg": 0, "pos": 1}
_REVIEW = re.compile(r"(?:.*/)?(train|test)/(neg|pos)/(\d+)_\d+\.txt")


def read_reviews(place: Path) -> dict[str, list[Text]]:
    """The reviews of both parts by their numbers, the negative (0) and the positive one (1) of each
    number in turn: the first ones of a part hold both classes.

    ``place``: the folder ``aclImdb`` or the archive.

    Raises:
        UsageError: a file cannot be read or is not UTF-8, or a part has no reviews of a class.
    """
    found: dict[str, dict[tuple[int, int], str]] = {part: {} for part in PARTS}
    for name, content in _files(place) if place.is_dir() else _members(place):
        match = _REVIEW.fullmatch(name)
        if match:
            part, kind, number = match.groups()
            found[part][int(number), CLASSES[kind]] = _decoded(content, place, name)
    for part, reviews in found.items():
        for kind, label in CLASSES.items():
            if not any(key[1] == label for key in reviews):
                raise UsageError(f"{place}: no reviews {part}/{kind}/*_*.txt")
    return {
        part: [Text(reviews[key], key[1]) for key in sorted(reviews)]
        for part, reviews in found.items()
    }


def _decoded(content: bytes, place: Path, name: str) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{place}: {name}:{line}: not UTF-8") from None


def _files(folder: Path) -> Iterator[tuple[str, bytes]]:
    for part in PARTS:
        for kind in CLASSES:
            for file in (folder / part / kind).glob("*.txt"):
                try:
                    yield file.relative_to(folder).as_posix(), file.read_bytes()
                except OSError as error:
                    raise UsageError(f"{file}: cannot be read ({error.strerror})") from None


def _members(archive: Path) -> Iterator[tuple[str, bytes]]:
    try:
        with tarfile.open(archive, "r|*") as members:
            for member in members:
                content = members.extractfile(member) if member.isfile() else None
                if content is not None and _REVIEW.fullmatch(member.name):
                    yield member.name, content.read()
    except (OSError, EOFError, tarfile.TarError, lzma.LZMAError, zlib.error) as error:
        raise UsageError(f"{archive}: cannot be read as an archive ({error})") from None
