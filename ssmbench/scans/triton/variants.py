"""Every compilation of a kernel that a launch may ask for: what the compile gate compiles."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ssmbench.scans.triton import sampling, tables
from ssmbench.scans.triton.blocks import BANK, DELTA, DENSE, SCAN, SELECTIVE


@dataclass(frozen=True)
class Variant:
    """One compilation of a kernel: its flags, blocks, and the pointers that are not float32."""

    kernel: str
    flags: Mapping[str, bool]
    constants: Mapping[str, float]
    options: Mapping[str, int | bool]
    half: tuple[str, ...] = ()


def scan_variants() -> Iterator[Variant]:
    """Every way in which ``linear_scan`` launches the states-written kernels."""
    for case, (wide, narrow) in SCAN.items():
        for blocks, aligned in ((wide, True), (narrow, True), (narrow, False)):
            for flags, half in _scan_flags(case):
                if flags["GUARD"] and (blocks is wide or aligned):
                    continue  # the scan of chunk ends is too short to be worth them
                flags = {"ALIGNED": aligned, **flags}
                constants, options = blocks.constants(), blocks.options()
                yield Variant(f"scan_{case}_kernel", flags, constants, options, half)


def _scan_flags(case: str) -> Iterator[tuple[dict[str, bool], tuple[str, ...]]]:
    """Flags, and which pointers are bfloat16: in the forward direction the inputs may be."""
    for varying, (states, with_da, guard) in itertools.product((False, True), _PHASES):
        flags = {"VARYING": varying, "STATES": states, "WITH_DA": with_da, "GUARD": guard}
        yield flags, ()
        if case == "real" and not (with_da or guard):
            yield flags, ("a_ptr", "b_ptr") if varying else ("b_ptr",)


#: STATES, WITH_DA, GUARD: the states, those of the adjoint with da, chunk ends, scan of chunk ends.
_PHASES = ((True, False, False), (True, True, False), (False, False, False), (True, False, True))


def bank_variants() -> Iterator[Variant]:
    """Every way in which ``bank_scan`` launches the fused kernels.

    u may be bfloat16 in the forward direction, and its gradient in the backward one (float16 makes
    the same code but for the conversion).
    """
    for blocks in BANK:
        for (states, with_da), half in _BANK_PHASES:
            flags = {"STATES": states, "WITH_DA": with_da}
            built = blocks.constants(blocks.states), blocks.options(blocks.states)
            yield Variant("bank_states_kernel", flags, *built, half)
        for half in ((), ("u_ptr",), ("y_ptr",)):
            built = blocks.constants(blocks.outputs), blocks.options(blocks.outputs)
            yield Variant("bank_outputs_kernel", {}, *built, half)


#: STATES and WITH_DA, and which pointers are bfloat16.
_BANK_PHASES = (
    ((True, False), ()),
    ((True, False), ("u_ptr",)),
    ((True, True), ()),
    ((False, False), ()),
    ((False, False), ("u_ptr",)),
)


def table_variants() -> Iterator[Variant]:
    """Every way in which the tables of a bank are made."""
    for blocks in BANK:
        for kernel in ("bank_tables_kernel", "bank_tables_backward_kernel"):
            yield Variant(kernel, {}, tables.constants(blocks), tables.options())


def delta_variants() -> Iterator[Variant]:
    """Every way in which the delta rule is launched."""
    for blocks in DELTA:
        built = blocks.constants(), blocks.options()
        for keep in (False, True):
            yield Variant("delta_forward_kernel", {"KEEP": keep}, *built)
        yield Variant("delta_backward_kernel", {}, *built)


def dense_variants() -> Iterator[Variant]:
    """Every way in which dense A is launched."""
    for blocks in DENSE:
        for states in (False, True):
            built = blocks.constants(), blocks.options()
            yield Variant("dense_states_kernel", {"STATES": states}, *built)


#: RULE and EULER: the numbers of ``systems.Rule``; Tustin's method has no Euler's input.
SELECTIVE_FORMS = ((0, False), (1, False), (1, True), (2, False), (2, True), (3, False))


def selective_variants() -> Iterator[Variant]:
    """Every way in which sampled systems are launched."""
    for blocks, (rule, euler) in itertools.product(SELECTIVE, SELECTIVE_FORMS):
        for kernel in ("selective_forward_kernel", "selective_backward_kernel"):
            constants = {**blocks.constants(), "RULE": rule}
            yield Variant(kernel, {"EULER": euler}, constants, blocks.options())


#: Rules with places of a stage: numbers of ``systems.Rule``, alpha and c.
SAMPLING_FORMS = ((1, 0.0, 0.0), (2, 0.5, 0.0), (2, 0.5, 0.5), (3, 0.0, 0.0))


def sampling_variants() -> Iterator[Variant]:
    """Every way in which diagonal systems are sampled, but for other places of a stage."""
    for numbers, inputs in itertools.product(SAMPLING_FORMS, (1, 2)):
        flags = {"OUTPUTS": sampling.has_outputs(numbers)}
        for kernel in ("sample_modes_kernel", "sample_modes_backward_kernel"):
            constants = sampling.constants(numbers, inputs)
            yield Variant(kernel, flags, constants, sampling.options())


def variants() -> Iterator[Variant]:
    """Everything that the compile gate compiles."""
    yield from scan_variants()
    yield from bank_variants()
    yield from table_variants()
    yield from delta_variants()
    yield from dense_variants()
    yield from selective_variants()
    yield from sampling_variants()
