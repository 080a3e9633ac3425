"""Execute one run and record its outcome, failures included."""

from __future__ import annotations

import signal
import sys
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch

from ssmbench.build.check import check_data
from ssmbench.config import RunConfig, check_sources
from ssmbench.errors import (
    ClaimLostError,
    InterruptedRunError,
    LostRankError,
    SsmbenchError,
    UsageError,
    WriteError,
    one_line,
)
from ssmbench.origins import crash_message, with_plugin_line
from ssmbench.results import Result, TaskFacts
from ssmbench.runs.consumption import EnergyMeter
from ssmbench.runs.environment import environment
from ssmbench.runs.folder import RunFolder
from ssmbench.runs.load import measure_task_gains, save_worst_input
from ssmbench.runs.poles import write_poles
from ssmbench.runs.run import Run
from ssmbench.runs.sittings import OpenSitting
from ssmbench.tasks.base import Task
from ssmbench.training.board.ending import write_figures, write_outcome
from ssmbench.training.certificates import Certificates, certificates_of
from ssmbench.training.environment import is_main_process, own_rank
from ssmbench.training.further import further_tests
from ssmbench.training.gains import measuring_device
from ssmbench.training.interruption import (
    Stopped,
    interrupted_by,
    received,
    signals_stop_the_run,
)
from ssmbench.training.out_of_memory import FURTHER, GAINS, ROBUSTNESS, memory_named
from ssmbench.training.peers import error_file
from ssmbench.training.robustness import robustness
from ssmbench.training.trainer import Trained, train
from ssmbench.training.trainer_options import MIXED


def execute(run: Run, progress: str | None = None, *, raise_errors: bool = False) -> str:
    """Train, measure and store a run; returns its final state.

    A complete run is not executed again. A run that another process holds, or has taken over from
    this one, stays ``running``. A crash leads to the state ``failed``, with the traceback in
    ``error.txt``; divergence leads to ``diverged``. A run that ``trainer.max_time`` stopped is
    ``out_of_time``: it has no result and can be resumed.

    ``progress`` is the label of the progress display; None shows no progress. With ``raise_errors``
    a crash is recorded and raised again, for use with a debugger.

    Raises:
        UsageError: the options of the config do not fit together, or its data are missing.
        InterruptedRunError: Control-C or another signal stopped the run; its state is
            ``interrupted``, and it goes on when it is executed again.
    """
    if not run.config["data_digest"]:  # the data were missing: raise before a folder is made
        check_data(run.typed)
    folder = run.create() if is_main_process() else run.folder
    if folder.state == "unreadable":  # never overwritten without --force
        raise UsageError(f"{folder.path}: {folder.reason}")
    if folder.is_complete:  # checked on every rank: otherwise the other ranks would wait
        return folder.state
    if not is_main_process():  # ranks other than 0 only train: they write no files
        with signals_stop_the_run():
            _train_beside(run, progress)
        return "running"
    meter = EnergyMeter()
    with folder.lock(on_beat=[meter.sample]) as held:
        if held is None:
            return "running"
        if folder.is_complete:  # another launcher completed it in the meantime
            return folder.state
        held.delete_abandoned_drafts()
        try:
            with signals_stop_the_run(lambda state, why: held.write_status(state, reason=why)):
                return _execute_locked(replace(run, folder=held), meter, progress, raise_errors)
        except ClaimLostError as lost:
            print(f"warning: {lost}", file=sys.stderr, flush=True)
            return "running"


def _train_beside(run: Run, progress: str | None) -> None:
    """Train on a rank other than 0, which finds the traceback of an error in a file.

    Raises:
        LostRankError: this or another rank failed.
    """
    try:
        train(run.typed, run.folder.path, progress)
    except (InterruptedRunError, LostRankError):  # rank 0 knows why
        raise
    except (Exception, SystemExit) as error:
        if received():
            raise interrupted_by(received()) from error
        rank = own_rank()
        with suppress(OSError):
            file = error_file(run.folder.path, rank)
            file.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
        if isinstance(error, SsmbenchError):
            raise
        raise LostRankError(f"rank {rank}: {one_line(error)}") from None


def _execute_locked(run: Run, meter: EnergyMeter, progress: str | None, raise_errors: bool) -> str:
    config, folder = run.config, run.folder
    folder.write_config(config)
    sitting = OpenSitting(folder, meter)
    folder.write_status("running", started=sitting.started)
    try:
        check_sources(config)
        trained = train(run.typed, folder.path, progress, folder.check_claim)
        if trained.out_of_time:
            folder.write_status("out_of_time", reason=_why_out_of_time(config, trained))
            sitting.end("out_of_time", trained.steps)
            return "out_of_time"
        result = _result(run, trained, sitting)
        write_outcome(folder.path, result, config, folder.check_claim)
        folder.write_result(result)
    except ClaimLostError:
        raise
    except (KeyboardInterrupt, SystemExit, Stopped, InterruptedRunError) as error:
        return _record_stop(sitting, error)
    except Exception as error:
        if received():
            return _record_stop(sitting, _consequence(error))
        if isinstance(error, UsageError):
            found = with_plugin_line(error)
            _record(sitting, "failed", str(found))
            raise found from error
        _record(sitting, "failed", reason_of_crash(folder, error))
        if raise_errors:
            raise
        return "failed"
    folder.write_status(result.status)
    sitting.end(_why_complete(trained), trained.steps)
    return result.status


def _consequence(error: Exception) -> InterruptedRunError:
    """The interruption that an error is taken for after a signal.

    Schedulers send it also to the workers of a data loader, of which it ends some, and code that
    calls Python may convert :class:`Stopped`. An error of another cause comes again in a resumed
    run.
    """
    return interrupted_by(received(), f", then {one_line(error)}")


