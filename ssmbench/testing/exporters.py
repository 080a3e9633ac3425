"""Conformance checks of exporters: what is written computes what the network does."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ssmbench.errors import UsageError
from ssmbench.exporters.base import Exported, Exporter
from ssmbench.program import Builder, Program, stored_as
from ssmbench.program.reference import Network
from ssmbench.testing.report import NotApplicable, Subject

#: Relative difference from the reference in double precision that float32 may have.
_ROUNDING = 2e-5
_STEPS = 9
#: Characters that files of text treat in their own ways.
_WORDS = "a*/b /* \\ \" ü ??/ ' %s $x"


def builds(subject: Subject) -> None:
    """It can be built, and derives from Exporter."""
    exporter = subject.build()
    assert isinstance(exporter, Exporter), (
        "an exporter must derive from ssmbench.exporters.base.Exporter"
    )


def agrees_with_the_reference(subject: Subject) -> None:
    """Single steps, whole sequences and sequences in parts give the predictions and the states of
    the reference, for batches and lengths of any size."""
    programs = {"numbers": numbers(), "tokens": stored_as(tokens(), "int8")}
    for name, program in programs.items():
        with _exported(subject, program) as (network, _):
            _compare(network, program, name)


def weights_in_fewer_bits_agree(subject: Subject) -> None:
    """Matrices in float16 and in int8 count as the numbers that are stored."""
    for weights in ("float16", "int8"):
        program = stored_as(small(), weights)
        with _exported(subject, program) as (network, _):
            _compare(network, program, weights)


def every_file_keeps_the_metadata(subject: Subject) -> None:
    """The metadata are read back from its files, and there are no other files."""
    wanted = {**_metadata(small()), "words": _WORDS, "none": None, "list": [1, 0.1, {"a": "b"}]}
    with _exported(subject, small(), wanted) as (network, folder):
        found = dict(network.metadata)
        assert found == wanted, f"metadata {found}, not {wanted}"
        names = sorted(file.name for file in folder.iterdir())
        expected = sorted(f"network{ending}" for ending in subject.build().endings)
        assert names == expected, f"files {names}, not {expected}"


def another_file_is_refused(subject: Subject) -> None:
    """A file of something else, and an incomplete one, is refused with a sentence that names it."""
    exporter = _ready(subject)
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, f"other{ending}") for ending in exporter.endings]
        exporter.write(small(), _metadata(small()), files)
        halves = [content[: len(content) // 2] for content in (f.read_bytes() for f in files)]
        others = {
            "a file of something else": [b"nothing that was exported"] * len(files),
            "an empty file": [b""] * len(files),
            "a file of random bytes": [bytes(range(256))] * len(files),
            "half of a file": halves,
        }
        for what, contents in others.items():
            for file, content in zip(files, contents, strict=True):
                file.write_bytes(content)
            message = _refusal(exporter, files)
            assert message, f"{what} is read as a network"
            assert "other" in message, f"the refusal of {what} does not name it: {message}"


def _refusal(exporter: Exporter, files: list[Path]) -> str:
    """The sentence with which files are refused; "" if they are not."""
    try:
        exporter.read(files)
    except UsageError as error:
        return str(error)
    return ""


# --- programs with every operation ---------------------------------------------------------------


@cache
def numbers() -> Program:
    """A network with a prediction at every step and all operations on numbers."""
    random, to = np.random.default_rng(1), Builder(3)
    x = to.affine(0, random.standard_normal((6, 3)), random.standard_normal(6))
    x = to.scale(to.standardise(x, 1e-5), random.standard_normal(6), random.standard_normal(6))
    x = to.add(x, to.pointwise(_modes(to, x, random, complex_=True), "gelu"))
    x = to.add(x, to.pointwise(_dense(to, x, random), "tanh"))
    x = to.sort_pairs(to.root_mean_square(x, 0.5))
    x = to.convolution(x, random.standard_normal((6, 3)), random.standard_normal(6))
    gate = to.pointwise(to.affine(x, random.standard_normal((6, 6))), "sigmoid")
    x = to.multiply(to.pointwise(x, "silu"), gate)
    x = to.add(x, _selected(to, x, random))
    parts = to.slice(x, 0, 5, 2), to.slice(x, 3, 6)
    x = to.pointwise(to.concat(*parts), "gelu_tanh")
    return to.program(to.affine(x, random.standard_normal((2, 6))), per_step=True)


@cache
def tokens() -> Program:
    """A network of tokens with one prediction of all steps, from a state that is not zero."""
    random, to = np.random.default_rng(2), Builder(1, vocabulary=5)
    x = to.lookup(0, random.standard_normal((5, 4)))
    x = to.pointwise(_modes(to, x, random, complex_=False), "relu")
    pooled = to.concat(to.mean(x, "mean"), to.mean(x, "unit"))
    return to.program(to.affine(pooled, random.standard_normal((3, 8))), per_step=False)


@cache
def small() -> Program:
    """A network of one matrix, with rows long enough for a scale of each, and a short memory."""
    random, to = np.random.default_rng(3), Builder(9)
    x = to.affine(0, random.standard_normal((2, 9)), random.standard_normal(2))
    return to.program(to.convolution(x, random.standard_normal((2, 2))), per_step=True)


def _modes(to: Builder, x: int, random: np.random.Generator, complex_: bool) -> int:
    """Heads of one input and one output, each with 3 modes."""
    width, states = to.width(x), 3
    lam = 0.9 * np.exp(1j * random.uniform(0.3, 2, (width, states)))
    shapes = {"B": (width, states, 1), "C": (width, 1, states)}
    arrays = {"lam_re": lam.real if complex_ else np.abs(lam.real)}
    arrays |= {f"{k}_re": random.standard_normal(shape) for k, shape in shapes.items()}
    if complex_:
        arrays["lam_im"] = lam.imag
        arrays |= {f"{k}_im": random.standard_normal(shape) for k, shape in shapes.items()}
    arrays["D"] = random.standard_normal((width, 1, 1))
    initial = random.standard_normal((2 if complex_ else 1) * width * states)
    return to.add_operation("diagonal", (x,), width, arrays, initial)


def _selected(to: Builder, x: int, random: np.random.Generator) -> int:
    """Two groups of three channels, whose matrices of four modes the input selects."""
    z = to.affine(x, random.standard_normal((24, 6)))
    lam, write, read = (to.slice(z, k, k + 8) for k in (0, 8, 16))
    B, C = to.pointwise(write, "sin"), to.unit(read, 4)
    D = to.sum_groups(to.multiply(B, C), 4)
    initial = random.standard_normal(24)
    return to.varying(x, (to.pointwise(lam, "cos"), B, C, D), initial, groups=2, gain=None)


def _dense(to: Builder, x: int, random: np.random.Generator) -> int:
    """Two heads of three inputs, three outputs and four states."""
    arrays = {
        "A": 0.4 * random.standard_normal((2, 4, 4)),
        "B": random.standard_normal((2, 4, 3)),
        "C": random.standard_normal((2, 3, 4)),
        "D": random.standard_normal((2, 3, 3)),
    }
    return to.add_operation("dense", (x,), 6, arrays, np.zeros(8))


# --- running them -------------------------------------------------------------------------------


def _metadata(program: Program) -> dict[str, Any]:
    return {"output": {"per": "step" if program.per_step else "sequence"}}


def _ready(subject: Subject) -> Exporter:
    exporter = subject.build()
    if exporter.missing():
        raise NotApplicable(f"it {exporter.missing()}")
    return exporter


@contextmanager
def _exported(
    subject: Subject, program: Program, metadata: Mapping[str, Any] | None = None
) -> Iterator[tuple[Exported, Path]]:
    """The program as it is written and read again, and the folder of its files."""
    exporter = _ready(subject)
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, f"network{ending}") for ending in exporter.endings]
        exporter.write(program, metadata or _metadata(program), files)
        yield exporter.read(files), Path(folder)


def _compare(network: Exported, program: Program, name: str) -> None:
    exact = Network(program.description(), program.arrays(), np.float64)
    for batch in (1, 3):
        u = _input(program, batch)
        last = exact.initial(batch)
        y, last = exact.sequence(u, last)
        whole, state = network.sequence(u)
        _require_equal(whole, y, f"{name}: the sequence")
        _require_equal(state, last, f"{name}: the state after the sequence")
        _compare_steps(network, exact, u, name)


def _compare_steps(network: Exported, exact: Network, u: np.ndarray, name: str) -> None:
    """Three single steps, then the rest as a sequence."""
    state, wanted = network.initial(len(u)), exact.initial(len(u))
    for k in range(3):
        y, state = network.step(u[:, k], state)
        z, wanted = exact.step(u[:, k], wanted)
        _require_equal(y, z, f"{name}: step {k}")
    y, state = network.sequence(u[:, 3:], state)
    z, wanted = exact.sequence(u[:, 3:], wanted)
    _require_equal(y, z, f"{name}: a sequence from a state")
    _require_equal(state, wanted, f"{name}: the state after a sequence from a state")


def _input(program: Program, batch: int) -> np.ndarray:
    random = np.random.default_rng(batch)
    if program.vocabulary is not None:
        return random.integers(program.vocabulary, size=(batch, _STEPS + batch))
    shape = (batch, _STEPS + batch, program.width)
    return random.standard_normal(shape).astype(np.float32)


def _require_equal(found: np.ndarray, wanted: np.ndarray, what: str) -> None:
    shapes = tuple(found.shape), tuple(wanted.shape)
    assert shapes[0] == shapes[1], f"{what} has the shape {shapes[0]}, not {shapes[1]}"
    difference = float(np.abs(found - wanted).max(initial=0.0))
    allowed = _ROUNDING * max(1.0, float(np.abs(wanted).max(initial=0.0)))
    assert difference <= allowed, f"{what} differs by {difference:.3g} from the reference"


CHECKS = (
    builds,
    agrees_with_the_reference,
    weights_in_fewer_bits_agree,
    every_file_keeps_the_metadata,
    another_file_is_refused,
)
