"""The base class of exporters: from a frozen network to files, and back."""

from __future__ import annotations

import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

from ssmbench.errors import UsageError
from ssmbench.program import Program
from ssmbench.program.reference import check_inputs


class Exported(Protocol):
    """An exported network that is ready to run, on NumPy arrays.

    u is (B, width) of real numbers or (B,) of tokens at one step, (B, L, width) or (B, L) of L
    steps. A state is (B, S).
    """

    #: What the file says of the network; docs/exporting.md lists the keys.
    metadata: Mapping[str, Any]

    def initial(self, batch: int = 1) -> np.ndarray:
        """The state before the first step."""
        ...

    def step(self, u: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The prediction (B, outputs), and the state after the step."""
        ...

    def sequence(
        self, u: np.ndarray, state: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The predictions (B, L, outputs), or (B, outputs) for a network that predicts of a whole
        sequence, and the state after the last step; from the initial state if None."""
        ...


class InputError(UsageError, ValueError):
    """An input or a state that does not fit an exported network."""


def require_inputs(
    signature: Mapping[str, Any], u: np.ndarray, state: np.ndarray, *, steps: bool
) -> None:
    """Check what an exported network is given; ``signature`` is that of its program.

    Raises:
        InputError: it does not fit.
    """
    try:
        check_inputs(dict(signature), u, state, steps=steps)
    except ValueError as error:
        raise InputError(str(error)) from None


class Exporter(ABC):
    """A format of exported networks; built as ``factory(config)``."""

    #: What the names of its files end with, after the name of the network.
    endings: ClassVar[tuple[str, ...]]
    #: Python packages that it needs, and the extra of ssmbench that installs them.
    needs: ClassVar[tuple[str, ...]] = ()
    extra: ClassVar[str] = ""

    def __init__(self, config: Any):
        self.config = config

    @classmethod
    def missing(cls) -> str:
        """What it needs and this computer does not have, in words; "" if nothing."""
        absent = [name for name in cls.needs if importlib.util.find_spec(name) is None]
        install = f' (pip install "ssmbench[{cls.extra}]")' if cls.extra else ""
        return f"needs {' and '.join(absent)}{install}" if absent else ""

    @abstractmethod
    def write(self, program: Program, metadata: Mapping[str, Any], files: Sequence[Path]) -> None:
        """Write the network to ``files``, one for each of :attr:`endings`, with the metadata in
        every one of them."""

    @abstractmethod
    def read(self, files: Sequence[Path]) -> Exported:
        """The network in files that :meth:`write` wrote, run by what runs this format.

        Raises:
            UsageError: a file is not in this format.
        """

    @classmethod
    def describe(cls) -> dict[str, Any]:
        """The class's facts as plain values."""
        return {"files": ", ".join(f"NAME{e}" for e in cls.endings), "needs": ", ".join(cls.needs)}


def not_readable(file: Path, wanted: str) -> UsageError:
    """The error for a file that is not in the expected format."""
    return UsageError(f"{file}: not {wanted} that ssmbench exported")
