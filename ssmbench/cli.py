"""The command line: verbs; what is heavy is imported inside the functions.

Exit codes: 0 done, 1 something failed, 2 bad usage (one clear line on stderr). With ``--json``
there is nothing but JSON on stdout; progress and notices go to stderr.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from ssmbench.errors import SsmbenchError, UsageError
from ssmbench.paths import absolute
from ssmbench.ranks import check_rank_variables
from ssmbench.verbs import plot, streams
from ssmbench.verbs.common import PATH_ARGUMENT, PATH_OPTION, AsJson, Plugins, Verb
from ssmbench.verbs.common import plain as _plain
from ssmbench.verbs.common import print_json as _print_json
from ssmbench.verbs.common import table as _table
from ssmbench.verbs.discretize import discretize
from ssmbench.verbs.streams import say

#: The disturbance, relative to a typical input, at which ``run`` prints the score.
_SHOWN_ENERGY = 0.1

app = typer.Typer(
    help="Benchmark state-space models: accuracy, stability and L2 gain, side by side.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.command(cls=Verb)(discretize)
app.add_typer(plot.app, name="plot")

Overrides = Annotated[
    list[str] | None, typer.Argument(help="key=value, for example model.d_model=64.")
]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="Where results are written.", **PATH_OPTION),
]


def main() -> NoReturn:
    """Entry point: errors of the user's making become one line and exit code 2."""
    with streams.prepared():
        _run_verb()


def _run_verb() -> NoReturn:
    try:
        check_rank_variables()
        code = app(standalone_mode=False)
    except UsageError as error:
        _fail(str(error), 2)
    except SsmbenchError as error:
        _fail(str(error), 1)
    except KeyboardInterrupt:
        _fail("interrupted; what is complete is kept", 1)
    except MemoryError:
        _fail("there is not enough memory", 1)
    except BrokenPipeError:  # who reads the answer has read enough
        sys.exit(1)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _fail(f"{where}{error.strerror or error}", 1)
    except Exception as error:
        # typer's own usage errors carry their exit code and print themselves
        if hasattr(error, "show") and hasattr(error, "exit_code"):
            error.show()
            sys.exit(error.exit_code)
        if type(error).__name__ == "Abort":
            sys.exit(1)
        raise
    sys.exit(code or 0)


def _fail(message: str, code: int) -> NoReturn:
    print("error: " + streams.one_line(message), file=sys.stderr)
    sys.exit(code)


@app.command("list", cls=Verb)
def list_(
    kind: Annotated[str | None, typer.Argument(help="Only this kind, for example tasks.")] = None,
    as_json: AsJson = False,
    plugins: Plugins = None,
) -> None:
    """List what is registered: parametrizations, discretizers, tasks, scans, optimizers..."""
    from ssmbench import registry

    registry.add_plugin_paths(plugins or [])
    kinds = [registry.kind_named(kind)] if kind else list(registry.KINDS.values())
    entries = [entry for k in kinds for entry in k.entries()]
    failures = registry.plugin_failures()
    if as_json:
        listed = [
            {"kind": e.kind, "name": e.name, "summary": e.summary, "origin": e.origin}
            for e in entries
        ]
        broken = [{"plugin": f.plugin, "reason": f.reason} for f in failures]
        _print_json({"entries": listed, "failed_plugins": broken})
        return
    _table(("kind", "name", "summary"), [(e.kind, e.name, e.summary) for e in entries])
    for failure in failures:
        print(f"plugin failed: {failure.plugin}: {failure.reason}", file=sys.stderr)


@app.command(cls=Verb)
def show(
    kind: Annotated[str, typer.Argument(help="parametrization, discretizer, task, ...")],
    name: Annotated[str, typer.Argument(help="Its name, as in `ssmbench list`.")],
    as_json: AsJson = False,
    plugins: Plugins = None,
) -> None:
    """Show one entry: what it is, its options with their defaults, its facts and its source."""
    from ssmbench import registry

    registry.add_plugin_paths(plugins or [])
    about = registry.describe(registry.kind_named(kind).get(name))
    if as_json:
        _print_json(about)
        return
    rows = [(key, _plain(value)) for key, value in about.items() if not isinstance(value, dict)]
    rows += [(f"option {key}", _plain(value)) for key, value in about["options"].items()]
    rows += [(f"fact {key}", _plain(value)) for key, value in about["facts"].items()]
    _table(("", name), rows)


