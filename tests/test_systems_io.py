"""Reading a system from a file that a person wrote, or somebody hostile."""

from __future__ import annotations

import io
import os
import re
import tracemalloc
import warnings
import zipfile

import numpy as np
import pytest
import torch

from ssmbench.errors import UsageError
from ssmbench.systems import ContinuousDense, DiscreteDense
from ssmbench.systems.io import load_system

GOOD = {
    "A": np.array([[0.5, 0.1], [0.0, -0.3]]),
    "B": np.ones((2, 1)),
    "C": np.ones((1, 2)),
    "D": np.zeros((1, 1)),
}


# --- files that are right ----------------------------------------------------------------------


def saved(tmp_path, **arrays):
    path = tmp_path / "system.npz"
    np.savez(path, **arrays)
    return path


def test_time_domain_by_dt(tmp_path):
    assert isinstance(load_system(saved(tmp_path, **GOOD)), ContinuousDense)
    assert isinstance(load_system(saved(tmp_path, **GOOD, dt=0)), ContinuousDense)
    for dt in (0.01, 1, np.array([[2.0]])):
        assert isinstance(load_system(saved(tmp_path, **GOOD, dt=dt)), DiscreteDense)


def test_single_channel_short_forms(tmp_path):
    short = {**GOOD, "B": np.array([1, 2]), "C": np.array([3, 4]), "D": 5, "dt": 1}
    system = load_system(saved(tmp_path, **short))
    assert system.B[0].tolist() == [[1], [2]]
    assert system.C[0].tolist() == [[3, 4]]
    assert system.D[0].tolist() == [[5]]
    assert system.B.dtype == torch.float64


def test_bank_and_complex_matrices(tmp_path):
    bank = {key: np.stack([value, 2 * value, 3 * value]) for key, value in GOOD.items()}
    bank["A"] = bank["A"] + 0j
    system = load_system(saved(tmp_path, **bank, dt=1))
    assert system.heads == 3
    assert system.A.dtype == torch.complex128
    assert torch.equal(system.B[2], torch.full((2, 1), 3.0, dtype=torch.float64))


def test_static_gains(tmp_path):
    D = np.array([[1.0, 2.0], [0.0, 3.0], [1.0, 1.0]])
    empty = {"A": np.zeros((0, 0)), "B": np.zeros((0, 2)), "C": np.zeros((3, 0)), "D": D}
    for arrays in (empty, {"D": D}):
        system = load_system(saved(tmp_path, **arrays, dt=1))
        assert (system.states, system.inputs, system.outputs) == (0, 2, 3)
        assert system.frequency_response(torch.zeros(1))[0, 0].tolist() == (D + 0j).tolist()
    assert isinstance(load_system(saved(tmp_path, D=2.5)), ContinuousDense)
    assert load_system(saved(tmp_path, D=np.ones((4, 1, 1)))).heads == 4


@pytest.mark.parametrize("dtype", ["f2", ">f4", "f8", "g", "i1", "u8", "c8", "G"])
def test_every_type_of_number(tmp_path, dtype):
    arrays = {key: np.asfortranarray(2 * value).astype(dtype) for key, value in GOOD.items()}
    system = load_system(saved(tmp_path, **arrays))
    assert system.A.dtype == (torch.complex128 if dtype in "c8G" else torch.float64)
    assert torch.equal(system.A[0], torch.from_numpy(arrays["A"].astype(system.A.numpy().dtype)))


def test_denormal_numbers_are_kept(tmp_path):
    assert load_system(saved(tmp_path, D=5e-324)).D.item() == 5e-324


# --- files that are wrong ----------------------------------------------------------------------

