"""The torture set: 2,000 seeded systems, and the kept truth about them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from mpmath import mp

from tests.analysis.torture import bank_kinds, dense_kinds, filter_kinds  # noqa: F401
from tests.analysis.torture.case import Case
from tests.analysis.torture.draw import Draw
from tests.analysis.torture.named import named
from tests.analysis.torture.oracle import Figures
from tests.analysis.torture.parts import KINDS

SIZE = 2000
FILE = Path(__file__).with_name("oracle.json")
FIELDS = ("margin", "extent", "scale", "hinf", "h2")
SIGNIFICANT = 15


def drawn(name: str) -> Case:
    """The system of a name such as ``defective-12``; every name is its own seed."""
    return KINDS[name.partition("-")[0]](Draw(name), name)


def torture_set(size: int = SIZE) -> Iterator[Case]:
    """The named systems, then one of each kind in turn."""
    given = 0
    for case in named():
        yield case
        given += 1
    for number in count():
        for kind in KINDS:
            if given == size:
                return
            yield drawn(f"{kind}-{number}")
            given += 1


def truth_of(case: Case, kept: dict[str, list]) -> Figures | None:
    """The kept figures; None where mpmath has no answer.

    Raises:
        KeyError: nothing is kept for these very bits; run ``python tools/torture.py --keep``.
    """
    digest, *values = kept[case.name]
    if digest != case.digest():
        raise KeyError(f"{case.name}: the kept values belong to other numbers")
    return Figures(*map(mp.mpf, values)) if values else None


def load_kept() -> dict[str, list[str]]:
    return json.loads(FILE.read_text()) if FILE.exists() else {}


def save_kept(rows: dict[str, list[str]]) -> None:
    """One line a system, so that a change shows in the history."""
    lines = [f"{json.dumps(name)}: {json.dumps(row)}" for name, row in rows.items()]
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def row(case: Case, found: Figures | None) -> list[str]:
    """What is kept of a case: its digest, and the figures where there are any."""
    if found is None:
        return [case.digest()]
    return [case.digest(), *(mp.nstr(getattr(found, name), SIGNIFICANT) for name in FIELDS)]
