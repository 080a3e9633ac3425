"""The command line: each verb reads its arguments, calls the library and prints.

Exit codes: 0 done, 1 something failed, 2 bad usage (one clear line on stderr). With ``--json``
there is nothing but JSON on stdout; progress and notices go to stderr. What is heavy is imported
inside the verbs.
"""

from ssmbench.cli.entry import app, main

__all__ = ["app", "main"]
