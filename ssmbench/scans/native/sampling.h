/* Diagonal systems in continuous time, sampled: included by kernels.c with REAL and NAME(x) defined.
 *
 * Each of the N modes of H heads becomes x[t+1] = a x[t] + b u[t], y = C (k x + f u) with functions of
 * z = dt lam, computed in double precision: a by the rule, b = dt beta(z) B, f = dt phi(z) B. Poles
 * are rounded to REAL on the side of the unit circle on which they lie, and b is scaled with them
 * (ssmbench/discretizers/rounding.py, which says why).
 *
 * dt (H); lam, a, k (H, N) and B, b, f (H, N, m) complex, interleaved; scale (H, N). k and f are in
 * double, NULL where C and D stay as they are. An item is a head.
 */

#ifndef SAMPLING_RULES
#define SAMPLING_RULES
#include <math.h>

typedef struct {
    double re, im;
} number;

static inline number times(number x, number y) {
    return (number){x.re * y.re - x.im * y.im, x.re * y.im + x.im * y.re};
}

/* x conj(y) */
static inline number against(number x, number y) {
    return (number){x.re * y.re + x.im * y.im, x.im * y.re - x.re * y.im};
}

static inline number plus(number x, number y) { return (number){x.re + y.re, x.im + y.im}; }

static inline number scaled(double s, number x) { return (number){s * x.re, s * x.im}; }

/* x / y, by Smith's method: y may be near the ends of the range. */
static inline number over(number x, number y) {
    if (fabs(y.re) >= fabs(y.im)) {
        const double r = y.im / y.re, d = y.re + y.im * r;
        return (number){(x.re + x.im * r) / d, (x.im - x.re * r) / d};
    }
    const double r = y.re / y.im, d = y.re * r + y.im;
    return (number){(x.re * r + x.im) / d, (x.im * r - x.re) / d};
}

/* The functions of z, their derivatives, and 1 - |a|^2 with its sign. */
typedef struct {
    number a, beta, k, phi, da, dbeta, dk, dphi;
    double loss;
} sampled_mode;

#define NEAR 0.5
#define PHI_TERMS 16 /* 0.5^16 / 17! is far below the last place */

static inline sampled_mode hold(number z) {
    sampled_mode s = {.k = {1, 0}, .loss = -expm1(2 * z.re)};
    const double e = exp(z.re);
    s.a = s.da = z.im == 0 ? (number){e, 0} : (number){e * cos(z.im), e * sin(z.im)};
    if (z.re * z.re + z.im * z.im < NEAR * NEAR) {
        number sum = {1, 0}, slope = {0, 0}; /* of sum z^n / (n + 1)!, Horner's rule */
        for (int n = PHI_TERMS; n > 0; n--) {
            slope = scaled(1.0 / (n + 1), plus(sum, times(z, slope)));
            sum = plus((number){1, 0}, scaled(1.0 / (n + 1), times(z, sum)));
        }
        s.beta = sum;
        s.dbeta = slope;
    } else {
        s.beta = over((number){s.a.re - 1, s.a.im}, z);
        s.dbeta = over((number){s.a.re - s.beta.re, s.a.im - s.beta.im}, z);
    }
    return s;
}

/* M = 1 / (1 - alpha z), and a = 1 + z M, whose derivative is M^2. */
static inline sampled_mode one_stage(number z, double alpha, double c) {
    const number one = {1, 0};
    const number M = over(one, (number){1 - alpha * z.re, -alpha * z.im}), square = times(M, M);
    const double size = z.re * z.re + z.im * z.im, norm = M.re * M.re + M.im * M.im;
    sampled_mode s = {.k = one, .da = square};
    s.a = times(M, (number){1 + (1 - alpha) * z.re, (1 - alpha) * z.im});
    s.loss = norm * (-2 * z.re - (1 - 2 * alpha) * size);
    const number held = plus((number){1 - c, 0}, scaled(c, s.a));
    s.beta = times(M, held);
    s.dbeta = plus(times(scaled(alpha, square), held), scaled(c, times(M, square)));
    s.phi = scaled(c, M);
    s.dphi = scaled(c * alpha, square);
    return s;
}

static inline sampled_mode tustin(number z) {
    sampled_mode s = one_stage(z, 0.5, 0);
    s.k = s.beta;
    s.dk = s.dbeta;
    s.phi = scaled(0.5, s.beta);
    s.dphi = scaled(0.5, s.dbeta);
    return s;
}

static inline sampled_mode sample_mode(int64_t rule, double alpha, double c, number z) {
    if (rule == EXPONENTIAL) return hold(z);
    return rule == TUSTIN ? tustin(z) : one_stage(z, alpha, c);
}

#define SLACK 0x1p-48 /* several roundings */
#define LARGEST_SCALE 2.0
#endif

