"""plotly within a page, packed: 2 MB instead of 5, inflated by the page's script."""

from __future__ import annotations

import base64
import gzip
import hashlib
from functools import cache


@cache
def plotly() -> tuple[str, str]:
    """Its source, compressed and in base64, and the source that a Content-Security-Policy allows
    its script to have."""
    from plotly.offline import get_plotlyjs  # slow

    source = get_plotlyjs().encode()
    packed = gzip.compress(source, 6, mtime=0)  # no time: equal figures give equal pages
    return base64.b64encode(packed).decode(), allowed(source)


def allowed(script: bytes) -> str:
    """How a Content-Security-Policy names an inline script: by its digest."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script).digest()).decode()}'"
