"""Does any parametrization that declares a gain exceed it, over random draws of its parameters?

    python tools/gain_sweep.py                       # 10,000 draws each: some minutes
    python tools/gain_sweep.py --draws 500 --names l2ru --json
    python tools/gain_sweep.py --push 200            # after 200 steps that maximise the gain
    python tools/gain_sweep.py --peer                # for the cells of neural-ssm

Parameters are drawn in float32 from normal distributions; their scale and gamma are log-uniform.
Numbers of states (n, conjugates counted) and of channels are from SIZES, with fewer or more outputs
than inputs where a parametrization allows it. The verified gain is the H-infinity norm of the
float32 matrices, computed in double precision. Continuous-time parametrizations are measured before
sampling.

A time-varying parametrization has no matrices to verify. In place of the verified gain it has what
an adversary finds in float32, as it is scanned: of a zero-state claim ``||y|| / ||u||`` over inputs
and over what selects, of an incremental claim differences, on a ball that :data:`FURTHER` names.
"""

from __future__ import annotations

import argparse
import inspect
import math
import sys
import time
from collections.abc import Callable
from dataclasses import fields
from statistics import median, quantiles

import torch

from ssmbench import jsonio, registry
from ssmbench.analysis.certificate import GainClaim
from ssmbench.analysis.hinf import hinf_norm
from ssmbench.analysis.selected_gain import selected_gain
from ssmbench.config import AnalysisConfig
from ssmbench.nn.layer import SSMLayer
from ssmbench.parametrizations.base import Parametrization
from ssmbench.systems import DiscreteDense
from ssmbench.testing import randomise
from ssmbench.training.adversary import attack_varying, layer_map
from ssmbench.training.layer_analysis import LayerInput

SIZES = (1, 4, 16, 64)
LOG_GAMMA = (-2.0, 2.0)
LOG_SCALE = (-1.0, 1.0)
ALLOWED = 1e-4

#: Forms of a parametrization that are swept beside its default one.
FURTHER = {"contraction_selective, ball": ("contraction_selective", {"ball": 1.0})}
#: Sequences, their steps and ascents of an attack on a time-varying parametrization.
STARTS, LENGTH, ASCENTS = 2, 12, 6

#: Computes verified / declared gain from a name, n, outputs, gamma and scale.
Ratio = Callable[[str, int, int, float, float], float]


def declaring() -> list[str]:
    """Names of the parametrizations with a declared gain and an option ``gamma``."""
    found = []
    for entry in registry.parametrizations:
        declares = entry.factory.declared_gain is not Parametrization.declared_gain
        if declares and any(option.name == "gamma" for option in fields(entry.config)):
            found.append(entry.name)
    return [*found, *(name for name, (base, _) in FURTHER.items() if base in found)]