static inline number NAME(numbers)(const REAL *p, int64_t k) {
    return (number){p[2 * k], p[2 * k + 1]};
}

static inline void NAME(put)(REAL *p, int64_t k, number x) {
    p[2 * k] = (REAL)x.re;
    p[2 * k + 1] = (REAL)x.im;
}

static inline REAL NAME(next)(REAL x, REAL to) {
    return sizeof(REAL) == 4 ? (REAL)nextafterf((float)x, (float)to) : (REAL)nextafter(x, to);
}

/* |x| plus (inward: minus) a few roundings, rounded up (down), with the sign of x; 0 stays 0. */
static inline double NAME(moved)(double x, int inward) {
    if (x == 0) return x;
    const double aim = inward ? fmax(fabs(x) - SLACK, 0) : fabs(x) + SLACK;
    REAL y = (REAL)aim;
    if (inward ? (double)y > aim : (double)y < aim) y = NAME(next)(y, inward ? 0 : (REAL)INFINITY);
    return copysign((double)y, x);
}

/* a rounded to REAL, inside the unit circle exactly where loss > 0; its own loss. */
static inline number NAME(rounded)(number a, double loss, double *kept) {
    number near = {(REAL)a.re, (REAL)a.im};
    *kept = (1 - near.re) * (1 + near.re) - near.im * near.im;
    const int inside = *kept > 0 && (*kept > 1e-6 || hypot(near.re, near.im) < 1);
    if (inside == (loss > 0)) return near;
    near = (number){NAME(moved)(a.re, loss > 0), NAME(moved)(a.im, loss > 0)};
    *kept = (1 - near.re) * (1 + near.re) - near.im * near.im;
    return near;
}

CLONES void NAME(sample_modes)(int64_t first, int64_t last, int64_t N, int64_t m, int64_t rule,
                               double alpha, double c, const REAL *lam, const REAL *B,
                               const REAL *dt, REAL *a, REAL *b, double *k, double *f,
                               double *scale) {
    for (int64_t at = first * N; at < last * N; at++) {
        const double h = dt[at / N];
        const sampled_mode s = sample_mode(rule, alpha, c, scaled(h, NAME(numbers)(lam, at)));
        double kept;
        NAME(put)(a, at, NAME(rounded)(s.a, s.loss, &kept));
        const int keeps = sizeof(REAL) == 4 && s.loss > 0 && kept <= LARGEST_SCALE * s.loss;
        scale[at] = keeps ? kept / s.loss : 1;
        if (k) k[2 * at] = s.k.re, k[2 * at + 1] = s.k.im;
        for (int64_t j = at * m; j < (at + 1) * m; j++) {
            const number in = scaled(h, NAME(numbers)(B, j));
            const number g = times(s.phi, in);
            NAME(put)(b, j, scaled(scale[at], times(s.beta, in)));
            if (f) f[2 * j] = g.re, f[2 * j + 1] = g.im;
        }
    }
}

/* Gradients of the above from those of a, b, k and f; dk and df NULL with k and f. */
CLONES void NAME(sample_modes_backward)(int64_t first, int64_t last, int64_t N, int64_t m,
                                        int64_t rule, double alpha, double c, const REAL *lam,
                                        const REAL *B, const REAL *dt, const double *scale,
                                        const REAL *da, const REAL *db, const double *dk,
                                        const double *df, REAL *dlam, REAL *dB, REAL *ddt) {
    for (int64_t head = first; head < last; head++) {
        const double h = dt[head];
        double total = 0;
        for (int64_t at = head * N; at < (head + 1) * N; at++) {
            const number l = NAME(numbers)(lam, at);
            const sampled_mode s = sample_mode(rule, alpha, c, scaled(h, l));
            number held = {0, 0}, seen = {0, 0}; /* gradients of dt scale beta and of dt phi */
            for (int64_t j = at * m; j < (at + 1) * m; j++) {
                const number in = NAME(numbers)(B, j), g = NAME(numbers)(db, j);
                number out = scaled(scale[at], against(g, s.beta));
                held = plus(held, against(g, in));
                if (df) {
                    const number direct = {df[2 * j], df[2 * j + 1]};
                    out = plus(out, against(direct, s.phi));
                    seen = plus(seen, against(direct, in));
                }
                NAME(put)(dB, j, scaled(h, out));
            }
            held = scaled(scale[at], held);
            number dz = plus(against(NAME(numbers)(da, at), s.da), scaled(h, against(held, s.dbeta)));
            if (dk) dz = plus(dz, against((number){dk[2 * at], dk[2 * at + 1]}, s.dk));
            if (df) dz = plus(dz, scaled(h, against(seen, s.dphi)));
            NAME(put)(dlam, at, scaled(h, dz));
            total += against(dz, l).re + against(held, s.beta).re + against(seen, s.phi).re;
        }
        ddt[head] = (REAL)total;
    }
}
