"""The library in a Jupyter kernel: five lines, manners, and the notebooks of the documentation."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat", reason="nbformat and nbclient are for notebooks only")
pytest.importorskip("nbclient", reason="nbformat and nbclient are for notebooks only")
pytest.importorskip("ipykernel", reason="there is no Python kernel to run notebooks in")

from tools.notebooks import FOLDER, executed, joined  # noqa: E402

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]

#: What is set for a whole process: nothing of it may differ after the library was used.
SETTINGS = """
import logging
import warnings

import lightning.pytorch, matplotlib, scipy.special, sympy, torch, torchmetrics  # they set some

def settings():
    return (
        matplotlib.get_backend(),
        list(warnings.filters),
        warnings.showwarning,
        torch.get_default_dtype(),
        torch.get_num_threads(),
        logging.getLogger().level,
        len(logging.getLogger().handlers),
        logging.getLogger("lightning.pytorch").level,
    )

before = settings()
"""

FIVE_LINES = (
    "import ssmbench as sb",
    'layer = sb.layer("s4d", discretizer="zoh", d_model=16, seed=0)',
    "sb.analyse(layer.system())",
    'run = sb.train("digits_s4d", {"model.d_model": 8, "trainer.max_epochs": 1, '
    '"trainer.limit_train_batches": 2, "trainer.accelerator": "cpu", '
    '"analysis.attack_steps": 2, "analysis.robustness_sequences": 8})',
    "run",
    "run.gains, run.scores, run.model",
    'files = sb.discretize(layer, "tustin"); repr(sb.list("parametrizations", "s4*"))',
    "assert settings() == before, settings()",
)


@pytest.fixture
def in_kernel(monkeypatch, tmp_path):
    """Run cells in a kernel of its own; what each cell put out."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    monkeypatch.setenv("PYTHONPATH", path)
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))

    def run(notebook) -> list[list[dict]]:
        work = tmp_path / "work"
        work.mkdir()
        return [joined(cell.get("outputs", [])) for cell in executed(notebook, work).cells]

    return run


def text_of(output: dict) -> str:
    return output["data"]["text/plain"]


def test_the_five_lines_in_a_kernel_put_out_their_values_and_nothing_else(in_kernel):
    cells = [nbformat.v4.new_code_cell(source) for source in (SETTINGS, *FIVE_LINES)]
    outputs = in_kernel(nbformat.v4.new_notebook(cells=cells))
    settings, imported, layer, report, trained, run, parts, names, unchanged = outputs
    assert [settings, imported, layer, unchanged] == [[], [], [], []]
    (report,), (run,), (parts,), (names,) = report, run, parts, names
    assert text_of(report).startswith("GainReport of a discrete-time system: stable\n")
    assert text_of(run).startswith("Run digits_s4d: finished\n")
    assert "SequenceModel(" in text_of(parts)
    assert text_of(names) == repr("['s4', 's4d']")
    (progress,) = trained
    assert (progress["output_type"], progress["name"]) == ("stream", "stderr")
    lines = progress["text"].splitlines()
    assert [line for line in lines if not line.startswith("digits_s4d train/loss")] == []


NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_of_the_documentation_runs_and_shows_what_it_showed(path, in_kernel):
    notebook = nbformat.read(path, as_version=4)
    shown = [cell.get("outputs", []) for cell in notebook.cells]
    assert all(shown[i] for i, cell in enumerate(notebook.cells) if ends_in_a_value(cell))
    again = in_kernel(notebook)
    assert [kinds(outputs) for outputs in again] == [kinds(outputs) for outputs in shown]


def kinds(outputs: list[dict]) -> list[tuple[str, str]]:
    """What there is to see of a cell, whatever the figures are on this machine."""
    return [(output["output_type"], output.get("name", "")) for output in outputs]


def ends_in_a_value(cell) -> bool:
    """Whether a code cell's last line is an expression to show."""
    last = cell.source.splitlines()[-1]
    return cell.cell_type == "code" and last.startswith(("sb.", "run", "gains", "layer"))


def test_there_are_notebooks():
    assert {path.stem for path in NOTEBOOKS} >= {"first_steps", "bring_your_own_parametrization"}
