"""Tests of the reducer even_orders, for pytest."""

from pathlib import Path

import ssmbench as sb
from ssmbench.reduction import Amount
from ssmbench.registry import add_plugin_paths, reducers
from ssmbench.testing.reducers import example_lti_systems

HERE = Path(__file__).parent
add_plugin_paths([HERE / "even_orders.py"])


def test_it_passes_every_check():
    report = sb.check("reducer", "even_orders")
    assert report.ok, report


def test_it_makes_a_system_smaller():
    system = example_lti_systems()["dense"]
    found = reducers.get("even_orders").build().reduce(system, Amount(order=3))
    assert found.orders.tolist() == [2]
