"""Reading checkpoints: NumPy archives and torch files, whose code is never run."""

from __future__ import annotations

import hashlib
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ssmbench.errors import UsageError, last_line, require
from ssmbench.systems.npz import read_npz

#: Where programs keep the weights in a dictionary with other things, such as the optimizer's state.
_CONTAINERS = ("state_dict", "model_state_dict", "model", "net", "network", "params", "weights")
#: First components of names that only say how a network was wrapped.
_WRAPPERS = ("module", "_orig_mod", "model", "net", "network", "params", "state_dict")
_FLAX = re.compile(r"(params|batch_stats)\.")


@dataclass(frozen=True)
class Checkpoint:
    """``arrays`` by canonical name (:func:`canonical`), float64 or complex128; ``digest``: sha256
    of the file in hex digits; ``single``: whether every value is a number of single precision."""

    arrays: dict[str, Tensor]
    digest: str
    single: bool


def read_checkpoint(path: Path) -> Checkpoint:
    """The arrays of a ``.npz`` file or of a file of torch.save.

    Raises:
        UsageError: there is no such file, it is damaged or of another kind, or an array is not
            finite or not of numbers; one sentence that names the file and the key.
    """
    require(not path.is_dir(), f"{path}: is a folder; a checkpoint is a file")
    require(path.exists(), f"{path}: no such file")
    arrays = _named(_of_numpy(path) if _is_numpy(path) else _of_torch(path), str(path))
    require(bool(arrays), f"{path}: holds no arrays")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Checkpoint(arrays, digest, all(map(_is_single, arrays.values())))


def checkpoint_of(arrays: Mapping[str, Any], source: str) -> dict[str, Tensor]:
    """Arrays in memory as :func:`read_checkpoint` gives them.

    Raises:
        UsageError: a value is no array of finite numbers.
    """
    return _named({name: _tensor(value, name, source) for name, value in arrays.items()}, source)


def canonical(name: str) -> str:
    """A key with dots between its parts: ``params/encoder/kernel``, ``.blocks[0].ssm.B`` and
    ``['params']['D']`` become ``params.encoder.kernel``, ``blocks.0.ssm.B`` and ``params.D``."""
    dotted = re.sub(r"\[['\"]?([^\]'\"]+)['\"]?\]", r".\1", name.replace("/", "."))
    return dotted.strip(".")


def _named(arrays: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """Arrays by canonical names, without the parts that only say how the network was wrapped."""
    found: dict[str, Tensor] = {}
    for name, array in arrays.items():
        key = canonical(name)
        require(key not in found, f"{source}: two keys are {key!r}")
        found[key] = array
    while (first := _common_first(found)) in _WRAPPERS:
        found = {key[len(first) + 1 :]: array for key, array in found.items()}
    if found and all(map(_FLAX.match, found)):  # flax: the statistics of norms are apart
        found = {key.removeprefix("params."): array for key, array in found.items()}
    return found


def _common_first(names: Mapping[str, Tensor]) -> str:
    firsts = {name.partition(".")[0] for name in names if "." in name}
    whole = all("." in name for name in names)
    return firsts.pop() if whole and len(firsts) == 1 else ""


# --- formats ------------------------------------------------------------------------------------


def _is_numpy(path: Path) -> bool:
    """By the content where it is an archive: a torch file is one too, without .npy members."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith(".npy") for name in archive.namelist()) or not any(
                name.endswith("data.pkl") for name in archive.namelist()
            )
    except (OSError, zipfile.BadZipFile, ValueError):
        return path.suffix in (".npz", ".npy")


def _of_numpy(path: Path) -> dict[str, Tensor]:
    arrays = read_npz(str(path), _members)
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def _members(path: str, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    members: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        name = info.filename.removesuffix(".npy")
        require(name != info.filename, f"{path}: {info.filename[:60]!r} in it is not a NumPy array")
        require(name not in members, f"{path}: holds {name} twice")
        members[name] = info
    return members


def _of_torch(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        raise UsageError(
            f"{path}: safetensors files are not read; save the weights with numpy.savez or "
            "torch.save"
        )
    try:
        with warnings.catch_warnings():  # of pickle protocols, before an error says what is wrong
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of many types, depending on the file
        raise UsageError(
            f"{path}: neither a NumPy .npz archive nor a torch file of tensors alone, which is all "
            f"that is read, so that no code in it runs ({_short(error)}); save the weights with "
            "numpy.savez, or with torch.save(model.state_dict(), ...)"
        ) from None
    found = dict(_tensors(_inner(content), ""))
    return {name: _tensor(value, name, str(path)) for name, value in found.items()}


def _short(error: Exception) -> str:
    text = last_line(error) or type(error).__name__
    return text if len(text) <= 120 else f"{text[:117]}..."


def _inner(content: Any) -> Any:
    """The weights of a dictionary that holds more than these."""
    if isinstance(content, Mapping):
        for key in _CONTAINERS:
            inner = content.get(key)
            if isinstance(inner, Mapping) and any(True for _ in _tensors(inner, "")):
                return _inner(inner)
    return content


def _tensors(value: Any, name: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield name or "value", value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _tensors(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from _tensors(inner, f"{name}.{index}" if name else str(index))


def _tensor(value: Any, name: str, source: str) -> Tensor:
    """The value as float64 or complex128, finite."""
    if isinstance(value, Tensor):
        array = value.detach().cpu()
    else:
        array = _from_numpy(value, name, source)
    kind = torch.complex128 if array.is_complex() else torch.float64
    require(
        array.dtype is not torch.bool and not array.is_quantized,
        f"{source}: {name} has dtype {str(array.dtype).removeprefix('torch.')}; allowed: integers, "
        "real or complex floating point",
    )
    exact = array.to_dense().to(kind) if array.layout is not torch.strided else array.to(kind)
    bad = int((~torch.isfinite(exact)).sum())
    require(
        bad == 0,
        f"{source}: {name} holds {bad} NaN or infinite of {exact.numel()} entries; allowed: finite "
        "numbers",
    )
    return exact


def _from_numpy(value: Any, name: str, source: str) -> Tensor:
    array = np.asarray(value)
    require(
        array.dtype.kind in "iufc",
        f"{source}: {name} has dtype {array.dtype!s:.40}; allowed: integers, real or complex "
        "floating point",
    )
    return torch.from_numpy(array.astype(np.complex128 if array.dtype.kind == "c" else np.float64))


def _is_single(array: Tensor) -> bool:
    single = torch.complex64 if array.is_complex() else torch.float32
    return bool((array.to(single).to(array.dtype) == array).all())
