"""Gain reports of 2,000 difficult linear systems, checked with mpmath at 60 digits.

    python tools/torture.py                           # a table by kind; exit code 1 on a failure
    python tools/torture.py --kinds defective named   # some kinds only
    python tools/torture.py --only defective-12       # one system, with report and exact figures
    python tools/torture.py --fresh 7                 # 1,000 other systems: some minutes
    python tools/torture.py --keep                    # compute missing exact figures: 8 minutes

*Wrong*: a figure that is wrong and not marked unproved (tests/analysis/torture/judge.py has the
tolerances). *Raised*: an exception. *Noise*: a warning, or output on stdout or stderr. *Proved*: no
figure is marked unproved. Seconds are those of the gain report alone.
Needs mpmath and slycot (the ``test`` extra); gmpy2, where installed, makes ``--keep`` faster.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from mpmath import mp

from ssmbench import jsonio
from ssmbench.analysis.gain import analyse
from tests.analysis.torture import judge, kept
from tests.analysis.torture.case import Case
from tests.analysis.torture.oracle import NoAnswer, figures
from tests.analysis.torture.parts import KINDS
from tests.captured import captured

NAMES = ("A", "B", "C", "D", "g", "C_v")


@dataclass
class Outcome:
    """The gain report of one system, and what is wrong with it."""

    case: Case
    report: Any = None
    wrong: list[str] = field(default_factory=list)
    raised: str = ""
    noise: str = ""
    seconds: float = 0.0
    judged: bool = True

    @property
    def proved(self) -> bool:
        return self.report is not None and judge.Answer.of(self.report).proved

    @property
    def failures(self) -> list[str]:
        return [*self.wrong, *filter(None, (self.raised, self.noise))]


def check(case: Case, rows: dict[str, list]) -> Outcome:
    """Compute the gain report of a system and compare it with the exact figures."""
    outcome = Outcome(case)
    started = time.perf_counter()
    with captured() as seen:
        try:
            outcome.report = analyse(case.system())
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{Path(place.filename).name}:{place.lineno}"
            outcome.raised = f"{type(error).__name__} at {where}: {str(error).splitlines()[:1]}"
    outcome.seconds = time.perf_counter() - started
    noise = Counter([*seen.warnings, *seen.out.splitlines(), *seen.err.splitlines()])
    outcome.noise = " | ".join(f"{n} x {what}" for what, n in noise.items())
    truth = kept.truth_of(case, rows)
    outcome.judged = truth is not None
    if outcome.report is not None and truth is not None:
        outcome.wrong = judge.wrong(outcome.report, truth)
    return outcome


# --- output -------------------------------------------------------------------------------------


def summary(outcomes: list[Outcome]) -> dict[str, Any]:
    """Counts, proved share and times of the outcomes."""
    times = sorted(o.seconds for o in outcomes)
    return {
        "systems": len(outcomes),
        "judged": sum(o.judged for o in outcomes),
        "wrong": sum(bool(o.wrong) for o in outcomes),
        "raised": sum(bool(o.raised) for o in outcomes),
        "noise": sum(bool(o.noise) for o in outcomes),
        "proved": sum(o.proved for o in outcomes) / len(outcomes),
        "seconds": round(sum(times), 2),
        "median_s": round(times[len(times) // 2], 4),
        "longest_s": round(times[-1], 2),
    }


def by_kind(outcomes: list[Outcome]) -> dict[str, dict[str, Any]]:
    kinds = dict.fromkeys(o.case.kind for o in outcomes)
    table = {kind: summary([o for o in outcomes if o.case.kind == kind]) for kind in kinds}
    return {**table, "all": summary(outcomes)}


def print_table(table: dict[str, dict[str, Any]]) -> None:
    columns = list(table["all"])
    print(f"{'kind':28}" + "".join(f"{c:>10}" for c in columns))
    for kind, row in table.items():
        cells = [f"{v:.1%}" if c == "proved" else str(v) for c, v in row.items()]
        print(f"{kind:28}" + "".join(f"{cell:>10}" for cell in cells))


def print_counts(outcomes: list[Outcome]) -> None:
    """Print which figures are wrong and which unproved, each with its number of systems."""
    wrong = Counter(name for o in outcomes for name in {w.partition(":")[0] for w in o.wrong})
    print("wrong figures:", dict(wrong.most_common()) or "none")
    answers = [judge.Answer.of(o.report) for o in outcomes if o.report is not None]
    counts = Counter(name for answer in answers for name in answer.unproved)
    print("unproved figures:", dict(counts.most_common()) or "none")


def print_one(outcome: Outcome, rows: dict[str, list]) -> None:
    case = outcome.case
    print(case.name, "discrete" if case.discrete else "continuous")
    for name, array in zip(NAMES, case.arrays(), strict=False):
        print(name, "=", array.tolist())
    print(outcome.report)
    truth = kept.truth_of(case, rows)
    print("truth:", truth and {f: mp.nstr(getattr(truth, f), 15) for f in kept.FIELDS})


def keep_truth() -> None:
    """Compute the exact figures of new and changed systems, and write the file."""
    known, rows = kept.load_kept(), {}
    for number, case in enumerate(kept.torture_set()):
        row = known.get(case.name)
        rows[case.name] = row if row and row[0] == case.digest() else _truth(case)
        if number % 100 == 99:  # so that an interrupted computation can continue
            kept.save_kept(known | rows)
            print(f"{number + 1} systems", file=sys.stderr, flush=True)
    kept.save_kept(rows)


def _truth(case: Case) -> list[str]:
    try:
        return kept.row(case, figures(case))
    except NoAnswer:
        print(f"{case.name}: no answer", file=sys.stderr)
        return kept.row(case, None)


def chosen(options: argparse.Namespace) -> list[Case]:
    if options.fresh:
        return [kept.drawn(f"{kind}-{options.fresh}{n:03}") for n in range(40) for kind in KINDS]
    cases = kept.torture_set(options.size)
    if options.only:
        return [case for case in cases if case.name in options.only]
    return [case for case in cases if not options.kinds or case.kind in options.kinds]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=kept.SIZE)
    parser.add_argument("--kinds", nargs="*", help="default: all")
    parser.add_argument("--only", nargs="*", help="systems by name, printed in full")
    parser.add_argument("--keep", action="store_true", help="compute missing exact figures")
    parser.add_argument("--fresh", type=int, help="seed of 40 rounds of other systems")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.keep:
        keep_truth()
        return 0
    rows = kept.load_kept()
    if options.fresh:
        rows = {case.name: _truth(case) for case in chosen(options)}
    outcomes = [check(case, rows) for case in chosen(options)]
    failed = [o for o in outcomes if o.failures]
    if options.json:
        failures = {o.case.name: o.failures for o in failed}
        print(jsonio.dumps({"kinds": by_kind(outcomes), "failures": failures}, indent=1))
        return bool(failed)
    for outcome in failed:
        for sentence in outcome.failures:
            print(f"{outcome.case.name}: {sentence}")
    print_table(by_kind(outcomes))
    print_counts(outcomes)
    if options.only:
        for outcome in outcomes:
            print_one(outcome, rows)
    return bool(failed)


if __name__ == "__main__":
    raise SystemExit(main())
