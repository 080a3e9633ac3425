"""The network of a training step through ``torch.compile``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor

from ssmbench.config.compilation import MODES
from ssmbench.errors import UsageError
from ssmbench.nn.model import SequenceModel
from ssmbench.tasks.batch import Batch

#: The option of Inductor that captures CUDA graphs.
_CAPTURE = "triton.cudagraphs"


def predict_compiled(model: SequenceModel, batch: Batch, mode: str) -> Tensor:
    """The prediction for a batch, by code that is generated when it is first called, in a ``mode``
    of ``torch.compile``.

    What is compiled is the call, not the module: parameters keep their names. Dropout draws the
    numbers that it draws without compilation. A prediction of a captured CUDA graph is overwritten
    by the next call.

    Raises:
        UsageError: the network cannot be compiled here, for example without a C++ compiler.
    """
    with compilation_refused():
        if _CAPTURE in _options(mode):
            torch.compiler.cudagraph_mark_step_begin()
        return _compiled(mode)(model, batch.u, batch.lengths, batch.dt)


@contextmanager
def compilation_refused() -> Iterator[None]:
    """Within: a compilation that fails is a UsageError. (That of a backward pass may follow in it.)

    Raises:
        UsageError: it failed; the message has the reason of PyTorch.
    """
    from torch._dynamo.exc import TorchDynamoException

    try:
        yield
    except TorchDynamoException as error:
        raise UsageError(
            f"compile: PyTorch {torch.__version__} cannot compile this network here; "
            f"set compile=false: {_reason(error)}"
        ) from error


def _reason(error: Exception) -> str:
    """The first lines of a message of many; the first may only say which backend raised."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2])


def forget_compiled() -> None:
    """Drop what was compiled for other networks: torch keeps only a few versions of a function, and
    runs further ones uncompiled."""
    torch.compiler.reset()
    _compiled.cache_clear()


@cache
def _compiled(mode: str) -> Callable[..., Tensor]:
    return torch.compile(_call, options=_options(mode) | {"fallback_random": True})


@cache
def _options(mode: str) -> dict[str, Any]:
    """A mode as options: torch.compile takes one or the other."""
    return {} if mode == MODES[0] else torch._inductor.list_mode_options(mode)


def _call(model: SequenceModel, u: Tensor, lengths: Tensor | None, dt: Tensor | None) -> Tensor:
    return model(u, lengths, dt)
