"""The Triton kernels of the scan: launched by ``linear_scan``, compiled by ``compile_gate``.

Conventions that the compile gate relies on: a kernel's name ends in ``_kernel`` and its float32
pointers in ``_ptr``; ``tl.constexpr`` parameters are the fields of ``Blocks`` or flags; all other
parameters are int32.

A complex tensor arrives as float32 with the real and imaginary parts interleaved (Triton refuses
complex pointers). Rows are time, columns are channels.

Within a tile of BLOCK_T rows the recurrence is scanned from zero; the state carried in from the
tiles before is then added, weighted by a^1 .. a^BLOCK_T. Those powers come from a table formed in
double precision on the host: over a long signal a rounded a^BLOCK_T would be raised to the power
of the number of tiles, and that error, unlike those within a tile, grows with L.
"""

from __future__ import annotations

import triton
import triton.language as tl

#: Whether the kernels run in the interpreter, on CPU tensors: TRITON_INTERPRET=1 at import.
INTERPRETED = triton.knobs.runtime.interpret


# --- one step of the recurrence, composed -------------------------------------------------------


@triton.jit
def _then_real(a1, x1, a2, x2):
    """The map x -> a1 x + x1, then x -> a2 x + x2."""
    return a1 * a2, a2 * x1 + x2


@triton.jit
def _then_complex(a1_re, a1_im, x1_re, x1_im, a2_re, a2_im, x2_re, x2_im):
    """As ``_then_real``, each number as its two parts."""
    return (
        a1_re * a2_re - a1_im * a2_im,
        a1_re * a2_im + a1_im * a2_re,
        a2_re * x1_re - a2_im * x1_im + x2_re,
        a2_re * x1_im + a2_im * x1_re + x2_im,
    )


# --- tiles --------------------------------------------------------------------------------------


@triton.jit
def _program(channels, BLOCK_C: tl.constexpr):
    """The batch entry and the tile of channels of this program; channel tiles vary fastest."""
    tiles = tl.cdiv(channels, BLOCK_C)
    program = tl.program_id(0)
    return program // tiles, program % tiles


