"""Kernels that sample diagonal systems: a program is a head, and computes in double precision.

The formulas are those of ``native/sampling.h``, whose names these are, for results in float32. A
complex number is two values, and pointers whose names end in ``_f64_ptr`` are of float64. No GPU
was at hand: nothing is measured.
"""

import triton
import triton.language as tl

from ssmbench.scans.triton.table_kernel import against, load_pair, store_pair, times

_EXPONENTIAL = tl.constexpr(1)
_TUSTIN = tl.constexpr(3)
_SLACK = tl.constexpr(2.0**-48)
_LARGEST_SCALE = tl.constexpr(2.0)


@triton.jit
def _over(xr, xi, yr, yi):
    """x / y, by Smith's method."""
    wide = tl.abs(yr) >= tl.abs(yi)
    p, q = tl.where(wide, yr, yi), tl.where(wide, yi, yr)
    r = q / p
    d = p + q * r
    return tl.where(wide, xr + xi * r, xr * r + xi) / d, tl.where(
        wide, xi - xr * r, xi * r - xr
    ) / d


@triton.jit
def _phi(zr, zi):
    """phi(z) = sum of z^n / (n + 1)! for |z| < 1/2, and its derivative, by Horner's rule."""
    sr, si = zr * 0 + 1, zr * 0
    dr, di = zr * 0, zr * 0
    for n in tl.static_range(16, 0, -1):  # pyright: ignore[reportGeneralTypeIssues]
        pr, pi = times(zr, zi, dr, di)
        dr, di = (sr + pr) / (n + 1), (si + pi) / (n + 1)
        pr, pi = times(zr, zi, sr, si)
        sr, si = 1 + pr / (n + 1), pi / (n + 1)
    return sr, si, dr, di


@triton.jit
def _hold(zr, zi):
    """a = e^z and beta = phi(z), their derivatives, and 1 - |a|^2."""
    grown = tl.exp(zr)
    ar, ai = grown * tl.cos(zi), tl.where(zi == 0, 0, grown * tl.sin(zi))
    ar = tl.where(zi == 0, grown, ar)
    near = zr * zr + zi * zi < 0.25
    sr, si, dr, di = _phi(tl.where(near, zr, 0), tl.where(near, zi, 0))
    pr, pi = tl.where(near, 1, zr), tl.where(near, 0, zi)
    br, bi = _over(ar - 1, ai, pr, pi)
    br, bi = tl.where(near, sr, br), tl.where(near, si, bi)
    er, ei = _over(ar - br, ai - bi, pr, pi)
    er, ei = tl.where(near, dr, er), tl.where(near, di, ei)
    w = 2 * zr
    small = tl.abs(w) < 0.5
    v = tl.where(small, w, 0)
    ratio, _, _, _ = _phi(v, v * 0)
    loss = tl.where(small, -v * ratio, 1 - tl.exp(w))
    return ar, ai, br, bi, ar, ai, er, ei, loss


@triton.jit
def _one_stage(zr, zi, ALPHA: tl.constexpr, HOLD: tl.constexpr):
    """M = 1 / (1 - alpha z) and its square; a = 1 + z M, beta, its derivative, and 1 - |a|^2."""
    mr, mi = _over(zr * 0 + 1, zr * 0, 1 - ALPHA * zr, -ALPHA * zi)
    qr, qi = times(mr, mi, mr, mi)
    ar, ai = times(mr, mi, 1 + (1 - ALPHA) * zr, (1 - ALPHA) * zi)
    loss = (mr * mr + mi * mi) * (-2 * zr - (1 - 2 * ALPHA) * (zr * zr + zi * zi))
    hr, hi = 1 - HOLD + HOLD * ar, HOLD * ai
    br, bi = times(mr, mi, hr, hi)
    er, ei = times(ALPHA * qr, ALPHA * qi, hr, hi)
    pr, pi = times(mr, mi, qr, qi)
    return mr, mi, qr, qi, ar, ai, br, bi, er + HOLD * pr, ei + HOLD * pi, loss


