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

**Signals are read where they lie**, (B, L, W) with the W channels next to each other, in their own
dtype. A program takes HEADS channels at once, as a batch of products, so that what it reads beside
each other is 16 bytes and no transposed copy is made. W is H, or H and up to three columns of
zeros: then all rows start at multiples of 16 bytes. The heads beyond H take the tables of the last.
The chunks are counted from the end of the signal: the first has ``padding`` zeros in front.

**bank_states_kernel** does the first two lines. A program takes HEADS heads, one sequence and one
segment of its chunks, in tiles of ROWS chunks. The state at the border after chunk i - 1 is that
at the start of chunk i. Where heads x sequences
are few there are several segments: first only their ends from zero are computed (STATES false),
then a scan of these gives their starts, then this again.

**bank_outputs_kernel** does the third line, for any rows of HEADS heads.

**The adjoint is the same kernels** with the chunks in reverse order (direction -1) and the tables
transposed: dX[s] = dY[s] V' + conj(lam^T) dX[s+1] and dU[s] = dY[s] K' + dX[s+1] W'. The state
that they keep beside chunk s is dX[s+1]. With it goes the gradient of lam^T, the sum of
dX[s+1] conj(X[s]); those of the other tables are products of dX[s+1] and X[s] with U and dY.

The scan has a guard (zero stays zero) where |lam| > 1 to the power of a whole tile is infinite.
Whether it is stands in the table of powers, whose last row a program reads anyway: where that is
finite, so are all powers before it, zero times them is zero, and the tile goes without the guard.
"""

from __future__ import annotations

import triton
import triton.language as tl

from ssmbench.scans.triton.kernels import then_complex, then_complex_guarded


@triton.jit
def _pick(tile, row, ROWS: tl.constexpr):
    """One row of every head (HEADS, 1, columns); selected, for the others may be infinite."""
    kept = tl.where(tl.arange(0, ROWS)[None, :, None] == row, tile, 0.0)
    return tl.sum(kept, axis=1, keep_dims=True)


@triton.jit(
    do_not_specialize=[
        "heads",
        "quads",
        "sequences",
        "chunks",
        "padding",
        "segment",
        "segments",
        "direction",
        "late",
    ]
)
def bank_states_kernel(
    u_ptr,  # (B, L, W), L = S T - padding
    read_in_ptr,  # (H, T, 2, N): W, real and imaginary parts
    powers_ptr,  # (ROWS, H, N, 2): lam^T to the powers of 1 .. ROWS
    start_ptr,  # (W, B, segments, 2, N): the state before every segment
    x_ptr,  # (W, B, S, 2, N), out: the state at the start of every chunk, only STATES
    end_ptr,  # (W, B, segments, 2, N), out: the state after every segment
    adjoint_ptr,  # (H, B, S, 2, N): the states that the forward pass wrote, only WITH_DA
    da_ptr,  # (W, B, segments, 2, N), out: shares of the gradient of lam^T, only WITH_DA
    heads,  # H
    quads,  # W / HEADS
    sequences,  # B
    chunks,  # S
    padding,  # zeros before the first chunk
    segment,  # chunks of a segment
    segments,
    direction,  # 1, or -1 to take the last chunk first
    late,  # 1 if the start of the first segment enters after its first chunk, not before it
    STATES: tl.constexpr,
    WITH_DA: tl.constexpr,
    HEADS: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_N: tl.constexpr,
    ROWS: tl.constexpr,
    SLICE: tl.constexpr,
    NUM_STAGES: tl.constexpr,
):
    """The states between chunks, over one segment."""
    program = tl.program_id(0)  # those of one sequence and segment are neighbours: they share lines
    first_head = program % quads * HEADS
    part = program // quads % segments
    sequence = (program // quads // segments).to(tl.int64)
    width = quads * HEADS
    length = chunks * BLOCK_T - padding
    h = tl.arange(0, HEADS)[:, None, None]
    r = tl.arange(0, ROWS)[None, :, None]
    n = tl.arange(0, BLOCK_N)[None, None, :]
    k = tl.arange(0, SLICE)
    copy = tl.minimum(first_head + h, heads - 1)  # whose tables are read
    read_in = read_in_ptr + copy.to(tl.int64) * (2 * BLOCK_T * BLOCK_N)
    read_in += k[None, :, None] * (2 * BLOCK_N) + n
    powers = powers_ptr + copy * (2 * BLOCK_N) + 2 * n
    signal = (first_head + h).to(tl.int64) * sequences + sequence  # h B + b
    start = start_ptr + (signal * segments + part) * (2 * BLOCK_N) + n
    start_re = tl.load(start)
    start_im = tl.load(start + BLOCK_N)
    is_late = tl.where(part == 0, late, 0) == 1
    now = tl.where(part == 0, 1 - late, 1) == 1
    top = tl.where(direction < 0, chunks - 1, 0)
    begin = part * segment
    count = tl.minimum(segment, chunks - begin)  # chunks of this segment
    a_re = tl.broadcast_to(tl.load(powers), (HEADS, ROWS, BLOCK_N))
    a_im = tl.broadcast_to(tl.load(powers + 1), (HEADS, ROWS, BLOCK_N))
    whole = powers + (ROWS - 1) * heads * (2 * BLOCK_N)
    largest = tl.maximum(tl.abs(tl.load(whole)), tl.abs(tl.load(whole + 1)))
    largest = tl.where(largest < 1e38, 0, 1)  # also of NaN
    guarded = tl.max(tl.max(tl.max(largest, 2), 1), 0) > 0
    carry_re = tl.where(now, start_re, 0.0)
    carry_im = tl.where(now, start_im, 0.0)
    opening = (signal * chunks + top + direction * begin) * (2 * BLOCK_N) + n
    if STATES:
        tl.store(x_ptr + opening, carry_re)
        tl.store(x_ptr + opening + BLOCK_N, carry_im)
    da_re = tl.zeros((HEADS, 1, BLOCK_N), tl.float32)
    da_im = tl.zeros((HEADS, 1, BLOCK_N), tl.float32)
    kept = adjoint_ptr + (copy.to(tl.int64) * sequences + sequence) * (chunks * 2 * BLOCK_N) + n
    if WITH_DA:
        first_re = tl.load(kept + (top + direction * begin) * (2 * BLOCK_N))
        first_im = tl.load(kept + (top + direction * begin) * (2 * BLOCK_N) + BLOCK_N)
        da_re += carry_re * first_re + carry_im * first_im
        da_im += carry_im * first_re - carry_re * first_im
    for first in tl.range(0, count, ROWS, num_stages=1):
        row = first + r
        chunk = top + direction * (begin + first)  # the tile's first
        place = chunk + direction * (r + 1)  # the chunk after each
        arrived = row < count
        inner = row + 1 < count
        time = chunk * BLOCK_T - padding  # of its first step
        rows = u_ptr + (sequence * length + time) * width + first_head
        e_re = tl.zeros((HEADS, ROWS, BLOCK_N), tl.float32)
        e_im = tl.zeros((HEADS, ROWS, BLOCK_N), tl.float32)
        for at in tl.range(0, BLOCK_T, SLICE, num_stages=NUM_STAGES):
            step = direction * r * BLOCK_T + at + k[None, None, :]
            seen = arrived & (time + step >= 0)
            u = tl.load(rows + (step * width + h), mask=seen, other=0.0).to(tl.float32)
            w_re = tl.load(read_in + at * (2 * BLOCK_N))
            w_im = tl.load(read_in + at * (2 * BLOCK_N) + BLOCK_N)
            e_re = tl.dot(u, w_re, acc=e_re, input_precision="tf32x3")
            e_im = tl.dot(u, w_im, acc=e_im, input_precision="tf32x3")
        e_re += tl.where((row == 0) & is_late, start_re, 0.0)
        e_im += tl.where((row == 0) & is_late, start_im, 0.0)
        if guarded:
            _, _, x_re, x_im = tl.associative_scan(
                (a_re, a_im, e_re, e_im), 1, then_complex_guarded
            )
        else:
            _, _, x_re, x_im = tl.associative_scan((a_re, a_im, e_re, e_im), 1, then_complex)
        p_re = tl.load(powers + r * heads * (2 * BLOCK_N))
        p_im = tl.load(powers + r * heads * (2 * BLOCK_N) + 1)
        zero = (carry_re == 0.0) & (carry_im == 0.0)
        x_re += tl.where(zero, 0.0, p_re * carry_re - p_im * carry_im)
        x_im += tl.where(zero, 0.0, p_re * carry_im + p_im * carry_re)
        last = tl.minimum(ROWS, count - first) - 1
        carry_re = _pick(x_re, last, ROWS)
        carry_im = _pick(x_im, last, ROWS)
        if STATES:
            x = (signal * chunks + place) * (2 * BLOCK_N) + n
            tl.store(x_ptr + x, x_re, mask=inner)
            tl.store(x_ptr + x + BLOCK_N, x_im, mask=inner)
        if WITH_DA:
            s_re = tl.load(kept + place * (2 * BLOCK_N), mask=inner, other=0.0)
            s_im = tl.load(kept + place * (2 * BLOCK_N) + BLOCK_N, mask=inner, other=0.0)
            # Rows past the end may be infinite (|lam| > 1): select, do not multiply by zero.
            g_re = tl.where(inner, x_re, 0.0)
            g_im = tl.where(inner, x_im, 0.0)
            da_re += tl.sum(g_re * s_re + g_im * s_im, axis=1, keep_dims=True)
            da_im += tl.sum(g_im * s_re - g_re * s_im, axis=1, keep_dims=True)
    if WITH_DA:
        da = da_ptr + (signal * segments + part) * (2 * BLOCK_N) + n
        tl.store(da, da_re)
        tl.store(da + BLOCK_N, da_im)
    end = end_ptr + (signal * segments + part) * (2 * BLOCK_N) + n
    tl.store(end, carry_re)
    tl.store(end + BLOCK_N, carry_im)


@triton.jit(do_not_specialize=["heads", "quads", "sequences", "chunks", "padding"])
def bank_outputs_kernel(
    u_ptr,  # (B, L, W), L = S T - padding
    x_ptr,  # (H, B, S, 2 N)
    toeplitz_ptr,  # (H, T, T): K, [input, output]
    read_out_ptr,  # (H, 2 N, T): V
    y_ptr,  # (B, L, W), out
    heads,  # H
    quads,  # W / HEADS
    sequences,  # B
    chunks,  # S
    padding,  # zeros before the first chunk
    HEADS: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_N: tl.constexpr,
    ROWS: tl.constexpr,
    SLICE: tl.constexpr,
    NUM_STAGES: tl.constexpr,
):
    """Y = U K + X V for ROWS chunks, of any sequences, of HEADS heads."""
    program = tl.program_id(0)
    first_head = program % quads * HEADS
    first = program // quads * ROWS
    width = quads * HEADS
    h = tl.arange(0, HEADS)[:, None, None]
    r = tl.arange(0, ROWS)[None, :, None]
    t = tl.arange(0, BLOCK_T)[None, None, :]
    k = tl.arange(0, SLICE)
    total = sequences * chunks
    valid = first + r < total
    opens = (first + r) % chunks == 0  # the rows that begin with zeros
    # Each sequence is shorter than its chunks: positions go back by padding at every one.
    before = first // chunks
    shift = r * BLOCK_T - ((first + r) // chunks - before) * padding
    at_first = first.to(tl.int64) * BLOCK_T - (before + 1).to(tl.int64) * padding
    offset = at_first * width + first_head
    copy = tl.minimum(first_head + h, heads - 1).to(tl.int64)  # whose tables are read
    toeplitz = toeplitz_ptr + copy * (BLOCK_T * BLOCK_T) + k[None, :, None] * BLOCK_T + t
    read_out = read_out_ptr + copy * (2 * BLOCK_N * BLOCK_T) + k[None, :, None] * BLOCK_T + t
    x_rows = x_ptr + (copy * total + first + r) * (2 * BLOCK_N) + k[None, None, :]
    y = tl.zeros((HEADS, ROWS, BLOCK_T), tl.float32)
    for at in tl.range(0, BLOCK_T, SLICE, num_stages=NUM_STAGES):
        step = at + k[None, None, :]
        seen = valid & (step >= tl.where(opens, padding, 0))
        u = tl.load(u_ptr + offset + ((shift + step) * width + h), mask=seen, other=0.0)
        table = tl.load(toeplitz + at * BLOCK_T)
        y = tl.dot(u.to(tl.float32), table, acc=y, input_precision="tf32x3")
    for at in tl.range(0, 2 * BLOCK_N, SLICE, num_stages=NUM_STAGES):
        x = tl.load(x_rows + at, mask=valid, other=0.0)
        table = tl.load(read_out + at * BLOCK_T)
        y = tl.dot(x, table, acc=y, input_precision="tf32x3")
    shown = valid & (t >= tl.where(opens, padding, 0))
    y = y.to(y_ptr.dtype.element_ty)
    tl.store(y_ptr + offset + ((shift + t) * width + h), y, mask=shown)
