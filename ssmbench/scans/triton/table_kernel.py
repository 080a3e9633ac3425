"""Kernels of the tables of a bank: a program is a head, and its sums are of double precision.

Powers are formed by squaring, so that zero is no special case and the error of lam^t does not grow
with t. Pointers whose names end in ``_f64_ptr`` are of float64, complex numbers are pairs.
"""

import triton
import triton.language as tl


@triton.jit
def times(ar, ai, br, bi):
    """The product of complex numbers."""
    return ar * br - ai * bi, ar * bi + ai * br


@triton.jit
def against(ar, ai, br, bi):
    """a conj(b)."""
    return ar * br + ai * bi, ai * br - ar * bi


@triton.jit
def load_pair(pointer, at, used):
    """Complex numbers at even places ``at``, in double precision; zero where not used."""
    re = tl.load(pointer + at, mask=used, other=0.0).to(tl.float64)
    return re, tl.load(pointer + at + 1, mask=used, other=0.0).to(tl.float64)


@triton.jit
def store_pair(pointer, at, re, im, used):
    tl.store(pointer + at, re, mask=used)
    tl.store(pointer + at + 1, im, mask=used)


@triton.jit
def _powers(exponent, ar, ai, BITS: tl.constexpr):
    """a^exponent for 0 <= exponent < 2^BITS, and a^(2^BITS)."""
    pr, pi = exponent * 0 + ar * 0 + 1.0, exponent * 0 + ar * 0
    for bit in tl.static_range(BITS):  # pyright: ignore[reportGeneralTypeIssues]
        taken = ((exponent >> bit) & 1) == 1
        qr, qi = times(pr, pi, ar, ai)
        pr, pi = tl.where(taken, qr, pr), tl.where(taken, qi, pi)
        ar, ai = times(ar, ai, ar, ai)
    return pr, pi, ar, ai


@triton.jit(do_not_specialize=["modes", "factor", "direct"])
def bank_tables_kernel(
    lam_ptr,
    B_ptr,
    C_ptr,
    D_ptr,
    chunk_f64_ptr,
    read_in_ptr,
    toeplitz_ptr,
    read_out_ptr,
    modes,
    factor,
    direct,
    BLOCK_T: tl.constexpr,
    BLOCK_N: tl.constexpr,
    TILE: tl.constexpr,
    BITS: tl.constexpr,
):
    """lam^T (H, N), lam^(T-1-t) B (H, T, 2, N), D and the Markov parameters (H, T, T), C lam^t
    (H, 2, N, T), of ``modes`` of N modes; C is multiplied by ``factor`` and D by ``direct``."""
    head = tl.program_id(0)
    t = tl.arange(0, BLOCK_T)
    steps = t[:, None]
    markov = tl.zeros((BLOCK_T,), dtype=tl.float64)
    for first in range(0, BLOCK_N, TILE):
        n = first + tl.arange(0, TILE)
        used = n < modes
        at = 2 * (head * modes + n)
        lr, li = load_pair(lam_ptr, at, used)
        br, bi = load_pair(B_ptr, at, used)
        cr, ci = load_pair(C_ptr, at, used)
        cr, ci = cr * factor, ci * factor
        pr, pi, er, ei = _powers(steps, lr[None, :], li[None, :], BITS)
        column = n[None, :]
        store_pair(chunk_f64_ptr, 2 * (head * BLOCK_N + column), er, ei, column < BLOCK_N)
        wr, wi = times(pr, pi, br[None, :], bi[None, :])
        into = read_in_ptr + (head * BLOCK_T + BLOCK_T - 1 - steps) * 2 * BLOCK_N + column
        tl.store(into, wr)
        tl.store(into + BLOCK_N, wi)
        vr, vi = times(pr, pi, cr[None, :], ci[None, :])
        out = read_out_ptr + (head * 2 * BLOCK_N + column) * BLOCK_T + steps
        tl.store(out, vr)
        tl.store(out + BLOCK_N * BLOCK_T, -vi)
        markov += tl.sum(wr * cr[None, :] - wi * ci[None, :], 1)
    square = toeplitz_ptr + head * BLOCK_T * BLOCK_T
    tl.store(square + t * (BLOCK_T + 1), t * 0.0 + tl.load(D_ptr + head) * direct)
    for row in range(BLOCK_T):
        tl.store(square + row * (BLOCK_T + 1) + 1 + t, markov, mask=row + 1 + t < BLOCK_T)
        tl.store(square + row * BLOCK_T + t, t * 0.0, mask=t < row)


