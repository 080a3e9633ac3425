"""The kernels of the delta rule; launched by ``delta``.

A program takes a group of one sequence and BLOCK_P of its channels, for which the states are a tile
(BLOCK_N, BLOCK_P) in registers, step after step: programs = B G P / BLOCK_P. The forward pass
writes the tile before every STRIDE-th step. The backward pass goes through these in reverse: from a
written state it computes the STRIDE tiles that follow once more, into memory of its own (``work``,
which stays in the cache), and then the adjoint through them,

    dm = r dy - e q' L,  L_half = L + q dm',  de = k' L_half,  L_held = L_half - g k de',
    dq = X_half dm - e L m,  dk = L_half e - g Z de,  du = w de,  df = L_held X,
    L_before = f L_held

for L the gradient of the state after the step, Z = f X. Sums over channels are written for each
block of channels and added afterwards. No GPU was at hand: block sizes are reasoned from registers,
and nothing is measured.
"""

from __future__ import annotations

import triton
import triton.language as tl

_SCALARS = ["rows", "length", "groups", "states", "width", "decays"]


@triton.jit
def load_step(row, n, key_ptr, query_ptr, decay_ptr, gates_ptr, states, decays):
    """k, q, f and the gates g, w, e, r of a step; zeros for states that are not there."""
    there = n < states
    k = tl.load(key_ptr + row * states + n, mask=there, other=0.0)
    q = tl.load(query_ptr + row * states + n, mask=there, other=0.0)
    f = tl.load(decay_ptr + row * decays + tl.minimum(n, decays - 1), mask=there, other=0.0)
    gates = gates_ptr + row * 4
    return k, q, f, tl.load(gates), tl.load(gates + 1), tl.load(gates + 2), tl.load(gates + 3)


@triton.jit
def along(key, tile):
    """k' X."""
    return tl.sum(key[:, None] * tile, axis=0)


@triton.jit
def step_through(x, v, k, q, f, g, w):
    """k' f X, what is written, X_half, and q' X_half."""
    z = f[:, None] * x
    held = along(k, z)
    e = w * v - g * held
    half = z + k[:, None] * e[None, :]
    return held, e, half, along(q, half)


