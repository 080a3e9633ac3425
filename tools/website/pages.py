"""Pages of the site that are not pages of docs/: files of the root, notebooks, the API."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import api_pages
import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from sources import NOTEBOOK_SUFFIX, ROOT, ROOT_PAGES

ASSETS = ("site.css", "iframe-worker.js")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages; notebooks stay beside theirs, to be downloaded."""
    for name, uri in ROOT_PAGES.items():
        files.append(File.generated(config, uri, content=(ROOT / name).read_text()))
    for uri, content in api_pages.pages():
        files.append(File.generated(config, uri, content=content))
    for name in ASSETS:
        content = Path(__file__).with_name(name).read_text()
        files.append(File.generated(config, f"assets/{name}", content=content))
    for notebook in [file for file in files if file.src_uri.endswith(NOTEBOOK_SUFFIX)]:
        for uri, content in notebook_files(notebook):
            files.append(File.generated(config, uri, content=content))
    return files


# --- notebooks ----------------------------------------------------------------------------------


def notebook_files(file: File) -> Iterator[tuple[str, str | bytes]]:
    """The page of a notebook with the outputs that are stored in it, and its images."""
    cells = nbformat.read(file.abs_src_path, as_version=4).cells
    stem = file.src_uri.removesuffix(NOTEBOOK_SUFFIX)
    parts = []
    for number, cell in enumerate(cells):
        if cell.cell_type == "markdown":
            parts.append(cell.source)
        elif cell.cell_type == "code":
            parts.append(fenced(cell.source, "python"))
            for k, output in enumerate(cell.outputs):
                image = png(output)
                if image:
                    uri = f"{stem}_{number}_{k}.png"
                    yield uri, image
                    parts.append(f"![output]({Path(uri).name})")
                else:
                    parts.append(fenced(plain(output), "{.text .output}"))
    name = Path(file.src_uri).name
    parts.append(f'*This page is the notebook <a href="{name}" download>{name}</a>, as executed.*')
    yield f"{stem}.md", "\n\n".join(parts) + "\n"


def png(output: Any) -> bytes | None:
    """The image of an output, if it has one."""
    encoded = output.get("data", {}).get("image/png")
    return base64.b64decode(encoded) if encoded else None


def plain(output: Any) -> str:
    """The text of an output: of a stream, of a value, or of an error's last line."""
    if output.output_type == "stream":
        return output.text
    if output.output_type == "error":
        return f"{output.ename}: {output.evalue}"
    return output.data.get("text/plain", "")


def fenced(text: str, language: str) -> str:
    """A block of code; four backticks, since outputs may have three."""
    return f"````{language}\n{text.rstrip()}\n````"
