"""The kernel of a recurrence with dense A; launched by ``dense``.

A program takes ROWS chunks of the signals that share one matrix, and goes through their steps side
by side: X = X A' + drive, a product (ROWS, N) x (N, N) for the tensor cores (3xTF32). The matrix is
loaded once, and stays in shared memory or registers for all steps. It runs twice: with STATES
false it writes what every chunk leaves from zero; then, from the states at the starts of chunks,
every state. Between the two, the starts of chunks are found by
:func:`ssmbench.scans.dense_states.dense_states` with A^T, in double precision. The adjoint is the
same kernel with the transposed matrix and direction -1.

No GPU was at hand: block sizes are reasoned from registers, and nothing is measured.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit(
    do_not_specialize=["length", "signals", "states", "chunk", "chunks", "direction", "pitch"]
)
def dense_states_kernel(
    matrix_ptr,  # (matrices, BLOCK_N, BLOCK_N): transposed, zeros beyond N
    drive_ptr,  # (G, L, R, N)
    start_ptr,  # (G, chunks, R, N): the state at the start of every chunk, only STATES
    out_ptr,  # (G, L + 1, R, N), out: all states; or (G, chunks, R, N): ends from zero
    length,  # L
    signals,  # R
    states,  # N
    chunk,  # steps of a chunk
    chunks,  # L // chunk whole ones, and with STATES the one that L is in
    direction,  # 1, or -1 to take the last step first
    pitch,  # between matrices: 0 where all groups share one
    STATES: tl.constexpr,
    BLOCK_N: tl.constexpr,
    ROWS: tl.constexpr,
):
    """ROWS chunks of one group, step by step."""
    tiles = tl.cdiv(chunks * signals, ROWS)
    program = tl.program_id(0)
    group = (program // tiles).to(tl.int64)
    row = program % tiles * ROWS + tl.arange(0, ROWS)
    n = tl.arange(0, BLOCK_N)[None, :]
    k = tl.arange(0, BLOCK_N)[:, None]
    there = row < chunks * signals
    part = row // signals
    signal = row % signals
    inside = there[:, None] & (n < states)
    matrix = tl.load(matrix_ptr + group * pitch + k * BLOCK_N + n)
    row_start = ((group * chunks + part) * signals + signal) * states
    x = tl.zeros((ROWS, BLOCK_N), tl.float32)
    if STATES:
        x = tl.load(start_ptr + row_start[:, None] + n, mask=inside, other=0.0)
    # step k reads drive[k] and leaves state k + 1; in reverse drive[L - 1 - k] and L - 1 - k
    top_drive = tl.where(direction < 0, length - 1, 0)
    top_state = tl.where(direction < 0, length, 0)
    for j in tl.range(0, chunk, num_stages=1):
        step = part * chunk + j
        running = inside & (step < length)[:, None]
        at = group * length + top_drive + direction * step
        drive = tl.load(
            drive_ptr + ((at * signals + signal) * states)[:, None] + n, mask=running, other=0.0
        )
        if STATES:
            to = group * (length + 1) + top_state + direction * step
            owned = inside & (step <= length)[:, None]
            tl.store(out_ptr + ((to * signals + signal) * states)[:, None] + n, x, mask=owned)
        x = tl.dot(x, matrix, acc=drive, input_precision="tf32x3")
    if not STATES:
        tl.store(out_ptr + row_start[:, None] + n, x, mask=inside)
