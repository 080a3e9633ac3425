"""A JSON parser that refuses what RFC 8259 does not have."""

from __future__ import annotations

import json
from typing import Any

from ssmbench import jsonio


def strict_json(text: str) -> Any:
    """The value of a text that is JSON to every parser; "inf" and "nan" are floats again."""

    def refuse(constant: str) -> float:
        raise AssertionError(f"{constant} is not JSON")

    json.loads(text, parse_constant=refuse)
    return jsonio.loads(text)
