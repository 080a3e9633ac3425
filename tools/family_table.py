"""Parametrizations that declare a gain: the largest spectral radius, and the time of a layer.

    python tools/family_table.py                      # all, and S4D: some minutes
    python tools/family_table.py --names l2ru --json

*Radius*: the largest spectral radius of the float32 matrices reached in 300 steps of Adam that
minimise log(1 - radius), at gamma = 1, from an initial radius of 1 - 1e-6 where there is such an
option; with the verified gain at that point. *Time*: forward, and forward and backward, of one
layer at d_model 64, 64 states, input (8, 1024, 64), measured in turns with S4D (zero-order hold)
and also given relative to it.
"""

from __future__ import annotations

import argparse
from dataclasses import fields
from functools import partial
from typing import Any

import torch
from gain_sweep import declaring
from torch import Tensor

from ssmbench import jsonio, registry
from ssmbench.analysis.hinf import hinf_norm
from ssmbench.bench.timing import Candidate, device_name, time_in_turns
from ssmbench.nn.layer import SSMLayer
from ssmbench.normalisers.base import Normaliser
from ssmbench.parametrizations.base import Parametrization

STATES = 32
STEPS = 300
INITIAL_RADIUS = 1 - 1e-6
WIDTH, SHAPE = 64, (8, 1024)
REFERENCE = "s4d"
NORMALISED = "s4d, normaliser hinf"


def build(name: str, width: int, **wanted: Any) -> Parametrization:
    """A parametrization with those of the ``wanted`` options that it has."""
    entry = registry.parametrizations.get(name)
    known = {field.name for field in fields(entry.config)}
    options = {key: value for key, value in wanted.items() if key in known}
    return entry.build(entry.config(**options), d_model=width)


def layer_of(name: str, module: Parametrization, normaliser: Normaliser | None = None) -> SSMLayer:
    """A layer; continuous systems are sampled by Tustin's transform, which preserves gain bounds.

    S4D, which declares no gain, has zero-order hold.
    """
    method = "zoh" if name == REFERENCE else "tustin"
    continuous = module.is_continuous()
    discretizer = registry.discretizers.get(method).build() if continuous else None
    return SSMLayer(module, discretizer, registry.scans.get("auto").build(), normaliser)


def largest_radius(name: str) -> dict[str, float]:
    """The largest radius found, its distance to 1, and verified / declared gain there."""
    torch.manual_seed(0)
    module = build(name, STATES, d_state=STATES, radius=INITIAL_RADIUS)
    layer = layer_of(name, module)
    optimizer = torch.optim.Adam(module.parameters(), lr=0.05)
    best = {"radius": 0.0, "gap": 1.0, "verified": 0.0}
    for _ in range(STEPS):
        gap = 1 - layer.system().poles().abs().max()
        if 1 - gap.item() > best["radius"]:
            verified = hinf_norm(layer.system().detach()).norm.max().item()
            share = verified / module.declared_gain()
            best = {"radius": 1 - gap.item(), "gap": gap.item(), "verified": share}
        optimizer.zero_grad()
        torch.log(gap.clamp_min(1e-12)).backward()
        optimizer.step()
    return best


def times_of_layers(names: list[str], rounds: int) -> dict[str, tuple[float, float]]:
    """Median seconds of forward, and of forward and backward, of one layer, by name."""
    candidates = {name: _candidate(name) for name in [REFERENCE, NORMALISED, *names]}
    times = time_in_turns(candidates, rounds, torch.device("cpu"))
    return {name: t.medians for name, t in times.items()}


def _candidate(name: str) -> Candidate:
    torch.manual_seed(0)
    hinf = registry.normalisers.get("hinf").build() if name == NORMALISED else None
    name = REFERENCE if name == NORMALISED else name
    layer = layer_of(name, build(name, WIDTH, d_state=WIDTH), hinf)
    u = torch.randn(*SHAPE, WIDTH, requires_grad=True)
    return Candidate(partial(_run, layer, u), {"u": u, **dict(layer.named_parameters())})


def _run(layer: SSMLayer, u: Tensor) -> Tensor:
    return layer(u)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--names", nargs="*", help="default: all that declare a gain")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    names = arguments.names or declaring()
    measured = times_of_layers(names, arguments.rounds)
    forward, both = measured[REFERENCE]
    table = [
        {
            "name": name,
            **({} if name == NORMALISED else largest_radius(name)),
            "forward_ms": 1e3 * times[0],
            "both_ms": 1e3 * times[1],
            "forward / s4d": times[0] / forward,
            "both / s4d": times[1] / both,
        }
        for name, times in measured.items()
        if name != REFERENCE
    ]
    if arguments.json:
        print(jsonio.dumps({"device": device_name(torch.device("cpu")), "rows": table}, indent=1))
        return
    print(f"{device_name(torch.device('cpu'))}; s4d {1e3 * forward:.1f} ms, {1e3 * both:.1f} ms")
    columns = ("radius", "gap", "verified", "forward_ms", "both_ms", "forward / s4d", "both / s4d")
    print("| " + " | ".join(("name", *columns)) + " |")
    print("|" + " --- |" + " ---: |" * len(columns))
    for row in table:
        print("| " + " | ".join([row["name"], *(_text(row, c) for c in columns)]) + " |")


def _text(row: dict[str, Any], column: str) -> str:
    if column not in row:
        return "none"
    return f"{row[column]:.7f}" if column == "radius" else f"{row[column]:.3g}"


if __name__ == "__main__":
    main()
