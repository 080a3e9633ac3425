"""Runs side by side: configs, scores, gains, costs, and training curves over each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssmbench.errors import UsageError, require
from ssmbench.library.plots import SUFFIXES
from ssmbench.library.runs import Run, load
from ssmbench.paths import absolute

if TYPE_CHECKING:
    from ssmbench.figures.chart import Chart
    from ssmbench.report.side_by_side import Section


@dataclass(frozen=True, repr=False)
class Comparison:
    """Runs side by side.

    ``runs``: their folders by label; ``sections``: tables with a column per run, in that order;
    ``chart``: their training curves, None if none of them logged any.
    """

    runs: Mapping[str, Path]
    sections: tuple[Section, ...]
    chart: Chart | None

    def to_dict(self) -> dict[str, Any]:
        """Folders and tables as plain values."""
        return {
            "runs": {label: str(folder) for label, folder in self.runs.items()},
            **{section.title: section.to_dict() for section in self.sections},
        }

    def save(self, path: str | Path) -> Path:
        """Write the training curves as PNG, SVG or PDF, or curves and tables as an HTML page.

        Raises:
            UsageError: the suffix is another one, nothing was logged, or the file cannot be
                written.
        """
        from ssmbench.figures import saving
        from ssmbench.figures.drawing import draw

        file = absolute(path, "output")
        if saving.check_suffix(file, SUFFIXES) == ".html":
            return saving.write(file, self.html())
        if self.chart is None:
            raise UsageError(f"{file}: none of these runs logged anything, so there are no curves")
        return saving.save_figure(draw(self.chart), file)

    def html(self) -> str:
        """Tables and training curves as a page that needs no network."""
        from ssmbench.report.side_by_side_page import comparison_page

        return comparison_page(list(self.runs), self.sections, self.chart)

    def __repr__(self) -> str:
        return f"Comparison of {', '.join(self.runs)}"


def compare(*runs: Run | str | Path, output: str | Path | None = None) -> Comparison:
    """Runs side by side: the keys of their configs that differ, scores, gains, size and speed.

    Runs of different tasks are compared as far as they can be, and what cannot be is said.

    >>> import ssmbench as sb
    >>> over = {"trainer.max_epochs": 1, "trainer.limit_train_batches": 2, "model.n_layers": 1}
    >>> runs = [sb.train("digits_s4d", over | {"seed": s}, progress=False) for s in (0, 1)]
    >>> found = sb.compare(*runs)
    >>> [row.name for row in found.sections[0].rows]
    ['seed']

    Args:
        runs: at least two runs or their folders.
        output: also write the training curves (PNG, SVG, PDF) or a page of all of it (HTML).

    Raises:
        UsageError: fewer than two runs, one of them twice or never trained, a folder that is not
            that of a run, an unknown suffix.
    """
    from ssmbench.report.side_by_side import sections
    from ssmbench.runs.charts import labelled, training
    from ssmbench.runs.metrics import read_metrics

    found = [run if isinstance(run, Run) else load(run) for run in runs]
    _check(found)
    if output is not None:
        from ssmbench.figures.saving import check_suffix

        check_suffix(absolute(output, "output"), SUFFIXES)
    named = labelled([run.identity for run in found])
    logged = [one for one in named if read_metrics(one.run.folder.path)]
    compared = [_compared(one.label, run) for one, run in zip(named, found, strict=True)]
    chart = training(logged) if logged else None
    folders = {one.label: one.run.folder.path for one in named}
    made = Comparison(folders, tuple(sections(compared)), chart)
    if output is not None:
        made.save(output)
    return made


def _check(runs: list[Run]) -> None:
    require(len(runs) > 1, f"compare: name at least two runs, got {len(runs)}")
    folders = [run.folder for run in runs]
    twice = next((folder for folder in folders if folders.count(folder) > 1), None)
    require(twice is None, f"compare: {twice} is given twice")
    for run in runs:
        started = run.state not in ("missing", "queued")
        require(started, f"{run.folder}: the run is {run.state}, so there is nothing to compare")


def _compared(label: str, run: Run) -> Any:
    from ssmbench.report.side_by_side import Compared
    from ssmbench.runs.layers import count_states

    result = run.result if run.is_complete else None
    return Compared(label, run.config, run.state, result, count_states(run.identity))
