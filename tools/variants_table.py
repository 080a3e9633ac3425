"""Write docs/variants.md: every built-in discretizer and parametrization with computed facts.

.venv/bin/python tools/variants_table.py
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ssmbench import registry
from ssmbench.registry import Registry

PAGE = Path(__file__).resolve().parent.parent / "docs" / "variants.md"

_INTRO = """# Variants and their facts

Written by `tools/variants_table.py`; all facts are computed from the code, as by
`ssmbench show discretizer NAME`, and a test checks that this page is up to date.

## Discretizers

Under default options (in brackets). *Order*: R(z) = e^z + O(z^(order + 1)). *Stability*: A or L.
*Real*, *imaginary*: the largest r with |R| <= 1 on [-r, 0] and on [0, i r]. *Resonator*: the
H-infinity norm of a discretized resonator 1 / (s^2 + 0.04 s + 1) at step size 1 over that of the
continuous one. *Keeps gain*: whether that is 1, to 1e-8, for resonators of four frequencies.
"""


def page() -> str:
    """The whole page."""
    parts = (
        _INTRO,
        _markdown(DISCRETIZER_COLUMNS, discretizer_rows()),
        "## Parametrizations\n",
        _markdown(PARAMETRIZATION_COLUMNS, parametrization_rows()),
    )
    return "\n".join(parts)


DISCRETIZER_COLUMNS = (
    "discretizer",
    "order",
    "stability",
    "real",
    "imaginary",
    "resonator",
    "keeps gain",
    "what it is",
)
PARAMETRIZATION_COLUMNS = (
    "parametrization",
    "time",
    "stable by construction",
    "declares a gain",
    "what it is",
)


def discretizer_rows() -> list[tuple[str, ...]]:
    """The cells of one row for each built-in discretizer."""
    return [_discretizer_row(about) for about in _described(registry.discretizers)]


def parametrization_rows() -> list[tuple[str, ...]]:
    """The cells of one row for each built-in parametrization."""
    return [
        (
            f"`{about['name']}`",
            about["facts"]["time_domain"],
            _yes(about["facts"]["stable_by_construction"]),
            _yes(about["facts"]["declares_gain"]),
            _summary(about),
        )
        for about in _described(registry.parametrizations)
    ]


def _described(kind: Registry) -> list[dict[str, Any]]:
    """The built-in entries; plugins found in the current folder are left out."""
    return [
        registry.describe(entry)
        for entry in kind
        if entry.factory.__module__.startswith("ssmbench.")
    ]


def _discretizer_row(about: Mapping[str, Any]) -> tuple[str, ...]:
    facts = about["facts"]
    options = ", ".join(f"{key}: {_number(value)}" for key, value in about["options"].items())
    distortion = facts["gain_distortion"]
    return (
        f"`{about['name']}`" + (f" ({options})" if options else ""),
        "exact" if facts["order"] == math.inf else str(facts["order"]),
        "L" if facts["l_stable"] else "A" if facts["a_stable"] else "none",
        _number(facts["real_interval"]),
        _number(facts["imaginary_interval"]),
        "unstable" if distortion == math.inf else _number(distortion),
        _yes(facts["preserves_gain"]),
        _summary(about),
    )


def _number(value: Any) -> str:
    """Four digits, so that rounding on different machines gives the same page."""
    return (
        f"{value:.4g}" if isinstance(value, float) else "not known" if value is None else f"{value}"
    )


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _summary(about: Mapping[str, Any]) -> str:
    return about["summary"].replace("|", r"\|")


def _markdown(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


if __name__ == "__main__":
    PAGE.write_text(page())
