"""Components of a config as one text: ``NAME`` or ``NAME(option=value, ...)``."""

from __future__ import annotations

import re
from typing import Any

import yaml

from ssmbench.errors import UsageError, require

_WRITTEN = re.compile(r"\s*(\w+)\s*(?:\((.*)\))?\s*", re.DOTALL)
_KEY = re.compile(r"(\w+)\s*=\s*")


def read_component(text: str, where: str) -> dict[str, Any]:
    """The mapping that a text stands for: the key ``name``, and the options that are given.

    Raises:
        UsageError: the text is of neither form; ``where`` begins the message.
    """
    if not set(text) & set("()=,"):
        return {"name": text.strip()}
    found = _WRITTEN.fullmatch(text)
    problem = f"{where}: must be NAME or NAME(option=value, ...), got {text!r}"
    if found is None:
        raise UsageError(problem)
    try:
        options = yaml.safe_load("{" + _KEY.sub(r"\1: ", found[2] or "") + "}")
    except (yaml.YAMLError, ValueError):  # of a date that there is not
        raise UsageError(problem) from None
    require("name" not in options, problem)
    return {"name": found[1], **options}
