"""The suite file of the best settings that a search has found, to be run with every seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ssmbench.config import nested
from ssmbench.runs.folder import write_atomically
from ssmbench.suite.composition import OVERRIDES
from ssmbench.suite.search.outcome import CellOutcome
from ssmbench.suite.search.plan import SearchPlan
from ssmbench.yamlio import dump_yaml

BEST_FILE = "best.yaml"
_REMARK = """\
# Written by `ssmbench suite search {file}`: the settings with the best score on the validation
# data ({objective}), the same number of trials for each. Test scores of trials are not reported;
# those of this suite are, with every seed: `ssmbench suite` runs it.
"""


def write_best(folder: Path, plan: SearchPlan, outcomes: Sequence[CellOutcome]) -> Path | None:
    """Write ``best.yaml``: the suite as it is, with the best settings of each cell; cells without
    any are left out. Returns the file, None if no cell has any; then there is none."""
    if all(outcome.best is None for outcome in outcomes):
        (folder / BEST_FILE).unlink(missing_ok=True)
        return None
    remark = _REMARK.format(file=Path(plan.path).name, objective=plan.search.objective)
    write_atomically(folder / BEST_FILE, remark + dump_yaml(_best_suite(plan, outcomes)))
    return folder / BEST_FILE


def _best_suite(plan: SearchPlan, outcomes: Sequence[CellOutcome]) -> dict[str, Any]:
    suite = {key: value for key, value in plan.content.items() if key != "search"}
    suite["name"] = f"{plan.suite.name}-best"
    if "launcher" in suite:  # it may be a file beside the suite
        suite["launcher"] = dict(plan.suite.launcher)
    of_all = [{"for": "*", "set": dict(plan.overrides)}] if plan.overrides else []
    of_each = [
        {"for": _selector(outcome), "set": settings}
        for outcome in outcomes
        if (settings := _settings(outcome)) is not None
    ]
    suite[OVERRIDES] = [*suite.get(OVERRIDES, []), *of_all, *of_each]
    without = [_selector(outcome) for outcome in outcomes if outcome.best is None]
    if without:
        excluded = suite.get("exclude") or []
        listed = excluded if isinstance(excluded, list) else [excluded]
        suite["exclude"] = [*listed, *without]
    return suite


def _settings(outcome: CellOutcome) -> dict[str, Any] | None:
    """The best settings with the largest budget, nested; None if there are none."""
    if outcome.best is None:
        return None
    settings, halving = dict(outcome.best.settings), outcome.cell.search.halving
    if halving is not None:
        settings[halving.budget] = outcome.best.budget
    return nested(settings)


def _selector(outcome: CellOutcome) -> Mapping[str, str]:
    cell = outcome.cell.cell
    return {"task": cell.task, "variant": cell.variant, "discretizer": cell.discretizer}
