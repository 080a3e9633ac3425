"""What a step of a sampled system does to a mode, for the kernels of ``selective_kernel``.

The rules are those of :class:`ssmbench.systems.Rule`, whose numbers RULE has; 0 where a system is
discrete already. No GPU was at hand: nothing is measured.
"""

from __future__ import annotations

import triton
import triton.language as tl

_GIVEN = tl.constexpr(0)
_EXPONENTIAL = tl.constexpr(1)
_TUSTIN = tl.constexpr(3)


@triton.jit
def phi_2(z):
    """(e^z - 1 - z) / z^2 for |z| < 1/2, by its series up to z^7 / 9!."""
    total = z * (1.0 / 9) + 1
    for n in tl.static_range(8, 2, -1):
        total = total * z * (1.0 / n) + 1
    return total * 0.5


@triton.jit
def sample(dt, lam, inverse, alpha, hold, RULE: tl.constexpr, EULER: tl.constexpr):
    """a, e, k and f of a step; dt is a column. inverse: 1 / lam, or any number where lam = 0."""
    z = dt * lam
    if RULE == _EXPONENTIAL:
        near = tl.abs(z) < 0.5
        phi_1 = 1 + z * phi_2(z)
        grown = tl.exp(z)
        a = tl.where(near, 1 + z * phi_1, grown)
        if EULER:
            e = dt + tl.zeros_like(z)
        else:
            # dt * 0: NaN where dt is infinite, which e^z - 1 hides
            e = tl.where(near, dt * phi_1, (grown - 1) * inverse + dt * 0)
        k = 1.0
        f = 0.0
    elif RULE == _TUSTIN:
        k = 1 / (1 - 0.5 * z)
        a = k * (1 + 0.5 * z)
        e = dt * k
        f = 0.5 * e
    else:
        m = 1 / (1 - alpha * z)
        a = m * (1 + (1 - alpha) * z)
        if EULER:
            e = dt + tl.zeros_like(z)
        else:
            e = dt * m * (1 - hold + hold * a)
        k = 1.0
        f = dt * m * hold
    return a, e, k, f


@triton.jit
def sample_back(
    dt,
    lam,
    inverse,
    a,
    e,
    k,
    da,
    de,
    dk,
    df,
    alpha,
    hold,
    RULE: tl.constexpr,
    EULER: tl.constexpr,
):
    """The gradients of dt and lam from those of the four numbers."""
    z = dt * lam
    if RULE == _EXPONENTIAL:
        if EULER:
            dz = a * da
            ddt = lam * dz + de
            dlam = dt * dz
        else:  # phi_1' = phi_1 - phi_2, and de / d(lam) = dt^2 phi_1'(z) = (dt a - e) / lam
            second = phi_2(z)
            near = dt * dt * (1 + (z - 1) * second)
            slope = tl.where(tl.abs(z) < 0.5, near, (dt * a - e) * inverse)
            ddt = a * (lam * da + de)
            dlam = dt * a * da + slope * de
    elif RULE == _TUSTIN:
        more = k * (de + 0.5 * df)
        dz = k * (k * (da + 0.5 * dk) + 0.5 * dt * more)
        ddt = lam * dz + more
        dlam = dt * dz
    else:
        m = 1 / (1 - alpha * z)
        if EULER:
            dz = m * m * da
            more = de
        else:
            mean = 1 - hold + hold * a
            of_places = de * (alpha * mean + hold * m) + df * (hold * alpha)
            dz = m * m * (da + dt * of_places)
            more = m * (mean * de + hold * df)
        ddt = lam * dz + more
        dlam = dt * dz
    return ddt, dlam


@triton.jit
def step_at(
    row,
    table,
    here,
    n,
    dt_ptr,
    lam_ptr,
    lam,
    inverse,
    states,
    alpha,
    hold,
    RULE: tl.constexpr,
    EULER: tl.constexpr,
):
    """dt, and a, e, k and f, of the step whose places in (B, L, H) and (B, L, G, N) these are."""
    if RULE == _GIVEN:
        dt = 0.0
        a = tl.load(lam_ptr + table, mask=n < states, other=0.0)[None, :]
        e, k, f = 1.0, 1.0, 0.0
    else:
        dt = tl.load(dt_ptr + row, mask=here, other=0.0)[:, None]
        a, e, k, f = sample(dt, lam, inverse, alpha, hold, RULE, EULER)
    return dt, a, e, k, f
