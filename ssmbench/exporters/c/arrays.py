"""Arrays of an exported network as constants in C, and how their numbers are read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ssmbench.program import Stored

_TYPES = {"float32": "float", "float16": "unsigned short", "int8": "signed char"}
_PER_LINE = 8


@dataclass(frozen=True)
class Constant:
    """An array by its name in C. ``scaled``: how many rows share one scale; 0 without scales."""

    name: str
    stored: Stored
    scaled: int = 0

    @classmethod
    def of(cls, name: str, stored: Stored) -> Constant:
        """The array as a matrix whose rows are those of its last axis."""
        if stored.scale is None:
            return cls(name, stored)
        rows = stored.codes.size // max(1, stored.codes.shape[-1])
        return cls(name, stored, rows // stored.scale.size)

    def definition(self) -> str:
        """Its definition, and that of its scales."""
        text = _array(self.name, self.stored.codes)
        scale = self.stored.scale
        return text if scale is None else text + _array(f"{self.name}_scale", scale)

    def at(self, index: str) -> str:
        """The code at an index, as a float."""
        element = f"{self.name}[{index}]"
        if self.stored.codes.dtype == np.float16:
            return f"half({element})"
        return element if self.stored.codes.dtype == np.float32 else f"(float){element}"

    def scale(self, row: str) -> str:
        """The factor of the codes of a row, with a multiplication sign before it."""
        if not self.scaled:
            return ""
        index = row if self.scaled == 1 else f"({row}) / {self.scaled}"
        return f" * {self.name}_scale[{index}]"


def _array(name: str, array: np.ndarray) -> str:
    if array.dtype == np.float16:
        words = [str(bits) for bits in array.view(np.uint16).ravel()]
    elif array.dtype == np.int8:
        words = [str(code) for code in array.ravel()]
    else:
        words = [number(value) for value in array.ravel()]
    lines = [", ".join(words[k : k + _PER_LINE]) for k in range(0, len(words), _PER_LINE)]
    kind = _TYPES[str(array.dtype)]
    return f"static const {kind} {name}[{array.size}] = {{\n  " + ",\n  ".join(lines) + "};\n"


def number(value: float) -> str:
    """A float32 number as a constant that is read back as the same number."""
    text = f"{np.float32(value):.9g}"
    return (text if any(c in text for c in ".en") else f"{text}.0") + "f"
