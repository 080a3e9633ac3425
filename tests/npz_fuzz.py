"""Seeded .npz files, most of them broken, and what ``ssmbench gain`` must do with each.

Each seed is one file: a kind of ``KINDS`` in turn, with random contents. The command exits with 0
and JSON on stdout, or with 2 and one line on stderr; nothing else is written.
"""

from __future__ import annotations

import io
import json
import random
import sys
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.captured import captured

Arrays = dict[str, np.ndarray]
KINDS: dict[str, Callable[[random.Random, np.random.Generator], bytes]] = {}

DTYPES = (
    *("f2", "f4", "f8", ">f8", "g", "c8", "c16", "G", "i1", ">i4", "i8", "u8", ">u2", "?"),
    *("S3", "U2", "S0", "U0", "V0", "V8", "M8[s]", "m8[D]", "O", "f4,i2", "(2,)f8"),
)
EXTREME = (0.0, -0.0, 5e-324, 1e-320, 2.3e-308, 1e-160, 1e-8, 1.0, 1e8, 1e160, 1.7e308, -1.7e308)
ODD_NAMES = (
    *("E.npy", "a.npy", "A", "A.npy", "x/A.npy", "../A.npy", "A.npy.npy", "x/", ".npy", "\n.npy"),
    *("A\x00.npy", "?.npy", "\xe9.npy", "\u2713.npy", "n" * 60_000),
)


def kind(function):
    KINDS[function.__name__] = function
    return function


def fuzzed(seed: int) -> tuple[str, bytes]:
    """The kind and the contents of a file."""
    name = list(KINDS)[seed % len(KINDS)]
    with warnings.catch_warnings():  # a name given twice, casts that overflow: on purpose
        warnings.simplefilter("ignore")
        return name, KINDS[name](random.Random(f"npz {seed}"), np.random.default_rng(seed))


# --- what files are made of ---------------------------------------------------------------------


def a_system(pick: random.Random, rng: np.random.Generator) -> Arrays:
    """Small, mostly stable, in either time domain, at times a bank, at times without states."""
    n, m, p = pick.randint(0, 5), pick.randint(1, 3), pick.randint(1, 3)
    bank = (pick.randint(1, 3),) if pick.random() < 0.3 else ()
    scale = pick.choice((0.3, 0.5, 1.0))
    arrays = {
        "A": scale * rng.standard_normal((*bank, n, n)),
        "B": rng.standard_normal((*bank, n, m)),
        "C": rng.standard_normal((*bank, p, n)),
        "D": rng.standard_normal((*bank, p, m)),
    }
    if pick.random() < 0.2:
        arrays = {
            key: value + 1j * rng.standard_normal(value.shape) for key, value in arrays.items()
        }
    if pick.random() < 0.5:
        arrays["dt"] = np.array(1.0)
    else:
        arrays["A"] = arrays["A"] - 1.5 * np.eye(n)
    return arrays


def npz(arrays: Arrays, compressed: bool = False) -> bytes:
    stream = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(stream, **arrays)
    return stream.getvalue()


def npy(array: np.ndarray, **options) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.asanyarray(array), **options)
    return stream.getvalue()


def archive(members: list[tuple[str, bytes]], compression: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as file:
        for name, content in members:
            file.writestr(name, content)
    return stream.getvalue()


def with_one_replaced(pick: random.Random, arrays: Arrays, content: bytes) -> bytes:
    """One member has other bytes than its array."""
    replaced = pick.choice(list(arrays))
    return archive(
        [(f"{key}.npy", content if key == replaced else npy(arrays[key])) for key in arrays],
        pick.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)),
    )


def header(text: str, data: bytes = bytes(32), version: tuple[int, int] = (1, 0)) -> bytes:
    encoded = text.encode("latin1", "replace")
    length = len(encoded).to_bytes(2 if version == (1, 0) else 4, "little")
    return b"\x93NUMPY" + bytes(version) + length + encoded + data


# --- files that are right -----------------------------------------------------------------------


@kind
def right(pick, rng) -> bytes:
    return npz(a_system(pick, rng), compressed=pick.random() < 0.5)


@kind
def other_layouts(pick, rng) -> bytes:
    """Fortran order, views with steps, arrays of one entry where a scalar is meant."""
    arrays = a_system(pick, rng)
    change = pick.choice((np.asfortranarray, lambda a: np.repeat(a, 2, -1)[..., ::2]))
    arrays = {key: change(value) for key, value in arrays.items()}
    if "dt" in arrays:
        arrays["dt"] = arrays["dt"].reshape(pick.choice(((), (1,), (1, 1))))
    return npz(arrays)


