"""The picture of a stability region shows all of it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ssmbench import registry
from ssmbench.report.figures.stability import _modulus, _reach, stability_regions

BOUNDED = [
    entry.name
    for entry in registry.discretizers
    if math.isfinite(entry.build().facts.real_interval)
]


@pytest.mark.parametrize("name", BOUNDED)
def test_a_bounded_region_ends_inside_its_panel(name):
    method = registry.discretizers.get(name).build()
    reach = _reach(method, None)
    x, y = np.linspace(-1, 0, 200) * reach, np.linspace(-0.725, 0.725, 200) * reach
    edge = np.concatenate([x + 0.725j * reach, x - 0.725j * reach, -reach + 1j * y])
    assert (_modulus(method, edge) > 1).all()


def test_points_are_counted_on_the_side_where_they_fall(tmp_path):
    methods = {name: registry.discretizers.get(name).build() for name in ("rk4", "tustin")}
    points = np.array([-1.0 + 0j, -2.7 + 0j, -2.9 + 0j, 0.5 + 0j])
    counts = stability_regions(methods, points, tmp_path / "plot.png")
    assert counts == {"rk4": 2, "tustin": 3}
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
