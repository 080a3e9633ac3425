"""Counting a kernel's instructions: the disassembly is read as what it says."""

from __future__ import annotations

from tests.tools import load_tool

#: What nvdisasm writes, shortened: a loop in a loop, a branch forwards, the guard and the padding.
CODE = """
.text.some_kernel:
        /*0000*/                   LDC R1, c[0x0][0x28] ;
        /*0010*/               @P0 BRA `(.L_x_2) ;
.L_x_0:
        /*0020*/                   LDG.E R2, desc[UR4][R2.64] ;
.L_x_1:
        /*0030*/                   HMMA.1688.F32.TF32 R4, R4, R6, R4 ;
        /*0040*/                   LDS R4, [R5] ;
        /*0050*/              @!P1 BRA `(.L_x_1) ;
        /*0060*/                   LDGDEPBAR ;
        /*0070*/              @!PT FFMA R1, R1, R1, R1 ;
        /*0080*/              @UP0 BRA `(.L_x_0) ;
.L_x_2:
        /*0090*/               @P0 STG.E desc[UR8][R8.64], R4 ;
        /*00a0*/                   EXIT ;
.L_x_3:
        /*00b0*/                   BRA `(.L_x_3);
        /*00c0*/                   NOP;
"""


def test_instructions_are_counted_without_the_padding():
    names, loops = load_tool("kernel_counts").instructions(CODE)
    assert len(names) == 11
    assert names[-1] == "EXIT"
    assert [(loop.first, loop.last) for loop in loops] == [(2, 8), (3, 5)]


def test_a_loop_has_its_own_instructions_only():
    tool = load_tool("kernel_counts")
    outer, inner = tool.loop_counts(*tool.instructions(CODE))
    assert (outer["depth"], outer["instructions"]) == (1, 4)
    assert outer["kinds"] == {"global read": 1, "barriers": 1, "float32": 1, "branches": 1}
    assert (inner["depth"], inner["instructions"]) == (2, 3)
    assert inner["kinds"] == {"tensor cores": 1, "shared": 1, "branches": 1}


def test_a_kind_is_that_of_the_longest_beginning():
    assert load_tool("kernel_counts").by_kind(["ATOM.E", "ATOMS.ADD", "IMAD"]) == {
        "global written": 1,
        "shared": 1,
        "other": 1,
    }
