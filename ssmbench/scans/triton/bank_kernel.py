"""The fused kernels of a bank of single-channel diagonal systems; launched by ``bank``.

**Structure.** Step by step, N states cost about 12 N flops a sample on the plain float32 units and
one long chain. Here time is cut in chunks of T samples, and u of one head is a matrix with chunks
for rows. Then everything but a short scan is a product of matrices, for the tensor cores
(the chunked form of arXiv 2405.21060, section 6, with the powers of a fixed lam in tables):

    E = U W                            (S, T) x (T, 2N): what a chunk adds to the state at its end
    X[s+1] = lam^T X[s] + E[s]         the states at the starts of chunks: S of them, not S T
    Y = U K + X V                      (S, T) x (T, T) and (S, 2N) x (2N, T)

which is 2 T + 8 N flops a sample, plus 8 N / T for the scan. With T = N = 64, 640 flops at a
third of an H100's TF32 rate (3xTF32 keeps float32 accuracy) should take less time than 768 on the
float32 units at full rate, and nothing waits for a chain of L steps. Memory moved a sample: 8 bytes
to read u twice, 4 for y, and 16 N / T to write X and read it again (the backward pass needs it
anyway). No GPU was at hand: block sizes are reasoned from registers, and nothing is measured.

**bank_states_kernel** does the first two lines. A program takes one head, one sequence and one
segment of its chunks, in tiles of ROWS rows. Row i is the border between chunks i - 1 and i: its
state needs the input of chunk i - 1 and is that at the start of chunk i. Where heads x sequences
are few there are several segments: first only their ends from zero are computed (STATES false),
then a scan of these gives their starts, then this again.

**bank_outputs_kernel** does the third line, for any rows of one head.

**The adjoint is the same kernels** with the chunks in reverse order (direction -1) and the tables
transposed: dX[s] = dY[s] V' + conj(lam^T) dX[s+1] and dU[s] = dY[s] K' + dX[s+1] W'. The state
that they keep beside chunk s is dX[s+1]. With it goes the gradient of lam^T, the sum of
dX[s+1] conj(X[s]); those of the other tables are products of dX[s+1] and X[s] with U and dY.

The scan is guarded, since |lam| > 1 to the power of a whole tile may be infinite.
"""

from __future__ import annotations

import triton
import triton.language as tl

from ssmbench.scans.triton.kernels import pick_row, then_complex_guarded


