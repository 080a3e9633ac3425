"""Accuracies that publications report on the tasks of the Long Range Arena."""

from __future__ import annotations

from ssmbench.results import PublishedScore
from ssmbench.tasks.published_scores import S4D, S5, Publication

TASKS = ("listops", "text", "retrieval", "image", "pathfinder", "path-x")

_LIQUID_S4 = Publication(
    "R. Hasani et al., Liquid-S4, ICLR 2023, arXiv 2209.12951, table 1",
    selected_on="validation",
    note="accuracy on the validation part",
)
_LRU = Publication("A. Orvieto et al., LRU, ICML 2023, arXiv 2303.06349, tables 3, 8 and 9")
_MEGA = Publication("X. Ma et al., Mega, ICLR 2023, arXiv 2209.10655, table 2")
_RTF = Publication("R. Parnichkun et al., RTF, ICML 2024, arXiv 2405.06147")

#: In percent, in the order of TASKS; None where training failed or another input was read.
_ACCURACIES: tuple[tuple[Publication, str, tuple[float | None, ...]], ...] = (
    (_LIQUID_S4, "S4 (original)", (58.35, 76.02, 87.09, 87.26, 86.05, 88.10)),
    (_LIQUID_S4, "DSS", (57.6, 76.6, 87.6, 85.8, 84.1, 85.0)),
    (_LIQUID_S4, "S4-LegS", (59.60, 86.82, 90.90, 88.65, 94.20, 96.35)),
    (_LIQUID_S4, "S4-FouT", (57.88, 86.34, 89.66, 89.07, 94.46, None)),
    (_LIQUID_S4, "S4D-LegS", (60.47, 86.18, 89.46, 88.19, 93.06, 91.95)),
    (_LIQUID_S4, "S4D-Inv", (60.18, 87.34, 91.09, 87.83, 93.78, 92.80)),
    (_LIQUID_S4, "S4D-Lin", (60.52, 86.97, 90.96, 87.93, 93.96, None)),
    (_LIQUID_S4, "Liquid-S4", (62.75, 89.02, 91.20, 89.50, 94.8, 96.66)),
    (S5, "S5", (62.15, 89.31, 91.40, 88.00, 95.33, 98.58)),
    (_LRU, "LRU", (60.2, 89.4, 89.9, None, 95.1, 94.2)),
    (_MEGA, "Mega", (63.14, 90.43, 91.25, 90.44, 96.01, 97.98)),
    (_RTF, "RTF", (61.59, 89.72, 92.04, 90.51, 96.11, 96.32)),
)
#: Of the colour images pixel by pixel. LRU reads those of the Image task so.
SCIFAR_SCORES = (
    S4D.accuracy("S4-LegS", 91.80),
    S4D.accuracy("S4D-LegS", 89.92),
    S4D.accuracy("S4D-Inv", 90.69),
    S4D.accuracy("S4D-Lin", 90.42),
    S5.accuracy("S5", 90.1),
    _LRU.accuracy("LRU", 89.0, note="reported for the Image task, read in colour"),
)


def arena_scores(task: str) -> tuple[PublishedScore, ...]:
    """The published accuracies on one of TASKS, as fractions."""
    place = TASKS.index(task)
    # The S4 repository, and with it these tables, uses the test reviews for validation.
    on_test = {"selected_on": "test", "note": ""}
    return tuple(
        by.accuracy(model, percent, **(on_test if task == "text" and by is _LIQUID_S4 else {}))
        for by, model, row in _ACCURACIES
        if (percent := row[place]) is not None
    )