@kind
def extreme_values(pick, rng) -> bytes:
    """Denormals beside the largest doubles."""
    arrays = a_system(pick, rng)
    for key in pick.sample("ABCD", pick.randint(1, 4)):
        flat = arrays[key].reshape(-1)
        for place in range(flat.size):
            if pick.random() < 0.4:
                flat[place] = pick.choice(EXTREME)
        arrays[key] = flat.reshape(arrays[key].shape)
    return npz(arrays)


@kind
def extreme_units(pick, rng) -> bytes:
    """Each matrix in a unit of its own, from 1e-320 to 1e308."""
    arrays = a_system(pick, rng)
    for key in "ABCD":
        arrays[key] = arrays[key] * 10.0 ** pick.choice((0, 0, 0, -320, -160, -20, 20, 160, 305))
    return npz(arrays)


# --- wrong contents -----------------------------------------------------------------------------


@kind
def odd_types(pick, rng) -> bytes:
    arrays = a_system(pick, rng)
    for key in pick.sample(list(arrays), pick.randint(1, len(arrays))):
        arrays[key] = np.zeros(arrays[key].shape, dtype=np.dtype(pick.choice(DTYPES)))
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


@kind
def not_finite(pick, rng) -> bytes:
    arrays = a_system(pick, rng)
    key = pick.choice(list(arrays))
    arrays[key] = np.full(arrays[key].shape, pick.choice((np.nan, np.inf, -np.inf)))
    return npz(arrays)


@kind
def odd_shapes(pick, rng) -> bytes:
    arrays = a_system(pick, rng)
    for key in pick.sample(list(arrays), pick.randint(1, 3)):
        arrays[key] = np.ones([pick.randint(0, 3) for _ in range(pick.choice((0, 1, 2, 3, 4, 30)))])
    return npz(arrays)


@kind
def scalars(pick, rng) -> bytes:
    return npz({key: np.array(pick.choice(EXTREME)) for key in ("A", "B", "C", "D", "dt")})


@kind
def steps(pick, rng) -> bytes:
    """dt of any kind."""
    odd = (-1, np.nan, np.inf, 1j, "x", [], [1, 2], 1e308, 5e-324, True, None, 2**63, -0.0)
    return npz({**a_system(pick, rng), "dt": np.array(pick.choice(odd))})


@kind
def other_members(pick, rng) -> bytes:
    """Names that are wrong, missing, twice, of folders, very long, or in no encoding."""
    arrays = a_system(pick, rng)
    members = [(f"{key}.npy", npy(value)) for key, value in arrays.items()]
    for _ in range(pick.randint(1, 3)):
        change = pick.random()
        if change < 0.3:
            members.pop(pick.randrange(len(members)))
        elif change < 0.8:
            members.append((pick.choice(ODD_NAMES), pick.choice(members)[1]))
        else:
            members[pick.randrange(len(members))] = (pick.choice(ODD_NAMES), npy(np.eye(2)))
    return archive(members)


class Trap:
    """Unpickling it would end this process."""

    def __reduce__(self):
        return (exec, ("import os; os._exit(66)",))


@kind
def objects(pick, rng) -> bytes:
    trap = np.empty(pick.choice(((), (1,), (2, 2))), dtype=object)
    trap.fill(Trap())
    return with_one_replaced(pick, a_system(pick, rng), npy(trap, allow_pickle=True))


# --- wrong bytes --------------------------------------------------------------------------------


@kind
def huge_shapes(pick, rng) -> bytes:
    """Claims from gigabytes to far beyond any memory."""
    sizes = [
        pick.choice((0, 1, 2, 10**5, 2**31, 2**62, 2**63, 10**40))
        for _ in range(pick.randint(1, 4))
    ]
    descr = pick.choice(("<f8", "<c16", "|b1", "|O", "<U1000000000"))
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {tuple(sizes)}, }}"
    return with_one_replaced(pick, a_system(pick, rng), header(text))


