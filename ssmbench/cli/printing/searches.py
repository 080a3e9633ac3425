"""Printing of a search: its plan before it runs, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ssmbench.cli.printing import plain, print_json, table
from ssmbench.cli.streams import say

if TYPE_CHECKING:
    from ssmbench.library.searches import PlannedSearch, SearchReport
    from ssmbench.suite.search.outcome import CellOutcome


def print_plan(planned: PlannedSearch, as_json: bool) -> None:
    """Print what a search will train: the trials of each cell, rung by rung."""
    plan, halving = planned.plan, planned.plan.search.halving
    if as_json:
        cells = [
            {
                "label": cell.label,
                "rungs": [{"trials": n, "budget": budget} for n, budget in cell.search.rungs],
            }
            for cell in plan.cells
        ]
        budget = None if halving is None else halving.budget
        print_json({"name": plan.suite.name, "budget": budget, "cells": cells, "runs": plan.runs})
        return
    budgets = [f"trials with {halving.budget}={b:g}" for b in halving.budgets] if halving else []
    rows = [(cell.label, *(trials for trials, _ in cell.search.rungs)) for cell in plan.cells]
    table(("cell", *(budgets or ["trials"])), rows)
    say(f"at most {plan.runs} runs; sampler {plan.search.sampler}")


def print_search(report: SearchReport, as_json: bool) -> None:
    """Print the best settings of each cell, and the files of them."""
    if as_json:
        print_json(report.to_dict())
        return
    for task in dict.fromkeys(cell.cell.cell.task for cell in report.cells):
        cells = [cell for cell in report.cells if cell.cell.cell.task == task]
        about = cells[0].cell.task
        unit = f" ({about.unit})" if about.unit else ""
        header = ("variant", "discretizer", "trials", f"best validation {about.score}{unit}")
        table((*header, "trial", "settings", *_spent(cells[0])), list(map(_row, cells)), title=task)
        say()
    for cell in report.cells:
        for remark in _remarks(cell):
            say(f"note: {cell.cell.label}: {remark}")
    say("These scores chose the settings; test scores of trials are not reported.")
    if report.best is not None:
        say(f"best settings: ssmbench suite {report.best}")


def _spent(cell: CellOutcome) -> tuple[str, str]:
    halving = cell.cell.search.halving
    return "runs" if halving is None else halving.budget, "seconds"


def _row(outcome: CellOutcome) -> tuple[Any, ...]:
    cell, best = outcome.cell.cell, outcome.best
    found = ("none", "", "") if best is None else (plain(best.value), best.number, "")
    settings = "" if best is None else text_of(best.settings)
    trials = len(outcome.rungs[0])
    spent = (plain(outcome.spent), f"{outcome.seconds:.0f}")
    return (cell.variant, cell.discretizer, trials, *found[:2], settings, *spent)


def text_of(settings: Mapping[str, Any]) -> str:
    """Settings as they would be written on a command line."""
    return " ".join(f"{key}={plain(value)}" for key, value in settings.items())


def _remarks(outcome: CellOutcome) -> list[str]:
    remarks = []
    if outcome.found_nothing:
        remarks.append("no best settings: no trial with the largest budget has a score")
    if outcome.diverged:
        remarks.append(f"{outcome.diverged} runs diverged")
    states: dict[str, int] = {}
    for trial in outcome.without_result:
        states[trial.state] = states.get(trial.state, 0) + 1
    if states:
        counts = ", ".join(f"{count} {state}" for state, count in states.items())
        remarks.append(f"runs without a result: {counts}; the same command goes on with them")
    return remarks
