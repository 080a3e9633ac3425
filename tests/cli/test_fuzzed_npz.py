"""A sample of the fuzzed .npz files (``python tools/fuzz_npz.py`` has 500)."""

from __future__ import annotations

import pytest

from tests import npz_fuzz

#: Twice each kind, none of them the tool's.
SEEDS = range(10_000, 10_000 + 2 * len(npz_fuzz.KINDS))


@pytest.mark.parametrize("seed", SEEDS)
def test_gain_answers_any_file_with_json_or_one_line(seed, workplace):
    kind, content = npz_fuzz.fuzzed(seed)
    path = workplace / "fuzzed.npz"
    path.write_bytes(content)
    assert npz_fuzz.faults(npz_fuzz.ask(path)) == [], kind


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (npz_fuzz.Answer(1, "", "Traceback: KeyError"), "code 1"),
        (npz_fuzz.Answer(2, "", "one\ntwo\n"), "2 lines"),
        (npz_fuzz.Answer(2, "{}", "one\n"), "stdout '{}'"),
        (npz_fuzz.Answer(0, '{"h2": Infinity}', ""), "Infinity is not JSON"),
        (npz_fuzz.Answer(0, '{"h2": 1}', "hinf.py:3: RuntimeWarning"), "on stderr"),
        (npz_fuzz.Answer(0, '{"h2": 1}', "", ("RuntimeWarning: overflow",)), "a warning"),
    ],
)
def test_faults_are_found(answer, says):
    (fault,) = npz_fuzz.faults(answer)
    assert says in fault
    right = npz_fuzz.Answer(0, '{"h2": 1}', ""), npz_fuzz.Answer(2, "", "x.npz: damaged\n")
    assert [npz_fuzz.faults(one) for one in right] == [[], []]
