"""The command line: each verb reads its arguments, calls the library and prints.

Exit codes: 0 success, 1 failure, 2 invalid usage, 128 + the number of a signal that interrupted a
run or a suite (one line on stderr each). With ``--json``, stdout
contains only JSON; progress and notices go to stderr. Heavy dependencies are imported inside the
verbs.
"""

from ssmbench.cli.entry import app, main

__all__ = ["app", "main"]
