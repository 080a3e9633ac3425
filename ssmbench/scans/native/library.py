"""Finding the compiled kernels, and running them on several threads.

The kernels are plain functions on pointers, without threads of their own: a pool here gives each
thread a range of independent items. ctypes releases the interpreter's lock during a call. (An
OpenMP runtime beside torch's own would leave idle threads of both competing for the cores.)
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

#: Multiply-adds for each further thread; with fewer it costs more than it saves.
_WORTH_A_THREAD = 200_000


@cache
def _find() -> tuple[ctypes.CDLL | None, str]:
    folder = Path(__file__).parent
    for suffix in EXTENSION_SUFFIXES:
        file = folder / f"_kernels{suffix}"
        if file.exists():
            try:
                return ctypes.CDLL(str(file)), ""
            except OSError as error:
                return None, f"{file.name} cannot be loaded: {error}"
    return None, "not compiled: there was no C compiler when ssmbench was installed"


def unavailable_reason() -> str | None:
    """Why the kernels cannot be used, or None when they can."""
    library, reason = _find()
    return None if library is not None else reason


# What torch.compiler.assume_constant_result does, without importing dynamo at the start.
vars(unavailable_reason)["_dynamo_marked_constant"] = True


@cache
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    # keyed by process: a pool does not survive a fork
    return ThreadPoolExecutor(threads, "ssmbench-scan")


def call(
    name: str,
    items: int,
    work: int,
    arguments: Sequence[int | float | Tensor | None],
    scratch_bytes: int = 0,
) -> None:
    """Run a kernel over ``items`` independent items, ``work`` multiply-adds in all.

    Integers are passed as int64, other numbers as double, tensors as pointers (they must be
    contiguous), None as NULL. With ``scratch_bytes``, a last argument points each thread to memory
    of its own.
    """
    library, reason = _find()
    if library is None:
        raise RuntimeError(f"native scan kernels: {reason}")
    function = getattr(library, name)
    function.restype = None
    converted = [_convert(argument) for argument in arguments]

    def run(first: int, last: int) -> None:
        bounds = (ctypes.c_int64(first), ctypes.c_int64(last))
        if not scratch_bytes:
            function(*bounds, *converted)
            return
        scratch = torch.empty(scratch_bytes // 8 + 8, dtype=torch.float64)
        function(*bounds, *converted, ctypes.c_void_p(scratch.data_ptr()))

    threads = min(torch.get_num_threads(), items, 1 + work // _WORTH_A_THREAD)
    if threads <= 1:
        run(0, items)
        return
    cuts = [items * k // threads for k in range(threads + 1)]
    pool = _pool(os.getpid(), torch.get_num_threads())
    for job in [pool.submit(run, *pair) for pair in pairwise(cuts)]:
        job.result()


def _convert(
    argument: int | float | Tensor | None,
) -> ctypes.c_int64 | ctypes.c_double | ctypes.c_void_p:
    if argument is None:
        return ctypes.c_void_p(None)
    if isinstance(argument, Tensor):
        lazy = argument.is_conj() or argument.is_neg()  # memory holds other values
        if not (argument.is_cpu and argument.is_contiguous()) or lazy:
            raise ValueError("native scan kernels need contiguous tensors on the CPU")
        if isinstance(argument, FakeTensor):
            raise ValueError("native scan kernels need tensors with values, and this one is fake")
        return ctypes.c_void_p(argument.data_ptr())
    if isinstance(argument, float):
        return ctypes.c_double(argument)
    return ctypes.c_int64(argument)
