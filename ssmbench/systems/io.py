"""Reading a linear system from a file that may be wrong or malicious."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch

from ssmbench.errors import UsageError, require, suggest
from ssmbench.systems.lti import ContinuousDense, DiscreteDense, DiscreteLTI
from ssmbench.systems.npz import check_dtype, numbers, read_npz, shown

MATRICES = ("A", "B", "C", "D")
KEYS = (*MATRICES, "dt")
_SHAPES = {"A": "(N, N)", "B": "(N, m)", "C": "(p, N)", "D": "(p, m)"}


def load_system(path: str | os.PathLike[str]) -> ContinuousDense | DiscreteDense:
    """A linear system from a NumPy ``.npz`` file.

    Keys: A (N, N), B (N, m), C (p, N), D (p, m), real or complex, or all four with a leading bank
    dimension H; for one input or output also B (N,), C (N,) and a scalar D. N may be 0, and a file
    with D alone is a static gain. dt is a scalar: absent or 0 for continuous time (x' = A x + B u),
    positive for discrete time (x[k+1] = A x[k] + B u[k]); its value is not used otherwise. In both,
    y = C x + D u. Nothing is ever unpickled, and a header's claim about the size is checked before
    memory is allocated.

    Returns:
        ContinuousDense (step size 1) or DiscreteDense, float64 or complex128.

    Raises:
        UsageError: one line that names the file, the key, what was found and what is allowed.
    """
    path = os.fspath(path)
    return _assembled(read_npz(path, _members, " of A, B, C, D"), path)


def system_from_arrays(
    arrays: Mapping[str, Any], source: str = "system"
) -> ContinuousDense | DiscreteDense:
    """A linear system from arrays in memory, with the keys, shapes and rules of
    :func:`load_system`.

    Accepts whatever NumPy can turn into an array, and torch tensors; a key whose value is None is
    ignored. Error messages begin with ``source``.

    Raises:
        UsageError: as for :func:`load_system`.
    """
    given = {key: value for key, value in arrays.items() if value is not None}
    for key in given:
        require(key in KEYS, f"{source}: unknown key {key!r}; {suggest(str(key), KEYS)}")
    _check_members(source, given)
    return _assembled({key: _in_memory(source, key, v) for key, v in given.items()}, source)


def save_system(path: str | os.PathLike[str], system: DiscreteLTI, dt: float = 1.0) -> None:
    """Write a discrete system as an ``.npz`` file that :func:`load_system` reads.

    Raises:
        UsageError: the file cannot be written.
    """
    dense = system.to_dense()
    arrays = {key: getattr(dense, key).detach().cpu().numpy() for key in MATRICES}
    if system.heads == 1:
        arrays = {key: array[0] for key, array in arrays.items()}
    try:
        with open(path, "wb") as stream:  # numpy.savez would append .npz to a path
            np.savez(stream, **arrays, dt=dt)
    except OSError as error:
        raise UsageError(f"{os.fspath(path)}: cannot be written: {error.strerror}") from None


def _in_memory(source: str, key: str, value: Any) -> np.ndarray:
    tensor = isinstance(value, torch.Tensor)
    try:
        array = np.asarray(value.detach().cpu() if tensor else value)
    except (TypeError, ValueError):  # ragged lists
        raise UsageError(f"{source}: {key} is not an array: {str(value)[:60]!r}") from None
    check_dtype(source, key, array.dtype)
    return numbers(source, key, array)


def _assembled(arrays: dict[str, np.ndarray], path: str) -> ContinuousDense | DiscreteDense:
    dt = _step_size(path, arrays.pop("dt", None))
    if set(arrays) == {"D"}:
        arrays.update(_without_states(arrays["D"]))
    banked = arrays["A"].ndim == 3
    arrays = {key: _with_bank(path, key, arrays[key], banked) for key in MATRICES}
    _check_shapes(path, arrays, banked)
    tensors: dict[str, Any] = {key: torch.from_numpy(x) for key, x in arrays.items()}
    if dt > 0:
        return DiscreteDense(**tensors)
    return ContinuousDense(dt=torch.ones(len(tensors["A"]), dtype=torch.float64), **tensors)


def _members(path: str, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Members by key, after a check that every key is known, occurs once and that none is
    missing."""
    members: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        key = info.filename.removesuffix(".npy")
        if key not in KEYS or key == info.filename:
            shown = info.filename if key in KEYS else key
            raise UsageError(f"{path}: unknown key {shown[:40]!r}; {suggest(key[:40], KEYS)}")
        if key in members:
            raise UsageError(f"{path}: holds {key} twice")
        members[key] = info
    _check_members(path, members)
    return members


def _check_members(path: str, members: Iterable[str]) -> None:
    missing = [key for key in MATRICES if key not in members]
    if missing and missing != ["A", "B", "C"]:
        raise UsageError(
            f"{path}: missing {', '.join(missing)} (found: {', '.join(members) or 'nothing'}); "
            "needed: A (N, N), B (N, m), C (p, N), D (p, m), or D alone"
        )


def _step_size(path: str, dt: np.ndarray | None) -> float:
    if dt is None:
        return 0.0
    if dt.size != 1:
        raise UsageError(f"{path}: dt has shape {shown(dt.shape)}; allowed: one number")
    value = dt.reshape(()).item()
    if isinstance(value, complex) or value < 0:
        raise UsageError(
            f"{path}: dt is {value}; allowed: 0 (continuous time) or a positive step size"
        )
    return value


# --- shapes -------------------------------------------------------------------------------------


def _without_states(D: np.ndarray) -> dict[str, np.ndarray]:
    """A, B and C of the static gain D; for a wrong shape of D, ones that lead to its error
    message."""
    outputs, inputs = D.shape[-2:] if D.ndim in (2, 3) else (1, 1)
    bank = D.shape[:1] if D.ndim == 3 else ()
    shapes = {"A": (0, 0), "B": (0, inputs), "C": (outputs, 0)}
    return {key: np.zeros((*bank, *shape)) for key, shape in shapes.items()}


def _with_bank(path: str, key: str, array: np.ndarray, banked: bool) -> np.ndarray:
    """The matrix with its leading bank dimension and with single-channel short forms expanded."""
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
    raise UsageError(f"{path}: {key} has shape {shown(array.shape)}; allowed: {allowed}")


def _check_shapes(path: str, arrays: dict[str, np.ndarray], banked: bool) -> None:
    """Check that the matrices (H, ., .) fit together; messages omit a bank dimension that was
    added."""
    (heads, states, _), inputs = arrays["A"].shape, arrays["B"].shape[2]
    outputs = arrays["C"].shape[1]
    wanted = {"A": (states, states), "B": (states, inputs), "C": (outputs, states)}
    wanted["D"] = (outputs, inputs)
    for key, array in arrays.items():
        found = array.shape if banked else array.shape[1:]
        needed = (heads, *wanted[key]) if banked else wanted[key]
        if found != needed:
            raise UsageError(
                f"{path}: {key} has shape {found}, but with N={states} states, m={inputs} inputs "
                f"and p={outputs} outputs (rows of A and C, columns of B) it must be {needed}"
            )
    for key, least in (("A", heads), ("B", inputs), ("C", outputs)):
        if least == 0:
            found = arrays[key].shape if banked else arrays[key].shape[1:]
            raise UsageError(
                f"{path}: {key} is empty, shape {found}; only the number of states may be 0"
            )
