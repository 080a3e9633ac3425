"""The operations of a layer do not grow: tools/operation_counts.py."""

from __future__ import annotations

import pytest

from ssmbench.scans import native
from tests.tools import load_tool

#: Operations forward and backward at most: what they were when counted, and a few more, since
#: versions of PyTorch differ in what they dispatch.
MOST = {"s4d": (50, 60), "unconstrained_diagonal": (48, 50), "s5": (112, 135)}


@pytest.mark.skipif(
    native.unavailable_reason() is not None, reason="there was no C compiler at installation"
)
@pytest.mark.parametrize("name", MOST)
def test_operations_of_a_layer_on_the_cpu(name):
    tool = load_tool("operation_counts")
    counts = tool.counts(tool.layer(name, "zoh", "cpu", 16), 64, 16)
    found = tuple(count.operations for count in counts)
    assert all(one <= most for one, most in zip(found, MOST[name], strict=True)), found
