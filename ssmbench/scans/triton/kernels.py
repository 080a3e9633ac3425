"""The Triton kernels of the states-written scan: launched by ``linear_scan``.

Conventions that the compile gate relies on: a kernel's name ends in ``_kernel``, its pointers in
``_ptr``; ``tl.constexpr`` parameters are the fields of ``Blocks`` or flags; all others are int32
(``sign`` float32) that Triton is told not to specialise on, so that the flags and the pointers'
types alone tell one compilation from another. ``units`` is the number of channels, in sixteens
where ALIGNED: wide loads need to know that rows start at multiples of 16.

A complex tensor arrives as float32 with the real and imaginary parts interleaved (Triton refuses
complex pointers). Rows are time, columns are channels.

**One recurrence, both directions, and its own adjoint.** Time tau = 0, 1, .. runs through the rows
upwards (direction 1) or downwards (-1): x[0] = start, x[tau+1] = a[tau] x[tau] + b[tau]. With
out_shift 1 row tau of out holds x[tau], the state *before* its input, and the state at the end is
returned apart; with out_shift 0 it holds x[tau+1]. In the first form the adjoint is the same
recurrence with conj(a) and the direction reversed, db[tau] = dx[tau+1] with the step

    dx[tau] = dout[tau] + conj(a[tau]) dx[tau+1],    da[tau] = dx[tau+1] conj(x[tau]),

started by the gradient of the end, ending in that of start. The adjoint of the second form reads
dout one row further on (in_shift 1), and the states too (state_shift 1).

**Programs** take one batch entry, one tile of channels and one chunk of time, in tiles of BLOCK_T
rows with the state carried in registers. With one chunk this is the tile-carry scan. With many, it
is the first and third phase of the chunked scan: first only the chunks' ends from zero (STATES
false), then, once the starts of all chunks are known, the states. The second phase, a scan of the
ends, is this kernel again (GUARD), with the chunks for rows.

Within a tile the recurrence is scanned from zero; the carried state is then added, weighted by the
products of a so far. Time-invariant ones come from a table formed in double precision on the host:
over a long signal a rounded a^BLOCK_T would be raised to the power of the number of tiles, and
that error, unlike those within a tile, grows with L.
"""

from __future__ import annotations

import triton
import triton.language as tl

#: Whether the kernels run in the interpreter, on CPU tensors: TRITON_INTERPRET=1 at import.
INTERPRETED = triton.knobs.runtime.interpret

_SCALARS = ["length", "units", "chunk", "chunks", "direction", "in_shift", "out_shift"]
_SCALARS += ["state_shift"]


# --- one step of the recurrence, composed -------------------------------------------------------


@triton.jit
def then_real(a1, x1, a2, x2):
    """The map x -> a1 x + x1, then x -> a2 x + x2."""
    return a1 * a2, a2 * x1 + x2


@triton.jit
def then_complex(a1_re, a1_im, x1_re, x1_im, a2_re, a2_im, x2_re, x2_im):
    """As ``then_real``, each number as its two parts."""
    return (
        a1_re * a2_re - a1_im * a2_im,
        a1_re * a2_im + a1_im * a2_re,
        a2_re * x1_re - a2_im * x1_im + x2_re,
        a2_re * x1_im + a2_im * x1_re + x2_im,
    )


# Over whole chunks |a| > 1 becomes infinite, and infinity times no state at all would be NaN.


@triton.jit
def then_real_guarded(a1, x1, a2, x2):
    """As ``then_real``, but zero stays zero whatever multiplies it."""
    return a1 * a2, tl.where(x1 == 0.0, 0.0, a2 * x1) + x2


@triton.jit
def then_complex_guarded(a1_re, a1_im, x1_re, x1_im, a2_re, a2_im, x2_re, x2_im):
    """As ``then_complex``, but zero stays zero whatever multiplies it."""
    zero = (x1_re == 0.0) & (x1_im == 0.0)
    return (
        a1_re * a2_re - a1_im * a2_im,
        a1_re * a2_im + a1_im * a2_re,
        tl.where(zero, 0.0, a2_re * x1_re - a2_im * x1_im) + x2_re,
        tl.where(zero, 0.0, a2_re * x1_im + a2_im * x1_re) + x2_im,
    )


# --- tiles --------------------------------------------------------------------------------------


