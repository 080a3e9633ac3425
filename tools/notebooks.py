#!/usr/bin/env python
"""Execute the notebooks of the documentation again and store their new output.

python tools/notebooks.py [docs/notebooks/first_steps.ipynb ...]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "notebooks"


def executed(notebook: nbformat.NotebookNode, folder: str | Path) -> nbformat.NotebookNode:
    """A copy of a notebook, executed from top to bottom in a new kernel that runs in ``folder``.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell raised an error.
    """
    copy = nbformat.from_dict(notebook)
    for cell in copy.cells:
        cell.metadata.pop("execution", None)
    resources = {"metadata": {"path": str(folder)}}
    client = NotebookClient(
        copy, timeout=300, kernel_name="python3", resources=resources, record_timing=False
    )
    return client.execute()


def portable(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The notebook without metadata and outputs that differ from machine to machine."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = joined(cell.outputs)
    notebook.metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    notebook.metadata["language_info"] = {"name": "python"}
    return notebook


def joined(outputs: list[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    """Outputs, with consecutive ones of the same stream joined."""
    kept: list[nbformat.NotebookNode] = []
    for output in outputs:
        stream = output.output_type == "stream"
        if stream and kept and kept[-1].get("name") == output.name:
            kept[-1].text += output.text
        else:
            kept.append(output)
    return kept


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("notebooks", nargs="*", type=Path, default=sorted(FOLDER.glob("*.ipynb")))
    for path in parser.parse_args().notebooks:
        with tempfile.TemporaryDirectory() as folder:
            done = executed(nbformat.read(path, as_version=4), folder)
        nbformat.write(portable(done), path)
        print(path.name)


if __name__ == "__main__":
    main()
