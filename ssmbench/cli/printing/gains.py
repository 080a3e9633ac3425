"""Printing of gains: of a system, and of an attack on a network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ssmbench.cli.printing import plain, print_json, table
from ssmbench.cli.streams import say

if TYPE_CHECKING:
    from ssmbench.results import Gains, NetworkGains
    from ssmbench.runs.load import AttackReport


def print_figures(figures: Mapping[str, Any], as_json: bool) -> None:
    """Print the name and value of each figure, and mark the unproved ones."""
    if as_json:
        print_json(figures)
        return
    open_ = figures.get("unproved", ())
    marks = {key: " (unproved)" for key in open_ if figures.get(key) != "unproved"}
    shown = {k: v for k, v in figures.items() if k not in ("unproved", "measures")}
    table(("figure", "value"), [(k, plain(v) + marks.get(k, "")) for k, v in shown.items()])
    _print_measures(figures.get("measures", {}))


#: The columns of a measure that are the same for all.
_COLUMNS = ("value", "lower_bound", "upper_bound", "attacked", "unit")


def _print_measures(measures: Mapping[str, Mapping[str, Any]]) -> None:
    """One line for each measure, then its further figures and its note."""
    if not measures:
        return
    say()
    rows = [
        (name, plain(found["value"]) + (" (unproved)" if found["unproved"] else ""))
        + tuple(plain(found[key]) for key in _COLUMNS[1:])
        for name, found in measures.items()
    ]
    table(("measure", *(key.replace("_", " ") for key in _COLUMNS)), rows)
    for name, found in measures.items():
        others = {k: v for k, v in found.items() if k not in (*_COLUMNS, "unproved", "note")}
        parts = [f"{key.replace('_', ' ')} {plain(value)}" for key, value in others.items()]
        if parts or found["note"]:
            say(f"{name}: {'; '.join([*parts, *filter(None, [found['note']])])}")


def print_attack(found: AttackReport, as_json: bool) -> None:
    """Print declared, verified and attacked gain of each layer and of the network, with reasons."""
    if as_json:
        print_json(found.to_dict())
        return
    gains = found.gain
    _print_gains(gains)
    say()
    zero_state = any(layer.claim == "zero-state" for layer in gains.layers)
    if zero_state:
        say("declared gains: zero-state, ||y|| / ||u|| from the zero state; of differences, none")
    if gains.note:
        say(f"SSM layers:     {gains.note}; largest {plain(gains.frozen)}, no certificate")
    _print_network(gains.network)
    for violation in gains.violations:
        say(f"violated bound: {violation}")
    say(f"checkpoint:     {found.checkpoint}")
    say(f"worst input:    {found.worst_input or 'none: nothing finite to attack'}")


def _print_gains(gains: Gains) -> None:
    rows = [
        (f"layer {index}", plain(layer.declared), plain(layer.verified), plain(layer.attacked))
        for index, layer in enumerate(gains.layers)
    ]
    network = gains.network
    zero_state = network.claim == "zero-state"
    bound = network.zero_state_bound if zero_state else network.bound
    attacked = network.zero_state if zero_state else network.attacked
    rows.append(("network", plain(network.declared), plain(bound), plain(attacked)))
    table(("", "declared", "verified", "attacked"), rows)


def _source(network: NetworkGains) -> str:
    """Where the network's bound comes from."""
    if network.reason:
        return f"none is finite, because {network.reason}"
    if not network.bound_lengths or network.product_bound is None:
        return "composed from the verified layers"
    lengths = sorted(network.bound_lengths)
    steps = f"{lengths[0]}" if len(lengths) == 1 else f"{lengths[0]} to {lengths[-1]}"
    composed = f"composed from the verified layers: {plain(network.product_bound)}"
    keeps = ", and keeps the declared gain" if network.declared_lengths else ""
    return f"proved for sequences of {steps} steps{keeps}; {composed}"


def _print_network(network: NetworkGains) -> None:
    what = "incremental bound" if network.claim == "zero-state" else "network bound"
    say(f"{what + ':':15} {_source(network)}")
    if network.zero_state_bound is not None:
        say(f"zero-state:     at most {plain(network.zero_state_bound)}, composed of the layers")
    say(f"from zero:      attacked {plain(network.attacked_from_zero)}")
    reason = network.zero_state_reason
    why = f"no such gain, because {reason}" if reason else "that from zero input"
    say(f"zero-state:     {why}")
