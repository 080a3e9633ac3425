"""Many runs of a tiny task under injected faults, compared with the same runs undisturbed.

    python tools/many_runs.py                         # 1,000 runs: about half an hour on 2 cores
    python tools/many_runs.py --runs 100 --seed 3     # another sequence of faults
    python tools/many_runs.py --runs 20 --keep folder --json

Faults come at random times, on average one in the time of a run, from a seeded generator: SIGKILL
or SIGTERM to a process that executes a run, SIGKILL to a helper (the server that forks runs, the
tracker of resources), and the loss of the node: SIGKILL to all processes at once. Whenever the
suite has ended or is lost, the same command is given again, until every run is complete.

Exit code 1 unless each run finished exactly once, with the weights, the metrics and the scores of
the undisturbed run, bit for bit.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import torch
import yaml

from ssmbench import jsonio
from ssmbench.runs.folder import RunFolder

ROOT = Path(__file__).parents[1]
PLUGIN = ROOT / "tests" / "training" / "toys.py"
FAULTS = ("kill a run", "terminate a run", "kill a helper", "lose the node")
_WEIGHTS = (10, 10, 1, 1)
#: A run of 16 optimizer steps: long enough for most faults to fall into its training.
BASE = {
    "model": {"d_model": 2, "n_layers": 1, "discretizer": "zoh"},
    "optimizer": {"lr": 0.02, "ssm_lr": 0.01},
    "analysis": {
        "attack_steps": 2,
        "attack_restarts": 1,
        "every_n_epochs": 0,
        "robustness_sequences": 4,
    },
    "trainer": {
        "max_epochs": 4,
        "devices": 1,
        "accelerator": "cpu",
        "accumulate_grad_batches": 2,
        "log_every_n_steps": 1,
    },
    "batch_size": 2,
}


def suite_file(folder: Path, runs: int) -> Path:
    """A suite of one variant and ``runs`` seeds."""
    variant = {"model": {"parametrization": {"name": "s4d", "d_state": 4, "dt_min": 0.1}}}
    suite = {
        "name": "many",
        "base": BASE,
        "tasks": {"toy": {"task": {"name": "toy", "train": 16}}},
        "variants": {"S4D": variant},
        "seeds": list(range(runs)),
    }
    file = folder / "many.yaml"
    file.write_text(yaml.safe_dump(suite))
    return file


@dataclass
class Faults:
    """Random faults from a seeded generator: at most ``limit``, on average ``pause`` s apart."""

    generator: random.Random
    pause: float
    limit: int
    injected: Counter[str] = field(default_factory=Counter)

    def wait(self) -> float | None:
        """Seconds until the next fault; None if there are no more."""
        over = self.injected.total() >= self.limit
        return None if over else self.generator.expovariate(1 / self.pause)

    def inject(self, suite: int, output: Path) -> None:
        """Hit processes of the suite in ``output``, given by the identity of its first process;
        none as long as it executes no run, for that is a fault of nothing but its start."""
        fault = self.generator.choices(FAULTS, _WEIGHTS)[0]
        processes = _processes_of(suite)
        runs = _running(output)
        if not runs:
            return
        others = [pid for pid in processes[1:] if pid not in runs]
        victims = {"lose the node": processes, "kill a helper": others}.get(fault, runs)
        if fault != "lose the node":
            victims = [self.generator.choice(victims)] if victims else []
        self.injected[fault] += bool(victims)
        _kill(victims, signal.SIGTERM if fault == "terminate a run" else signal.SIGKILL)


def _running(output: Path) -> list[int]:
    """The processes that execute runs of a suite."""
    found = []
    for path in (output / "runs").iterdir() if (output / "runs").is_dir() else ():
        folder = RunFolder(path)
        if folder.state == "running" and (pid := folder.status.get("pid")):
            found.append(pid)
    return sorted(found)


@dataclass
class Session:
    """Gives the command of a suite again and again until it is complete, among faults."""

    suite: Path
    output: Path
    jobs: int
    faults: Faults | None = None
    codes: Counter[int] = field(default_factory=Counter)

    def run(self) -> float:
        """Run to completion; returns the seconds."""
        started = time.monotonic()
        while self._once() != 0:
            pass
        return time.monotonic() - started

    def _once(self) -> int:
        with (self.output.parent / f"{self.output.name}.log").open("a") as log:
            process = subprocess.Popen(
                self._command(), stdout=log, stderr=log, start_new_session=True, env=_environment()
            )
            code = self._disturb(process)
        self.codes[code] += 1
        return code

    def _command(self) -> list[str]:
        suite = [sys.executable, "-m", "ssmbench", "suite", str(self.suite)]
        options = ["--output", str(self.output), "--jobs", str(self.jobs), "--json"]
        return [*suite, *options, "--plugins", str(PLUGIN)]

    def _disturb(self, process: subprocess.Popen[bytes]) -> int:
        """Inject faults until the suite has ended; returns its exit code."""
        while True:
            try:
                return process.wait(self.faults.wait() if self.faults else None)
            except subprocess.TimeoutExpired:
                assert self.faults is not None
                self.faults.inject(process.pid, self.output)


def _environment() -> dict[str, str]:
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def _processes_of(session: int) -> list[int]:
    """The living processes of a session, the oldest first."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            stat = (entry / "stat").read_text().rpartition(") ")[2].split()
        except OSError:  # it has ended
            continue
        if int(stat[3]) == session and stat[0] != "Z":
            found.append((int(stat[19]), int(entry.name)))
    return [pid for _, pid in sorted(found)]


