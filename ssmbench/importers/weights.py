"""The arrays of a checkpoint by name, as an importer takes them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ssmbench.errors import UsageError, require, suggest

#: Numbers, and letters that stand for one.
Shape = tuple[int | str, ...]


@dataclass
class _Shared:
    arrays: Mapping[str, Tensor]
    source: str
    partial: bool
    taken: set[str] = field(default_factory=set)
    sizes: dict[str, tuple[int, str]] = field(default_factory=dict)  # letter: size, and of what
    sought: set[str] = field(default_factory=set)


class Weights:
    """Arrays by name, float64 or complex128.

    A shape is given by numbers and by letters; the first array with a letter decides its size, for
    all further ones. ``source`` begins the error messages. With ``partial``, keys may be left over,
    and an importer may do without an encoder or a decoder.
    """

    def __init__(self, arrays: Mapping[str, Tensor], source: str, *, partial: bool = False):
        self._shared = _Shared(arrays, source, partial)
        self._prefix = ""

    @property
    def source(self) -> str:
        return self._shared.source

    @property
    def partial(self) -> bool:
        return self._shared.partial

    @property
    def count(self) -> int:
        """The number of arrays in the checkpoint."""
        return len(self._shared.arrays)

    @property
    def keys(self) -> list[str]:
        """The names of all arrays of the checkpoint."""
        return sorted(self._shared.arrays)

    def under(self, prefix: str) -> Weights:
        """The arrays whose names begin with ``prefix``, by the rest of their names."""
        view = Weights.__new__(Weights)
        view._shared, view._prefix = self._shared, self._prefix + prefix
        return view

    def has(self, name: str) -> bool:
        """Whether there is an array with this name."""
        return self._prefix + name in self._shared.arrays

    def has_any(self) -> bool:
        """Whether there is an array here."""
        return any(name.startswith(self._prefix) for name in self._shared.arrays)

    def take(self, name: str, *shape: int | str) -> Tensor:
        """The array with this name and shape.

        Raises:
            UsageError: there is none (the message names the nearest key that is left), or its shape
                is another one.
        """
        full = self._prefix + name
        self._shared.sought.add(full)
        require(full in self._shared.arrays, self._missing(full))
        array = self._shared.arrays[full]
        self._check_shape(full, tuple(array.shape), shape)
        self._shared.taken.add(full)
        return array

    def take_complex(self, name: str, *shape: int | str) -> Tensor:
        """A complex array, given as one, or as real numbers with a last dimension of 2: real and
        imaginary parts."""
        full = self._prefix + name
        array = self._shared.arrays.get(full)
        if array is not None and array.is_complex():
            return self.take(name, *shape)
        return torch.view_as_complex(self.take(name, *shape, 2).contiguous())

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of an array; () if there is none."""
        array = self._shared.arrays.get(self._prefix + name)
        return () if array is None else tuple(array.shape)

    def size(self, letter: str) -> int:
        """The size that a letter has by now."""
        return self._shared.sizes[letter][0]

    def leave_out(self, pattern: str) -> None:
        """Count the keys that match a regular expression as understood: they have no effect."""
        compiled = re.compile(pattern)
        for name in self._shared.arrays:
            if name.startswith(self._prefix) and compiled.fullmatch(name[len(self._prefix) :]):
                self._shared.taken.add(name)

    def numbered(self, prefix: str) -> int:
        """How many groups ``prefix0``, ``prefix1``, ... of keys there are.

        Raises:
            UsageError: there is none, or one between them is missing.
        """
        start = re.compile(re.escape(self._prefix + prefix) + r"(\d+)(?:\.|$)")
        found = {int(m[1]) for m in map(start.match, self._shared.arrays) if m}
        first = f"{self._prefix}{prefix}0"
        self._shared.sought.add(first)
        require(bool(found), self._missing(f"{first}..."))
        gaps = sorted(set(range(max(found))) - found)
        require(not gaps, f"{self.source}: {self._prefix}{prefix}{gaps and gaps[0]} is missing")
        return len(found)

    @property
    def left(self) -> list[str]:
        """The names of the arrays that were not taken, of the whole checkpoint."""
        return sorted(set(self._shared.arrays) - self._shared.taken)

    def nearest_taken(self, name: str) -> str | None:
        """The key that the importer looked for whose name is nearest to ``name``."""
        near = difflib.get_close_matches(name, sorted(self._shared.sought), n=1, cutoff=0.5)
        return near[0] if near else None

    def _missing(self, name: str) -> str:
        left = self.left
        keys = suggest(name, left) if len(left) <= 12 or _near(name, left) else _some(left)
        return f"{self.source}: has no key {name!r}; {keys}"

    def _check_shape(self, name: str, found: tuple[int, ...], wanted: Shape) -> None:
        sizes = self._shared.sizes
        known = [sizes.get(w, (None, ""))[0] if isinstance(w, str) else w for w in wanted]
        fits = len(found) == len(wanted) and all(
            k is None or k == f for k, f in zip(known, found, strict=True)
        )
        if not fits:
            raise UsageError(self._wrong_shape(name, found, wanted))
        for letter, size in zip(wanted, found, strict=True):
            if isinstance(letter, str):
                sizes.setdefault(letter, (size, name))

    def _wrong_shape(self, name: str, found: tuple[int, ...], wanted: Shape) -> str:
        sizes = self._shared.sizes
        words = ", ".join(map(str, wanted)) + ("," if len(wanted) == 1 else "")
        letters = [w for w in wanted if isinstance(w, str) and w in sizes]
        known = [f"{w} = {sizes[w][0]} of {sizes[w][1]}" for w in dict.fromkeys(letters)]
        given = f", {' and '.join(known)}" if known else ""
        fitting = self._fitting(wanted)
        hint = f"; {fitting!r} has that shape" if fitting and known else ""
        return f"{self.source}: {name} has the shape {found}, but needs ({words}){given}{hint}"

    def _fitting(self, wanted: Shape) -> str | None:
        """An array that was not taken and has the wanted shape, if all of it is known."""
        sizes = self._shared.sizes
        if any(isinstance(w, str) and w not in sizes for w in wanted):
            return None
        shape = tuple(sizes[w][0] if isinstance(w, str) else w for w in wanted)
        names = self.left
        return next((n for n in names if tuple(self._shared.arrays[n].shape) == shape), None)


def _near(name: str, names: list[str]) -> bool:
    return bool(difflib.get_close_matches(name, names, n=1, cutoff=0.5))


def _some(names: list[str]) -> str:
    return f"it has {', '.join(map(repr, names[:4]))} and {len(names) - 4} more"
