"""One run in print: its resolved config, and its result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ssmbench.cli.printing import plain, print_json, table
from ssmbench.cli.streams import say

#: The disturbance, relative to a typical input, at which ``run`` prints the score.
_SHOWN_ENERGY = 0.1


def print_config(folder: Any, config: Mapping[str, Any], as_json: bool) -> None:
    """The resolved config of a run, with its folder and that folder's state."""
    from ssmbench.runs.folder import dump_yaml

    if as_json:
        print_json({"folder": str(folder.path), "state": folder.state, "config": config})
        return
    say(f"# {folder.path}: {folder.state}")
    say(dump_yaml(config).rstrip())


def print_run(folder: Any, state: str, as_json: bool) -> None:
    """Scores and gains of a complete run; of another, its state and the reason."""
    complete = folder.is_done
    result = folder.result if complete else {"status": state, **folder.status}
    if as_json:
        print_json({"folder": str(folder.path), **result})
        return
    rows = [("folder", folder.path), ("status", state)]
    rows += [("warning", warning) for warning in result.get("warnings", ())]
    rows += _result_rows(result) if complete else [("reason", result.get("reason", ""))]
    table(("", ""), rows)


def _result_rows(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    score, gains = result["task"]["score"], result["gain"]
    rows = [(f"{split} {score}", plain(v)) for split, v in result["scores"].items()]
    shown = [
        *("declared", "verified", "attacked"),
        *(k for k in ("note", "frozen") if gains.get(k) not in (None, "")),
    ]
    rows += [(f"gain {key}", plain(gains[key])) for key in shown[:3]]
    rows += [("spectral_radius", plain(gains["spectral_radius"]))]
    rows += [(f"gain {key}", plain(gains[key])) for key in shown[3:]]
    network = gains["network"]
    keys = ("declared", "bound", "attacked")
    rows += [(f"network {key}", plain(network.get(key))) for key in keys]
    return rows + _robustness_rows(result)


def _robustness_rows(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    score = result["task"]["score"]
    return [
        (f"test {score}, {p['kind']} disturbance of {p['energy']:g}", plain(p["score"]))
        for p in result.get("robustness", ())
        if p["energy"] == _SHOWN_ENERGY
    ]
