"""Figures of runs: poles, gain against frequency, impulse responses, Hankel singular values,
training curves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ssmbench.errors import require, suggest
from ssmbench.library.runs import Run, load
from ssmbench.paths import absolute

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ssmbench.figures.chart import Chart
    from ssmbench.runs.charts import Labelled

#: The figures of runs, in the order of ``ssmbench plot --help``.
KINDS = ("poles", "gain", "kernel", "hankel", "training")
#: The formats that a figure can have.
SUFFIXES = (".png", ".svg", ".pdf", ".html")


@dataclass(frozen=True, repr=False)
class Plot:
    """A figure of runs. ``runs``: their folders by the labels that the figure gives them."""

    kind: str
    runs: Mapping[str, Path]
    chart: Chart

    @property
    def notes(self) -> tuple[str, ...]:
        """What the figure says of layers and runs in words."""
        said = (text for panel in self.chart.panels for text in panel.alerts)
        return (*self.chart.notes, *dict.fromkeys(said))

    def figure(self) -> Figure:
        """As a matplotlib figure, to be changed further."""
        from ssmbench.figures.drawing import draw

        return draw(self.chart)

    def html(self) -> str:
        """As a page with plotly, which needs no network."""
        from ssmbench.figures.interactive import page

        return page(self.chart)

    def save(self, path: str | Path) -> Path:
        """Write the figure as PNG, SVG, PDF or HTML, as the suffix says; returns the file.

        Raises:
            UsageError: the suffix is another one, or the file cannot be written.
        """
        from ssmbench.figures import saving

        file = absolute(path, "output")
        if saving.check_suffix(file, SUFFIXES) == ".html":
            return saving.write(file, self.html())
        return saving.save_figure(self.figure(), file)

    def _repr_png_(self) -> bytes:
        """For notebooks."""
        from ssmbench.figures.saving import png

        return png(self.figure())

    def __repr__(self) -> str:
        return f"Plot {self.kind} of {', '.join(self.runs)}"


def plot(kind: str, *runs: Run | str | Path, output: str | Path | None = None) -> Plot:
    """A figure of one or several runs.

    >>> import ssmbench as sb
    >>> over = {"trainer.max_epochs": 1, "trainer.limit_train_batches": 2, "model.n_layers": 1}
    >>> run = sb.train("digits_s4d", over, progress=False)
    >>> sb.plot("gain", run)
    Plot gain of s4d

    Args:
        kind: "poles", in the unit disc; "gain", against frequency, with declared bounds; "kernel",
            impulse responses; "hankel", Hankel singular values; "training", what was logged.
        runs: runs or their folders. Those of "poles" must be complete, those of the next three
            must have a checkpoint.
        output: also write the figure to this file: PNG, SVG, PDF or HTML, by its suffix.

    Raises:
        UsageError: an unknown kind or suffix, no run, or a folder that is not that of such a run.
    """
    from ssmbench.runs import charts

    require(kind in KINDS, f"plot: unknown figure {kind!r}; {suggest(kind, KINDS)}")
    require(bool(runs), f"plot {kind}: name at least one run")
    if output is not None:
        from ssmbench.figures.saving import check_suffix

        check_suffix(absolute(output, "output"), SUFFIXES)
    named = charts.labelled([_loaded(run).identity for run in runs])
    maker: Callable[[Sequence[Labelled]], Chart] = getattr(charts, kind)
    made = Plot(kind, {one.label: one.run.folder.path for one in named}, maker(named))
    if output is not None:
        made.save(output)
    return made


def _loaded(run: Run | str | Path) -> Run:
    return run if isinstance(run, Run) else load(run)