@app.command(cls=Verb)
def run(
    config: Annotated[Path, typer.Argument(help="A run config (YAML).", **PATH_ARGUMENT)],
    overrides: Overrides = None,
    output: Output = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check and print the resolved config, and stop.")
    ] = False,
    as_json: AsJson = False,
    plugins: Plugins = None,
) -> None:
    """Train one model, measure its gains and write its folder."""
    from ssmbench import registry
    from ssmbench.config import fingerprint, load_run

    registry.add_plugin_paths(plugins or [])
    resolved = load_run(config, overrides or [])
    from ssmbench.runs.execute import execute
    from ssmbench.runs.folder import DONE, RunFolder
    from ssmbench.training.check import check
    from ssmbench.training.environment import is_main_process

    root = output or absolute("outputs/runs")
    check(resolved)
    folder = RunFolder(root / fingerprint(resolved))
    if dry_run:
        _print_config(folder, resolved, as_json)
        return
    state = execute(resolved, root, config.stem)
    if not is_main_process():
        return
    _print_run(folder, state, as_json)
    if state not in DONE:
        raise typer.Exit(1)


@app.command(cls=Verb)
def suite(
    config: Annotated[Path, typer.Argument(help="A suite config (YAML).", **PATH_ARGUMENT)],
    overrides: Overrides = None,
    output: Output = None,
    jobs: Annotated[
        int | None, typer.Option(help="Runs side by side; default: one a core.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the grid and stop.")] = False,
    as_json: AsJson = False,
    plugins: Plugins = None,
) -> None:
    """Run a grid of variants, tasks and seeds, as far as it is missing, and report on it."""
    from ssmbench import registry
    from ssmbench.config import fingerprint
    from ssmbench.errors import require
    from ssmbench.suite.grid import load_suite

    registry.add_plugin_paths(plugins or [])
    require(jobs is None or jobs >= 1, f"--jobs must be at least 1, got {jobs}")
    grid = load_suite(config, overrides or [])
    root = output or absolute("outputs") / grid.name
    marks = [fingerprint(cell.config) for cell in grid.cells]
    if dry_run:
        from ssmbench.suite.session import check_all

        check_all(grid)
        _print_grid(grid, marks, root, as_json)
        return
    from ssmbench.suite.session import run_suite

    failed = run_suite(grid, marks, root, jobs)
    _print_report(root, as_json)
    if failed:
        raise typer.Exit(1)


@app.command(cls=Verb)
def report(
    folder: Annotated[Path, typer.Argument(help="A suite's folder.", **PATH_ARGUMENT)],
    as_json: AsJson = False,
) -> None:
    """Write the tables and plots of a suite again and print them."""
    _print_report(folder, as_json)


@app.command(cls=Verb)
def gain(
    path: Annotated[
        Path, typer.Argument(help="An .npz with A, B, C, D, or a run's folder.", **PATH_ARGUMENT)
    ],
    horizon: Annotated[
        int | None, typer.Option(help="Also the gain over this many steps (discrete time).")
    ] = None,
    attack: Annotated[
        bool, typer.Option("--attack", help="Send the adversary at a run's trained network.")
    ] = False,
    attack_steps: Annotated[
        int | None, typer.Option(help="Ascents from each start; default: the run's own.")
    ] = None,
    attack_restarts: Annotated[
        int | None, typer.Option(help="Starts; default: the run's own.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="The adversary's; default: the run's own.")
    ] = None,
    rate: Annotated[
        float, typer.Option(help="For --attack: multiply step sizes; 0.5: sampled twice as fast.")
    ] = 1.0,
    as_json: AsJson = False,
    plugins: Plugins = None,
) -> None:
    """Stability and L2 gain of your own matrices, or of a run.

    An .npz file holds A, B, C, D and, optionally, dt: without dt, or with 0, the system is
    continuous, x' = A x + B u; otherwise discrete, x[k+1] = A x[k] + B u[k].

    With --attack the network is rebuilt from the run's config and checkpoint, and the worst input
    that is found is written into its folder as worst_input.npz: base, disturbance, gain, amplitude.
    """
    from ssmbench import registry
    from ssmbench.errors import require

    registry.add_plugin_paths(plugins or [])
    require(horizon is None or horizon >= 1, f"--horizon must be at least 1, got {horizon}")
    budget = {"attack_steps": attack_steps, "attack_restarts": attack_restarts, "attack_seed": seed}
    _check_attack(path, attack, horizon, budget)
    require(attack or rate == 1, "--rate: is for --attack")
    if attack:
        _attack(path, rate, budget, as_json)
        return
    if path.is_dir():
        require(horizon is None, "--horizon: is for .npz files")
        figures = _gains_of_run(path)
    else:
        from ssmbench.analysis.gain import analyse
        from ssmbench.systems.io import load_system

        figures = analyse(load_system(path), horizon).to_dict()
    if as_json:
        _print_json(figures)
    else:
        _table(("figure", "value"), _figure_rows(figures))


@app.command(cls=Verb)
def doctor(as_json: AsJson = False, plugins: Plugins = None) -> None:
    """Check this installation: packages, devices, scans, plugins, data."""
    from ssmbench import doctor as examination
    from ssmbench import registry

    registry.add_plugin_paths(plugins or [])
    checks = examination.examine()
    if as_json:
        _print_json({"ok": all(c.ok for c in checks), "checks": [vars(c) for c in checks]})
    else:
        _table(
            ("check", "ok", "found"), [(c.name, "yes" if c.ok else "NO", c.found) for c in checks]
        )
    if not all(c.ok for c in checks):
        raise typer.Exit(1)


@app.command(cls=Verb)
def bench(
    what: Annotated[str, typer.Argument(help="What to time: scans.")] = "scans",
    quick: Annotated[
        bool, typer.Option("--quick", help="Small sizes: a check, no figures.")
    ] = False,
    rounds: Annotated[int, typer.Option(help="Timed rounds; medians are shown.")] = 7,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Also write the results as JSON.", **PATH_OPTION),
    ] = None,
    as_json: AsJson = False,
    plugins: Plugins = None,
) -> None:
    """Time every scan beside a memory copy and peers, with errors against complex128."""
    from ssmbench import registry
    from ssmbench.errors import require

    registry.add_plugin_paths(plugins or [])
    require(what == "scans", f"bench {what!r}: can only time scans")
    require(rounds >= 1, f"--rounds must be at least 1, got {rounds}")
    from ssmbench import jsonio
    from ssmbench.bench import scans

    results = []
    for result in scans.run(scans.default_device(), rounds, quick):
        print(f"{result.operation}: {result.backend}", file=sys.stderr, flush=True)
        results.append(result)
    listed = scans.table(results)
    if output:
        output.write_text(jsonio.dumps(listed, indent=1), encoding="utf-8")
    if as_json:
        _print_json(listed)
        return
    _table(scans.COLUMNS, [scans.row(result) for result in results], title=results[0].device)


