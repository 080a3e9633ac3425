"""Which calls of a training step make the host wait for a GPU, found without one.

The operations are those of PyTorch that copy from the device to decide something on the host
(``item``, boolean masks, the checks of factorizations), that run such a copy inside (``svd``,
``eigh``), or that copy numbers of Python to the device and wait for it.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

_PACKAGE = Path(__file__).resolve().parent.parent
_LIBRARIES = Path(os.__file__).resolve().parent
#: Operators of ATen that always wait for a GPU.
WAITS = frozenset(
    {
        "_linalg_check_errors",
        "_linalg_eigh",
        "_linalg_eigvals",
        "_linalg_svd",
        "_local_scalar_dense",
        "_unique2",
        "allclose",
        "equal",
        "linalg_eig",
        "linalg_eigvals",
        "linalg_ldl_factor_ex",
        "linalg_lstsq",
        "linalg_matrix_exp",
        "masked_select",
        "nonzero",
        "unique_consecutive",
        "unique_dim",
    }
)
#: Wait where one of their indices is a boolean mask.
_INDEXED = frozenset({"index", "index_put", "index_put_", "_index_put_impl_"})


#: Methods that copy from the device without an operator of ATen.
_COPIES = {getattr(Tensor, name): name for name in ("tolist", "numpy", "cpu", "__array__")}


class Wait(NamedTuple):
    """An operator that waits, and where it was called: a file of ssmbench and a function in it; or
    the name of another file, of a plugin for example, or ``torch.optim``."""

    operator: str
    file: str
    function: str


class SynchronisationCount(TorchDispatchMode):
    """Counts the calls that would wait for a GPU while this is entered: ``waits``.

    Our own operators are not looked into: on a GPU they are kernels.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waits: Counter[Wait] = Counter()
        self._copies = _Copies(self.waits)

    def __enter__(self) -> Self:
        """Count from here on."""
        self._copies.__enter__()
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        """Count no more."""
        super().__exit__(*error)
        self._copies.__exit__(*error)

    def __torch_dispatch__(
        self, func: OpOverload, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Count ``func`` where it waits, and run it."""
        name = func._schema.name.partition("::")[2]
        if _waits(name, args, kwargs or {}):
            self.waits[Wait(name, *_caller(sys._getframe(1)))] += 1
        return func(*args, **(kwargs or {}))


class _Copies(TorchFunctionMode):
    """Counts the methods of tensors that copy from the device."""

    def __init__(self, waits: Counter[Wait]):
        super().__init__()
        self.waits = waits

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in _COPIES:
            self.waits[Wait(_COPIES[func], *_caller(sys._getframe(1)))] += 1
        return func(*args, **(kwargs or {}))


def _waits(name: str, args: tuple, kwargs: dict[str, Any]) -> bool:
    """Whether this call waits; ``lift_fresh`` is a tensor made of Python's numbers."""
    if name == "lift_fresh":
        return True
    if name in _INDEXED:
        return any(isinstance(x, Tensor) and x.dtype == torch.bool for x in args[1])
    if name == "repeat_interleave":
        return isinstance(args[0], Tensor) and kwargs.get("output_size") is None
    return name in WAITS


def _caller(frame: FrameType | None) -> tuple[str, str]:
    """The innermost function of ssmbench without this file; else the innermost of an optimizer of
    torch, or of a file that is not installed."""
    outside = None
    while frame is not None:
        file = Path(frame.f_code.co_filename)
        if file.is_relative_to(_PACKAGE) and file != Path(__file__).resolve():
            return str(file.relative_to(_PACKAGE.parent)), frame.f_code.co_name
        if outside is None and {"torch", "optim"} <= set(file.parts):
            outside = "torch.optim", frame.f_code.co_name
        elif outside is None and not _is_installed(file):
            outside = file.name, frame.f_code.co_name
        frame = frame.f_back
    return outside or ("", "")


def _is_installed(file: Path) -> bool:
    """Whether a file is of Python, of an installed package, of this module, or of no file."""
    own = file == Path(__file__).resolve() or not file.is_absolute()
    return own or "site-packages" in file.parts or file.is_relative_to(_LIBRARIES)