WRONG = {
    "missing D": ({"D": None}, r"missing D \(found: A, B, C\)"),
    "missing several": ({"A": None, "C": None}, r"missing A, C"),
    "unknown key": ({"step": 1.0}, r"unknown key 'step'; known: A, B, C, D, dt"),
    "A not square": ({"A": np.ones((2, 3))}, r"A has shape \(2, 3\).*must be \(2, 2\)"),
    "A a vector": ({"A": np.ones(2)}, r"A has shape \(2,\); allowed: \(N, N\)"),
    "B too tall": ({"B": np.ones((3, 1))}, r"B has shape \(3, 1\).*N=2.*must be \(2, 1\)"),
    "B too short, one channel": ({"B": np.ones(3)}, r"B has shape \(3, 1\).*must be \(2, 1\)"),
    "C transposed": ({"C": np.ones((2, 1))}, r"C has shape \(2, 1\).*must be \(2, 2\)"),
    "D misfit": ({"D": np.ones((2, 2))}, r"D has shape \(2, 2\).*must be \(1, 1\)"),
    "D a vector": ({"D": np.ones(1)}, r"D has shape \(1,\); allowed: \(p, m\) or a scalar"),
    "bank for A alone": ({"A": np.ones((3, 2, 2))}, r"B has shape \(2, 1\); allowed: \(H, N, m\)"),
    "bank for B alone": ({"B": np.ones((3, 2, 1))}, r"B has shape \(3, 2, 1\); allowed: \(N, m\)"),
    "no inputs": ({"B": np.ones((2, 0)), "D": np.ones((1, 0))}, r"B is empty, shape \(2, 0\)"),
    "no outputs": ({"C": np.ones((0, 2)), "D": np.ones((0, 1))}, r"C is empty, shape \(0, 2\)"),
    "no heads": ({k: v[None][:0] for k, v in GOOD.items()}, r"A is empty, shape \(0, 2, 2\)"),
    "no D and no states": ({"A": None, "B": None, "C": None, "D": None, "dt": 1.0}, "missing A, B"),
    "D alone, a vector": ({"A": None, "B": None, "C": None, "D": np.ones(2)}, r"shape \(2,\)"),
    "too small for a double": (
        {"D": np.full((1, 1), np.longdouble("1e-4000"))},
        r"D holds 1 entries too small for double precision",
    ),
    "records": ({"B": np.zeros((2, 1), dtype=[("x", float)])}, r"B has dtype \[\('x'"),
    "dates": ({"B": np.zeros((2, 1), dtype="datetime64[s]")}, r"B has dtype datetime64"),
    "a name of many letters": ({"b" * 10_000: 1.0}, r"unknown key '(b){40}'; known: A, B"),
    "NaN": ({"A": np.array([[np.nan, 1], [np.inf, 0]])}, r"A holds 2 NaN or infinite of 4"),
    "too large for a double": (
        {"D": np.full((1, 1), np.longdouble("1e4000"))},
        r"D holds 1 NaN or",
    ),
    "text": ({"C": np.array([["a", "b"]])}, r"C has dtype <U1; allowed: integers, real"),
    "booleans": ({"A": np.eye(2, dtype=bool)}, r"A has dtype bool; allowed"),
    "objects": ({"B": np.array([[None], [1]], dtype=object)}, r"B is an array of Python objects"),
    "negative dt": ({"dt": -0.1}, r"dt is -0\.1; allowed: 0"),
    "complex dt": ({"dt": 1j}, r"dt is 1j; allowed: 0"),
    "many dt": ({"dt": np.ones(2)}, r"dt has shape \(2,\); allowed: one number"),
    "NaN dt": ({"dt": np.nan}, r"dt holds 1 NaN or infinite of 1"),
}


def refused(path, pattern: str) -> None:
    """One line that names the file and says what is wrong."""
    with pytest.raises(UsageError) as caught:
        load_system(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(path))
    assert re.search(pattern, message), message


@pytest.mark.parametrize("case", WRONG)
def test_wrong_contents(tmp_path, case):
    change, pattern = WRONG[case]
    arrays = {key: value for key, value in {**GOOD, **change}.items() if value is not None}
    refused(saved(tmp_path, **arrays), pattern)


def test_wrong_files(tmp_path):
    refused(tmp_path / "absent.npz", "no such file")
    refused(tmp_path, "cannot be read")
    text, empty, bare = (tmp_path / name for name in ("text.npz", "empty.npz", "bare.npz"))
    text.write_text("A = 1")
    empty.write_bytes(b"")
    with bare.open("wb") as file:
        np.save(file, np.eye(2))
    refused(text, "not a NumPy .npz archive")
    refused(empty, "not a NumPy .npz archive")
    refused(bare, "one bare array")


def test_damaged_archives(tmp_path):
    path = tmp_path / "damaged.npz"
    np.savez_compressed(path, **GOOD)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    refused(path, "not a NumPy .npz archive")
    path.write_bytes(whole[:60] + bytes(80) + whole[140:])
    refused(path, "damaged|not a NumPy")


def test_pickles_are_never_loaded(tmp_path):
    """Unpickling runs code that the file names: here it would create a second file."""
    trace = tmp_path / "trace"

    class Trap:
        def __reduce__(self):
            return (open, (str(trace), "w"))

    trap = np.empty((1, 1), dtype=object)
    trap[0, 0] = Trap()
    refused(saved(tmp_path, **{**GOOD, "D": trap}), "never unpickled")
    assert not trace.exists()