@triton.jit(do_not_specialize=["modes", "factor", "direct"])
def bank_tables_backward_kernel(
    lam_ptr,
    B_ptr,
    C_ptr,
    dchunk_f64_ptr,
    dread_in_ptr,
    dtoeplitz_ptr,
    dread_out_ptr,
    dlam_ptr,
    dB_ptr,
    dC_ptr,
    dD_ptr,
    modes,
    factor,
    direct,
    BLOCK_T: tl.constexpr,
    BLOCK_N: tl.constexpr,
    TILE: tl.constexpr,
    BITS: tl.constexpr,
):
    """Gradients of lam, B, C (H, modes) and D (H,) from those of the tables."""
    head = tl.program_id(0)
    t = tl.arange(0, BLOCK_T)
    steps = t[:, None]
    square = dtoeplitz_ptr + head * BLOCK_T * BLOCK_T
    tl.store(dD_ptr + head, direct * tl.sum(tl.load(square + t * (BLOCK_T + 1)).to(tl.float64)))
    dmarkov = tl.zeros((BLOCK_T,), dtype=tl.float64)
    for row in range(BLOCK_T):
        diagonal = square + row * (BLOCK_T + 1) + 1 + t
        dmarkov += tl.load(diagonal, mask=row + 1 + t < BLOCK_T, other=0.0).to(tl.float64)
    for first in range(0, BLOCK_N, TILE):
        n = first + tl.arange(0, TILE)
        used = n < modes
        at = 2 * (head * modes + n)
        lr, li = load_pair(lam_ptr, at, used)
        br, bi = load_pair(B_ptr, at, used)
        cr, ci = load_pair(C_ptr, at, used)
        cr, ci = cr * factor, ci * factor
        column = n[None, :]
        # lam^(t-1), 1 in the first row, where it is multiplied by 0, and lam^t
        below = tl.where(steps > 0, steps - 1, 0)
        qr, qi, _, _ = _powers(below, lr[None, :], li[None, :], BITS)
        pr, pi = times(qr, qi, lr[None, :], li[None, :])
        pr, pi = tl.where(steps > 0, pr, 1.0), tl.where(steps > 0, pi, 0.0)
        into = dread_in_ptr + (head * BLOCK_T + BLOCK_T - 1 - steps) * 2 * BLOCK_N + column
        wr, wi = tl.load(into).to(tl.float64), tl.load(into + BLOCK_N).to(tl.float64)
        out = dread_out_ptr + (head * 2 * BLOCK_N + column) * BLOCK_T + steps
        vr, vi = tl.load(out).to(tl.float64), -tl.load(out + BLOCK_N * BLOCK_T).to(tl.float64)
        # what the Markov parameters add: m_t = Re(lam^t B C)
        wr, wi = wr + dmarkov[:, None] * cr[None, :], wi - dmarkov[:, None] * ci[None, :]
        gr, gi = against(wr, wi, pr, pi)
        store_pair(dB_ptr, at, tl.sum(gr, 0), tl.sum(gi, 0), used)
        pr_m, pi_m = dmarkov[:, None] * br[None, :], -dmarkov[:, None] * bi[None, :]
        gr, gi = against(vr + pr_m, vi + pi_m, pr, pi)
        store_pair(dC_ptr, at, factor * tl.sum(gr, 0), factor * tl.sum(gi, 0), used)
        gr, gi = against(wr, wi, br[None, :], bi[None, :])  # of lam^t
        more_r, more_i = against(vr, vi, cr[None, :], ci[None, :])
        gr, gi = against(gr + more_r, gi + more_i, qr, qi)
        dr, di = tl.sum(gr * steps, 0), tl.sum(gi * steps, 0)
        last = n[None, :] * 0 + BLOCK_T - 1
        zr, zi, _, _ = _powers(last, lr[None, :], li[None, :], BITS)
        hr, hi = load_pair(dchunk_f64_ptr, 2 * (head * BLOCK_N + column), column < modes)
        hr, hi = against(hr, hi, zr, zi)
        store_pair(dlam_ptr, at, dr + BLOCK_T * tl.sum(hr, 0), di + BLOCK_T * tl.sum(hi, 0), used)
