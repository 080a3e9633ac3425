"""The picture of a stability region shows all of it."""

from __future__ import annotations

import ast
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg

import ssmbench
from ssmbench import registry
from ssmbench.figures.saving import save_figure
from ssmbench.report.figures.stability import count_stable, stability_regions

BOUNDED = [
    entry.name
    for entry in registry.discretizers
    if math.isfinite(entry.build().facts.real_interval)
]


@pytest.mark.parametrize("name", BOUNDED)
def test_a_bounded_region_ends_inside_its_panel(name):
    method = registry.discretizers.get(name).build()
    (axis,) = stability_regions({name: method}, None).axes
    (left, _), (bottom, top) = axis.get_xlim(), axis.get_ylim()
    x, y = np.linspace(left, 0, 200), np.linspace(bottom, top, 200)
    edge = np.concatenate([x + 1j * top, x + 1j * bottom, left + 1j * y])
    modulus = method.stability_function(torch.from_numpy(edge)).abs()
    assert (modulus.nan_to_num(nan=math.inf) > 1).all()


def test_points_are_counted_on_the_side_where_they_fall(tmp_path):
    methods = {name: registry.discretizers.get(name).build() for name in ("rk4", "tustin")}
    points = np.array([-1.0 + 0j, -2.7 + 0j, -2.9 + 0j, 0.5 + 0j])
    assert count_stable(methods, points) == {"rk4": 2, "tustin": 3}
    save_figure(stability_regions(methods, points), tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("panels", [1, 3, 6])
def test_titles_and_labels_are_inside_the_figure(panels):
    names = ("rk4", "zoh", "forward_euler", "heun", "tustin", "rkc1")[:panels]
    methods = {name: registry.discretizers.get(name).build() for name in names}
    figure = stability_regions(methods, np.array([-1.0 + 3j, -2.7 - 6j]))
    FigureCanvasAgg(figure).draw()
    for axis in figure.axes[:panels]:
        box = axis.get_tightbbox()
        assert 0 <= box.x0 < box.x1 <= figure.bbox.x1
        assert 0 <= box.y0 < box.y1 <= figure.bbox.y1


def test_no_figure_is_made_with_pyplot():
    """pyplot has a state of its own, and may switch the backend of a notebook."""
    package = Path(ssmbench.__file__).parent
    found = [
        file.name
        for file in package.rglob("*.py")
        if re.search(r"pyplot\b.*\n?|matplotlib\.use\(", _code(file))
    ]
    assert found == []


def _code(file: Path) -> str:
    """The source without its docstrings and comments."""
    return ast.unparse(_without_docstrings(ast.parse(file.read_text())))


def _without_docstrings(tree: ast.AST) -> ast.AST:
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            node.value = ast.Constant(None)
    return tree