def _check_attack(
    path: Path, attack: bool, horizon: int | None, budget: Mapping[str, int | None]
) -> None:
    from ssmbench.errors import require

    flags = {"attack_seed": "--seed"}
    for name, value in budget.items():
        flag = flags.get(name, "--" + name.replace("_", "-"))
        require(attack or value is None, f"{flag}: is for --attack")
        least, most = (0, 2**32 - 1) if flag == "--seed" else (1, 2**31)
        fits = value is None or least <= value <= most
        require(fits, f"{flag} must be from {least} to {most}, got {value}")
    require(not attack or horizon is None, "--horizon: is for .npz files, not for --attack")
    require(not attack or not path.is_file(), f"--attack: {path} is a file, not a run's folder")


def _attack(path: Path, rate: float, budget: Mapping[str, int | None], as_json: bool) -> None:
    from ssmbench.runs.load import attack_run

    found = attack_run(path, rate, **budget)
    if as_json:
        _print_json(found)
    else:
        _print_attack(found)


# --- printing -----------------------------------------------------------------------------------


def _print_config(folder: Any, config: Mapping[str, Any], as_json: bool) -> None:
    from ssmbench.runs.folder import dump_yaml

    if as_json:
        _print_json({"folder": str(folder.path), "state": folder.state, "config": config})
        return
    say(f"# {folder.path}: {folder.state}")
    say(dump_yaml(config).rstrip())


def _print_run(folder: Any, state: str, as_json: bool) -> None:
    complete = folder.is_done
    result = folder.result if complete else {"status": state, **folder.status}
    if as_json:
        _print_json({"folder": str(folder.path), **result})
        return
    rows = [("folder", folder.path), ("status", state)]
    rows += [("warning", warning) for warning in result.get("warnings", ())]
    if complete:
        gains = result["gain"]
        task = result["task"]
        rows += [(f"{split} {task['score']}", _plain(v)) for split, v in result["scores"].items()]
        keys = ("declared", "verified", "attacked", "spectral_radius")
        rows += [(f"gain {key}" if key != keys[3] else key, _plain(gains[key])) for key in keys]
        rows += [(f"gain {key}", _plain(gains[key])) for key in ("note", "frozen") if key in gains]
        rows += [("network declared", _plain(gains["network"].get("declared")))]
        rows += [("network bound", _plain(gains["network"]["bound"]))]
        rows += [("network attacked", _plain(gains["network"]["attacked"]))]
        rows += _robustness_rows(result)
    else:
        rows.append(("reason", result.get("reason", "")))
    _table(("", ""), rows)