@triton.jit(do_not_specialize=_SCALARS)
def delta_forward_kernel(
    u_ptr,  # (B, L, G, P)
    key_ptr,  # (B, L, G, N)
    query_ptr,  # (B, L, G, N)
    decay_ptr,  # (B, L, G, decays)
    gates_ptr,  # (B, L, G, 4): g, w, e, r
    start_ptr,  # (B, G, N, P)
    y_ptr,  # (B, L, G, P), out
    end_ptr,  # (B, G, N, P), out
    saved_ptr,  # (programs, chunks, BLOCK_N, BLOCK_P), out, only KEEP
    rows,  # B L G
    length,  # L
    groups,  # G
    states,  # N
    width,  # P
    decays,  # N or 1
    KEEP: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_P: tl.constexpr,
    STRIDE: tl.constexpr,
):
    """y, the state at the end, and the states before every STRIDE-th step."""
    program = tl.program_id(0)
    blocks = tl.cdiv(width, BLOCK_P)
    item = (program // blocks).to(tl.int64)
    first = (item // groups) * length * groups + item % groups
    n = tl.arange(0, BLOCK_N)
    p = program % blocks * BLOCK_P + tl.arange(0, BLOCK_P)
    here = p < width
    place = (item * states + n[:, None]) * width + p[None, :]
    there = (n[:, None] < states) & here[None, :]
    tile = n[:, None] * BLOCK_P + tl.arange(0, BLOCK_P)[None, :]
    saved = saved_ptr + program.to(tl.int64) * tl.cdiv(length, STRIDE) * BLOCK_N * BLOCK_P + tile
    x = tl.load(start_ptr + place, mask=there, other=0.0)
    for t in tl.range(0, length, num_stages=1):
        if KEEP and t % STRIDE == 0:
            tl.store(saved, x)
            saved += BLOCK_N * BLOCK_P
        row = first + t * groups
        k, q, f, g, w, e, r = load_step(
            row, n, key_ptr, query_ptr, decay_ptr, gates_ptr, states, decays
        )
        v = tl.load(u_ptr + row * width + p, mask=here, other=0.0)
        _, _, half, m = step_through(x, v, k, q, f, g, w)
        tl.store(y_ptr + row * width + p, r * m, mask=here)
        x = half - q[:, None] * (e * m)[None, :]
    tl.store(end_ptr + place, x, mask=there)


@triton.jit(do_not_specialize=_SCALARS)
def delta_backward_kernel(
    u_ptr,  # the inputs, as in the forward kernel
    key_ptr,
    query_ptr,
    decay_ptr,
    gates_ptr,
    saved_ptr,  # (programs, chunks, BLOCK_N, BLOCK_P): what the forward kernel wrote
    dy_ptr,  # (B, L, G, P)
    dend_ptr,  # (B, G, N, P)
    du_ptr,  # (B, L, G, P), out
    dkey_ptr,  # (blocks, B, L, G, N), out, as the next three
    dquery_ptr,
    ddecay_ptr,  # (blocks, B, L, G, N), of each state even where one decay is for all
    dgates_ptr,  # (blocks, B, L, G, 4)
    dstart_ptr,  # (B, G, N, P), out
    work_ptr,  # (programs, STRIDE, BLOCK_N, BLOCK_P)
    rows,
    length,
    groups,
    states,
    width,
    decays,
    BLOCK_N: tl.constexpr,
    BLOCK_P: tl.constexpr,
    STRIDE: tl.constexpr,
):
    """Gradients of all inputs; those of key, query, decay and gates by blocks of channels."""
    program = tl.program_id(0)
    blocks = tl.cdiv(width, BLOCK_P)
    chunks = tl.cdiv(length, STRIDE)
    item = (program // blocks).to(tl.int64)
    block = program % blocks
    first = (item // groups) * length * groups + item % groups
    n = tl.arange(0, BLOCK_N)
    p = block * BLOCK_P + tl.arange(0, BLOCK_P)
    here = p < width
    place = (item * states + n[:, None]) * width + p[None, :]
    there = (n[:, None] < states) & here[None, :]
    tile = n[:, None] * BLOCK_P + tl.arange(0, BLOCK_P)[None, :]
    saved = saved_ptr + program.to(tl.int64) * chunks * BLOCK_N * BLOCK_P + tile
    work = work_ptr + program.to(tl.int64) * STRIDE * BLOCK_N * BLOCK_P + tile
    lam = tl.load(dend_ptr + place, mask=there, other=0.0)
    for back in tl.range(0, chunks, num_stages=1):
        begin = (chunks - 1 - back) * STRIDE
        count = tl.minimum(STRIDE, length - begin)
        x = tl.load(saved + (chunks - 1 - back).to(tl.int64) * (BLOCK_N * BLOCK_P))
        for i in tl.range(0, count, num_stages=1):
            tl.store(work + i * (BLOCK_N * BLOCK_P), x)
            row = first + (begin + i) * groups
            k, q, f, g, w, e, r = load_step(
                row, n, key_ptr, query_ptr, decay_ptr, gates_ptr, states, decays
            )
            v = tl.load(u_ptr + row * width + p, mask=here, other=0.0)
            _, _, half, m = step_through(x, v, k, q, f, g, w)
            x = half - q[:, None] * (e * m)[None, :]
        tl.debug_barrier()  # what one thread has written to work, another may read
        for back_i in tl.range(0, count, num_stages=1):
            i = count - 1 - back_i
            row = first + (begin + i) * groups
            k, q, f, g, w, e, r = load_step(
                row, n, key_ptr, query_ptr, decay_ptr, gates_ptr, states, decays
            )
            v = tl.load(u_ptr + row * width + p, mask=here, other=0.0)
            dy = tl.load(dy_ptr + row * width + p, mask=here, other=0.0)
            x = tl.load(work + i * (BLOCK_N * BLOCK_P))
            held, written, half, m = step_through(x, v, k, q, f, g, w)
            ql = along(q, lam)
            dm = r * dy - e * ql
            dq = tl.sum(half * dm[None, :] - lam * (e * m)[None, :], axis=1)
            lam = lam + q[:, None] * dm[None, :]
            de = along(k, lam)
            dheld = -g * de
            dk = tl.sum(lam * written[None, :] + f[:, None] * x * dheld[None, :], axis=1)
            lam = lam + k[:, None] * dheld[None, :]
            df = tl.sum(lam * x, axis=1)
            lam = f[:, None] * lam
            tl.store(du_ptr + row * width + p, w * de, mask=here)
            share = block.to(tl.int64) * rows + row
            tl.store(dkey_ptr + share * states + n, dk, mask=n < states)
            tl.store(dquery_ptr + share * states + n, dq, mask=n < states)
            tl.store(ddecay_ptr + share * states + n, df, mask=n < states)
            tl.store(dgates_ptr + share * 4, -tl.sum(de * held, axis=0))
            tl.store(dgates_ptr + share * 4 + 1, tl.sum(de * v, axis=0))
            tl.store(dgates_ptr + share * 4 + 2, -tl.sum(m * ql, axis=0))
            tl.store(dgates_ptr + share * 4 + 3, tl.sum(dy * m, axis=0))
        tl.debug_barrier()  # all have read before the next chunk is written
    tl.store(dstart_ptr + place, lam, mask=there)
