"""Verdicts on pairs of variants, scales of tasks, trade-offs: cases by hand and brute force."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmbench.report.collect import RunRecord
from ssmbench.report.comparisons import VERDICTS, comparisons
from ssmbench.report.scale import ROUNDING_EFFECT, scale_of
from ssmbench.report.statistics import rows, scales
from ssmbench.report.trade_off import trade_off
from ssmbench.results import Scores, TaskFacts
from tests.runs.results import DIVERGED, FINISHED

ERROR = TaskFacts("tanks", "s", "rmse", False, "V", baselines={"mean": 2.0, "linear": 0.5})
SHARE = TaskFacts(
    *("digits", "s", "accuracy", True, ""),
    baselines={"majority": 0.1},
    classifies=True,
    test_sequences=100,
)


def record(facts: TaskFacts, variant: str, seed: int, score: float | None, **over) -> RunRecord:
    scores = None if score is None else Scores(val=score, test=score)
    base = DIVERGED if score is None else FINISHED
    result = replace(base, task=facts, scores=scores, **over)
    state = result.status
    return RunRecord(facts.name, variant, "zoh", seed, f"{variant}{seed}", state, result)


def compared(facts: TaskFacts, **scores: list[float | None]):
    records = [
        record(facts, variant, seed, score)
        for variant, of in scores.items()
        for seed, score in enumerate(of)
    ]
    return comparisons(rows(records), scales(records)[facts.name])


# --- verdicts -----------------------------------------------------------------------------------


def test_too_few_seeds_say_how_many_would_do():
    (one,) = compared(ERROR, A=[0.1] * 5, B=[0.2, 0.21, 0.22, 0.23, 0.24])
    assert (one.p, one.verdict, one.better) == (0.0625, "too few seeds", None)
    assert one.reason == "5 seeds give no p-value below 0.0625; 6 would do"


def test_the_correction_needs_more_seeds():
    three = compared(ERROR, A=[0.1] * 6, B=[0.2] * 6, C=[0.3] * 6)
    assert {one.p for one in three} == {0.03125}
    assert {one.verdict for one in three} == {"too few seeds"}
    assert three[0].reason.endswith("6 would do, 7 for all 3 pairs")
    more = compared(ERROR, A=[0.1] * 7, B=[0.2] * 7, C=[0.3] * 7)
    assert [one.adjusted for one in more] == [3 * 2 / 2**7] * 3
    assert {one.verdict for one in more} == {"better"}


@pytest.mark.parametrize(("facts", "winner"), [(ERROR, 0), (SHARE, 1)])
def test_the_better_one_depends_on_the_direction_of_the_score(facts, winner):
    (one,) = compared(facts, A=[0.3] * 6, B=[0.6] * 6)
    assert (one.verdict, one.better) == ("better", winner)
    assert one.difference == pytest.approx(-0.3)


def test_differences_that_rounding_makes_are_below_the_resolution():
    (one,) = compared(ERROR, A=[0.100] * 6, B=[0.105] * 6)
    assert (one.p, one.verdict) == (0.03125, "below resolution")
    assert one.resolution == pytest.approx(ROUNDING_EFFECT * 0.1)


def test_differences_of_one_test_sample_are_below_the_resolution():
    (one,) = compared(SHARE, A=[0.90] * 6, B=[0.91] * 6)
    assert one.verdict == "below resolution"
    assert one.resolution == pytest.approx((0.905 * 0.095 / 100) ** 0.5)
    (perfect,) = compared(SHARE, A=[1.0] * 6, B=[1.0] * 6)
    assert perfect.resolution == 0.01


def test_scattered_differences_show_nothing():
    (one,) = compared(ERROR, A=[1, 2, 3, 4, 5, 6], B=[2, 1.5, 5, 3, 7, 4])
    assert one.verdict == "no difference shown"


def test_pairs_are_of_the_seeds_that_both_finished():
    (one,) = compared(ERROR, A=[0.1, None, 0.2], B=[0.3, 0.4, 0.5])
    assert (one.pairs, one.difference) == (2, pytest.approx(-0.25))
    assert compared(ERROR, A=[None], B=[0.1]) == []


@settings(max_examples=25)
@given(st.lists(st.lists(st.floats(0.1, 1), min_size=1, max_size=7), min_size=2, max_size=3))
def test_every_pair_has_a_verdict_and_the_opposite_pair_the_opposite(table):
    scores = {f"V{i}": list(of) for i, of in enumerate(table)}
    found = compared(ERROR, **scores)
    assert len(found) == len(table) * (len(table) - 1) / 2
    assert {one.verdict for one in found} <= set(VERDICTS)
    assert all((one.better is None) == (one.verdict != "better") for one in found)
    backwards = compared(ERROR, **dict(reversed(scores.items())))
    opposite = {(one.other, one.one): one for one in backwards}
    for one in found:
        other = opposite[one.one, one.other]
        assert (one.verdict, one.p, one.difference) == (
            *(other.verdict, other.p),
            pytest.approx(-other.difference),
        )


# --- who has learned ----------------------------------------------------------------------------


def test_who_has_learned_is_clearly_better_than_the_constant_prediction():
    scores = [0.3, 1.79, 1.81, None]
    records = [record(ERROR, "A", seed, score) for seed, score in enumerate(scores)]
    (row,) = rows(records)
    assert [seed.learned for seed in row.seeds] == [True, True, False, False]
    assert (row.learned, row.over, row.learned_share) == (2, 4, 0.5)
    waiting = replace(records[0], result=None, state="missing", seed=9)
    assert rows([*records, waiting])[0].over == 4
    failed = replace(waiting, state="failed")
    assert rows([*records, failed])[0].learned_share == 0.4


def test_without_a_baseline_nobody_knows_who_has_learned():
    (row,) = rows([record(replace(ERROR, baselines=None), "A", 0, 0.3)])
    assert (row.learned, row.learned_share, row.seeds[0].learned) == (None, None, None)


def test_a_small_test_split_asks_for_more():
    assert scale_of(SHARE).learned_from == pytest.approx(0.19)
    few = scale_of(replace(SHARE, test_sequences=9))
    assert few.learned_from == pytest.approx(0.1 + 2 / 9)


# --- rows ---------------------------------------------------------------------------------------


def test_ranks_follow_the_direction_of_the_score_and_share_ties():
    for facts, expected in ((ERROR, [1, 2, 2, None]), (SHARE, [3, 1, 1, None])):
        scores = {"A": 0.1, "B": 0.2, "C": 0.2, "D": None}
        table = rows(record(facts, variant, 0, score) for variant, score in scores.items())
        assert [row.rank for row in table] == expected


def test_a_seed_that_two_people_ran_counts_once():
    twice = [
        replace(record(ERROR, "A", 0, score), source=name)
        for name, score in (("a", 1.0), ("b", 2.0))
    ]
    (row,) = rows([*twice, record(ERROR, "A", 1, 3.0)])
    assert [seed.source for seed in row.seeds] == ["a", "b", ""]
    assert (row.scores, row.score_mean) == ({0: 1.5, 1: 3.0}, 2.25)


def test_tightness_and_slack_need_a_declared_gain():
    gain = replace(FINISHED.gain, declared=2.0, verified=1.5, attacked=1.0)
    (row,) = rows([record(ERROR, "A", 0, 1.0, gain=gain)])
    assert (row.tightness, row.slack) == (0.75, 2.0)
    (row,) = rows([record(ERROR, "A", 0, 1.0, gain=replace(gain, declared=None))])
    assert (row.tightness, row.slack) == (None, None)


# --- the front ----------------------------------------------------------------------------------

gains = st.sampled_from([None, 0.5, 1.0, 2.0, float("inf")])


@settings(max_examples=40)
@given(st.lists(st.tuples(gains, st.sampled_from([0.1, 0.2, 0.3])), min_size=1, max_size=6))
def test_the_front_is_of_rows_that_no_other_surpasses(drawn):
    for facts in (ERROR, SHARE):
        table = rows(
            record(facts, f"V{i}", 0, score, gain=replace(FINISHED.gain, verified=gain))
            for i, (gain, score) in enumerate(drawn)
        )
        points = trade_off(table, "verified")
        assert [p.gain for p in points] == sorted(gain for gain, _ in drawn if gain is not None)
        for point in points:
            surpassed = any(
                other.gain <= point.gain
                and (other.score == point.score or scale_of(facts).better(other.score, point.score))
                and (other.gain, other.score) != (point.gain, point.score)
                for other in points
            )
            assert point.on_front == (not surpassed)
