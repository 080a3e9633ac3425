"""The kernels of sampled time-varying systems; launched by ``selective``.

``x[t+1] = a x[t] + e B[t] u[t]``, ``y[t] = C[t] (k x + f B[t] u[t]) + D u[t]`` for each of N states
of H channels, x being x[t] or, after the input, x[t+1]; a, e, k and f follow from dt[t] and lam by
a rule (:class:`ssmbench.systems.Rule`, whose numbers RULE has). Of a system that is discrete
already (RULE 0) lam, whose rows are those of B and C, is a, and e = k = 1, f = 0.

A program takes BLOCK_P channels of a group of one sequence, whose states are a tile
(BLOCK_P, BLOCK_N) in registers, step after step: programs = B G (H / G) / BLOCK_P. A step loads the
rows of B and C once for the tile. The forward pass writes the tile before every STRIDE-th step. The
backward pass goes through these in reverse: from a written state it computes the STRIDE tiles that
follow once more, into memory of its own (``work``, which stays in the cache), and then the adjoint
through them. With g the gradient of the state after the step, w = dy, and read = k C w:

    g += read (after the input);  dC = w (k x + f B u);  d(B u) = e g + f C w
    da = g x[t],  de = g B u,  dk = C w x,  df = C w B u, from which d(dt) and d(lam) by the rule
    g = a g + read (before the input)

dB and dC are written for each block of channels and added afterwards, in an order that does not
change. d(lam) and dD are added up in double precision from sums of STRIDE steps. No GPU was at
hand: block sizes are reasoned from registers, and nothing is measured.
"""

from __future__ import annotations

import triton
import triton.language as tl

from ssmbench.scans.triton.selective_rules import sample_back, step_at

_GIVEN = tl.constexpr(0)
_SCALARS = ["length", "channels", "groups", "states", "after", "varies", "alpha", "hold"]


