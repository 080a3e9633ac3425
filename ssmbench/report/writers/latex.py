"""The main table of a report in LaTeX, for ``\\input``; needs ``\\usepackage{booktabs}``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ssmbench.report.contents import Contents, TaskContents
from ssmbench.report.measures import MeasureRow
from ssmbench.report.statistics import Row
from ssmbench.report.tables import CERTIFIED_COLUMNS, certified_scores
from ssmbench.report.texts import learned_text, number, seeds_text

_ESCAPES = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "[": "{[}",  # after a line break it would begin an option
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}


def to_latex(contents: Contents) -> str:
    """One ``table`` for each task, the best mean in bold."""
    head = "% Written by ssmbench report. Needs \\usepackage{booktabs}.\n"
    tables = [_table(task) for task in contents.tasks]
    tables += [_certified(task) for task in contents.tasks if _is_certified(task)]
    tables += [_measures(task) for task in contents.tasks if task.measures]
    return head + "\n".join(tables)


def escaped(text: str) -> str:
    """Text that LaTeX sets as it is."""
    return "".join(_ESCAPES.get(character, character) for character in text)


def _table(task: TaskContents) -> str:
    unit = f" [{task.scale.unit}]" if task.scale and task.scale.unit else ""
    metric = f"{task.scale.metric}{unit}" if task.scale else "score"
    lines = [" & ".join(cell(row) for cell in _COLUMNS.values()) for row in task.rows]
    body = "".join(f"    {line} \\\\\n" for line in lines)
    caption = (
        f"{task.name}: {metric} on the test split, mean over seeds and 95% bootstrap interval; L2 "
        "gains of the layers (largest over layers and seeds) and of the network."
    )
    return _typeset(caption, list(_COLUMNS), body)


def _typeset(caption: str, columns: Sequence[str], body: str) -> str:
    """``body``: the lines; the first two columns are words."""
    return (
        "\\begin{table}\n  \\centering\n"
        f"  \\caption{{{escaped(caption)}}}\n"
        f"  \\begin{{tabular}}{{ll{'r' * (len(columns) - 2)}}}\n    \\toprule\n"
        f"    {' & '.join(columns)} \\\\\n    \\midrule\n{body}    \\bottomrule\n"
        "  \\end{tabular}\n\\end{table}\n"
    )


def _is_certified(task: TaskContents) -> bool:
    """Whether a variant has a certified curve."""
    return any(point.kind == "certified" for point in task.robustness)


def _certified(task: TaskContents) -> str:
    """Certified accuracy and median radius, nearest neighbours included."""
    scores = certified_scores((*task.robustness, *task.floor))
    body = ""
    for row in task.certified:
        known = scores.get((row.variant, row.discretizer), {})
        shares = [known.get(energy) for energy in CERTIFIED_COLUMNS]
        cells = [escaped(row.variant), escaped(row.discretizer), _number(row.median_radius)]
        cells += ["--" if share is None else f"{share:.4f}" for share in shares]
        body += f"    {' & '.join(cells)} \\\\\n"
    caption = (
        f"{task.name}: share of the predictions that are right and certified under every "
        "disturbance of an L2 norm below that of the column, relative to a typical input; median "
        "certified radius."
    )
    columns = ["Variant", "Discretizer", "Median radius", *(f"{e:g}" for e in CERTIFIED_COLUMNS)]
    return _typeset(caption, columns, body)


def _measures(task: TaskContents) -> str:
    lines = [" & ".join(cell(row) for cell in _MEASURES.values()) for row in task.measures]
    body = "".join(f"    {line} \\\\\n" for line in lines)
    caption = f"{task.name}: measures of the layers, the worst over layers and seeds."
    return (
        "\\begin{table}\n  \\centering\n"
        f"  \\caption{{{escaped(caption)}}}\n"
        f"  \\begin{{tabular}}{{lll{'r' * (len(_MEASURES) - 3)}}}\n    \\toprule\n"
        f"    {' & '.join(_MEASURES)} \\\\\n    \\midrule\n{body}    \\bottomrule\n"
        "  \\end{tabular}\n\\end{table}\n"
    )


def _score(row: Row) -> str:
    """The mean, bold if it is the best, with its interval in small type."""
    if row.score_mean is None:
        return escaped(seeds_text(row))
    mean = f"{row.score_mean:.4f}"
    text = f"\\textbf{{{mean}}}" if row.rank == 1 else mean
    if row.score_low is None or row.score_high is None:
        return text
    return f"{text} {{\\scriptsize [{row.score_low:.4f}, {row.score_high:.4f}]}}"


def _number(value: float | None) -> str:
    """``--`` for no figure; powers of ten as such."""
    text = number(value)
    mantissa, exponent, power = text.partition("e")
    if text in ("none", "inf"):
        return {"none": "--", "inf": r"$\infty$"}[text]
    return f"${mantissa} \\cdot 10^{{{int(power)}}}$" if exponent else text


_COLUMNS: Mapping[str, Callable[[Row], str]] = {
    "Variant": lambda r: escaped(r.variant),
    "Discretizer": lambda r: escaped(r.discretizer),
    "Score": _score,
    "Learned": lambda r: learned_text(r).replace("none", "--"),
    "Declared": lambda r: _number(r.declared),
    "Verified": lambda r: _number(r.verified),
    "Attacked": lambda r: _number(r.attacked),
    "Network": lambda r: _number(r.network_bound),
    "Parameters": lambda r: "--" if r.parameters is None else f"{r.parameters}",
}

_MEASURES: Mapping[str, Callable[[MeasureRow], str]] = {
    "Variant": lambda r: escaped(r.variant),
    "Discretizer": lambda r: escaped(r.discretizer),
    "Measure": lambda r: escaped(f"{r.measure} [{r.unit}]" if r.unit else r.measure),
    "Declared": lambda r: _number(r.declared),
    "Value": lambda r: _number(r.value),
    "Proved": lambda r: _number(r.proved),
    "Attacked": lambda r: _number(r.attacked),
}
