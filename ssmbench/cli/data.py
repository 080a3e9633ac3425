"""``ssmbench data``: what the tasks need, whether it is there, and how to get it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ssmbench.cli.printing import print_json, table
from ssmbench.cli.streams import say
from ssmbench.cli.usage import VerbGroup
from ssmbench.cli.verb import PATH_OPTION, AsJson, add_verb

app = typer.Typer(
    cls=VerbGroup,
    help="What the tasks' data need: list, show, make, fetch, check.",
    no_args_is_help=True,
)

TaskName = Annotated[str, typer.Argument(metavar="TASK", help="As in `ssmbench list tasks`.")]
Options = Annotated[
    list[str] | None, typer.Argument(help="Options of the task, for example length=2048.")
]


def list_(as_json: AsJson = False) -> None:
    """List the tasks: whether their data are found in the data folder, missing, or not needed."""
    from ssmbench.library.data import all_data

    found = all_data()
    if as_json:
        print_json([_facts(data) for data in found])
        return
    rows = [
        (d.task, d.state, _size(d.published and d.published.size), _licence(d), d.summary)
        for d in found
    ]
    table(("task", "data", "size", "licence", "summary"), rows)


def show(task: TaskName, as_json: AsJson = False) -> None:
    """Show what a task needs: files, size, licence, and where users get them."""
    from ssmbench.library.data import data_of

    facts = _facts(data_of(task))
    if as_json:
        print_json(facts)
        return
    rows = [
        (key, ", ".join(value) if isinstance(value, list) else value)
        for key, value in facts.items()
    ]
    table(("", task), [(key, "none" if value in (None, "") else value) for key, value in rows])


def make(task: TaskName, options: Options = None) -> None:
    """Generate a task's data, or decode its files, into the cache that runs read."""
    from ssmbench.library.data import describe_contents, make_data

    say(f"{task}: {describe_contents(make_data(task, _options(options)))}")


def fetch(
    task: TaskName,
    to: Annotated[
        Path | None,
        typer.Option("--to", help="The data folder; else SSMBENCH_DATA.", **PATH_OPTION),
    ] = None,
) -> None:
    """Download a task's published files into the data folder, with their checksums."""
    from ssmbench.library.data import fetch_data

    for path in fetch_data(task, None if to is None else str(to)):
        say(path)


def check(
    tasks: Annotated[
        list[str] | None, typer.Argument(metavar="[TASK]...", help="All tasks where none is named.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Load the data of tasks: what is missing, what is damaged, and where users get it.

    The exit code is 1 if the data of a named task are not right. Without names, all that are in
    the data folder, or need no files, are checked.
    """
    from ssmbench.library.data import all_data, check_data

    names = tasks or [
        d.task for d in all_data() if d.state not in ("missing", "optional", "your own")
    ]
    results = [check_data(name) for name in names]
    if as_json:
        print_json([vars(result) for result in results])
    else:
        rows = [(r.task, "right" if r.ok else "WRONG", r.finding) for r in results]
        table(("task", "data", "finding"), rows)
    if not all(result.ok for result in results):
        raise typer.Exit(1)


@app.callback()
def _group() -> None:
    """What the tasks' data need: list, show, make, fetch, check."""


for function in (list_, show, make, fetch, check):
    add_verb(app, function)


def _options(given: list[str] | None) -> dict[str, Any]:
    from ssmbench.config import parse_overrides

    return parse_overrides(given or [])


def _facts(data: Any) -> dict[str, Any]:
    published = data.published
    about = {"task": data.task, "data": data.state, "summary": data.summary}
    if published is None:
        return about
    return {
        **about,
        "files": [" or ".join(names) for names in published.places],
        "missing": [" or ".join(names) for names in data.missing],
        "size": _size(published.size),
        "licence": published.licence,
        "page": published.page,
        "downloads": [download.url for download in published.downloads],
        "note": published.note,
    }


def _licence(data: Any) -> str:
    return data.published.licence if data.published else ""


def _size(number: int | None) -> str:
    if number is None:
        return ""
    for unit, scale in (("GB", 1e9), ("MB", 1e6)):
        if number >= scale:
            return f"{number / scale:.3g} {unit}"
    return f"{number / 1e3:.3g} kB"
