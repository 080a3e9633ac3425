"""What peers promise of the gain of a layer, against what its matrices and its output do.

    python tools/peer_audit.py                        # some minutes on one core
    python tools/peer_audit.py --peers l2ru tvc --draws 1000 --json

Declared: the gain that the peer's documentation promises, zero-state or incremental, as quoted.
Verified: the H-infinity norm, in double precision, of the matrices that the layer computes in its
own precision; linear layers only. Attacked: the largest ||f(u)|| / ||u||, or where the claim is
incremental ||f(u) - f(v)|| / ||u - v||, that gradient ascent finds by running the layer in its own
precision. Each after random draws of all parameters (normal, of log-uniform scale, as is the gain),
and after steps of Adam from small draws that push parameters and input together towards a larger
gain. Layers without a claim are shown for comparison, with the gain itself in place of its ratio. A
peer that is not installed is one line. Packages are best installed in an environment of their own
(pip install --no-deps neural-ssm deel-torchlip tsfast), beside this one's torch.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import math
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ssmbench import jsonio
from ssmbench.analysis.hinf import hinf_norm
from ssmbench.systems import DiscreteDense, LinearSystem

SIZES = (2, 4, 8)
STEPS, ASCENT = 32, 40
ALLOWED = 1e-4
LOG_GAMMA, LOG_SCALE = (-1.0, 1.0), (-1.0, 0.5)
DTYPES = (torch.float32, torch.float64)


@dataclass(frozen=True)
class Peer:
    """A layer of another library, or one of a publication that is rebuilt here.

    ``claim``: "zero-state", "incremental", or "none"; ``quote``: the words of its documentation.
    ``make``: from width and gain a module (B, L, n) -> (B, L, n). ``matrices``: of a linear
    one, the system that it runs; ``declared``: the gain that it promises now.
    """

    name: str
    package: str
    claim: str
    quote: str
    make: Callable[[int, float], nn.Module]
    declared: Callable[[nn.Module, float], float] | None = None
    matrices: Callable[[nn.Module], LinearSystem] | None = None

    @property
    def version(self) -> str:
        """The installed version; "" where it is not installed."""
        try:
            return importlib.metadata.version(self.package)
        except importlib.metadata.PackageNotFoundError:
            return ""


@dataclass(frozen=True)
class Draw:
    """Width, gain and scale of the parameters of one layer, and its precision."""

    width: int
    gamma: float
    scale: float
    dtype: torch.dtype


@dataclass
class Tally:
    """Ratios found / declared over some layers; for those without a claim, gains."""

    layers: int = 0
    exceptions: int = 0
    first_exception: str = ""
    violations: int = 0
    verified: list[float] = field(default_factory=list)
    attacked: list[float] = field(default_factory=list)

    def add(self, verified: float | None, attacked: float, declares: bool) -> None:
        """Count one layer."""
        found = [value for value in (verified, attacked) if value is not None]
        self.verified += [] if verified is None else [verified]
        self.attacked.append(attacked)
        self.violations += declares and not all(value <= 1 + ALLOWED for value in found)

    def fail(self, error: Exception) -> None:
        """Count a layer that raised an error."""
        self.exceptions += 1
        text = f"{type(error).__name__}: {error}".partition("\n")[0]
        self.first_exception = self.first_exception or text


# --- the measurement of one layer ---------------------------------------------------------------


def output(module: nn.Module, u: Tensor) -> Tensor:
    """y of u; some layers return their states as well."""
    y = module(u)
    return y[0] if isinstance(y, tuple) else y


def amplification(module: nn.Module, u: Tensor, v: Tensor | None) -> Tensor:
    """||f(u)|| / ||u||, or of the differences from v, of each sequence; in double precision."""
    if v is None:
        change, moved = output(module, u), u
    else:
        both = output(module, torch.cat([u, v]))
        change, moved = both[: len(u)] - both[len(u) :], u - v
    norms = (torch.linalg.vector_norm(x.double().flatten(1), dim=1) for x in (change, moved))
    return torch.div(*norms)


def attack(
    peer: Peer, module: nn.Module, width: int, dtype: torch.dtype, steps: int, pushed: float = 0.0
) -> float:
    """The largest amplification that Adam finds; with ``pushed`` the parameters, too, take steps
    of that size, and what counts is the last layer, attacked anew."""
    u = torch.randn(4, STEPS, width, dtype=dtype).requires_grad_()
    v = torch.randn(4, STEPS, width, dtype=dtype).requires_grad_()
    signals = [u, v] if peer.claim == "incremental" else [u]
    groups: list[dict[str, Any]] = [{"params": signals, "lr": 0.1}]
    if pushed:
        groups.append({"params": list(module.parameters()), "lr": pushed})
    optimizer, best = torch.optim.Adam(groups), 0.0
    for _ in range(steps):
        gains = amplification(module, u, v if len(signals) == 2 else None)
        if not bool(gains.isfinite().all()):
            return math.inf
        best = max(best, float(gains.detach().max()))
        optimizer.zero_grad()
        (-gains.clamp_min(1e-30).log().sum()).backward()
        optimizer.step()
    return best


def verified(peer: Peer, module: nn.Module) -> float | None:
    """The H-infinity norm; infinite for an unstable layer, None for one that is not linear."""
    if peer.matrices is None:
        return None
    with torch.no_grad():
        norm = float(hinf_norm(peer.matrices(module).double()).norm.max())
    if math.isnan(norm):
        raise ArithmeticError("the matrices are not finite")
    return norm


def measure(peer: Peer, tally: Tally, draw: Draw, attacked: bool, push: int) -> None:
    """Add one layer to the tally."""
    tally.layers += 1
    try:
        module = peer.make(draw.width, draw.gamma).to(draw.dtype)
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.normal_(0, min(draw.scale, 1.0) if push else draw.scale)
        if push:
            attack(peer, module, draw.width, draw.dtype, push, pushed=0.03)
        declared = peer.declared(module, draw.gamma) if peer.declared else 1.0
        found = verified(peer, module)
        reached = attack(peer, module, draw.width, draw.dtype, ASCENT) if attacked else 0.0
    except Exception as error:  # counted: a layer that cannot be built or run
        tally.fail(error)
        return
    ratio = None if found is None else found / declared
    tally.add(ratio, reached / declared, peer.claim != "none")


def draws(count: int, seed: int, dtype: torch.dtype) -> Iterable[Draw]:
    """``count`` draws, the same for every peer."""
    generator = torch.Generator().manual_seed(seed)
    for index in range(count):
        place = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
        spans = zip(place, (LOG_GAMMA, LOG_SCALE), strict=True)
        gamma, scale = (10 ** (low + x * (high - low)) for x, (low, high) in spans)
        yield Draw(SIZES[index % len(SIZES)], gamma, scale, dtype)


@dataclass(frozen=True)
class Budget:
    """How many layers are drawn, attacked and pushed, and the steps that push each."""

    draws: int = 200
    attacks: int = 24
    pushes: int = 4
    push_steps: int = 200


def audit(peer: Peer, dtype: torch.dtype, budget: Budget, seed: int = 0) -> tuple[Tally, Tally]:
    """The tally over random draws, and that after pushing."""
    torch.manual_seed(seed)
    drawn, pushed = Tally(), Tally()
    for index, draw in enumerate(draws(budget.draws, seed, dtype)):
        attacked = index < budget.attacks
        if attacked or peer.matrices is not None:
            measure(peer, drawn, draw, attacked, push=0)
    for draw in draws(budget.pushes, seed + 1, dtype):
        measure(peer, pushed, draw, attacked=True, push=budget.push_steps)
    return drawn, pushed


# --- the peers ----------------------------------------------------------------------------------

_ZERO_STATE = "The bound applies to zero-state sequence maps"
_L2STABLE = 'Robust REN, mode="l2stable" (the comment and the default of the class REN)'
_LIPSCHITZ = "||y(u) - y(u~)|| <= gamma ||u - u~|| in truncated l2 from a common initial state"


def _of_matrices(compute: str) -> Callable[[nn.Module], DiscreteDense]:
    def matrices(module: nn.Module) -> DiscreteDense:
        found = [torch.as_tensor(m).detach()[None] for m in getattr(module, compute)()[:4]]
        return DiscreteDense(**dict(zip("ABCD", found, strict=True)))

    return matrices


def _own_gamma(module: nn.Module, gamma: float) -> float:
    return abs(float(module.gamma))


def _neural_ssm(name: str, cell: str, compute: str | None, **options: Any) -> Peer:
    def make(n: int, gamma: float) -> nn.Module:
        import neural_ssm

        sizes = {
            "L2RU": {"state_features": n},
            "Block2x2DenseL2SSM": {"d_state": n, "d_input": n, "d_output": n},
            "DefectL2SSM": {"d_state": n, "d_input": n, "d_output": n},
            "REN": {"dim_in": n, "dim_out": n, "dim_internal": n, "dim_nl": n},
        }.get(cell, {"d_model": n, "d_state": n})
        prescribed = {"gammat" if cell == "REN" else "gamma": gamma}
        return getattr(neural_ssm, cell)(**sizes, **prescribed, **options)

    matrices = None if compute is None else _of_matrices(compute)
    quote = _L2STABLE if cell == "REN" else _ZERO_STATE
    return Peer(f"neural-ssm {name}", "neural-ssm", "zero-state", quote, make, _own_gamma, matrices)


def _tsfast(name: str) -> Peer:
    def make(n: int, gamma: float) -> nn.Module:
        from tsfast.models.architectures import ren

        options = {"variant": "lipschitz", "gamma": gamma, "backend": "eager"}
        return getattr(ren, name)(n, n, n_state=n, n_nl=n, **options)

    return Peer(f"tsfast {name}", "tsfast", "incremental", _LIPSCHITZ, make, _own_gamma)


def _published(title: str, name: str, discretizer: str | None, **options: Any) -> Peer:
    def make(n: int, gamma: float) -> nn.Module:
        import ssmbench as sb

        return sb.layer(name, d_model=n, discretizer=discretizer, readout="after", **options)

    fixed = None if name == "selective" else (lambda module: module.system())
    quote = "no gain is promised"
    return Peer(f"{title} (rebuilt here)", "ssmbench", "none", quote, make, None, fixed)


def peers() -> list[Peer]:
    """All that are known, installed or not."""
    return [
        _neural_ssm("l2ru", "L2RU", "set_param", init="eye"),
        _neural_ssm("l2n", "Block2x2DenseL2SSM", "compute_z_matrices"),
        _neural_ssm("defect", "DefectL2SSM", "compute_z_matrices"),
        _neural_ssm("tv", "RobustMambaDiagSSM", None, train_gamma=False),
        _neural_ssm("tvc", "RobustMambaDiagLTI", None, train_gamma=False),
        _neural_ssm("REN", "REN", None),
        _tsfast("REN"),
        _tsfast("R2DN"),
        _published("S4D", "s4d", "zoh", d_state=8),
        _published("S5", "s5", "zoh", d_state=8),
        _published("LRU", "lru", None, d_state=8),
        _published("LinOSS-IM", "linoss", "backward_euler", d_state=8),
        _published("LinOSS-IMEX", "linoss", "symplectic_euler", d_state=8),
        _published("Mamba", "selective", "zoh", d_state=8),
    ]


# --- the table ----------------------------------------------------------------------------------


def rows(chosen: Sequence[Peer], budget: Budget, seed: int) -> list[dict[str, Any]]:
    """One row for each peer and precision; one for a peer that is not installed."""
    found = []
    for peer in chosen:
        about = {"peer": peer.name, "claim": peer.claim, "quote": peer.quote}
        if not peer.version:
            found.append({**about, "version": None})
            continue
        for dtype in DTYPES:
            drawn, pushed = audit(peer, dtype, budget, seed)
            precision = str(dtype).removeprefix("torch.")
            row = {**about, "version": f"{peer.package} {peer.version}", "precision": precision}
            found.append({**row, "drawn": asdict(drawn), "pushed": asdict(pushed)})
            print(f"{peer.name} {precision}: done", file=sys.stderr)
    return found


def _worst(values: Sequence[float]) -> str:
    return f"{max(values):.5g}" if values else "-"


def _cells(row: dict[str, Any]) -> list[str]:
    if row["version"] is None:
        return [row["peer"], "not installed", *["-"] * (len(_COLUMNS) - 2)]
    cells = [row["peer"], row["version"], row["claim"], row["precision"]]
    for part in (row["drawn"], row["pushed"]):
        violations = "-" if row["claim"] == "none" else str(part["violations"])
        cells += [str(part["layers"]), str(part["exceptions"]), violations]
        cells += [_worst(part["verified"]), _worst(part["attacked"])]
    return cells


_COUNTS = ("layers", "exceptions", "violations", "verified", "attacked")
_COLUMNS = ("peer", "version", "claim", "precision", *_COUNTS, *(f"pushed: {c}" for c in _COUNTS))


def table(found: Sequence[dict[str, Any]]) -> str:
    """The rows in Markdown: verified and attacked are the worst, relative to what is declared."""
    lines = [_COLUMNS, ["---"] * len(_COLUMNS), *map(_cells, found)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main(arguments: Sequence[str] | None = None, known: Sequence[Peer] | None = None) -> int:
    """The command; 0 whatever the peers keep, since that is what it reports."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--peers", nargs="*", help="words that the names contain; default: all")
    for name, value in asdict(Budget()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=value)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    chosen = [
        peer
        for peer in (peers() if known is None else known)
        if not given.peers or any(word.lower() in peer.name.lower() for word in given.peers)
    ]
    budget = Budget(given.draws, given.attacks, given.pushes, given.push_steps)
    found = rows(chosen, budget, given.seed)
    print(jsonio.dumps(found, indent=1) if given.json else table(found))
    for row in found if not given.json else ():
        first = row.get("drawn", {}).get("first_exception")
        if first:
            print(f"\n{row['peer']} {row['precision']}: the first exception: {first}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