@triton.jit
def _program(channels, chunks, BLOCK_C: tl.constexpr):
    """The batch entry, chunk and channel tile of this program; channel tiles vary fastest."""
    tiles = tl.cdiv(channels, BLOCK_C)
    program = tl.program_id(0)
    return (program // (tiles * chunks)).to(tl.int64), program // tiles % chunks, program % tiles


@triton.jit
def _load_complex(pointers, mask, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """The two parts of a tile stored as (ROWS, 2 COLUMNS): one wide load, split in registers."""
    both = tl.load(pointers, mask=mask, other=0.0)
    return tl.split(tl.reshape(both, (ROWS, COLUMNS, 2)))


@triton.jit
def _store_complex(pointers, re, im, mask, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    tl.store(pointers, tl.reshape(tl.join(re, im), (ROWS, 2 * COLUMNS)), mask=mask)


@triton.jit
def pick_row(tile, row, ROWS: tl.constexpr):
    """One row of a tile (1, columns); selected, for the others may be infinite."""
    return tl.sum(tl.where(tl.arange(0, ROWS)[:, None] == row, tile, 0.0), axis=0)[None, :]


# --- the scans ----------------------------------------------------------------------------------


@triton.jit(do_not_specialize=_SCALARS)
def scan_real_kernel(
    a_ptr,  # (B, L, C) where VARYING, otherwise (BLOCK_T, C): a^1 .. a^BLOCK_T
    b_ptr,  # (B, L, C)
    start_ptr,  # (B, chunks, C): the state before every chunk; read only for STATES
    out_ptr,  # (B, L, C), out: the states, only for STATES
    end_ptr,  # out: the state at the end (B, C), or without STATES at every chunk's (B, chunks, C)
    product_ptr,  # (B, chunks, C), out: of a over a chunk, only VARYING without STATES
    states_ptr,  # (B, L, C): what the scan that this is the adjoint of wrote, only WITH_DA
    origin_ptr,  # (B, C): its start, only WITH_DA
    da_ptr,  # (B, L, C) where VARYING, otherwise (B, cdiv(L, BLOCK_T), C); out, only WITH_DA
    length,
    units,
    chunk,  # steps, a multiple of BLOCK_T
    chunks,
    direction,
    in_shift,
    out_shift,
    state_shift,
    ALIGNED: tl.constexpr,
    VARYING: tl.constexpr,
    STATES: tl.constexpr,
    WITH_DA: tl.constexpr,
    GUARD: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_C: tl.constexpr,
    NUM_STAGES: tl.constexpr,
):
    """The recurrence, real; the row of da that belongs to start is left to the host."""
    channels = units * 16 if ALIGNED else units
    batch, chunk_index, tile = _program(channels, chunks, BLOCK_C)
    t = tl.arange(0, BLOCK_T)
    c = (tile * BLOCK_C + tl.arange(0, BLOCK_C))[None, :]
    row = c < channels
    step = direction * channels
    offsets = t[:, None] * step + c
    signal = batch * length * channels
    top = tl.where(direction < 0, length - 1, 0)
    begin = chunk_index * chunk
    stop = tl.minimum(begin + chunk, length)
    if not VARYING:
        products = tl.load(a_ptr + t[:, None] * channels + c, mask=row, other=0.0)
        a = tl.broadcast_to(tl.load(a_ptr + c, mask=row, other=0.0), (BLOCK_T, BLOCK_C))
    if STATES:
        carry = tl.load(start_ptr + (batch * chunks + chunk_index) * channels + c, row, 0.0)
        # In the first chunk start is a row of out, if that holds the states before. (Not a mask of
        # row and a scalar: the interpreter would turn that into integers.)
        opens = c < tl.where(chunk_index + 1 == out_shift, channels, 0)
        tl.store(out_ptr + signal + top.to(tl.int64) * channels + c, carry, mask=opens)
    else:
        carry = tl.zeros((1, BLOCK_C), tl.float32)
    total = tl.full((1, BLOCK_C), 1.0, tl.float32)
    if WITH_DA:
        origin = tl.load(origin_ptr + batch * channels + c, mask=row, other=0.0)
    for first in tl.range(begin, stop, BLOCK_T, num_stages=NUM_STAGES):
        tau = (first + t)[:, None]
        valid = (tau < stop) & row
        here = signal + (top + direction * first).to(tl.int64) * channels
        within = valid & (tau + in_shift < length)
        b = tl.load(b_ptr + here + in_shift * step + offsets, mask=within, other=0.0)
        b = b.to(tl.float32)
        if VARYING:
            a = tl.load(a_ptr + here + offsets, mask=valid, other=0.0).to(tl.float32)
        if GUARD:
            so_far, x = tl.associative_scan((a, b), 0, then_real_guarded)
        else:
            so_far, x = tl.associative_scan((a, b), 0, then_real)
        if VARYING:
            products = so_far
        if GUARD:
            x += tl.where(carry == 0.0, 0.0, products * carry)
        else:
            x += products * carry
        last = tl.minimum(BLOCK_T, stop - first) - 1
        carry = pick_row(x, last, BLOCK_T)
        if STATES:
            shown = valid & (tau + out_shift < length)
            tl.store(out_ptr + here + out_shift * step + offsets, x, mask=shown)
        elif VARYING:
            total *= pick_row(products, last, BLOCK_T)
        if WITH_DA:
            kept = valid & (tau + 1 + state_shift < length)
            before = tl.load(states_ptr + here + (1 + state_shift) * step + offsets, kept, 0.0)
            before = tl.where(tau + 1 + state_shift == length, origin, before)
            # Where there is no past, x may be infinite (|a| > 1): select, do not multiply by zero.
            past = valid & (tau + 1 < length)
            da = tl.where(past, x * before, 0.0)
            if VARYING:
                tl.store(da_ptr + here + step + offsets, da, mask=past)
            else:
                share = tl.sum(da, axis=0)[None, :]
                to = batch * tl.cdiv(length, BLOCK_T) + first // BLOCK_T
                tl.store(da_ptr + to * channels + c, share, mask=row)
    if STATES:
        closes = c < tl.where(chunk_index == chunks - 1, channels, 0)
        tl.store(end_ptr + batch * channels + c, carry, mask=closes)
    else:
        place = (batch * chunks + chunk_index) * channels + c
        tl.store(end_ptr + place, carry, mask=row)
        if VARYING:
            tl.store(product_ptr + place, total, mask=row)


@triton.jit(do_not_specialize=[*_SCALARS, "sign"])
def scan_complex_kernel(
    a_ptr,  # all pointers as in scan_real_kernel, to interleaved parts
    b_ptr,
    start_ptr,
    out_ptr,
    end_ptr,
    product_ptr,
    states_ptr,
    origin_ptr,
    da_ptr,
    sign,  # 1.0, or -1.0 to take conj(a) where VARYING (tables are conjugated on the host)
    length,
    units,
    chunk,
    chunks,
    direction,
    in_shift,
    out_shift,
    state_shift,
    ALIGNED: tl.constexpr,
    VARYING: tl.constexpr,
    STATES: tl.constexpr,
    WITH_DA: tl.constexpr,
    GUARD: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_C: tl.constexpr,
    NUM_STAGES: tl.constexpr,
):
    """The recurrence, complex; the row of da that belongs to start is left to the host."""
    channels = units * 16 if ALIGNED else units
    batch, chunk_index, tile = _program(channels, chunks, BLOCK_C)
    width = 2 * channels
    t = tl.arange(0, BLOCK_T)
    c = (tile * 2 * BLOCK_C + tl.arange(0, 2 * BLOCK_C))[None, :]
    row = c < width
    step = direction * width
    offsets = t[:, None] * step + c
    signal = batch * length * width
    top = tl.where(direction < 0, length - 1, 0)
    begin = chunk_index * chunk
    stop = tl.minimum(begin + chunk, length)
    if not VARYING:
        p_re, p_im = _load_complex(a_ptr + t[:, None] * width + c, row, BLOCK_T, BLOCK_C)
        a_re, a_im = _load_complex(a_ptr + c, row, 1, BLOCK_C)
        a_re = tl.broadcast_to(a_re, (BLOCK_T, BLOCK_C))
        a_im = tl.broadcast_to(a_im, (BLOCK_T, BLOCK_C))
    if STATES:
        start = start_ptr + (batch * chunks + chunk_index) * width + c
        carry_re, carry_im = _load_complex(start, row, 1, BLOCK_C)
        # In the first chunk start is a row of out, if that holds the states before. (Not a mask of
        # row and a scalar: the interpreter would turn that into integers.)
        opens = c < tl.where(chunk_index + 1 == out_shift, width, 0)
        head = out_ptr + signal + top.to(tl.int64) * width + c
        _store_complex(head, carry_re, carry_im, opens, 1, BLOCK_C)
    else:
        carry_re = tl.zeros((1, BLOCK_C), tl.float32)
        carry_im = tl.zeros((1, BLOCK_C), tl.float32)
    total_re = tl.full((1, BLOCK_C), 1.0, tl.float32)
    total_im = tl.zeros((1, BLOCK_C), tl.float32)
    if WITH_DA:
        origin_re, origin_im = _load_complex(origin_ptr + batch * width + c, row, 1, BLOCK_C)
    for first in tl.range(begin, stop, BLOCK_T, num_stages=NUM_STAGES):
        tau = (first + t)[:, None]
        valid = (tau < stop) & row
        here = signal + (top + direction * first).to(tl.int64) * width
        within = valid & (tau + in_shift < length)
        drive = b_ptr + here + in_shift * step + offsets
        b_re, b_im = _load_complex(drive, within, BLOCK_T, BLOCK_C)
        if VARYING:
            a_re, a_im = _load_complex(a_ptr + here + offsets, valid, BLOCK_T, BLOCK_C)
            a_im *= sign
        if GUARD:
            so_far_re, so_far_im, x_re, x_im = tl.associative_scan(
                (a_re, a_im, b_re, b_im), 0, then_complex_guarded
            )
        else:
            so_far_re, so_far_im, x_re, x_im = tl.associative_scan(
                (a_re, a_im, b_re, b_im), 0, then_complex
            )
        if VARYING:
            p_re = so_far_re
            p_im = so_far_im
        if GUARD:
            zero = (carry_re == 0.0) & (carry_im == 0.0)
            x_re += tl.where(zero, 0.0, p_re * carry_re - p_im * carry_im)
            x_im += tl.where(zero, 0.0, p_re * carry_im + p_im * carry_re)
        else:
            x_re += p_re * carry_re - p_im * carry_im
            x_im += p_re * carry_im + p_im * carry_re
        last = tl.minimum(BLOCK_T, stop - first) - 1
        carry_re = pick_row(x_re, last, BLOCK_T)
        carry_im = pick_row(x_im, last, BLOCK_T)
        if STATES:
            shown = valid & (tau + out_shift < length)
            _store_complex(
                out_ptr + here + out_shift * step + offsets, x_re, x_im, shown, BLOCK_T, BLOCK_C
            )
        elif VARYING:
            last_re = pick_row(p_re, last, BLOCK_T)
            last_im = pick_row(p_im, last, BLOCK_T)
            kept_re = total_re
            total_re = kept_re * last_re - total_im * last_im
            total_im = kept_re * last_im + total_im * last_re
        if WITH_DA:
            kept = valid & (tau + 1 + state_shift < length)
            before = states_ptr + here + (1 + state_shift) * step + offsets
            s_re, s_im = _load_complex(before, kept, BLOCK_T, BLOCK_C)
            is_origin = tau + 1 + state_shift == length
            s_re = tl.where(is_origin, origin_re, s_re)
            s_im = tl.where(is_origin, origin_im, s_im)
            # Where there is no past, x may be infinite (|a| > 1): select, do not multiply by zero.
            past = (tau < stop) & (tau + 1 < length)
            da_re = tl.where(past, x_re * s_re + x_im * s_im, 0.0)
            da_im = tl.where(past, x_im * s_re - x_re * s_im, 0.0)
            if VARYING:
                _store_complex(
                    da_ptr + here + step + offsets, da_re, da_im, past & row, BLOCK_T, BLOCK_C
                )
            else:
                share_re = tl.sum(da_re, axis=0)[None, :]
                share_im = tl.sum(da_im, axis=0)[None, :]
                to = batch * tl.cdiv(length, BLOCK_T) + first // BLOCK_T
                _store_complex(da_ptr + to * width + c, share_re, share_im, row, 1, BLOCK_C)
    if STATES:
        closes = c < tl.where(chunk_index == chunks - 1, width, 0)
        tail = end_ptr + batch * width + c
        _store_complex(tail, carry_re, carry_im, closes, 1, BLOCK_C)
    else:
        place = (batch * chunks + chunk_index) * width + c
        _store_complex(end_ptr + place, carry_re, carry_im, row, 1, BLOCK_C)
        if VARYING:
            _store_complex(product_ptr + place, total_re, total_im, row, 1, BLOCK_C)
