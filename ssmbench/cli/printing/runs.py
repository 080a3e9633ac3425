"""Printing of one run: its resolved config and its result."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ssmbench.cli.printing import plain, print_json, table
from ssmbench.cli.streams import say, warn

if TYPE_CHECKING:
    from ssmbench.library.runs import Run
    from ssmbench.results import FurtherTest, Result

#: Norm of the disturbance, relative to a typical input, at which ``run`` prints the score.
_SHOWN_ENERGY = 0.1


def print_config(run: Run, as_json: bool) -> None:
    """Print the resolved config of a run, its folder and its state."""
    from ssmbench.yamlio import dump_yaml

    if as_json:
        print_json({"folder": str(run.folder), "state": run.state, "config": run.config})
        return
    say(f"# {run.folder}: {run.state}")
    say(dump_yaml(run.config).rstrip())


def print_run(run: Run, as_json: bool) -> None:
    """Print scores and gains of a complete run, and a warning for each violated bound; for an
    incomplete run, print its state and the reason."""
    state = run.state
    if not run.is_complete:
        if as_json:
            print_json({"folder": str(run.folder), "status": state, "reason": run.reason})
        else:
            table(("", ""), [("folder", run.folder), ("status", state), ("reason", run.reason)])
        return
    result = run.result
    if as_json:
        print_json({"folder": str(run.folder), **result.to_dict()})
    else:
        rows = [("folder", run.folder), ("status", state)]
        rows += [("note", note) for note in result.notes]
        rows += [("warning", warning) for warning in result.warnings]
        table(("", ""), rows + _result_rows(result))
    for violation in result.gain.violations:
        warn(f"violated bound: {violation}")


def _result_rows(result: Result) -> list[tuple[str, str]]:
    metric, gains, network = result.task.metric, result.gain, result.gain.network
    rows = [(f"{name} {metric}", plain(value)) for name, value in _scores(result)]
    if result.effective_batch is not None:
        rows.append(("effective batch", f"{result.effective_batch} sequences a step"))
    rows += [(f"gain {key}", plain(getattr(gains, key))) for key in _GAINS]
    rows.append(("spectral_radius", plain(gains.spectral_radius)))
    if gains.note:
        rows += [("gain note", gains.note), ("gain frozen", plain(gains.frozen))]
    keys = ("declared", "bound", "attacked")
    rows += [(f"network {key}", plain(getattr(network, key))) for key in keys]
    if network.claim == "zero-state":
        rows.append(("network claim", "zero-state: ||f(u)|| / ||u||, and no gain of differences"))
        rows.append(("network zero-state bound", plain(network.zero_state_bound)))
        rows.append(("network zero-state attacked", plain(network.zero_state)))
    rows += [
        (f"largest state norm, {test.name}", _state_text(test))
        for test in result.further_tests
        if test.name != "test"
    ]
    rows += [
        (f"test {metric}, {p.kind} disturbance of {p.energy:g}", plain(p.score))
        for p in result.robustness
        if p.energy == _SHOWN_ENERGY
    ]
    return rows + _certified_rows(result) + _provenance_rows(result)


def _certified_rows(result: Result) -> list[tuple[str, str]]:
    """What is certified of the predictions, or why nothing is."""
    about = result.certified
    if about is None:
        return []
    if about.reason:
        return [("certified", f"none: {about.reason}")]
    if about.median_radius is not None:
        typical = f"of a typical {about.gains_from}"
        return [("certified radius, median", f"{plain(about.median_radius)} {typical}")]
    unit = f" {about.unit}" if about.unit else ""
    shown = (f"{plain(_SHOWN_ENERGY * change)}{unit}" for change in about.largest_changes)
    return [
        (f"largest change of output {index}, disturbance of {_SHOWN_ENERGY:g}", text)
        for index, text in enumerate(shown, start=1)
    ]


def _provenance_rows(result: Result) -> list[tuple[str, str]]:
    """Where, for how long, from which commit, and what it took, as far as that is known."""
    about = result.provenance
    if about is None:
        return []
    times = len(about.sittings)
    job = f", job {about.job}" if about.job else ""
    rows = [("host", f"{about.host}{job}")]
    rows += [("commit", about.commit)] if about.commit else []
    rows.append(("time", f"{about.seconds:.4g} s" + f" in {times} sittings" * (times > 1)))
    memory = {"peak memory": about.peak_memory, "peak GPU memory": about.peak_gpu_memory}
    rows += [(name, f"{size / 2**20:.0f} MiB") for name, size in memory.items() if size is not None]
    if about.energy is not None:
        rows.append(("energy", f"{about.energy:.4g} J, {about.energy_of}"))
    return rows


def _state_text(test: FurtherTest) -> str:
    """Of all layers, relative to that on the test set."""
    norm = f"{plain(max(test.state_norms, default=None))} times that on the test set"
    return f"{norm}; diverged" if test.diverged else norm


def _scores(result: Result) -> list[tuple[str, float | None]]:
    """The scores of a run by what they are of, then those of the task's baselines."""
    scores, baselines = result.scores, result.task.baselines or {}
    trivial: list[tuple[str, float | None]] = [*baselines.items()]
    if scores is None:
        return trivial
    own: list[tuple[str, float | None]] = [("val", scores.val), ("test", scores.test)]
    own += [(f"test, {name}:", value) for name, value in (scores.further or {}).items()]
    if (scores.last_val, scores.last_test) not in ((scores.val, scores.test), (None, None)):
        own += [("last weights: val", scores.last_val), ("last weights: test", scores.last_test)]
    return own + trivial


_GAINS = ("declared", "verified", "attacked")