@kind
def odd_headers(pick, rng) -> bytes:
    texts = (
        "", "{}", "[]", "None", "(" * 5000, "{" * 5000, "1" * 9999, "9" * 20_000,
        "0 or 1", "\x00" * 64,
        "{'descr': '<f8', 'fortran_order': 0, 'shape': (2, 2)}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': [2, 2]}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (2L, 2L)}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (2.0, 2)}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (-1, -4)}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (True, 4)}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (2, 2), 'more': 1}",
        "{'descr': '<f8', 'fortran_order': True, 'shape': (4, 1)}",
        "{'descr': '<f99', 'fortran_order': False, 'shape': (2, 2)}",
        "{'descr': [('x', '<f8')], 'fortran_order': False, 'shape': (2, 2)}",
        "{'descr': [('x', '\\\\d')], 'fortran_order': False, 'shape': (2, 2)}",
        "{'descr': ('<f8', (2, 2)), 'fortran_order': False, 'shape': (1,)}",
        "{'descr': __import__('os')._exit(66), 'fortran_order': False, 'shape': (2, 2)}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (2, 2)}" + " " * 20_000,
    )  # fmt: skip
    version = pick.choice(((1, 0), (1, 0), (2, 0), (3, 0), (9, 9)))
    text = pick.choice(texts)
    return with_one_replaced(pick, a_system(pick, rng), header(text, version=version))


@kind
def flipped_header(pick, rng) -> bytes:
    """One character of a right header is another one; the zip file around it is sound."""
    arrays = a_system(pick, rng)
    content = bytearray(npy(pick.choice(list(arrays.values()))))
    for _ in range(pick.randint(1, 3)):
        content[pick.randrange(128)] = pick.randrange(256)
    return with_one_replaced(pick, arrays, bytes(content))


@kind
def cut_short(pick, rng) -> bytes:
    whole = npz(a_system(pick, rng), compressed=pick.random() < 0.5)
    start, end = sorted((pick.randrange(len(whole)), pick.randrange(len(whole))))
    return pick.choice((whole[:end], whole[start:], whole[:start] + whole[end:]))


@kind
def flipped_bits(pick, rng) -> bytes:
    content = bytearray(npz(a_system(pick, rng), compressed=pick.random() < 0.5))
    for _ in range(pick.choice((1, 1, 3, 30))):
        content[pick.randrange(len(content))] ^= 1 << pick.randrange(8)
    return bytes(content)


@kind
def flipped_directory(pick, rng) -> bytes:
    """Bits of the zip file's own records: sizes, methods, flags, offsets."""
    content = bytearray(npz(a_system(pick, rng)))
    start = content.index(b"PK\x01\x02")
    for _ in range(pick.randint(1, 4)):
        content[pick.randrange(start, len(content))] ^= 1 << pick.randrange(8)
    return bytes(content)


@kind
def bytes_added(pick, rng) -> bytes:
    whole, more = npz(a_system(pick, rng)), rng.bytes(pick.randint(1, 200))
    return pick.choice(
        (more + whole, whole + more, whole + whole, whole[:300] + more + whole[300:])
    )


@kind
def other_compressions(pick, rng) -> bytes:
    members = [(f"{key}.npy", npy(value)) for key, value in a_system(pick, rng).items()]
    return archive(members, pick.choice((zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)))


@kind
def no_archives(pick, rng) -> bytes:
    bare, pickled = npy(np.eye(2)), b"\x80\x04N."
    cut = b"PK", b"PK\x05\x06" + bytes(18), b"\x93NUMPY"
    return pick.choice((b"", *cut, bare, pickled, rng.bytes(500), b"A = 1\n", b'{"A": 1}'))


# --- what the command must do -------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str
    warnings: tuple[str, ...] = ()


def ask(path: Path) -> Answer:
    """``ssmbench gain PATH --json`` in this process; a traceback has code 1."""
    from ssmbench import cli

    before, sys.argv = sys.argv, ["ssmbench", "gain", str(path), "--json"]
    code = 0
    with captured() as seen:
        try:
            cli.main()
        except SystemExit as stopped:
            code = stopped.code or 0
        except Exception as error:
            code = 1
            print(f"Traceback: {type(error).__name__}: {error}", file=sys.stderr)
        finally:
            sys.argv = before
    return Answer(code, seen.out, seen.err, tuple(dict.fromkeys(seen.warnings)))


def faults(answer: Answer) -> list[str]:
    """What is wrong with an answer; empty for one that is as it must be."""
    found = [f"a warning: {text}" for text in answer.warnings]
    if answer.code not in (0, 2):
        return [*found, f"code {answer.code}: {answer.err.strip()[-200:]}"]
    if answer.code == 2:
        lines = answer.err.splitlines()
        if len(lines) != 1 or answer.out:
            found.append(
                f"{len(lines)} lines on stderr, stdout {answer.out[:80]!r}: {answer.err[:300]}"
            )
        return found
    if answer.err:
        found.append(f"on stderr: {answer.err[:300]}")
    try:
        json.loads(answer.out, parse_constant=_refuse)
    except ValueError as error:
        found.append(f"not JSON: {error}: {answer.out[:120]!r}")
    return found


def _refuse(constant: str):
    raise ValueError(f"{constant} is not JSON")