@triton.jit(
    do_not_specialize=[
        "heads",
        "sequences",
        "chunks",
        "segment",
        "segments",
        "direction",
        "inject_row",
    ]
)
def bank_states_kernel(
    u_ptr,  # (H, B, S, T)
    read_in_ptr,  # (H, T, 2, N): W, real and imaginary parts
    powers_ptr,  # (ROWS, H, N, 2): lam^T to the powers of 1 .. ROWS
    start_ptr,  # (H, B, segments, 2, N): the state at every segment's first row
    x_ptr,  # (H, B, S, 2, N), out: the state at the start of every chunk, only STATES
    end_ptr,  # (H, B, segments, 2, N), out: the state after every segment
    adjoint_ptr,  # as x_ptr: the states that the forward pass wrote, only WITH_DA
    da_ptr,  # (H, B, segments, 2, N), out: shares of the gradient of lam^T, only WITH_DA
    heads,  # H
    sequences,  # B
    chunks,  # S
    segment,  # chunks of a segment
    segments,
    direction,  # 1, or -1 to take the last chunk first
    inject_row,  # where start enters the first segment: 0, or 1 for a start after the first chunk
    STATES: tl.constexpr,
    WITH_DA: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_N: tl.constexpr,
    ROWS: tl.constexpr,
    SLICE: tl.constexpr,
    NUM_STAGES: tl.constexpr,
):
    """The states between chunks, over one segment."""
    program = tl.program_id(0)
    part = program % segments
    sequence = (program // segments).to(tl.int64)  # of all heads: h B + b
    copy = sequence // sequences
    r = tl.arange(0, ROWS)[:, None]
    n = tl.arange(0, BLOCK_N)[None, :]
    k = tl.arange(0, SLICE)
    read_in = read_in_ptr + copy * (2 * BLOCK_T * BLOCK_N) + k[:, None] * (2 * BLOCK_N) + n
    signal = u_ptr + sequence * chunks * BLOCK_T + k[None, :]
    powers = powers_ptr + copy * (2 * BLOCK_N) + 2 * n
    start = start_ptr + (sequence * segments + part) * (2 * BLOCK_N) + n
    start_re = tl.load(start)
    start_im = tl.load(start + BLOCK_N)
    start_row = tl.where(part == 0, inject_row, 0)
    top = tl.where(direction < 0, chunks - 1, 0)
    begin = part * segment
    count = tl.minimum(segment, chunks - begin)  # chunks of this segment; it has one row more
    a_re = tl.broadcast_to(tl.load(powers), (ROWS, BLOCK_N))
    a_im = tl.broadcast_to(tl.load(powers + 1), (ROWS, BLOCK_N))
    carry_re = tl.zeros((1, BLOCK_N), tl.float32)
    carry_im = tl.zeros((1, BLOCK_N), tl.float32)
    da_re = tl.zeros((1, BLOCK_N), tl.float32)
    da_im = tl.zeros((1, BLOCK_N), tl.float32)
    for first in tl.range(0, count + 1, ROWS, num_stages=1):
        row = first + r
        place = (top + direction * (begin + row)).to(tl.int64)  # of the chunk after the border
        arrived = (row >= 1) & (row <= count)
        rows = signal + (place - direction) * BLOCK_T
        e_re = tl.zeros((ROWS, BLOCK_N), tl.float32)
        e_im = tl.zeros((ROWS, BLOCK_N), tl.float32)
        for at in tl.range(0, BLOCK_T, SLICE, num_stages=NUM_STAGES):
            u = tl.load(rows + at, mask=arrived, other=0.0)
            w_re = tl.load(read_in + at * (2 * BLOCK_N))
            w_im = tl.load(read_in + at * (2 * BLOCK_N) + BLOCK_N)
            e_re = tl.dot(u, w_re, acc=e_re, input_precision="tf32x3")
            e_im = tl.dot(u, w_im, acc=e_im, input_precision="tf32x3")
        e_re += tl.where(row == start_row, start_re, 0.0)
        e_im += tl.where(row == start_row, start_im, 0.0)
        _, _, x_re, x_im = tl.associative_scan((a_re, a_im, e_re, e_im), 0, then_complex_guarded)
        p_re = tl.load(powers + r * heads * (2 * BLOCK_N))
        p_im = tl.load(powers + r * heads * (2 * BLOCK_N) + 1)
        zero = (carry_re == 0.0) & (carry_im == 0.0)
        x_re += tl.where(zero, 0.0, p_re * carry_re - p_im * carry_im)
        x_im += tl.where(zero, 0.0, p_re * carry_im + p_im * carry_re)
        last = tl.minimum(ROWS - 1, count - first)
        carry_re = pick_row(x_re, last, ROWS)
        carry_im = pick_row(x_im, last, ROWS)
        if STATES:
            x = (sequence * chunks + place) * (2 * BLOCK_N) + n
            tl.store(x_ptr + x, x_re, mask=row < count)
            tl.store(x_ptr + x + BLOCK_N, x_im, mask=row < count)
        if WITH_DA:
            s = adjoint_ptr + (sequence * chunks + place) * (2 * BLOCK_N) + n
            s_re = tl.load(s, mask=row < count, other=0.0)
            s_im = tl.load(s + BLOCK_N, mask=row < count, other=0.0)
            # Rows past the end may be infinite (|lam| > 1): select, do not multiply by zero.
            g_re = tl.where(row < count, x_re, 0.0)
            g_im = tl.where(row < count, x_im, 0.0)
            da_re += tl.sum(g_re * s_re + g_im * s_im, axis=0)[None, :]
            da_im += tl.sum(g_im * s_re - g_re * s_im, axis=0)[None, :]
    if WITH_DA:
        da = da_ptr + (sequence * segments + part) * (2 * BLOCK_N) + n
        tl.store(da, da_re)
        tl.store(da + BLOCK_N, da_im)
    end = end_ptr + (sequence * segments + part) * (2 * BLOCK_N) + n
    tl.store(end, carry_re)
    tl.store(end + BLOCK_N, carry_im)


@triton.jit(do_not_specialize=["chunks"])
def bank_outputs_kernel(
    u_ptr,  # (H, S, T), the chunks of all sequences
    x_ptr,  # (H, S, 2 N)
    toeplitz_ptr,  # (H, T, T): K, [input, output]
    read_out_ptr,  # (H, 2 N, T): V
    y_ptr,  # (H, S, T), out
    chunks,  # S
    BLOCK_T: tl.constexpr,
    BLOCK_N: tl.constexpr,
    ROWS: tl.constexpr,
    SLICE: tl.constexpr,
    NUM_STAGES: tl.constexpr,
):
    """Y = U K + X V for ROWS chunks of one head."""
    tiles = tl.cdiv(chunks, ROWS)
    program = tl.program_id(0)
    copy = (program // tiles).to(tl.int64)
    row = program % tiles * ROWS + tl.arange(0, ROWS)[:, None]
    valid = row < chunks
    t = tl.arange(0, BLOCK_T)[None, :]
    k = tl.arange(0, SLICE)
    place = copy * chunks + row
    toeplitz = toeplitz_ptr + copy * (BLOCK_T * BLOCK_T) + k[:, None] * BLOCK_T + t
    read_out = read_out_ptr + copy * (2 * BLOCK_N * BLOCK_T) + k[:, None] * BLOCK_T + t
    u_rows = u_ptr + place * BLOCK_T + k[None, :]
    x_rows = x_ptr + place * (2 * BLOCK_N) + k[None, :]
    y = tl.zeros((ROWS, BLOCK_T), tl.float32)
    for at in tl.range(0, BLOCK_T, SLICE, num_stages=NUM_STAGES):
        u = tl.load(u_rows + at, mask=valid, other=0.0)
        table = tl.load(toeplitz + at * BLOCK_T)
        y = tl.dot(u, table, acc=y, input_precision="tf32x3")
    for at in tl.range(0, 2 * BLOCK_N, SLICE, num_stages=NUM_STAGES):
        x = tl.load(x_rows + at, mask=valid, other=0.0)
        table = tl.load(read_out + at * BLOCK_T)
        y = tl.dot(x, table, acc=y, input_precision="tf32x3")
    tl.store(y_ptr + place * BLOCK_T + t, y, mask=valid)
