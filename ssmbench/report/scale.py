"""What the scores of a task can be compared with: its trivial baseline, its resolution."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ssmbench.results import TaskFacts

#: A run has *learned* if it closes this share of the distance from the trivial baseline to a
#: perfect score, or, where nothing says what is perfect, if it is better by this share of the
#: baseline.
LEARNED_MARGIN = 0.1
#: Of a regression, the share by which the order of summation alone has been seen to change a score:
#: 3 to 6% on Cascaded Tanks. Smaller differences are none of the models.
ROUNDING_EFFECT = 0.06


@dataclass(frozen=True)
class Scale:
    """Of one task: which way its score goes, and what a difference of it means.

    ``trivial``: the name of the baseline that predicts a constant; ``learned_from``: the score from
    which on a run counts as having learned. Both None where the task has no baseline.
    ``classifies`` and ``test_sequences`` as in :class:`~ssmbench.results.TaskFacts`.
    """

    metric: str
    unit: str
    higher_is_better: bool
    trivial: str | None
    trivial_score: float | None
    learned_from: float | None
    classifies: bool
    test_sequences: int | None

    def better(self, one: float, other: float) -> bool:
        return one > other if self.higher_is_better else one < other

    def learned(self, score: float | None) -> bool | None:
        """Whether a run with this score, None for no score, has learned; None: no baseline."""
        if self.learned_from is None:
            return None
        return score is not None and self.better(score, self.learned_from)

    def resolution(self, one: float, other: float) -> float | None:
        """The difference of two scores below which it is none of the models; None if not known.

        Of a classification: the binomial standard error of their mean, at least one sequence of
        the test split. Of an error: :data:`ROUNDING_EFFECT` times the smaller score.
        """
        if self.classifies:
            return _binomial_error((one + other) / 2, self.test_sequences)
        return None if self.higher_is_better else ROUNDING_EFFECT * min(abs(one), abs(other))


def scale_of(facts: TaskFacts) -> Scale:
    """The scale of a task's scores."""
    baselines = facts.baselines or {}
    name, score = next(iter(baselines.items()), (None, None))
    return Scale(
        metric=facts.metric,
        unit=facts.unit,
        higher_is_better=facts.higher_is_better,
        trivial=name,
        trivial_score=score,
        learned_from=None if score is None else _learned_from(score, facts),
        classifies=facts.classifies,
        test_sequences=facts.test_sequences,
    )


def _learned_from(trivial: float, facts: TaskFacts) -> float | None:
    """A classification must also be better by two binomial standard errors of the baseline."""
    if not math.isfinite(trivial):
        return None
    margin = LEARNED_MARGIN * (1 - trivial if facts.classifies else abs(trivial))
    if facts.classifies:
        margin = max(margin, 2 * (_binomial_error(trivial, facts.test_sequences) or 0.0))
    return trivial + margin if facts.higher_is_better else trivial - margin


def _binomial_error(share: float, count: int | None) -> float | None:
    if not count:
        return None
    return max(math.sqrt(max(share * (1 - share), 0.0) / count), 1 / count)
