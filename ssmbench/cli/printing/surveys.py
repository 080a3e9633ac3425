"""Printing of how far a suite is: one row for each task and variant, and what needs attention."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ssmbench.cli.printing import natural_width
from ssmbench.cli.streams import answer, say
from ssmbench.runs.states import COMPLETE, STATES
from ssmbench.suite.estimates import in_words
from ssmbench.suite.survey import Progress, Survey, failures

#: Runs and reasons that are listed one by one, at most.
_MOST_LISTED = 12
#: Seconds between two looks at the suite's folder.
_PAUSE = 2.0
_COLOURS = {
    **dict.fromkeys(COMPLETE, "green"),
    **dict.fromkeys(("running", "queued"), "cyan"),
    **dict.fromkeys(("failed", "damaged", "unreadable"), "bold red"),
    **dict.fromkeys(("interrupted", "out_of_time"), "yellow"),
}


def print_survey(survey: Survey) -> None:
    """Print a table of states, progress and time; why runs failed; which are executed."""
    console = Console(file=answer())
    found = shown(survey)
    # Wide enough that no cell is truncated: the terminal wraps lines that are too long.
    console.width = max(console.width, natural_width(console, found.renderables[0]))
    console.print(found, soft_wrap=True)


def watch_survey(look: Callable[[], Survey]) -> None:
    """Print the suite again and again, until every run is complete or Control-C."""
    survey = look()
    console = Console(file=answer())
    with contextlib.suppress(KeyboardInterrupt):
        if not console.is_terminal:
            _print_changes(survey, look)
            return
        with Live(shown(survey), console=console, auto_refresh=False) as live:
            while not survey.is_complete:
                time.sleep(_PAUSE)
                survey = look()
                live.update(shown(survey), refresh=True)


def _print_changes(survey: Survey, look: Callable[[], Survey]) -> None:
    """A line for each change, where the output is no terminal."""
    last = ""
    while True:
        if (line := _total(survey)) != last:
            say(line)
            answer().flush()
        if survey.is_complete:
            return
        last = line
        time.sleep(_PAUSE)
        survey = look()


def survey_json(survey: Survey) -> dict[str, Any]:
    """A survey as plain values."""
    return {
        "name": survey.name,
        "folder": str(survey.folder),
        "counts": survey.counts,
        "left": survey.left,
        "runs": [dataclasses.asdict(run) for run in survey.runs],
    }


def shown(survey: Survey) -> Group:
    """What is printed of a suite."""
    counts = survey.counts
    states = [state for state in STATES if state in counts]
    parts: list[Any] = [_table(survey, states)]
    parts += [Text(line) for line in _running(survey.runs)]
    parts += [Text(line, style=_COLOURS.get(state, "")) for state, line in _reasons(survey.runs)]
    return Group(*parts, Text(_total(survey)))


def _table(survey: Survey, states: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False, title_justify="left")
    for name in ("task", "variant"):
        table.add_column(name, no_wrap=True)
    for state in states:
        table.add_column(state, justify="right", no_wrap=True, style=_COLOURS.get(state, ""))
    for name in ("done", "score", "elapsed", "left"):
        table.add_column(name, justify="right", no_wrap=True)
    groups: dict[tuple[str, str], list[Progress]] = {}
    for run in survey.runs:
        groups.setdefault((run.task, run.variant), []).append(run)
    for (task, variant), runs in groups.items():
        numbers = [sum(run.state == state for run in runs) for state in states]
        table.add_row(
            Text(task), Text(variant), *(str(n) if n else "" for n in numbers), *_summary(runs)
        )
    return table


def _summary(runs: Sequence[Progress]) -> tuple[str, str, str, str]:
    """The cells on progress, score, and time of a row."""
    shares = [run.done for run in runs if run.done is not None]
    done = f"{100 * sum(shares) / len(runs):.0f}%"
    elapsed = sum(run.elapsed or 0.0 for run in runs)
    lefts = [run.left for run in runs if run.state not in COMPLETE]
    known = [left for left in lefts if left is not None]
    left = in_words(sum(known)) if len(known) == len(lefts) else "?"
    return done, _score(runs), in_words(elapsed) if elapsed else "", left if lefts else ""


def _score(runs: Sequence[Progress]) -> str:
    """The mean test score of the finished runs, or else the newest validation scores' mean."""
    for tested, word in ((True, ""), (False, "val ")):
        scored = [r for r in runs if r.score is not None and (r.state == "finished") == tested]
        metrics = {run.metric for run in scored}
        if len(metrics) == 1:
            mean = fmean(run.score for run in scored if run.score is not None)
            return f"{word}{metrics.pop()} {mean:.4g}"
    return ""


def _running(runs: Sequence[Progress]) -> list[str]:
    """A line for each run that is executed now, and for queued ones together."""
    found = [run for run in runs if run.state == "running"]
    lines = [f"running: {run.label}{_where(run)}: {_position(run)}" for run in found[:_MOST_LISTED]]
    if len(found) > _MOST_LISTED:
        lines.append(f"running: {len(found) - _MOST_LISTED} more")
    return lines


def _where(run: Progress) -> str:
    words = [word for word in (f"job {run.job}" if run.job else "", run.host) if word]
    return f" ({', '.join(words)})" if words else ""


def _position(run: Progress) -> str:
    words = []
    if run.step is not None:
        words.append(f"step {run.step}")
    if run.epoch is not None:
        words.append(f"epoch {run.epoch:g}")
    if run.done is not None:
        words.append(f"{100 * run.done:.0f}%")
    if run.score is not None:
        words.append(f"{run.metric} {run.score:.4g}")
    if run.elapsed is not None:
        words.append(f"for {in_words(run.elapsed)}")
    if run.left is not None:
        words.append(f"{in_words(run.left)} left")
    return ", ".join(words) or "just started"


def _reasons(runs: Sequence[Progress]) -> list[tuple[str, str]]:
    """A line for each reason why runs are not complete, with their labels; and its state."""
    lines = []
    groups = failures(runs)
    for (state, reason), found in list(groups.items())[:_MOST_LISTED]:
        names = ", ".join(run.label for run in found[:3])
        more = f" and {len(found) - 3} more" if len(found) > 3 else ""
        lines.append((state, f"{state}: {names}{more}: {reason}"))
    if len(groups) > _MOST_LISTED:
        lines.append(("", f"{len(groups) - _MOST_LISTED} more reasons: see --json"))
    return lines


def _total(survey: Survey) -> str:
    counts = survey.counts
    words = ", ".join(f"{counts[state]} {state}" for state in STATES if state in counts)
    left = f"; about {in_words(survey.left)} left" if survey.left else ""
    return f"{len(survey.runs)} runs: {words}{left}"