def _kill(processes: list[int], number: int) -> None:
    for pid in processes:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


# --- what they left -----------------------------------------------------------------------------


def differences(disturbed: Path, undisturbed: Path) -> list[str]:
    """What is wrong with the runs of a disturbed suite; empty if nothing is."""
    names = {path.name for path in (undisturbed / "runs").iterdir()}
    found = {path.name for path in (disturbed / "runs").iterdir()}
    problems = [f"{name}: in one of the suites only" for name in sorted(names ^ found)]
    for name in sorted(names & found):
        here, there = (RunFolder(suite / "runs" / name) for suite in (disturbed, undisturbed))
        problems += [f"{name}: {problem}" for problem in _compare(here, there)]
    return problems


def _compare(here: RunFolder, there: RunFolder) -> Iterator[str]:
    if here.state != "finished":
        yield f"{here.state}: {here.reason}"
        return
    times = sum("test/rmse" in row for row in _rows(here))
    if times != 1:
        yield f"finished {times} times"
    for name, wanted in _metrics(there).items():
        if _metrics(here).get(name) != wanted:
            yield f"{name} differs"
    for name in ("best.ckpt", "last.ckpt"):
        if not _same_weights(here.path / "checkpoints" / name, there.path / "checkpoints" / name):
            yield f"the weights of {name} differ"
    if _figures(here) != _figures(there):
        yield "scores or gains differ"


def _rows(folder: RunFolder) -> list[dict[str, Any]]:
    lines = (folder.path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [jsonio.loads(line) for line in lines]


def _metrics(folder: RunFolder) -> dict[str, list[tuple[int, float]]]:
    """Every value of every metric, with its step."""
    values: dict[str, list[tuple[int, float]]] = {}
    for row in _rows(folder):
        for name, value in row.items():
            if name != "step" and "second" not in name:
                values.setdefault(name, []).append((row["step"], value))
    return values


def _same_weights(one: Path, other: Path) -> bool:
    first, second = (torch.load(file, weights_only=True)["state_dict"] for file in (one, other))
    return first.keys() == second.keys() and all(
        torch.equal(first[name], second[name]) for name in first
    )


def _figures(folder: RunFolder) -> dict[str, Any]:
    result = folder.read_result().to_dict()
    return {key: result[key] for key in ("scores", "gain", "robustness", "steps")}


# --- the experiment -----------------------------------------------------------------------------


def experiment(folder: Path, runs: int, jobs: int, seed: int) -> dict[str, Any]:
    """Run the suite with and without faults; returns the figures of both."""
    suite = suite_file(folder, runs)
    calm = Session(suite, folder / "undisturbed", jobs)
    calm_seconds = calm.run()
    finished = [RunFolder(path) for path in (calm.output / "runs").iterdir()]
    inside = median(run.read_result().seconds for run in finished)
    faults = Faults(random.Random(seed), inside, runs)
    troubled = Session(suite, folder / "disturbed", jobs, faults)
    troubled_seconds = troubled.run()
    return {
        "runs": runs,
        "jobs": jobs,
        "seed": seed,
        "seconds_undisturbed": calm_seconds,
        "seconds_disturbed": troubled_seconds,
        "median_seconds_of_a_run": inside,
        "overhead_of_a_run": calm_seconds * jobs / runs - inside,
        "faults": dict(faults.injected),
        "exit_codes": {str(code): times for code, times in troubled.codes.items()},
        "problems": differences(troubled.output, calm.output),
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--seed", type=int, default=0, help="of the faults")
    parser.add_argument("--keep", type=Path, help="a new folder for the runs; default: temporary")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    with _folder(given.keep) as folder:
        found = experiment(folder, given.runs, given.jobs, given.seed)
    print(jsonio.dumps(found, indent=1) if given.json else _as_text(found))
    return 1 if found["problems"] else 0


@contextmanager
def _folder(kept: Path | None) -> Iterator[Path]:
    if kept is not None:
        kept.mkdir(parents=True)
        yield kept.absolute()
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def _as_text(found: dict[str, Any]) -> str:
    faults = ", ".join(f"{kind} {times}" for kind, times in sorted(found["faults"].items()))
    codes = ", ".join(f"{code}: {times}" for code, times in sorted(found["exit_codes"].items()))
    whole = "every run finished once, bit for bit as undisturbed"
    lines = [
        f"{found['runs']} runs, {found['jobs']} at a time, faults of seed {found['seed']}",
        f"undisturbed: {found['seconds_undisturbed']:.0f} s; {found['median_seconds_of_a_run']:.2f}"
        f" s in a run (median), {found['overhead_of_a_run']:.2f} s around each",
        f"disturbed: {found['seconds_disturbed']:.0f} s; faults: {faults}",
        f"exit codes of the suite, and how often: {codes}",
        *(found["problems"] or [whole]),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