def sweep(name: str, draws: int, seed: int, ratio_of: Ratio) -> dict:
    """Verified / declared gain over random draws: statistics, exceptions and violations."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    ratios, exceptions, violations, worst = [], [], 0, 0.0
    started = time.perf_counter()
    for draw in range(draws):
        n, gamma, scale = _draw(generator, draw)
        try:
            ratio = ratio_of(name, n, SIZES[draw // len(SIZES) % len(SIZES)], gamma, scale)
        except Exception as error:
            exceptions.append(f"n={n} gamma={gamma:g} scale={scale:g}: {error!r}")
            continue
        ratios.append(ratio)
        worst = max(worst, ratio)
        violations += ratio > 1 + ALLOWED
        if sys.stderr.isatty() and draw % 100 == 0:
            print(f"\r{name} {draw}/{draws}", end="", file=sys.stderr)
    return {
        "name": name,
        "draws": draws,
        "exceptions": len(exceptions),
        "first_exception": exceptions[0] if exceptions else None,
        "violations": violations,
        "worst": worst,
        "median": median(ratios) if ratios else math.nan,
        "percentile_5": quantiles(ratios, n=20)[0] if len(ratios) > 1 else math.nan,
        "seconds": round(time.perf_counter() - started, 1),
    }


def _draw(generator: torch.Generator, draw: int) -> tuple[int, float, float]:
    position = torch.rand(2, generator=generator, dtype=torch.float64)
    span = zip(position.tolist(), (LOG_GAMMA, LOG_SCALE), strict=True)
    gamma, scale = (10 ** (low + x * (high - low)) for x, (low, high) in span)
    return SIZES[draw % len(SIZES)], gamma, scale


def built(name: str, n: int, outputs: int, gamma: float) -> Parametrization:
    """A parametrization with n inputs and, where it has the options, n states and ``outputs``."""
    base, chosen = FURTHER.get(name, (name, {}))
    entry = registry.parametrizations.get(base)
    options = {field.name for field in fields(entry.config)}
    states = {"d_state": max(2, n)} if "d_state" in options else {}
    shape = {"outputs": outputs} if "outputs" in inspect.signature(entry.factory).parameters else {}
    if "index" in options:  # of passivity, which must lie below the gain
        chosen = {**chosen, "index": gamma / 20}
    if entry.factory.takes_selection and not chosen:
        shape["d_selection"] = n
    return entry.build(entry.config(gamma=gamma, **states, **chosen), d_model=n, **shape)


def drawn(name: str, n: int, outputs: int, gamma: float, scale: float) -> float:
    """Verified / declared gain with random parameters."""
    module = built(name, n, outputs, gamma)
    randomise(module, scale)
    found = _attacked(module) if module.is_time_varying() else _verified(module)
    return found / module.declared_gain()


def _signals(module: Parametrization) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Random inputs, of sizes from 0.1 to 10, and signals that select."""
    sizes = 10 ** (2 * torch.rand(STARTS, 1, 1) - 1)
    u = sizes * torch.randn(STARTS, LENGTH, module.d_model)
    width = module.d_selection
    return u, None if width is None else 3 * torch.randn(STARTS, LENGTH, width)


def _attacked(module: Parametrization) -> float:
    """The largest gain found, in float32, of the kind that is claimed."""
    u, selection = _signals(module)
    layer = SSMLayer(module, None, registry.scans.get("auto").build())
    if selection is not None:
        found = selected_gain(layer_map(layer), u, selection, STARTS, ASCENTS, 0)
    else:
        found = attack_varying(
            layer, LayerInput(u), AnalysisConfig(attack_steps=ASCENTS, attack_restarts=STARTS)
        )[1]
    if not math.isfinite(found):
        raise ArithmeticError("an output is not finite")
    return found


def _pushed_attack(module: Parametrization, steps: int) -> float:
    """The largest gain found after steps of Adam that raise it, over the parameters, the inputs,
    the selections and, for an incremental claim, the disturbances."""
    u, selection = _signals(module)
    layer = SSMLayer(module, None, registry.scans.get("auto").build())
    zero_state = module.gain_claim is GainClaim.zero_state
    free = [0 * u if zero_state else u, torch.randn_like(u)]
    free += [] if selection is None else [selection]
    free = [signal.requires_grad_() for signal in free]
    optimizer = torch.optim.Adam([*module.parameters(), *free], lr=0.03, maximize=True)
    found = 0.0
    for _ in range(steps):
        base, d = free[0] * (not zero_state), free[1]
        rest = (None, *free[2:])
        change = layer(base + d, *rest) - (0 if zero_state else layer(base, *rest))
        ratio = change.flatten(1).norm(dim=1) / d.flatten(1).norm(dim=1).clamp_min(1e-3)
        found = max(found, ratio.max().item())
        optimizer.zero_grad()
        ratio.log().sum().backward()
        optimizer.step()
    return max(found, _attacked(module))