def _why_complete(trained: Trained) -> str:
    return "finished" if trained.diverged_at is None else f"diverged at step {trained.diverged_at}"


def _record(sitting: OpenSitting, state: str, reason: str) -> None:
    """Record how a run ended, or say why on stderr if not even that can be written."""
    try:
        sitting.folder.write_status(state, reason=reason)
    except WriteError as full:
        print(f"error: {reason}; {full}", file=sys.stderr, flush=True)
    sitting.end(f"{state}: {reason}")


def reason_of_crash(folder: RunFolder, error: Exception) -> str:
    """One line on a crash; the whole traceback is written into the folder's ``error.txt``, if the
    disk has room for it. What is no fault of this process has the line alone."""
    if isinstance(error, WriteError | LostRankError):
        return str(error)
    text = "".join(traceback.format_exception(error))
    try:
        folder.write("error.txt", text.encode(errors="backslashreplace"))
    except WriteError:
        return one_line(error)
    return crash_message(error, folder.path / "error.txt")


def _record_stop(sitting: OpenSitting, error: BaseException) -> str:
    """Record the state of a run that was stopped from outside, or that called ``sys.exit``.

    Lightning converts a KeyboardInterrupt, which only code of the run raises, to a SystemExit.
    """
    by_keyboard = any(isinstance(e, KeyboardInterrupt) for e in (error, error.__context__))
    if isinstance(error, SystemExit) and not (by_keyboard or received()):
        code = "" if error.code is None else repr(error.code)
        _record(sitting, "failed", f"code of this run called sys.exit({code})")
        return "failed"
    number = getattr(error, "signal", received() or signal.SIGINT)
    reason = str(error if isinstance(error, InterruptedRunError) else interrupted_by(number))
    _record(sitting, "interrupted", reason)
    message = f"{sitting.folder.path}: {reason}; the same command resumes from the last checkpoint"
    raise InterruptedRunError(message, number) from None


def _why_out_of_time(config: Mapping[str, Any], trained: Trained) -> str:
    limit, module = config["trainer"]["max_time"], trained.module
    of_all = "" if module.budget else f" of {module.total_steps()}"
    return (
        f"trainer.max_time={limit} ended it at step {trained.steps}{of_all}; run it again with a "
        "larger one to resume"
    )


def _not_covered(run: RunConfig, task: Task) -> list[str]:
    """Sentences on what the gains do not cover: autocast outside SSM layers, varying time steps."""
    precision, sentences = str(run.trainer.get("precision", "")), []
    if precision in MIXED:
        sentences.append(
            f"trainer.precision={precision}: the gains are of the network in the precision of its "
            "parameters; what 16-bit rounding between the SSM layers adds is not covered"
        )
    if task.sample("val", 1).dt is not None:
        sentences.append(
            "the time steps of the task vary: the gains are those at constant steps (dt = 1)"
        )
    return sentences


def _result(identity: Run, trained: Trained, sitting: OpenSitting) -> Result:
    run, folder, task, model = identity.typed, identity.folder, trained.task, trained.module.model
    device = measuring_device(trained.device)
    with memory_named(run, GAINS):
        found = measure_task_gains(model.to(device), task, run.analysis)
    save_worst_input(folder.path, found)
    write_poles(folder.path, [poles.cpu().numpy() for poles in found.poles])
    drawings, check = trained.drawings, folder.check_claim
    write_figures(folder.path, model, found.worst, trained.steps, drawings, check)
    diverged = trained.diverged_at is not None
    with memory_named(run, ROBUSTNESS):
        curves = () if diverged else tuple(robustness(model, task, run.analysis))
        proved = Certificates() if diverged else certificates_of(model, task, run.analysis, found)
    scores = trained.scores
    with memory_named(run, FURTHER):
        further = further_tests(model, task, scores.test, scores.further or {}) if scores else ()
    provenance = sitting.provenance(_why_complete(trained), trained.steps)
    return Result(
        fingerprint=identity.fingerprint,
        status="diverged" if diverged else "finished",
        diverged_at=trained.diverged_at,
        warnings=(*trained.warnings, *_not_covered(run, task), *_moved(trained.device, device)),
        notes=trained.notes,
        effective_batch=trained.effective_batch,
        variant=run.variant or run.model.parametrization["name"],
        parametrization=run.model.parametrization["name"],
        discretizer=run.model.discretizer and run.model.discretizer["name"],
        seed=run.seed,
        task=_task_facts(run, task),
        scores=trained.scores,
        gain=found.gain,
        robustness=(*curves, *proved.curve),
        certified=proved.figures,
        further_tests=further,
        truncations=trained.truncations,
        parameters=model.parameter_count(),
        steps=trained.steps,
        steps_per_second=trained.steps_per_second,
        environment=environment(trained.device, device),
        seconds=round(provenance.seconds, 2),
        provenance=provenance,
    )


def _task_facts(run: RunConfig, task: Task) -> TaskFacts:
    return TaskFacts(
        name=run.task["name"],
        source=task.source + task.conditions.remark,
        metric=task.score,
        higher_is_better=task.higher_is_better,
        unit=task.unit,
        data_digest=run.data_digest,
        baselines=task.baseline_scores(),
        published=() if task.conditions.dropped else tuple(task.published_scores()),
        classifies=task.classifies,
        test_sequences=len(task.split("test")),
    )


def _moved(trained_on: torch.device, measured_on: torch.device) -> tuple[str, ...]:
    sentence = (
        f"the gains and the robustness were measured on the {measured_on}: {trained_on} has no "
        "float64"
    )
    return () if trained_on.type == measured_on.type else (sentence,)
