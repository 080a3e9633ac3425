"""Counts of operations: what stands in for launches on a GPU where there is none to time."""

from __future__ import annotations

from typing import Any

import torch
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode


class OperationCount(TorchDispatchMode):
    """Counts what PyTorch runs on the CPU while this is entered, inside our own operators too.

    ``operations``: all of them. ``launches``: those that are not views, about one kernel each on a
    GPU. ``largest``: the most entries of a tensor that one returned.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operations, self.launches, self.largest = 0, 0, 0

    def __torch_dispatch__(
        self, func: OpOverload, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Count ``func``, or what an operator of ours does with its inputs, and run it."""
        if func.namespace == "ssmbench":
            with self:
                keys = torch._C.DispatchKeySet(torch._C.DispatchKey.CPU)
                return func.redispatch(keys, *args, **(kwargs or {}))
        self.operations += 1
        self.launches += not _is_view(func)
        result = func(*args, **(kwargs or {}))
        parts = result if isinstance(result, tuple | list) else (result,)
        sizes = [part.numel() for part in parts if isinstance(part, torch.Tensor)]
        self.largest = max([self.largest, *sizes])
        return result


def _is_view(func: OpOverload) -> bool:
    aliases = [argument.alias_info for argument in func._schema.arguments]
    return any(alias is not None and not alias.is_write for alias in aliases)
