"""``ssmbench suite``: execute a grid of runs and report on them; a group of verbs on suites."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ssmbench.cli.printing.suites import print_plan, print_report
from ssmbench.cli.suite_search import search
from ssmbench.cli.suite_status import cancel, logs, status
from ssmbench.cli.usage import VerbGroup
from ssmbench.cli.verb import AsJson, Output, Overrides, add_verb
from ssmbench.errors import UsageError

#: The verb that executes a suite; it may be left out: ``ssmbench suite FILE``.
_DEFAULT = "run"


class SuiteGroup(VerbGroup):
    """A group whose first word may also be a suite file: ``suite FILE`` is ``suite run FILE``.

    A file with the name of a verb is reachable as ``./status`` or ``suite run status``.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and (args[0] in self.list_commands(ctx) or args[0] == "--help"):
            return super().parse_args(ctx, args)
        return super().parse_args(ctx, ["", *args])

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args[0] == "":  # without a name of its own, its errors begin with "suite:"
            return "", self.get_command(ctx, _DEFAULT), args[1:]
        return super().resolve_command(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """The verbs, then the options of ``ssmbench suite FILE``."""
        super().format_help(ctx, formatter)
        command = self.get_command(ctx, _DEFAULT)
        if command is not None:
            shown = typer.Context(command, parent=ctx, info_name="")
            command.format_help(shown, formatter)


app = typer.Typer(
    cls=SuiteGroup,
    help="Execute the missing runs of a suite: `ssmbench suite FILE`; or one of the commands.",
    subcommand_metavar="FILE|COMMAND [ARGS]...",
)


Config = Annotated[
    str, typer.Argument(help="A suite config: a YAML file, or the name of a bundled one.")
]
Jobs = Annotated[int | None, typer.Option(help="Runs in parallel; default: the launcher decides.")]
LauncherName = Annotated[
    str | None,
    typer.Option(help="A launcher's name, or a YAML file; default: the suite's."),
]
Selectors = list[str] | None


def run(
    config: Config,
    overrides: Overrides = None,
    output: Output = None,
    jobs: Jobs = None,
    launcher: LauncherName = None,
    include: Annotated[
        Selectors, typer.Option(help="Only these runs: labels or patterns; may be repeated.")
    ] = None,
    exclude: Annotated[Selectors, typer.Option(help="Not these runs; may be repeated.")] = None,
    redo: Annotated[
        str, typer.Option(help="Which runs: missing, failed, interrupted or all.")
    ] = "missing",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only check, and print the plan.")
    ] = False,
    probe: Annotated[
        bool, typer.Option("--probe", help="Measure kinds of runs briefly for the plan's times.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="The same as --redo all.")] = False,
    as_json: AsJson = False,
) -> None:
    """Execute the missing runs of a grid of variants, tasks and seeds, and report on all runs."""
    selected: dict[str, Any] = {"include": include or (), "exclude": exclude or ()}
    again = _redo(redo, force)
    if dry_run or probe:
        from ssmbench.library.plans import plan_runs

        asked: dict[str, Any] = {"jobs": jobs, "launcher": launcher, "redo": again, "probe": probe}
        plan = plan_runs(config, overrides, output=output, **asked, **selected)
        print_plan(plan, as_json)
        return
    from ssmbench.library import suites

    planned = suites.plan_suite(config, overrides, output=output, **selected)
    report = suites.execute_suite(planned, jobs, launcher, again)
    print_report(report, as_json)
    if report.failed:
        raise typer.Exit(1)


def _redo(redo: str, force: bool) -> str:
    if force and redo not in ("missing", "all"):
        raise UsageError(f"suite: --force means --redo all, but --redo {redo} is given too")
    return "all" if force else redo


for function in (run, search, status, logs, cancel):
    add_verb(app, function)