def _robustness_rows(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    score = result["task"]["score"]
    return [
        (f"test {score}, {p['kind']} disturbance of {p['energy']:g}", _plain(p["score"]))
        for p in result.get("robustness", ())
        if p["energy"] == _SHOWN_ENERGY
    ]


def _print_attack(found: Mapping[str, Any]) -> None:
    gains = found["gain"]
    network = gains["network"]
    keys = ("declared", "verified", "attacked")
    rows = [
        (f"layer {index}", *(_plain(layer[key]) for key in keys))
        for index, layer in enumerate(gains["layers"])
    ]
    figures = (network.get("declared"), network["bound"], network["attacked"])
    rows.append(("network", *map(_plain, figures)))
    _table(("", "declared", "verified", "attacked"), rows)
    say()
    if "note" in gains:
        say(f"SSM layers:     {gains['note']}; largest {_plain(gains['frozen'])}, no certificate")
    reason = network["reason"]
    source = f"none is finite, because {reason}" if reason else "composed from the verified layers"
    say(f"network bound:  {source}")
    say(f"from silence:   attacked {_plain(network['attacked_from_silence'])}")
    reason = network["zero_state_reason"]
    say("zero-state:     " + (f"no such gain, because {reason}" if reason else "from silence"))
    for violation in gains["violations"]:
        say(f"broken promise: {violation}")
    say(f"checkpoint:     {found['checkpoint']}")
    say(f"worst input:    {found['worst_input'] or 'none: nothing finite to attack'}")


def _figure_rows(figures: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Name and value of each figure, marked where it is unproved."""
    open_ = figures.get("unproved", ())
    marks = {key: " (unproved)" for key in open_ if figures.get(key) != "unproved"}
    shown = {key: value for key, value in figures.items() if key != "unproved"}
    return [(key, _plain(value) + marks.get(key, "")) for key, value in shown.items()]


def _print_grid(grid: Any, marks: list[str], root: Path, as_json: bool) -> None:
    import dataclasses

    from ssmbench.runs.folder import RunFolder
    from ssmbench.suite.record import RUNS

    states = [RunFolder(root / RUNS / mark).state for mark in marks]
    if as_json:
        cells = [
            {"label": c.label, "fingerprint": m, "state": s, "config": c.config}
            for c, m, s in zip(grid.cells, marks, states, strict=True)
        ]
        refused = [dataclasses.asdict(refusal) for refusal in grid.refused]
        _print_json({"name": grid.name, "runs": cells, "refused": refused})
        return
    rows = [(c.label, m, s) for c, m, s in zip(grid.cells, marks, states, strict=True)]
    _table(("run", "fingerprint", "state"), rows)
    say(f"{len(rows)} runs, {sum(s in ('finished', 'diverged') for s in states)} complete")
    if grid.refused:
        say(f"{len(grid.refused)} combinations refused; the report says why")


def _print_report(folder: Path, as_json: bool) -> None:
    from dataclasses import asdict

    from ssmbench.report import tables as reports
    from ssmbench.report.collect import collect
    from ssmbench.report.statistics import robustness_rows
    from ssmbench.report.statistics import rows as rows_of
    from ssmbench.report.write import write_report

    files = write_report(folder)
    records = collect(folder)
    table = rows_of(records)
    board = folder / "tensorboard"
    if as_json:
        paths: Mapping[str, str] = {kind: str(path) for kind, path in files.items()}
        listed = {"rows": [asdict(row) for row in table]}
        listed["robustness"] = [asdict(point) for point in robustness_rows(records)]
        _print_json(listed | {"files": paths, "tensorboard": str(board)})
        return
    for task in dict.fromkeys(row.task for row in table):
        mine = [row for row in table if row.task == task]
        header = tuple(reports.COLUMNS)
        _table(
            header, [tuple(c(row) for c in reports.COLUMNS.values()) for row in mine], title=task
        )
        say()
    for row in filter(lambda row: row.note, table):
        say(f"note: {row.task}, {row.variant}, {row.discretizer}: {reports.note_text(row)}")
    for row in table:
        for violation in row.violations:
            say(f"broken promise: {row.task}, {row.variant}, {row.discretizer}: {violation}")
    say(f"report:      {files['markdown']}")
    say(f"tensorboard: tensorboard --logdir {board}")


def _gains_of_run(path: Path) -> dict[str, Any]:
    from ssmbench.runs.folder import RunFolder

    result = RunFolder(path).result
    if result is None:
        raise UsageError(f"{path}: not the folder of a complete run (it has no result.json)")
    gains = result["gain"]
    network = {f"network_{key}": value for key, value in gains["network"].items()}
    return {k: v for k, v in gains.items() if k not in ("layers", "network")} | network
