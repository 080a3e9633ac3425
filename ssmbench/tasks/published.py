"""Published data that a task reads: what, from where, under which licence."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Download:
    """One file of a published data set.

    ``url``; ``sha256`` of the file in 64 hex digits, "" where the publisher's file is not known to
    stay the same; ``to``: where it belongs in the data folder. An archive (``.zip``, ``.tar.gz``,
    ``.tar.xz``) is unpacked into the folder ``to``, if that ends with a slash.
    """

    url: str
    sha256: str
    to: str


@dataclass(frozen=True)
class PublishedData:
    """A data set as its publisher lays it out.

    ``places``: for each thing that is needed, the names it may have in the data folder, as
    :func:`~ssmbench.tasks.data.find_data` takes them. ``size`` on disk in bytes, about. ``page``:
    where users get it. ``licence``: as the publisher states it. ``note``: what else to know, in one
    sentence. ``optional``: whether the task does without the files where they are missing, by
    data that it generates or those of an installed package. ``package_loader``: the loader of the
    package nonlinear_benchmarks that downloads the files, where there are no ``downloads``.
    """

    places: tuple[tuple[str, ...], ...]
    size: int
    licence: str
    page: str
    downloads: tuple[Download, ...] = ()
    note: str = ""
    optional: bool = False
    package_loader: str = ""