# --- hostile files ------------------------------------------------------------------------------


def archive(tmp_path, members, **options):
    """A zip file of (name, bytes) as they are."""
    path = tmp_path / "made.npz"
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", **options) as file:
        warnings.simplefilter("ignore")  # of a name given twice
        for name, content in members:
            file.writestr(name, content)
    return path


def npy(array=None, header: str | None = None, version: bytes = b"\x01\x00") -> bytes:
    """An array as numpy.save writes it, or any header with 32 bytes behind it."""
    if header is None:
        stream = io.BytesIO()
        np.save(stream, array)
        return stream.getvalue()
    text = header.encode("latin1")
    return b"\x93NUMPY" + version + len(text).to_bytes(2, "little") + text + bytes(32)


def with_A(content: bytes):
    return [("A.npy", content), *((f"{key}.npy", npy(GOOD[key])) for key in "BCD")]


CLAIMS = {
    "80 GB": ("{'descr': '<f8', 'fortran_order': False, 'shape': (100000, 100000)}", "80000000000"),
    "beyond any memory": (
        f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({10**40}, 1)}}",
        "but the file holds 32",
    ),
    "less than there is": ("{'descr': '<f8', 'fortran_order': False, 'shape': (1, 1)}", "holds 32"),
    "a negative size": ("{'descr': '<f8', 'fortran_order': False, 'shape': (-2, -2)}", "damaged"),
    "truth as a size": ("{'descr': '<f8', 'fortran_order': False, 'shape': (True, 4)}", "damaged"),
    "65 dimensions": (
        f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({'1,' * 64} 4,)}}",
        "damaged",
    ),
    "no such type": ("{'descr': '<q9', 'fortran_order': False, 'shape': (2, 2)}", "damaged"),
    "nested deeply": ("(" * 9000, "damaged"),
    "an expression": ("__import__('os').abort()", "damaged"),
    "nothing": ("", "damaged"),
    "a header of Python 2": ("{'descr': '<f8', 'fortran_order': False, 'shape': (9L, 9L)}", "648"),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("case", CLAIMS)
def test_headers_that_claim_what_is_not_there(tmp_path, case):
    header, pattern = CLAIMS[case]
    refused(archive(tmp_path, with_A(npy(header=header))), pattern)


def test_no_memory_is_taken_for_what_is_only_claimed(tmp_path):
    """A zip bomb: 2 GiB of zeros in 2 MB."""
    header = npy(header=f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({2**14}, {2**14})}}")
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        with file.open("A.npy", "w", force_zip64=True) as stream:
            stream.write(header[:-32])
            for _ in range(2**7):
                stream.write(bytes(2**24))
        for key in "BCD":
            file.writestr(f"{key}.npy", npy(GOOD[key]))
    tracemalloc.start()
    refused(path, r"A takes 2\.0 GiB \(shape \(16384, 16384\)\); allowed: at most 1 GiB")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 2**22


def test_memory_that_is_not_there(tmp_path, monkeypatch):
    def none_left(*_):
        raise MemoryError

    monkeypatch.setattr(np, "frombuffer", none_left)
    refused(saved(tmp_path, **GOOD), "A does not fit into memory")


def test_members_that_are_not_arrays_of_the_system(tmp_path):
    good = with_A(npy(GOOD["A"]))
    refused(archive(tmp_path, [*good, ("A.npy", npy(GOOD["B"]))]), "holds A twice")
    refused(archive(tmp_path, [*good, ("notes.txt", b"")]), "unknown key 'notes.txt'")
    refused(archive(tmp_path, [("A", npy(GOOD["A"])), *good[1:]]), "unknown key 'A'")
    refused(archive(tmp_path, good, compression=zipfile.ZIP_BZIP2), "by a method that NumPy does")
    refused(archive(tmp_path, with_A(npy(header="x", version=b"\x09\x00"))), "A is damaged")


def test_an_archive_that_needs_a_password(tmp_path):
    path = archive(tmp_path, with_A(npy(GOOD["A"])))
    content = bytearray(path.read_bytes())
    for mark, place in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        content[content.index(mark) + place] |= 1
    path.write_bytes(content)
    refused(path, "A is damaged")


def test_a_pipe_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.npz")
    refused(tmp_path / "pipe.npz", "is a pipe")