@triton.jit
def _sampled(zr, zi, RULE: tl.constexpr, ALPHA: tl.constexpr, HOLD: tl.constexpr):
    """a, beta, k and phi; their derivatives; and 1 - |a|^2 with its sign."""
    one, none = zr * 0 + 1, zr * 0
    kr, ki, lr, li = one, none, none, none
    pr, pi, fr, fi = none, none, none, none
    if RULE == _EXPONENTIAL:
        ar, ai, br, bi, sr, si, er, ei, loss = _hold(zr, zi)
    else:
        mr, mi, sr, si, ar, ai, br, bi, er, ei, loss = _one_stage(zr, zi, ALPHA, HOLD)
        if RULE == _TUSTIN:
            kr, ki, lr, li = br, bi, er, ei
            pr, pi, fr, fi = 0.5 * br, 0.5 * bi, 0.5 * er, 0.5 * ei
        else:
            pr, pi, fr, fi = HOLD * mr, HOLD * mi, HOLD * ALPHA * sr, HOLD * ALPHA * si
    return ar, ai, br, bi, kr, ki, pr, pi, sr, si, er, ei, lr, li, fr, fi, loss


@triton.jit
def _moved(x, inward):
    """|x| plus (inward: minus) a few roundings, rounded up (down) to float32; the sign of x."""
    size = tl.abs(x)
    aim = tl.where(inward, tl.maximum(size - _SLACK, 0), size + _SLACK)
    y = aim.to(tl.float32)
    wide = y.to(tl.float64)
    step = tl.where(inward, tl.where(wide > aim, -1, 0), tl.where(wide < aim, 1, 0))
    y = (y.to(tl.int32, bitcast=True) + step).to(tl.float32, bitcast=True).to(tl.float64)
    return tl.where(x == 0, x, tl.where(x < 0, -y, y))


@triton.jit
def _loss(ar, ai):
    return (1 - ar) * (1 + ar) - ai * ai


@triton.jit
def _rounded(ar, ai, loss):
    """a in float32, inside the unit circle exactly where loss > 0; its own loss."""
    nr, ni = ar.to(tl.float32).to(tl.float64), ai.to(tl.float32).to(tl.float64)
    kept = _loss(nr, ni)
    inside = (kept > 0) & ((kept > 1e-6) | (tl.sqrt(nr * nr + ni * ni) < 1))
    right = inside == (loss > 0)
    nr = tl.where(right, nr, _moved(ar, loss > 0))
    ni = tl.where(right, ni, _moved(ai, loss > 0))
    return nr, ni, tl.where(right, kept, _loss(nr, ni))


@triton.jit(do_not_specialize=["modes", "inputs"])
def sample_modes_kernel(
    lam_ptr,
    B_ptr,
    dt_ptr,
    a_ptr,
    b_ptr,
    k_f64_ptr,
    f_f64_ptr,
    scale_f64_ptr,
    modes,
    inputs,
    RULE: tl.constexpr,
    ALPHA: tl.constexpr,
    HOLD: tl.constexpr,
    OUTPUTS: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_M: tl.constexpr,
):
    """a, k and the factor of b (H, N), b and f (H, N, m); k and f where OUTPUTS."""
    head = tl.program_id(0)
    dt = tl.load(dt_ptr + head).to(tl.float64)
    for first in range(0, modes, BLOCK_N):
        n = first + tl.arange(0, BLOCK_N)
        at = head * modes + n
        lr, li = load_pair(lam_ptr, 2 * at, n < modes)
        ar, ai, br, bi, kr, ki, pr, pi, _, _, _, _, _, _, _, _, loss = _sampled(
            dt * lr, dt * li, RULE, ALPHA, HOLD
        )
        ar, ai, kept = _rounded(ar, ai, loss)
        store_pair(a_ptr, 2 * at, ar, ai, n < modes)
        keeps = (loss > 0) & (kept <= _LARGEST_SCALE * loss)
        scale = tl.where(keeps, kept / tl.where(keeps, loss, 1), 1)
        tl.store(scale_f64_ptr + at, scale, mask=n < modes)
        if OUTPUTS:
            store_pair(k_f64_ptr, 2 * at, kr, ki, n < modes)
        for start in range(0, inputs, BLOCK_M):
            j = start + tl.arange(0, BLOCK_M)[None, :]
            used = (n[:, None] < modes) & (j < inputs)
            place = 2 * (at[:, None] * inputs + j)
            ur, ui = load_pair(B_ptr, place, used)
            ur, ui = dt * ur, dt * ui
            wr, wi = times(br[:, None], bi[:, None], ur, ui)
            store_pair(b_ptr, place, scale[:, None] * wr, scale[:, None] * wi, used)
            if OUTPUTS:
                wr, wi = times(pr[:, None], pi[:, None], ur, ui)
                store_pair(f_f64_ptr, place, wr, wi, used)