@triton.jit
def _load_complex(pointers, mask, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """The two parts of a tile stored as (ROWS, 2 COLUMNS): one wide load, parted in registers."""
    both = tl.load(pointers, mask=mask, other=0.0)
    return tl.split(tl.reshape(both, (ROWS, COLUMNS, 2)))


@triton.jit
def _store_complex(pointers, re, im, mask, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    tl.store(pointers, tl.reshape(tl.join(re, im), (ROWS, 2 * COLUMNS)), mask=mask)


@triton.jit
def _last_row(tile, ROWS: tl.constexpr):
    return tl.sum(tl.where(tl.arange(0, ROWS)[:, None] == ROWS - 1, tile, 0.0), axis=0)


# --- forward ------------------------------------------------------------------------------------


@triton.jit
def forward_real_kernel(
    powers_ptr,  # (BLOCK_T, C): a^1 .. a^BLOCK_T
    b_ptr,  # (B, L, C)
    x0_ptr,  # (B, C)
    s_ptr,  # (B, L, C), out
    length,
    channels,
    BLOCK_T: tl.constexpr,
    BLOCK_C: tl.constexpr,
    NUM_STAGES: tl.constexpr,
):
    """s[k] = a s[k-1] + b[k], s[-1] = x0."""
    batch, tile = _program(channels, BLOCK_C)
    t = tl.arange(0, BLOCK_T)
    c = tile * BLOCK_C + tl.arange(0, BLOCK_C)
    real = c < channels
    offsets = t[:, None] * channels + c[None, :]
    powers = tl.load(powers_ptr + offsets, mask=real[None, :], other=0.0)
    a = tl.load(powers_ptr + c, mask=real, other=0.0)
    carry = tl.load(x0_ptr + batch.to(tl.int64) * channels + c, mask=real, other=0.0)
    a = tl.broadcast_to(a[None, :], (BLOCK_T, BLOCK_C))
    signal = batch.to(tl.int64) * length * channels
    for start in tl.range(0, length, BLOCK_T, num_stages=NUM_STAGES):
        here = signal + tl.cast(start, tl.int64) * channels
        mask = (start + t < length)[:, None] & real[None, :]
        b = tl.load(b_ptr + here + offsets, mask=mask, other=0.0)
        _, s = tl.associative_scan((a, b), 0, _then_real)
        s += powers * carry[None, :]
        tl.store(s_ptr + here + offsets, s, mask=mask)
        carry = _last_row(s, BLOCK_T)


@triton.jit
def forward_complex_kernel(
    powers_ptr,  # (BLOCK_T, C): a^1 .. a^BLOCK_T
    b_ptr,  # (B, L, C)
    x0_ptr,  # (B, C)
    s_ptr,  # (B, L, C), out
    length,
    channels,
    BLOCK_T: tl.constexpr,
    BLOCK_C: tl.constexpr,
    NUM_STAGES: tl.constexpr,
):
    """s[k] = a s[k-1] + b[k], s[-1] = x0; all pointers to interleaved parts."""
    batch, tile = _program(channels, BLOCK_C)
    width = 2 * channels
    t = tl.arange(0, BLOCK_T)
    c = tile * 2 * BLOCK_C + tl.arange(0, 2 * BLOCK_C)
    real = c < width
    offsets = t[:, None] * width + c[None, :]
    row = real[None, :]
    p_re, p_im = _load_complex(powers_ptr + offsets, row, BLOCK_T, BLOCK_C)
    a_re, a_im = _load_complex(powers_ptr + c[None, :], row, 1, BLOCK_C)
    x0 = x0_ptr + batch.to(tl.int64) * width + c[None, :]
    carry_re, carry_im = _load_complex(x0, row, 1, BLOCK_C)
    a_re = tl.broadcast_to(a_re, (BLOCK_T, BLOCK_C))
    a_im = tl.broadcast_to(a_im, (BLOCK_T, BLOCK_C))
    signal = batch.to(tl.int64) * length * width
    for start in tl.range(0, length, BLOCK_T, num_stages=NUM_STAGES):
        here = signal + tl.cast(start, tl.int64) * width
        mask = (start + t < length)[:, None] & row
        b_re, b_im = _load_complex(b_ptr + here + offsets, mask, BLOCK_T, BLOCK_C)
        _, _, s_re, s_im = tl.associative_scan((a_re, a_im, b_re, b_im), 0, _then_complex)
        s_re += p_re * carry_re - p_im * carry_im
        s_im += p_re * carry_im + p_im * carry_re
        _store_complex(s_ptr + here + offsets, s_re, s_im, mask, BLOCK_T, BLOCK_C)
        carry_re = _last_row(s_re, BLOCK_T)[None, :]
        carry_im = _last_row(s_im, BLOCK_T)[None, :]


# --- backward -----------------------------------------------------------------------------------
#
# g[k] = ds[k] + conj(a) g[k+1] is the forward recurrence in reversed time tau = L - 1 - k, so the
# tiles start at the end of the signal and the padding of the last tile falls before its beginning,
# where nothing follows it. Each tile also sums its share of da = sum g[k] conj(s[k-1]); the term of
# k = 0, with x0 for s[-1], and the sum over tiles in float64 are left to the host.


@triton.jit
def backward_real_kernel(
    powers_ptr,  # (BLOCK_T, C): a^1 .. a^BLOCK_T
    ds_ptr,  # (B, L, C)
    s_ptr,  # (B, L, C); read only WITH_DA
    g_ptr,  # (B, L, C), out: db
    da_ptr,  # (B, cdiv(L, BLOCK_T), C), out, only WITH_DA
    length,
    channels,
    WITH_DA: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_C: tl.constexpr,
    NUM_STAGES: tl.constexpr,
):
    """g[k] = ds[k] + a g[k+1], and every tile's part of da."""
    batch, tile = _program(channels, BLOCK_C)
    t = tl.arange(0, BLOCK_T)
    c = tile * BLOCK_C + tl.arange(0, BLOCK_C)
    real = c < channels
    row = real[None, :]
    offsets = c[None, :] - t[:, None] * channels
    powers = tl.load(powers_ptr + t[:, None] * channels + c[None, :], mask=row, other=0.0)
    a = tl.load(powers_ptr + c, mask=real, other=0.0)
    a = tl.broadcast_to(a[None, :], (BLOCK_T, BLOCK_C))
    carry = tl.zeros((BLOCK_C,), tl.float32)
    signal = batch.to(tl.int64) * length * channels
    partial = batch.to(tl.int64) * tl.cdiv(length, BLOCK_T) * channels + c
    for start in tl.range(0, length, BLOCK_T, num_stages=NUM_STAGES):
        here = signal + tl.cast(length - 1 - start, tl.int64) * channels
        mask = (start + t < length)[:, None] & row
        ds = tl.load(ds_ptr + here + offsets, mask=mask, other=0.0)
        _, g = tl.associative_scan((a, ds), 0, _then_real)
        g += powers * carry[None, :]
        tl.store(g_ptr + here + offsets, g, mask=mask)
        if WITH_DA:
            past = (start + t < length - 1)[:, None] & row
            before = tl.load(s_ptr + here - channels + offsets, mask=past, other=0.0)
            # Where there is no past, g may be infinite (|a| > 1): select, do not multiply by zero.
            share = tl.sum(tl.where(past, g * before, 0.0), axis=0)
            tl.store(da_ptr + partial + (start // BLOCK_T) * channels, share, mask=real)
        carry = _last_row(g, BLOCK_T)


@triton.jit
def backward_complex_kernel(
    powers_ptr,  # (BLOCK_T, C): a^1 .. a^BLOCK_T
    ds_ptr,  # (B, L, C)
    s_ptr,  # (B, L, C); read only WITH_DA
    g_ptr,  # (B, L, C), out: db
    da_ptr,  # (B, cdiv(L, BLOCK_T), C), out, only WITH_DA
    length,
    channels,
    WITH_DA: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_C: tl.constexpr,
    NUM_STAGES: tl.constexpr,
):
    """g[k] = ds[k] + conj(a) g[k+1], and every tile's part of da; pointers to interleaved parts."""
    batch, tile = _program(channels, BLOCK_C)
    width = 2 * channels
    t = tl.arange(0, BLOCK_T)
    c = tile * 2 * BLOCK_C + tl.arange(0, 2 * BLOCK_C)
    row = (c < width)[None, :]
    columns = c[None, :]
    offsets = columns - t[:, None] * width
    p_re, p_im = _load_complex(powers_ptr + t[:, None] * width + columns, row, BLOCK_T, BLOCK_C)
    a_re, a_im = _load_complex(powers_ptr + columns, row, 1, BLOCK_C)
    a_re = tl.broadcast_to(a_re, (BLOCK_T, BLOCK_C))
    a_im = tl.broadcast_to(-a_im, (BLOCK_T, BLOCK_C))
    p_im = -p_im
    carry_re = tl.zeros((1, BLOCK_C), tl.float32)
    carry_im = tl.zeros((1, BLOCK_C), tl.float32)
    signal = batch.to(tl.int64) * length * width
    partial = batch.to(tl.int64) * tl.cdiv(length, BLOCK_T) * width + columns
    for start in tl.range(0, length, BLOCK_T, num_stages=NUM_STAGES):
        here = signal + tl.cast(length - 1 - start, tl.int64) * width
        valid = (start + t < length)[:, None]
        d_re, d_im = _load_complex(ds_ptr + here + offsets, valid & row, BLOCK_T, BLOCK_C)
        _, _, g_re, g_im = tl.associative_scan((a_re, a_im, d_re, d_im), 0, _then_complex)
        g_re += p_re * carry_re - p_im * carry_im
        g_im += p_re * carry_im + p_im * carry_re
        _store_complex(g_ptr + here + offsets, g_re, g_im, valid & row, BLOCK_T, BLOCK_C)
        if WITH_DA:
            past = (start + t < length - 1)[:, None]
            s_re, s_im = _load_complex(s_ptr + here - width + offsets, past & row, BLOCK_T, BLOCK_C)
            # Where there is no past, g may be infinite (|a| > 1): select, do not multiply by zero.
            da_re = tl.sum(tl.where(past, g_re * s_re + g_im * s_im, 0.0), axis=0)[None, :]
            da_im = tl.sum(tl.where(past, g_im * s_re - g_re * s_im, 0.0), axis=0)[None, :]
            to = da_ptr + partial + (start // BLOCK_T) * width
            _store_complex(to, da_re, da_im, row, 1, BLOCK_C)
        carry_re = _last_row(g_re, BLOCK_T)[None, :]
        carry_im = _last_row(g_im, BLOCK_T)[None, :]