def pushed(steps: int) -> Ratio:
    """Verified / declared gain after ``steps`` of Adam that maximise the verified gain."""

    def ratio(name: str, n: int, outputs: int, gamma: float, scale: float) -> float:
        module = built(name, n, outputs, gamma)
        randomise(module, min(scale, 1.0))
        if module.is_time_varying():
            return _pushed_attack(module, steps) / module.declared_gain()
        optimizer = torch.optim.Adam(module.parameters(), lr=0.03)
        for _ in range(steps):
            optimizer.zero_grad()
            (-hinf_norm(module()).norm.max() / gamma).backward()
            optimizer.step()
        return _verified(module) / module.declared_gain()

    return ratio


def of_peer(name: str, n: int, outputs: int, gamma: float, scale: float) -> float:
    """Verified gain / gamma of a cell of neural-ssm with random parameters; of one that varies in
    time, attacked / gamma."""
    if name in VARYING_PEERS:
        return _attacked_peer(name, n, gamma, scale)
    import neural_ssm

    make = {
        "neural-ssm l2ru": lambda: neural_ssm.L2RU(state_features=n, gamma=gamma, init="eye"),
        "neural-ssm l2n": lambda: neural_ssm.Block2x2DenseL2SSM(
            d_state=max(2, n), d_input=n, d_output=n, gamma=gamma
        ),
    }
    cell = make[name]()
    for parameter in cell.parameters():
        parameter.data.normal_(0, scale)
    matrices = [torch.as_tensor(m).detach().double()[None] for m in _matrices(cell)]
    norm = hinf_norm(DiscreteDense(**dict(zip("ABCD", matrices, strict=True)))).norm.item()
    return norm / abs(float(cell.gamma))  # gamma is a parameter of some cells


def _attacked_peer(name: str, n: int, gamma: float, scale: float) -> float:
    """The largest ||y|| / (gamma ||u||) that tools/peer_audit.py finds in float32."""
    import peer_audit

    peer = next(peer for peer in peer_audit.peers() if peer.name == name)
    module = peer.make(n, gamma).float()
    randomise(module, scale)
    assert peer.declared is not None, "cells of neural-ssm have a gamma"
    declared = peer.declared(module, gamma)
    found = peer_audit.attack(peer, module, n, torch.float32, ASCENTS)
    if not math.isfinite(found):
        raise ArithmeticError("an output is not finite")
    return found / declared


VARYING_PEERS = ("neural-ssm tv", "neural-ssm tvc")
PEERS = ("neural-ssm l2ru", "neural-ssm l2n", *VARYING_PEERS)


def _matrices(cell: torch.nn.Module) -> tuple:
    """A, B, C, D, the first four of the matrices that the cell computes."""
    make = cell.set_param if hasattr(cell, "set_param") else cell.compute_z_matrices
    return make()[:4]


def _verified(module: Parametrization) -> float:
    with torch.no_grad():
        verified = hinf_norm(module()).norm.max().item()
    if math.isnan(verified):
        raise ArithmeticError("the verified gain is NaN")
    return verified


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--draws", type=int, default=10_000)
    parser.add_argument("--names", nargs="*", help="default: all that declare a gain")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--push", type=int, default=0, help="steps that first maximise the gain")
    parser.add_argument("--peer", action="store_true", help="cells of neural-ssm instead of ours")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    ratio = of_peer if arguments.peer else pushed(arguments.push) if arguments.push else drawn
    names = arguments.names or (PEERS if arguments.peer else declaring())
    results = [sweep(name, arguments.draws, arguments.seed, ratio) for name in names]
    if arguments.json:
        print(jsonio.dumps(results, indent=1))
    else:
        columns = ("name", "draws", "exceptions", "violations", "worst", "median", "percentile_5")
        print("| " + " | ".join((*columns, "seconds")) + " |")
        print("|" + " --- |" * (len(columns) + 1))
        for r in results:
            cells = [f"{r[c]:.6f}" if isinstance(r[c], float) else str(r[c]) for c in columns]
            print("| " + " | ".join([*cells, str(r["seconds"])]) + " |")
    sys.exit(any(r["violations"] or r["exceptions"] for r in results))


if __name__ == "__main__":
    main()
