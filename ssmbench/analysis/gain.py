"""One report on a system's gain and stability, and reading a system from a user's file."""

from __future__ import annotations

import dataclasses
import math
import os
import zipfile
import zlib
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Complex
from torch import Tensor

from ssmbench.analysis.hinf import hinf_norm
from ssmbench.analysis.horizon import horizon_gain
from ssmbench.analysis.interval import Interval
from ssmbench.analysis.proofs import H2, NORM, Proved, prove
from ssmbench.errors import UsageError, require, suggest
from ssmbench.systems import (
    FROZEN_ONLY,
    ContinuousDense,
    DiscreteDense,
    DiscreteSystem,
    LinearSystem,
    TimeVaryingDiagonal,
    TimeVaryingSystem,
)

MATRICES = ("A", "B", "C", "D")
KEYS = (*MATRICES, "dt")
_SHAPES = {"A": "(N, N)", "B": "(N, m)", "C": "(p, N)", "D": "(p, m)"}


@dataclass(frozen=True)
class GainReport:
    """Gain and stability of a batch of systems on separate channels: the worst over all of them.

    stable says whether the poles lie inside the stability boundary, with proof; None where neither
    answer could be proved. hinf is the
    H-infinity norm (l2 gain over all time; that of D for a system whose B or C is zero), infinite
    for an unstable system, and proved to lie between hinf_lower_bound and hinf_upper_bound, the
    latter infinite where no proof succeeded. peak_frequency is in radians per sample (discrete) or
    per time unit (continuous). h2 is the H2 norm (root of the impulse response's energy), infinite
    for an unstable system and for a continuous one with D != 0. margin is 1 - spectral_radius or
    -spectral_abscissa: stable when positive. horizon_gain is the l2 gain over ``horizon`` steps
    from rest. Fields that do not apply are None.

    ``unproved`` names the figures that are estimates, for want of a proof: of the others, norms
    are proved to within 1% (hinf) and 1e-6 (h2), poles to within 1e-6.
    """

    time: Literal["continuous", "discrete"]
    stable: bool | None
    hinf: float
    hinf_lower_bound: float
    hinf_upper_bound: float
    peak_frequency: float
    h2: float
    margin: float
    spectral_radius: float | None = None
    spectral_abscissa: float | None = None
    horizon: int | None = None
    horizon_gain: float | None = None
    unproved: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The fields that apply; floats may be infinite, and stable may be "unproved"."""
        fields = {k: v for k, v in dataclasses.asdict(self).items() if v is not None}
        stable = "unproved" if self.stable is None else self.stable
        return fields | {"stable": stable, "unproved": list(self.unproved)}


def analyse(system: LinearSystem | TimeVaryingSystem, horizon: int | None = None) -> GainReport:
    """Gain and stability of a system, with proofs (``analysis.proofs``).

    Args:
        system: dense or diagonal, continuous or discrete; a time-varying one is refused.
        horizon: also the gain over this many steps (discrete systems only).

    Raises:
        UsageError: a horizon for a continuous system, or one below 1; a time-varying system.
    """
    require(not isinstance(system, TimeVaryingSystem), FROZEN_ONLY)
    system = system.detach().double()
    finite_gain = None if horizon is None else float(horizon_gain(system, horizon).max())
    discrete = isinstance(system, DiscreteSystem)
    return _report(prove(system), discrete=discrete, horizon=horizon, horizon_gain=finite_gain)


def _report(proved: list[Proved], *, discrete: bool, **rest: Any) -> GainReport:
    worst = max(proved, key=lambda p: p.hinf.lower)
    least = min(proved, key=lambda p: p.margin.middle)
    h2 = max(proved, key=lambda p: p.h2.middle)
    place = "spectral_radius" if discrete else "spectral_abscissa"
    missing = {
        "stable": _verdict(proved) is None,
        "hinf": not Interval(worst.hinf.lower, _largest_bound(proved)).is_sharp(NORM),
        "h2": not Interval(h2.h2.lower, max(p.h2.upper for p in proved)).is_sharp(H2),
        "margin": not least.poles_known,
        "horizon_gain": rest.get("horizon") is not None,  # computed in float64, without a bound
        place: not least.poles_known,
    }
    return GainReport(
        time="discrete" if discrete else "continuous",
        stable=_verdict(proved),
        hinf=worst.hinf.lower,
        hinf_lower_bound=worst.hinf.lower,
        hinf_upper_bound=_largest_bound(proved),
        peak_frequency=worst.omega,
        h2=h2.h2.middle,
        margin=least.margin.middle,
        unproved=tuple(name for name, open_ in missing.items() if open_),
        **{place: least.extent.middle},
        **rest,
    )


def _largest_bound(proved: list[Proved]) -> float:
    return max(p.hinf.upper for p in proved)


def _verdict(proved: list[Proved]) -> bool | None:
    if any(p.stable is False for p in proved):
        return False
    return True if all(p.stable for p in proved) else None


def stability(system: LinearSystem) -> dict[str, Any]:
    """The fields of a report that follow from the poles: time, stable, margin, radius or abscissa.

    A pole that is NaN counts as infinite.
    """
    discrete = isinstance(system, DiscreteSystem)
    extents = system.spectral_radius() if discrete else system.spectral_abscissa()
    extent = float(torch.where(extents.isnan(), math.inf, extents).max())
    margin = 1 - extent if discrete else -extent
    return {
        "time": "discrete" if discrete else "continuous",
        "stable": margin > 0,
        "margin": margin,
        "spectral_radius" if discrete else "spectral_abscissa": extent,
    }


@dataclass(frozen=True)
class FrozenReport:
    """A time-varying system held still at some of its steps: information, never a certificate.

    gain: the largest H-infinity norm of the time-invariant systems that it is at ``steps``;
    gains: the largest at each of them. The system that moves from one to the other may amplify
    more. poles (H order steps B,); the other fields are as in :class:`GainReport`.
    """

    steps: tuple[int, ...]
    gains: tuple[float, ...]
    gain: float
    peak_frequency: float
    margin: float
    spectral_radius: float
    poles: Complex[Tensor, " modes"]


def analyse_frozen(system: TimeVaryingDiagonal, most: int = 8) -> FrozenReport:
    """A discrete time-varying system frozen at up to ``most`` of its steps, evenly spread."""
    steps = torch.linspace(0, system.length - 1, min(most, system.length)).round().int().tolist()
    bank = system.detach().during(steps).double().bank()
    peak = hinf_norm(bank)
    worst = int(peak.norm.argmax())
    poles = stability(bank)
    places = (system.batch, len(steps), system.copies)
    return FrozenReport(
        steps=tuple(steps),
        gains=tuple(peak.norm.unflatten(0, places).amax((0, 2)).tolist()),
        gain=float(peak.norm[worst]),
        peak_frequency=float(peak.omega[worst]),
        margin=poles["margin"],
        spectral_radius=poles["spectral_radius"],
        poles=bank.poles().flatten(),
    )


# --- reading a user's file ----------------------------------------------------------------------


def load_system(path: str | os.PathLike[str]) -> ContinuousDense | DiscreteDense:
    """A linear system from a NumPy ``.npz`` file.

    Keys: A (N, N), B (N, m), C (p, N), D (p, m), real or complex, or all four with a leading bank
    dimension H; for one input or output also B (N,), C (N,) and a scalar D. dt, a scalar: absent or
    0 for continuous time (x' = A x + B u), positive for discrete time (x[k+1] = A x[k] + B u[k]);
    its size is not used. In both, y = C x + D u. Nothing is ever unpickled.

    Returns:
        ContinuousDense (step size 1) or DiscreteDense, float64 or complex128.

    Raises:
        UsageError: one line naming the file, the key, what was found and what is allowed.
    """
    path = os.fspath(path)
    arrays = _read(path)
    dt = _step_size(path, arrays.pop("dt", None))
    banked = arrays["A"].ndim == 3
    arrays = {key: _with_bank(path, key, arrays[key], banked) for key in MATRICES}
    _check_shapes(path, arrays, banked)
    tensors = {key: torch.from_numpy(array) for key, array in arrays.items()}
    if dt > 0:
        return DiscreteDense(**tensors)
    return ContinuousDense(dt=torch.ones(len(tensors["A"]), dtype=torch.float64), **tensors)


def _read(path: str) -> dict[str, np.ndarray]:
    """The arrays of the file by key: the right keys, numbers only, all finite."""
    try:
        loaded = np.load(path, allow_pickle=False)
        if not isinstance(loaded, np.lib.npyio.NpzFile):
            raise UsageError(f"{path}: holds one bare array, not an .npz archive of A, B, C, D")
        with loaded as archive:
            _check_keys(path, archive.files)
            return {key: _numbers(path, key, _member(path, archive, key)) for key in archive.files}
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or 'damaged'}") from None
    except (ValueError, EOFError, zipfile.BadZipFile):
        raise UsageError(f"{path}: not a NumPy .npz archive, as numpy.savez writes it") from None


def _member(path: str, archive: np.lib.npyio.NpzFile, key: str) -> np.ndarray:
    try:
        return archive[key]
    except (ValueError, EOFError, OSError, zlib.error, zipfile.BadZipFile) as error:
        if "Object arrays" in str(error):
            raise UsageError(
                f"{path}: {key} is an array of Python objects, which are never unpickled; "
                "allowed: numbers"
            ) from None
        raise UsageError(f"{path}: {key} is damaged and cannot be read") from None


def _check_keys(path: str, found: list[str]) -> None:
    for key in found:
        if key not in KEYS:
            raise UsageError(f"{path}: unknown key {key!r}; {suggest(key, KEYS)}")
    missing = [key for key in MATRICES if key not in found]
    if missing:
        raise UsageError(
            f"{path}: missing {', '.join(missing)} (found: {', '.join(found) or 'nothing'}); "
            "needed: A (N, N), B (N, m), C (p, N), D (p, m)"
        )


def _numbers(path: str, key: str, value: np.ndarray) -> np.ndarray:
    """The array in float64 or complex128, after a check that it holds finite numbers."""
    kind = value.dtype.kind if isinstance(value, np.ndarray) else "?"
    if kind not in "iufc":
        found = f"dtype {value.dtype}" if isinstance(value, np.ndarray) else "no array"
        raise UsageError(
            f"{path}: {key} has {found}; allowed: integers, real or complex floating point"
        )
    with np.errstate(over="ignore"):
        value = value.astype(np.complex128 if kind == "c" else np.float64, order="C")
    bad = int((~np.isfinite(value)).sum())
    if bad:
        raise UsageError(
            f"{path}: {key} holds {bad} NaN or infinite of {value.size} entries; "
            "allowed: finite numbers"
        )
    return value


def _step_size(path: str, dt: np.ndarray | None) -> float:
    if dt is None:
        return 0.0
    if dt.size != 1:
        raise UsageError(f"{path}: dt has shape {dt.shape}; allowed: one number")
    value = dt.reshape(()).item()
    if isinstance(value, complex) or value < 0:
        raise UsageError(
            f"{path}: dt is {value}; allowed: 0 (continuous time) or a positive step size"
        )
    return value


def _with_bank(path: str, key: str, array: np.ndarray, banked: bool) -> np.ndarray:
    """The matrix with its leading bank dimension, single-channel short forms spelt out."""
    if banked and array.ndim == 3:
        return array
    if not banked and array.ndim == 2:
        return array[None]
    if not banked and array.ndim == 1 and key in "BC":
        return array[None, :, None] if key == "B" else array[None, None, :]
    if not banked and array.ndim == 0 and key == "D":
        return array[None, None, None]
    if key == "A":
        allowed = "(N, N), or (H, N, N) for a bank"
    elif banked:
        allowed = f"(H, {_SHAPES[key][1:]}, since A has a bank dimension"
    else:
        short = {"B": " or (N,)", "C": " or (N,)", "D": " or a scalar"}[key]
        allowed = _SHAPES[key] + short
    raise UsageError(f"{path}: {key} has shape {array.shape}; allowed: {allowed}")


def _check_shapes(path: str, arrays: dict[str, np.ndarray], banked: bool) -> None:
    """Matrices (H, ., .) that fit together; messages show the shapes without an added bank."""
    (copies, states, _), inputs = arrays["A"].shape, arrays["B"].shape[2]
    outputs = arrays["C"].shape[1]
    wanted = {"A": (states, states), "B": (states, inputs), "C": (outputs, states)}
    wanted["D"] = (outputs, inputs)
    for key, array in arrays.items():
        found = array.shape if banked else array.shape[1:]
        needed = (copies, *wanted[key]) if banked else wanted[key]
        if array.size == 0:
            raise UsageError(f"{path}: {key} is empty, shape {found}; allowed: no dimension 0")
        if found != needed:
            raise UsageError(
                f"{path}: {key} has shape {found}, but with N={states} states, m={inputs} inputs "
                f"and p={outputs} outputs (rows of A and C, columns of B) it must be {needed}"
            )
