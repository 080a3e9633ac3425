"""Ports for ranks that meet over TCP."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def rendezvous() -> Iterator[dict[str, str]]:
    """Variables of the environment that name a port to meet at, which nobody else gets meanwhile.

    Lightning finds a free port, releases it, and binds it again when the ranks start: in between,
    any process may be given it. Here a socket stays bound to it. As that socket does not listen,
    Linux lets PyTorch's store listen there, which asks for the port by its number with
    SO_REUSEADDR, and gives it to nobody who asks for any free one. Elsewhere Lightning chooses.
    """
    if not sys.platform.startswith("linux"):
        yield {}
        return
    with socket.socket() as reserved:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind(("", 0))
        yield {"MASTER_PORT": str(reserved.getsockname()[1])}
