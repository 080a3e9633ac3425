"""Which file of the repository each page of the site comes from."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = "docs/"
NOTEBOOK_SUFFIX = ".ipynb"

#: Files of the root that are pages, by their names on the site.
ROOT_PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}


def folder_of(uri: str) -> str:
    """The folder in the repository, '' or with a slash at its end, of the source of a page."""
    if uri in ROOT_PAGES.values():
        return ""
    return (DOCS + uri).rpartition("/")[0] + "/"


def page_of(path: str) -> str | None:
    """The uri on the site of a path of the repository; None where the site does not have it."""
    if path in ROOT_PAGES:
        return ROOT_PAGES[path]
    if not path.startswith(DOCS) or not (ROOT / path).is_file():
        return None
    uri = path.removeprefix(DOCS)
    is_notebook = uri.endswith(NOTEBOOK_SUFFIX)
    return uri.removesuffix(NOTEBOOK_SUFFIX) + ".md" if is_notebook else uri
