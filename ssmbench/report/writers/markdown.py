"""A report as a page of Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from ssmbench.report.against import Against
from ssmbench.report.certified import NEAREST
from ssmbench.report.contents import Contents, TaskContents
from ssmbench.report.curves import FurtherRow
from ssmbench.report.history import TaskHistory
from ssmbench.report.over_tasks import CriticalDifference, OverTasks
from ssmbench.report.statistics import Row
from ssmbench.report.tables import (
    LEADERBOARD,
    against_gains_table,
    against_table,
    certified_table,
    changes_table,
    comparisons_table,
    failures_table,
    further_table,
    leaderboard_table,
    measures_table,
    named,
    overall_table,
    published_table,
    robustness_table,
    sampling_table,
)
from ssmbench.report.texts import duration_text, note_text, number
from ssmbench.report.trade_off import TradeOffPoint

LEGEND = """\
Scores are on the test split: the mean over finished seeds with its 95% bootstrap interval, which is
the range of two seeds and too narrow for few. **learned**: how many runs are clearly better than a
constant prediction; those that diverged or failed are not.

Gains are L2 gains. *Layer* gains are from the input to the output of one SSM layer, the largest
over the layers and seeds: **declared** is the bound that the parametrization guarantees (none: no
guarantee), **verified** is the H-infinity norm of the trained matrices, proved to 1% or marked as
unproved (none if they depend on the input), **attacked** is the largest gain that an adversary
found for the layer in its own precision, on sequences of the task's length. declared >= verified >=
attacked must hold. **tightness**: verified / declared. **slack**: declared / attacked.
*Network* gains are incremental, from the input sequence to the prediction: **declared** by
`model.gamma`, an upper **bound** composed from the verified layers, and **attacked**. `inf` means
unstable.
"""

COMPARISONS_LEGEND = """\
Paired by seed: difference of the means with its 95% bootstrap interval, exact sign-flip test, p
adjusted by Holm's method over all pairs of the task. **too few seeds**: no outcome could have shown
a difference. **below resolution**: the choice of test samples, or rounding, changes as much.
"""

SAMPLING_LEGEND = """\
Variants whose *continuous* system has a prescribed gain. **promised**: that gain. **verified**: the
largest gain of the sampled systems, over layers and seeds. A discretizer either preserves every
such bound or it does not; in the latter case the trained systems may still satisfy the bound.
"""

MEASURES_LEGEND = """\
What `analysis.measures` asks of every SSM layer, and what a parametrization declares; the worst
over layers and seeds. **proved**: what holds of all of them. **attacked**: what a signal, or a
search, reached in a simulation.
"""

ROBUSTNESS_LEGEND = """\
Mean score on the first test sequences when every input sequence is disturbed. Columns: l2 norm of
the disturbance relative to that of a typical input. **random**: Gaussian directions.
**adversarial**: gradient ascent on the task's loss. **certified**: what the network's proved gain
leaves under every disturbance of that norm. `none`: a prediction was not finite, or not measured.
"""

CERTIFIED_LEGEND = """\
Share of the same predictions that are right, and that no disturbance can change of which the l2
norm is below that of the column, relative to a typical input: a proof from the network's
incremental gain, not a search. **median radius**: the norm up to which half of the predictions are
certified; a wrong one has radius 0. **nearest neighbour**: what that classifier certifies of
itself, (distance to the nearest of another class - distance to the nearest) / 2.
"""

CHANGES_LEGEND = """\
The most that each output can change, in l2 over all steps and so at any one step too, under a
disturbance of the whole input sequence whose l2 norm is that of the column, relative to a typical
input: a proof from the network's incremental gain. Largest over seeds.
"""

PUBLISHED_LEGEND = """\
As the publications report them on this test data; none was run here. **Selected on**: the part of
the data on which the publication chose weights and options. What was chosen on test data is not a
score of unseen data.
"""

FURTHER_LEGEND = """\
Scores of the same weights where one quantity differs from the training: the **length factor** of
the test sequences, or the **share dropped** of their samples. In brackets: the largest norm of an
SSM layer's state relative to that on the test set, over layers and seeds. `diverged`: in how many
runs a prediction or a state was not finite.
"""

OVER_TASKS_LEGEND = """\
Normalised scores: 0 is a constant prediction, 1 the best published score or, where none is, the
best mean here; a run that diverged or failed has 0. Intervals: bootstrap within each task.
"""

#: Of the sections of every task; each stands where it is first needed.
_LEGENDS = (
    *(COMPARISONS_LEGEND, SAMPLING_LEGEND, MEASURES_LEGEND, ROBUSTNESS_LEGEND),
    *(CERTIFIED_LEGEND, CHANGES_LEGEND),
    *(PUBLISHED_LEGEND, FURTHER_LEGEND),
)
#: Up to so many pairs the page shows all comparisons; of more, those with a difference.
_MOST_PAIRS = 10


def to_markdown(contents: Contents, images: Iterable[str] = ()) -> str:
    """The report as a Markdown page."""
    parts = [f"# {contents.name}\n"]
    if contents.sources:
        parts.append(f"Runs of: {', '.join(contents.sources)}.\n")
    parts += [f"**{warning}.**\n" for warning in contents.warnings]
    parts.append(LEGEND)
    explained: set[str] = set()
    for task in contents.tasks:
        parts += [part for part in _task(task) if not _known(part, explained)]
    if contents.over_tasks is not None:
        parts += _over_tasks(contents.over_tasks)
    if contents.against is not None:
        parts += _against(contents.against)
    parts += _sentences("Notes", _notes(contents))
    parts += _sentences("Violated bounds", _violations(contents))
    parts += _sentences(
        "Refused", [f"{', '.join(one.combinations)}: {one.reason}" for one in contents.refused]
    )
    parts += _sentences("Computed with", _histories(contents))
    parts += [f"![{image}]({image})\n" for image in images]
    return "\n".join(parts)


def _known(part: str, explained: set[str]) -> bool:
    """Whether a part is a legend that stands above; the legends that do are ``explained``."""
    if part in explained:
        return True
    explained |= {part} & set(_LEGENDS)
    return False


def _task(task: TaskContents) -> list[str]:
    parts = [f"## {task.name}\n\n{' '.join(task.summary)}\n"]
    for title, columns in LEADERBOARD.items():
        if title != "Scores":
            parts.append(f"### {title}: {task.name}\n")
        parts.append(leaderboard_table(task.rows, columns))
    parts += _sampled(task)
    if task.measures:
        parts += [f"### Measures of layers: {task.name}\n", MEASURES_LEGEND]
        parts.append(measures_table(task.measures))
    parts += _comparisons(task)
    fronts = [("verified gain", task.verified), ("network bound", task.network)]
    parts += [_front(title, points) for title, points in fronts if points]
    if task.published:
        parts += [f"### Published: {task.name}\n", PUBLISHED_LEGEND]
        parts.append(published_table(task.published))
    if task.robustness:
        parts += [f"### Robustness: {task.name}\n", ROBUSTNESS_LEGEND]
        parts.append(robustness_table(task.robustness))
    parts += _certified(task)
    if task.further:
        parts += [f"### Longer and irregular tests: {task.name}\n", FURTHER_LEGEND]
        parts += map(further_table, _by_quantity(task.further))
    if task.failures:
        parts += [f"### Runs without a score: {task.name}\n", failures_table(task.failures)]
    return parts


def _certified(task: TaskContents) -> list[str]:
    """What is certified of classes, or of real outputs."""
    if not task.certified:
        return []
    if task.scale is not None and not task.scale.classifies:
        unit = next((f" [{row.unit}]" for row in task.certified if row.unit), "")
        title = f"### Certified largest change of each output{unit}: {task.name}\n"
        return [title, CHANGES_LEGEND, changes_table(task.certified)]
    of = {row.of for row in task.certified if row.variant != NEAREST}
    norms = {row.gains_from for row in task.certified if row.variant != NEAREST}
    what = f"Of each {' or '.join(sorted(of))}; norms of the {' or '.join(sorted(norms))}.\n"
    points = (*task.robustness, *task.floor)
    title = f"### Certified accuracy: {task.name}\n"
    return [title, CERTIFIED_LEGEND, what, certified_table(task.certified, points)]


def _sampled(task: TaskContents) -> list[str]:
    sampled = [row for row in task.rows if row.promised is not None and row.verified is not None]
    if not sampled:
        return []
    title = f"### Gain before and after sampling: {task.name}\n"
    return [title, SAMPLING_LEGEND, sampling_table(sampled)]


def _comparisons(task: TaskContents) -> list[str]:
    """All pairs if they are few, else how many have each verdict, and those with a difference."""
    found = task.comparisons
    if not found:
        return []
    parts = [f"### Comparisons: {task.name}\n", COMPARISONS_LEGEND]
    counts = Counter(one.verdict for one in found)
    if len(found) > _MOST_PAIRS or len(counts) == 1:
        told = ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())
        reasons = {one.reason for one in found if one.verdict == "too few seeds"}
        why = f" ({reasons.pop()})" if len(reasons) == 1 else ""
        parts.append(f"{len(found)} pairs: {told}{why}.\n")
    shown = [one for one in found if len(found) <= _MOST_PAIRS or one.verdict == "better"]
    if shown and set(counts) != {"too few seeds"}:
        parts.append(comparisons_table(shown))
    return parts


def _front(title: str, points: Sequence[TradeOffPoint]) -> str:
    front = "; ".join(
        f"{named(p.variant, p.discretizer)} ({number(p.gain)}, {p.score:.4f})"
        for p in points
        if p.on_front
    )
    return f"No other variant has a better score and a smaller {title}: {front}.\n"


def _by_quantity(further: Iterable[FurtherRow]) -> list[list[FurtherRow]]:
    quantities: dict[str, list[FurtherRow]] = {}
    for row in further:
        quantities.setdefault(row.quantity, []).append(row)
    return list(quantities.values())


def _over_tasks(over: OverTasks) -> list[str]:
    parts = ["## Over tasks\n"]
    if over.overall:
        parts += [OVER_TASKS_LEGEND + f"1 is: {'; '.join(over.references)}.\n"]
        parts.append(overall_table(over))
    if over.ranks is not None:
        parts.append(_ranks(over.ranks))
    return parts + [f"- {sentence}" for sentence in over.why_not] + [""] * bool(over.why_not)


def _ranks(ranks: CriticalDifference) -> str:
    names = [named(*key) for key in ranks.variants]
    places = ", ".join(f"{n} {r:.2f}" for n, r in zip(names, ranks.ranks, strict=True))
    groups = "; ".join(", ".join(names[i] for i in group) for group in ranks.groups)
    return (
        f"Average ranks over {ranks.tasks} tasks: {places}. Friedman's test: p = "
        f"{ranks.friedman_p:.3g}. Critical difference (Nemenyi, 0.05): {ranks.difference:.3g}; not "
        f"told apart: {groups or 'none'}.\n"
    )


def _against(found: Against) -> list[str]:
    parts = [f"## {found.name} against {found.other}\n"]
    parts += [f"**{warning}.**\n" for warning in found.warnings]
    if found.rows:
        parts += [against_table(found), against_gains_table(found)]
    for name, cells in ((found.name, found.only_here), (found.other, found.only_there)):
        if cells:
            parts.append(f"Only in {name}: {', '.join(cells)}.\n")
    return parts


def _notes(contents: Contents) -> list[str]:
    return [f"{_place(row)}: {note_text(row)}" for row in contents.rows if row.note]


def _violations(contents: Contents) -> list[str]:
    return [f"{_place(row)}: {text}" for row in contents.rows for text in row.violations]


def _place(row: Row) -> str:
    return f"{row.task}, {row.variant}, {row.discretizer}"


def _histories(contents: Contents) -> list[str]:
    told = {task.name: _history(task.history) for task in contents.tasks if task.history}
    return [f"{name}: {text}" for name, text in told.items()]


def _history(about: TaskHistory) -> str:
    same = [f"{fact.name} {fact.values[0].value}" for fact in about.facts if not fact.differs]
    resumed = f", {about.resumed} resumed" if about.resumed else ""
    text = (
        f"{about.runs} complete runs, {duration_text(about.seconds)} in {about.sittings} "
        f"sittings{resumed}; {', '.join(same)}"
    )
    return text + "".join(f"; **not the same in all runs:** {one}" for one in about.differences)


def _sentences(title: str, sentences: Sequence[str]) -> list[str]:
    if not sentences:
        return []
    return [f"## {title}\n\n" + "\n".join(f"- {sentence}" for sentence in sentences) + "\n"]
