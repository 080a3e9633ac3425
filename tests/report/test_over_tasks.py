"""Figures over tasks against scipy and cases from the literature."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from ssmbench.report.collect import collect
from ssmbench.report.contents import About, contents
from ssmbench.report.over_tasks import critical_difference, interquartile_mean
from tests.report.planted import planted_suite


def over(root, tasks: int, variants: int, seeds: int, **options):
    planted_suite(root, tasks, variants, seeds, curves=False, **options)
    return contents(collect(root), About("planted")).over_tasks


def test_one_task_has_nothing_over_tasks_and_two_say_why(tmp_path):
    assert over(tmp_path / "one", 1, 2, 2) is None
    two = over(tmp_path / "two", 2, 2, 2)
    assert (two.overall, two.ranks) == ((), None)
    assert two.why_not[0].startswith("interquartile means need 3 tasks with a baseline")
    assert "need 8 tasks; this suite has 2" in two.why_not[1]


def test_three_tasks_have_normalised_scores(tmp_path):
    found = over(tmp_path, 3, 3, 3, published=False, effect=20, troubles=False)
    assert [one.variant for one in found.overall] == ["V0", "V1", "V2"]
    best = found.overall[0]
    assert best.runs == 9
    assert best.iqm == pytest.approx(1, abs=0.05)  # 1 is the best mean, that of V0
    assert all(one.low <= one.iqm <= one.high for one in found.overall)
    assert found.overall[1].high < best.low
    assert best.profile[0] == 1
    assert all(a >= b for a, b in zip(best.profile, best.profile[1:], strict=False))
    assert found.references[0].startswith("task0: 0.9")


def test_runs_that_fail_count_as_the_baseline(tmp_path):
    found = over(tmp_path, 3, 2, 5)
    # Of the five seeds of V1 two diverge, two fail and one is missing, which is not over.
    (last,) = (one for one in found.overall if one.variant == "V1")
    assert (last.runs, last.iqm) == (12, 0.0)
    first = next(one for one in found.overall if one.variant == "V0")
    assert 0 < first.iqm < 1  # 1 is the published score
    assert "published, Published Net" in found.references[0]


def test_too_few_runs_are_named(tmp_path):
    found = over(tmp_path, 3, 2, 2)
    assert found.overall == ()
    assert found.why_not[0] == "interquartile means need 3 runs of a variant on each of the 3 tasks"


def test_the_interquartile_mean_is_of_the_middle_half():
    rows = np.array([[0.0, 1.0, 2.0, 100.0], [5.0, 5.0, 5.0, 5.0]])
    assert interquartile_mean(rows).tolist() == [1.5, 5.0]


def test_eight_tasks_have_average_ranks(tmp_path):
    found = over(tmp_path, 8, 4, 2, troubles=False, effect=20)
    ranks = found.ranks
    assert [key[0] for key in ranks.variants] == ["V0", "V1", "V2", "V3"]
    assert ranks.ranks == (1, 2, 3, 4)
    assert ranks.friedman_p < 1e-4
    assert ranks.groups == ((0, 1), (1, 2), (2, 3))


#: Areas under the curve of C4.5 with four settings on 14 data sets: Demsar (2006), table 6.
DEMSAR = """
0.763 0.768 0.771 0.798
0.599 0.591 0.590 0.569
0.954 0.971 0.968 0.967
0.628 0.661 0.654 0.657
0.882 0.888 0.886 0.898
0.936 0.931 0.916 0.931
0.661 0.668 0.609 0.685
0.583 0.583 0.563 0.625
0.775 0.838 0.866 0.875
1.000 1.000 1.000 1.000
0.940 0.962 0.965 0.962
0.619 0.666 0.614 0.669
0.972 0.981 0.9751 0.975
0.957 0.978 0.946 0.970
"""


def test_ranks_are_those_of_the_literature():
    scores = np.array([line.split() for line in DEMSAR.strip().splitlines()], dtype=float)
    keys = [(name, "none") for name in ("C4.5", "C4.5+m", "C4.5+cf", "C4.5+m+cf")]
    found = critical_difference(keys, -scores)
    ranks = {key[0]: rank for key, rank in zip(found.variants, found.ranks, strict=True)}
    published = {"C4.5": 3.143, "C4.5+m": 2.000, "C4.5+cf": 2.893, "C4.5+m+cf": 1.964}
    assert ranks == pytest.approx(published, abs=0.0005)
    assert found.difference == pytest.approx(2.569 * np.sqrt(4 * 5 / (6 * 14)), abs=1e-3)
    assert found.friedman_p == pytest.approx(stats.friedmanchisquare(*scores.T).pvalue)
    assert found.groups == ((0, 1, 2, 3),)


def test_equal_scores_are_no_difference():
    found = critical_difference([("a", ""), ("b", ""), ("c", "")], np.ones((8, 3)).tolist())
    assert (found.ranks, found.friedman_p, found.groups) == ((2, 2, 2), 1.0, ((0, 1, 2),))
