"""The launcher of a suite: a name, a mapping with options, or a file with such a mapping."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ssmbench import registry
from ssmbench.bundled import config_file
from ssmbench.config import parse_overrides, read_yaml, resolve_component


def read_launcher(given: Any, where: str, folder: Path | None = None) -> dict[str, Any]:
    """The launcher with all its options.

    ``given``: a name, a mapping, that mapping as text (``{name: local, jobs: 4}``), or a YAML file
    with it: the settings of a cluster are then apart from the suites. The file is looked for in
    ``folder``, by default the working folder, and then among the bundled ones.

    Raises:
        UsageError: no such launcher, option or file; ``where`` begins the message.
    """
    if isinstance(given, str) and given.lstrip().startswith("{"):
        given = parse_overrides([f"launcher={given}"])["launcher"]
    elif isinstance(given, str) and given.endswith((".yaml", ".yml")):
        beside = (folder or Path()) / Path(given).expanduser()
        file = beside if beside.is_file() else config_file(given, "launchers")
        given, where = read_yaml(file), str(file)
    return resolve_component(registry.launchers, given, where)
