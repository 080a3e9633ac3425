"""The entry point: the verbs in the order of ``--help``, and the exit codes of errors."""

from __future__ import annotations

import signal
import sys
from typing import NoReturn

import typer

from ssmbench.cli import data, plot, streams, suite
from ssmbench.cli.attack import attack
from ssmbench.cli.bench import bench
from ssmbench.cli.check import check
from ssmbench.cli.compare import compare
from ssmbench.cli.discretize import discretize
from ssmbench.cli.doctor import doctor
from ssmbench.cli.export import export
from ssmbench.cli.gain import gain
from ssmbench.cli.import_ import import_
from ssmbench.cli.list import list_
from ssmbench.cli.new import new
from ssmbench.cli.publish import publish
from ssmbench.cli.reduce import reduce
from ssmbench.cli.report import report
from ssmbench.cli.run import run
from ssmbench.cli.show import show
from ssmbench.cli.usage import VerbGroup, usage_message
from ssmbench.cli.verb import add_plugins, add_verb
from ssmbench.cli.verify import verify
from ssmbench.errors import InterruptedRunError, SsmbenchError, UsageError
from ssmbench.ranks import check_rank_variables

app = typer.Typer(
    cls=VerbGroup,
    help="Benchmark state-space models: accuracy, stability and L2 gain, side by side.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.callback()(add_plugins)
for function in (
    list_,
    show,
    new,
    check,
    run,
    import_,
    export,
    report,
    compare,
    publish,
    verify,
    gain,
    attack,
    discretize,
    reduce,
    doctor,
    bench,
):
    add_verb(app, function)
app.add_typer(suite.app, name="suite")
app.add_typer(data.app, name="data")
app.add_typer(plot.app, name="plot")


def main() -> NoReturn:
    """Run the verb that the arguments name, and exit; see :mod:`ssmbench.cli` for the codes."""
    with streams.configured():
        _run_verb()


def _run_verb() -> NoReturn:
    try:
        check_rank_variables()
        code = app(standalone_mode=False)
    except UsageError as error:
        _fail(str(error), 2)
    except InterruptedRunError as error:  # asked for, and so no error
        _end(str(error), error.exit_code)
    except SsmbenchError as error:
        _fail(str(error), 1)
    except KeyboardInterrupt:
        _fail("interrupted; completed work is kept", 128 + signal.SIGINT)
    except MemoryError:
        _fail("there is not enough memory", 1)
    except BrokenPipeError:  # the reader of stdout has closed it
        sys.exit(1)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _fail(f"{where}{error.strerror or error}", 1)
    except typer.Abort:
        sys.exit(1)
    except Exception as error:
        _fail_on_usage_error(error)
        raise
    sys.exit(code or 0)


def _fail_on_usage_error(error: Exception) -> None:
    """Exit with code 2 if typer refused the arguments; do nothing for any other error."""
    show = getattr(error, "show", None)
    if show is not None and type(error).__name__ == "NoArgsIsHelpError":
        show()  # the text of --help
        sys.exit(2)
    message = usage_message(error)
    if message is not None:
        _fail(message, 2)


def _fail(message: str, code: int) -> NoReturn:
    _end("error: " + message, code)


def _end(message: str, code: int) -> NoReturn:
    print(streams.one_line(message), file=sys.stderr)
    sys.exit(code)