@triton.jit
def placed(channels, groups, BLOCK_P: tl.constexpr):
    """Where a program is: its sequence, its group, its block of the group's channels; of these the
    places in the group, which there are, and the channels."""
    program = tl.program_id(0)
    share = channels // groups
    blocks = tl.cdiv(share, BLOCK_P)
    group = program // blocks % groups
    block = program % blocks
    p = block * BLOCK_P + tl.arange(0, BLOCK_P)
    sequence = (program // (blocks * groups)).to(tl.int64)
    return sequence, group, block, p < share, group * share + p


@triton.jit
def tiled(
    sequence, here, channel, n, channels, states, BLOCK_P: tl.constexpr, BLOCK_N: tl.constexpr
):
    """Of a program's tile: which entries there are, where they lie in (B, H, N), and in a tile."""
    there = here[:, None] & (n[None, :] < states)
    place = (sequence * channels + channel[:, None]) * states + n[None, :]
    return there, place, tl.arange(0, BLOCK_P)[:, None] * BLOCK_N + n[None, :]


@triton.jit
def load_rates(lam_ptr, channel, n, there, states):
    """lam of the tile, and its inverse, 1 where it is zero."""
    place = channel[:, None] * states + n[None, :]
    lam = tl.load(lam_ptr + place, mask=there, other=0.0)
    return lam, 1 / tl.where(lam == 0, 1.0, lam)


@triton.jit(do_not_specialize=[*_SCALARS, "keep"])
def selective_forward_kernel(
    u_ptr,  # (B, L, H)
    dt_ptr,  # (B, L, H); of RULE 0 not read
    lam_ptr,  # (H, N); of RULE 0 (B, L, G, N)
    b_ptr,  # (B, L, G, N)
    c_ptr,  # (B, L, G, N)
    d_ptr,  # (H), or (B, L, H)
    start_ptr,  # (B, H, N)
    y_ptr,  # (B, L, H), out
    end_ptr,  # (B, H, N), out
    saved_ptr,  # (programs, chunks, BLOCK_P, BLOCK_N), out, only if keep
    length,  # L
    channels,  # H
    groups,  # G
    states,  # N
    after,  # 1: outputs read the states after the input
    varies,  # 1: D is (B, L, H)
    keep,  # 1: states are saved
    alpha,  # the places of a method of one stage
    hold,
    RULE: tl.constexpr,
    EULER: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_P: tl.constexpr,
    STRIDE: tl.constexpr,
    NUM_STAGES: tl.constexpr,
):
    """y, the state at the end, and the states before every STRIDE-th step."""
    n = tl.arange(0, BLOCK_N)
    sequence, group, _block, here, channel = placed(channels, groups, BLOCK_P)
    there, place, tile = tiled(sequence, here, channel, n, channels, states, BLOCK_P, BLOCK_N)
    program = tl.program_id(0).to(tl.int64)
    chunks = tl.cdiv(length, STRIDE)
    if RULE == _GIVEN:
        lam, inverse = 0.0, 0.0
    else:
        lam, inverse = load_rates(lam_ptr, channel, n, there, states)
    saved = saved_ptr + program * chunks * BLOCK_P * BLOCK_N + tile
    x = tl.load(start_ptr + place, mask=there, other=0.0)
    for t in tl.range(0, length, num_stages=NUM_STAGES):
        step = sequence * length + t
        row = step * channels + channel
        table = (step * groups + group) * states + n
        u = tl.load(u_ptr + row, mask=here, other=0.0)
        d = tl.load(d_ptr + channel + varies * step * channels, mask=here, other=0.0)
        b = tl.load(b_ptr + table, mask=n < states, other=0.0)
        c = tl.load(c_ptr + table, mask=n < states, other=0.0)
        border = (t % STRIDE == 0) & (keep != 0)
        tl.store(saved + t // STRIDE * (BLOCK_P * BLOCK_N), x, mask=border)
        _, a, e, k, f = step_at(
            row, table, here, n, dt_ptr, lam_ptr, lam, inverse, states, alpha, hold, RULE, EULER
        )
        drive = b[None, :] * u[:, None]
        now = a * x + e * drive
        seen = k * tl.where(after != 0, now, x) + f * drive
        tl.store(y_ptr + row, tl.sum(c[None, :] * seen, axis=1) + d * u, mask=here)
        x = now
    tl.store(end_ptr + place, x, mask=there)


@triton.jit(do_not_specialize=[*_SCALARS, "rows"])
def selective_backward_kernel(
    u_ptr,  # the inputs, as in the forward kernel
    dt_ptr,
    lam_ptr,
    b_ptr,
    c_ptr,
    d_ptr,
    saved_ptr,  # (programs, chunks, BLOCK_P, BLOCK_N): what the forward kernel wrote
    dy_ptr,  # (B, L, H)
    dend_ptr,  # (B, H, N)
    du_ptr,  # (B, L, H), out
    ddt_ptr,  # (B, L, H), out; of RULE 0 not written
    dlam_ptr,  # (B, H, N), out: sums over the steps of a sequence; of RULE 0 as db
    db_ptr,  # (blocks, B, L, G, N), out
    dc_ptr,  # (blocks, B, L, G, N), out
    dd_ptr,  # (B, H), out, or (B, L, H) where D varies
    dstart_ptr,  # (B, H, N), out
    work_ptr,  # (programs, STRIDE, BLOCK_P, BLOCK_N)
    rows,  # B L G
    length,
    channels,
    groups,
    states,
    after,
    varies,
    alpha,
    hold,
    RULE: tl.constexpr,
    EULER: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_P: tl.constexpr,
    STRIDE: tl.constexpr,
    NUM_STAGES: tl.constexpr,
):
    """Gradients of all inputs; those of B and C by blocks of channels, of lam and D by sequence."""
    n = tl.arange(0, BLOCK_N)
    sequence, group, block, here, channel = placed(channels, groups, BLOCK_P)
    there, place, tile = tiled(sequence, here, channel, n, channels, states, BLOCK_P, BLOCK_N)
    program = tl.program_id(0).to(tl.int64)
    chunks = tl.cdiv(length, STRIDE)
    if RULE == _GIVEN:
        lam, inverse = 0.0, 0.0
    else:
        lam, inverse = load_rates(lam_ptr, channel, n, there, states)
    saved = saved_ptr + program * chunks * BLOCK_P * BLOCK_N + tile
    work = work_ptr + program * STRIDE * BLOCK_P * BLOCK_N + tile
    part = block.to(tl.int64) * rows
    g = tl.load(dend_ptr + place, mask=there, other=0.0)
    of_rates = tl.zeros((BLOCK_P, BLOCK_N), tl.float64)
    of_direct = tl.zeros((BLOCK_P,), tl.float64)
    for back in tl.range(0, chunks, num_stages=1):
        begin = (chunks - 1 - back) * STRIDE
        count = tl.minimum(STRIDE, length - begin)
        x = tl.load(saved + (chunks - 1 - back) * (BLOCK_P * BLOCK_N))
        for i in tl.range(0, count, num_stages=NUM_STAGES):
            step = sequence * length + begin + i
            row = step * channels + channel
            table = (step * groups + group) * states + n
            u = tl.load(u_ptr + row, mask=here, other=0.0)
            b = tl.load(b_ptr + table, mask=n < states, other=0.0)
            tl.store(work + i * (BLOCK_P * BLOCK_N), x)
            _, a, e, _, _ = step_at(
                row, table, here, n, dt_ptr, lam_ptr, lam, inverse, states, alpha, hold, RULE, EULER
            )
            x = a * x + e * (b[None, :] * u[:, None])
        tl.debug_barrier()  # what one thread has written to work, another may read
        of_chunk = tl.zeros((BLOCK_P, BLOCK_N), tl.float32)
        direct = tl.zeros((BLOCK_P,), tl.float32)
        for back_i in tl.range(0, count, num_stages=1):
            i = count - 1 - back_i
            step = sequence * length + begin + i
            row = step * channels + channel
            table = (step * groups + group) * states + n
            u = tl.load(u_ptr + row, mask=here, other=0.0)
            d = tl.load(d_ptr + channel + varies * step * channels, mask=here, other=0.0)
            dy = tl.load(dy_ptr + row, mask=here, other=0.0)
            b = tl.load(b_ptr + table, mask=n < states, other=0.0)
            c = tl.load(c_ptr + table, mask=n < states, other=0.0)
            x = tl.load(work + i * (BLOCK_P * BLOCK_N))
            dt, a, e, k, f = step_at(
                row, table, here, n, dt_ptr, lam_ptr, lam, inverse, states, alpha, hold, RULE, EULER
            )
            drive = b[None, :] * u[:, None]
            seen = tl.where(after != 0, a * x + e * drive, x)
            cw = c[None, :] * dy[:, None]
            read = k * cw
            g = tl.where(after != 0, g + read, g)
            of_drive = e * g + f * cw
            if RULE == _GIVEN:
                of_a = tl.sum(g * x, axis=0)  # (of channels that are not there g is zero)
                tl.store(dlam_ptr + part * states + table, of_a, mask=n < states)
            else:
                more_dt, more_rates = sample_back(
                    dt,
                    lam,
                    inverse,
                    a,
                    e,
                    k,
                    g * x,
                    g * drive,
                    cw * seen,
                    cw * drive,
                    alpha,
                    hold,
                    RULE,
                    EULER,
                )
                of_chunk += more_rates
                tl.store(ddt_ptr + row, tl.sum(more_dt, axis=1), mask=here)
            g = tl.where(after != 0, a * g, a * g + read)
            product = dy * u
            direct += product
            of_b = tl.sum(of_drive * u[:, None], axis=0)
            of_c = tl.sum(dy[:, None] * (k * seen + f * drive), axis=0)
            of_u = tl.sum(of_drive * b[None, :], axis=1) + d * dy
            tl.store(du_ptr + row, of_u, mask=here)
            tl.store(dd_ptr + row, product, mask=here & (channel < varies * channels))
            tl.store(db_ptr + part * states + table, of_b, mask=n < states)
            tl.store(dc_ptr + part * states + table, of_c, mask=n < states)
        if RULE != _GIVEN:
            of_rates += of_chunk.to(tl.float64)
        of_direct += direct.to(tl.float64)
        tl.debug_barrier()  # all have read before the next chunk is written
    tl.store(dstart_ptr + place, g, mask=there)
    if RULE != _GIVEN:
        tl.store(dlam_ptr + place, of_rates.to(tl.float32), mask=there)
    direct_ptr = dd_ptr + sequence * channels + channel
    tl.store(direct_ptr, of_direct.to(tl.float32), mask=here & (channel < (1 - varies) * channels))