@triton.jit(do_not_specialize=["modes", "inputs"])
def sample_modes_backward_kernel(
    lam_ptr,
    B_ptr,
    dt_ptr,
    scale_f64_ptr,
    da_ptr,
    db_ptr,
    dk_f64_ptr,
    df_f64_ptr,
    dlam_ptr,
    dB_ptr,
    ddt_ptr,
    modes,
    inputs,
    RULE: tl.constexpr,
    ALPHA: tl.constexpr,
    HOLD: tl.constexpr,
    OUTPUTS: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_M: tl.constexpr,
):
    """Gradients of lam (H, N), B (H, N, m) and dt (H,) from those of a, b, k and f."""
    head = tl.program_id(0)
    dt = tl.load(dt_ptr + head).to(tl.float64)
    total = tl.zeros((BLOCK_N,), dtype=tl.float64)
    for first in range(0, modes, BLOCK_N):
        n = first + tl.arange(0, BLOCK_N)
        at = head * modes + n
        lr, li = load_pair(lam_ptr, 2 * at, n < modes)
        _, _, br, bi, _, _, pr, pi, sr, si, er, ei, kr, ki, fr, fi, _ = _sampled(
            dt * lr, dt * li, RULE, ALPHA, HOLD
        )
        scale = tl.load(scale_f64_ptr + at, mask=n < modes, other=0.0)
        hr, hi = lr * 0, lr * 0  # the gradient of dt scale beta
        vr, vi = lr * 0, lr * 0  # of dt phi
        for start in range(0, inputs, BLOCK_M):
            j = start + tl.arange(0, BLOCK_M)[None, :]
            used = (n[:, None] < modes) & (j < inputs)
            place = 2 * (at[:, None] * inputs + j)
            ur, ui = load_pair(B_ptr, place, used)
            gr, gi = load_pair(db_ptr, place, used)
            wr, wi = against(gr, gi, br[:, None], bi[:, None])
            wr, wi = scale[:, None] * wr, scale[:, None] * wi
            xr, xi = against(gr, gi, ur, ui)
            hr, hi = hr + tl.sum(xr, 1), hi + tl.sum(xi, 1)
            if OUTPUTS:
                gr, gi = load_pair(df_f64_ptr, place, used)
                xr, xi = against(gr, gi, pr[:, None], pi[:, None])
                wr, wi = wr + xr, wi + xi
                xr, xi = against(gr, gi, ur, ui)
                vr, vi = vr + tl.sum(xr, 1), vi + tl.sum(xi, 1)
            store_pair(dB_ptr, place, dt * wr, dt * wi, used)
        hr, hi = scale * hr, scale * hi
        gr, gi = load_pair(da_ptr, 2 * at, n < modes)
        zr, zi = against(gr, gi, sr, si)
        xr, xi = against(hr, hi, er, ei)
        zr, zi = zr + dt * xr, zi + dt * xi
        if OUTPUTS:
            gr, gi = load_pair(dk_f64_ptr, 2 * at, n < modes)
            xr, xi = against(gr, gi, kr, ki)
            zr, zi = zr + xr, zi + xi
            xr, xi = against(vr, vi, fr, fi)
            zr, zi = zr + dt * xr, zi + dt * xi
            xr, xi = against(vr, vi, pr, pi)
            total += tl.where(n < modes, xr, 0)
        store_pair(dlam_ptr, 2 * at, dt * zr, dt * zi, n < modes)
        xr, xi = against(zr, zi, lr, li)
        yr, _ = against(hr, hi, br, bi)
        total += tl.where(n < modes, xr + yr, 0)
    tl.store(ddt_ptr + head, tl.sum(total, 0))
