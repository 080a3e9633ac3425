"""All checks of one published run, in this process."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

from ssmbench import jsonio
from ssmbench.errors import UsageError, one_line
from ssmbench.publication.checks.verdict import Findings, NeedsPluginError
from ssmbench.publication.layout import Entry
from ssmbench.results import Record, Result

#: Characters of a note that a result has written.
_LONGEST = 200


@dataclass(frozen=True)
class Job(Record):
    """What is checked: an entry of the published folder ``root``; ``with_data``: its test and
    certified scores too."""

    root: str
    entry: Entry
    with_data: bool = False


def check_one(job: Job) -> Findings:
    """What the checks of a run find, whatever is in its files."""
    start = time.perf_counter()
    try:
        found = _check(job)
    except NeedsPluginError as error:
        found = Findings(not_verified=(str(error),))
    except UsageError as error:
        found = Findings(rejected=(str(error),))
    except (Exception, SystemExit) as error:  # what it holds is not trusted to fail politely
        found = Findings(rejected=(f"cannot be checked: {one_line(error)}",), failed=True)
    return replace(found, seconds=round(time.perf_counter() - start, 3))


def _check(job: Job) -> Findings:
    from ssmbench.publication.checks import certified, gains, measures, network, scores
    from ssmbench.publication.checks.submission import faults, read_submission
    from ssmbench.publication.checks.tighter import TighterCheck
    from ssmbench.publication.sizes import from_record
    from ssmbench.training.composed import known_pairs

    one = read_submission(Path(job.root), job.entry)
    wrong = (*faults(one), *certified.false_certificates(one.result))
    if wrong:
        return Findings(rejected=wrong)
    if one.result.diverged:
        return Findings(not_checked=("anything of a diverged run but its files",))
    built = network.rebuild(one)
    tighter = TighterCheck.of(from_record(job.entry.sizes), one.config)
    asked = measures.asked_measures(one.config)
    found = gains.check_gains(built.model, one.result.gain, job.entry.steps, tighter, asked)
    score = proved = Findings(not_checked=("scores",))
    if job.with_data:
        score = scores.check_score(built, one.result)
        proved = (
            Findings()
            if found.rejected
            else certified.check_certified(built, one.result, known_pairs(tighter.found))
        )
    about = (*_given(one.result), *_about_length(job.entry), *_about_truncations(one.result))
    notes = (*built.not_checked, *about, *found.not_checked)
    return replace(
        found,
        rejected=(*found.rejected, *score.rejected, *proved.rejected),
        not_checked=tuple(dict.fromkeys((*notes, *score.not_checked, *proved.not_checked))),
        test=score.test,
    )


def _about_length(entry: Entry) -> tuple[str, ...]:
    if entry.steps == entry.sizes.length:
        return ()
    return (f"that no sequence has fewer than {entry.steps} steps, as the network's bound needs",)


def _given(result: Result) -> tuple[str, ...]:
    if result.imported is None:
        return ()
    shown = repr(str(result.imported))[1:-1]  # its names are not trusted to be short, or one line
    return (f"where the weights are from: {shown:.{_LONGEST}}",)


def _about_truncations(result: Result) -> tuple[str, ...]:
    return ("errors of truncations in training, whose layers are gone",) * bool(result.truncations)


def from_text(text: str) -> Findings:
    """The findings that a process has written as JSON, which is not trusted either."""
    try:
        return Findings.from_dict(jsonio.loads(text), "findings")
    except Exception as error:
        return Findings(rejected=(f"cannot be checked: {one_line(error)}",), failed=True)
