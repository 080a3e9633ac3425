/* The fused layer for one floating-point type: included by kernels.c with REAL and NAME(x) defined.
 *
 * Vectors hold LANES numbers, 64 bytes: one AVX-512 register, or several smaller ones.
 * Work is a range of independent items; the caller gives each thread a range of its own.
 */

typedef REAL NAME(vec) __attribute__((vector_size(64), aligned(64)));
#define VEC NAME(vec)
#define LANES ((int64_t)(64 / sizeof(REAL)))
#define STEPS 64 /* time steps of a chunk: its buffers stay in the first-level cache */

static inline VEC NAME(load)(const REAL *p) {
    VEC v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline void NAME(store)(REAL *p, VEC v) { memcpy(p, &v, sizeof v); }

/* The first `count` of up to LANES numbers that lie `stride` apart; zero beyond. */
static inline VEC NAME(gather)(const REAL *p, int64_t stride, int64_t count) {
    REAL lanes[64 / sizeof(REAL)] = {0};
    for (int64_t l = 0; l < count; l++) lanes[l] = p[l * stride];
    return NAME(load)(lanes);
}

static inline void NAME(scatter)(REAL *p, int64_t stride, int64_t count, VEC v) {
    for (int64_t l = 0; l < count; l++) p[l * stride] = v[l];
}

static inline VEC NAME(load_row)(const REAL *p, int64_t count) {
    return count == LANES ? NAME(load)(p) : NAME(gather)(p, 1, count);
}

static inline void NAME(store_row)(REAL *p, int64_t count, VEC v) {
    if (count == LANES)
        NAME(store)(p, v);
    else
        NAME(scatter)(p, 1, count, v);
}

/* --- fused single-channel diagonal systems -------------------------------------------------------
 *
 * x[t+1] = lam x[t] + B u[t], y[t] = Re(C x[t]) + D u[t], for H channels, N complex modes each.
 * u, y (B, L, H); lam, B, C (H, N) complex, interleaved; D (H); x0, x_final (B, H, N) complex.
 * Lanes are channels. The modes of a channel are taken two at a time through a chunk of STEPS, so
 * that their states live in registers. starts (items, S, N, 2, LANES) receives the states at the
 * chunks' starts, for the backward; NULL where there is none.
 * An item is (sequence, block of LANES channels).
 */

typedef struct {
    VEC lr, li, br, bi, cr, ci;
} NAME(mode);

/* kind 0..5 of mode n: lam.re, lam.im, B.re, B.im, C.re, C.im of `count` channels from h. */
static NAME(mode) NAME(load_mode)(const REAL *lam, const REAL *B, const REAL *C, int64_t h,
                                  int64_t n, int64_t N, int64_t count) {
    int64_t at = 2 * (h * N + n), stride = 2 * N;
    NAME(mode) m = {
        NAME(gather)(lam + at, stride, count), NAME(gather)(lam + at + 1, stride, count),
        NAME(gather)(B + at, stride, count),   NAME(gather)(B + at + 1, stride, count),
        NAME(gather)(C + at, stride, count),   NAME(gather)(C + at + 1, stride, count),
    };
    return m;
}

static const NAME(mode) NAME(no_mode);

/* --- carrying states between chunks in double precision -------------------------------------------
 *
 * Rounding of a state that decays slowly adds up over its memory, 1 / (1 - |lam|) steps, and with
 * one sign where the state hardly changes. So each chunk is run twice side by side (the second
 * hides in the latency of the first): from the state at its start, for the outputs, and from zero,
 * for the carry: end = lam^steps start + local, in double. States and carries are (re, im).
 */

/* x <- lam x + b, the sum ordered so that only two operations wait for the x before. */
static inline __attribute__((always_inline)) void NAME(step)(const NAME(mode) *m, VEC *re, VEC *im,
                                                             VEC b_re, VEC b_im) {
    const VEC next = (b_re + m->lr * *re) - m->li * *im;
    *im = (b_im + m->lr * *im) + m->li * *re;
    *re = next;
}

/* lam^exponent (2, LANES). Beyond 1e300 it is cut, so that it leaves a state of zero at zero. */
static inline __attribute__((always_inline)) void NAME(power)(double *power, const NAME(mode) *m,
                                                              int64_t exponent) {
    double re[64 / sizeof(REAL)], im[64 / sizeof(REAL)]; /* lam^1, ^2, ^4, .. */
    for (int64_t l = 0; l < LANES; l++) {
        re[l] = m->lr[l];
        im[l] = m->li[l];
        power[l] = 1;
        power[LANES + l] = 0;
    }
    for (int64_t e = exponent; e; e >>= 1) {
        if (e & 1)
            for (int64_t l = 0; l < LANES; l++) {
                const double next = power[l] * re[l] - power[LANES + l] * im[l];
                power[LANES + l] = power[l] * im[l] + power[LANES + l] * re[l];
                power[l] = next;
            }
        for (int64_t l = 0; l < LANES; l++) {
            const double square = re[l] * re[l] - im[l] * im[l];
            im[l] = 2 * re[l] * im[l];
            re[l] = square;
        }
    }
    for (int64_t k = 0; k < 2 * LANES; k++)
        power[k] = power[k] > -1e300 && power[k] < 1e300 ? power[k] : 1e300;
}

/* carry <- power carry + local; with the power's conjugate where sign is -1. */
static inline void NAME(carry)(double *carry, const double *power, double sign, const VEC *local) {
    for (int64_t l = 0; l < LANES; l++) {
        const double re = carry[l], im = carry[LANES + l];
        const double power_re = power[l], power_im = sign * power[LANES + l];
        carry[l] = (double)local[0][l] + power_re * re - power_im * im;
        carry[LANES + l] = (double)local[1][l] + power_re * im + power_im * re;
    }
}

static inline void NAME(widen)(double *carry, const VEC *state) {
    for (int64_t l = 0; l < LANES; l++) carry[l] = state[0][l];
    for (int64_t l = 0; l < LANES; l++) carry[LANES + l] = state[1][l];
}

static inline void NAME(narrow)(VEC *state, const double *carry) {
    for (int64_t l = 0; l < LANES; l++) state[0][l] = (REAL)carry[l];
    for (int64_t l = 0; l < LANES; l++) state[1][l] = (REAL)carry[LANES + l];
}

CLONES void NAME(fused_forward)(int64_t first, int64_t last, int64_t L, int64_t H, int64_t N,
                                const REAL *u, const REAL *lam, const REAL *B, const REAL *C,
                                const REAL *D, const REAL *x0, REAL *y, REAL *x_final,
                                REAL *starts, REAL *scratch) {
    const int64_t blocks = (H + LANES - 1) / LANES, chunks = (L + STEPS - 1) / STEPS;
    VEC *state = (VEC *)scratch; /* (N, 2) */
    NAME(mode) *modes = (NAME(mode) *)(state + 2 * N);
    double *carries = (double *)(modes + N), *powers = carries + 2 * N * LANES; /* (N, 2, LANES) */
    VEC ub[STEPS + 1], yb[STEPS];
    for (int64_t item = first; item < last; item++) {
        const int64_t b = item / blocks, h = item % blocks * LANES;
        const int64_t count = H - h < LANES ? H - h : LANES;
        const VEC d = NAME(gather)(D + h, 1, count);
        for (int64_t n = 0; n < N; n++) {
            modes[n] = NAME(load_mode)(lam, B, C, h, n, N, count);
            const REAL *start = x0 ? x0 + 2 * ((b * H + h) * N + n) : NULL;
            state[2 * n] = start ? NAME(gather)(start, 2 * N, count) : (VEC){0};
            state[2 * n + 1] = start ? NAME(gather)(start + 1, 2 * N, count) : (VEC){0};
            NAME(widen)(carries + 2 * n * LANES, state + 2 * n);
            NAME(power)(powers + 2 * n * LANES, modes + n, L < STEPS ? L : STEPS);
        }
        for (int64_t chunk = 0; chunk < chunks; chunk++) {
            const int64_t t0 = chunk * STEPS, steps = L - t0 < STEPS ? L - t0 : STEPS;
            const REAL *urow = u + (b * L + t0) * H + h;
            REAL *yrow = y + (b * L + t0) * H + h;
            if (starts)
                memcpy(starts + (item * chunks + chunk) * 2 * N * LANES, state,
                       sizeof(VEC) * 2 * N);
            for (int64_t t = 0; t < steps; t++) {
                ub[t] = NAME(load_row)(urow + t * H, count);
                yb[t] = d * ub[t];
            }
            ub[steps] = (VEC){0};
            if (chunk && steps < STEPS) /* the last, a shorter one */
                for (int64_t n = 0; n < N; n++) NAME(power)(powers + 2 * n * LANES, modes + n, steps);
            for (int64_t n = 0; n < N; n += 2) {
                const int pair = n + 1 < N;
                const NAME(mode) p = modes[n], q = pair ? modes[n + 1] : NAME(no_mode);
                VEC bpr = p.br * ub[0], bpi = p.bi * ub[0], bqr = q.br * ub[0], bqi = q.bi * ub[0];
                VEC local[4] = {{0}};
                VEC pr = state[2 * n], pi = state[2 * n + 1];
                VEC qr = pair ? state[2 * n + 2] : (VEC){0}, qi = pair ? state[2 * n + 3] : (VEC){0};
                for (int64_t t = 0; t < steps; t++) {
                    const VEC v = ub[t + 1];
                    yb[t] += (p.cr * pr - p.ci * pi) + (q.cr * qr - q.ci * qi);
                    NAME(step)(&p, &pr, &pi, bpr, bpi);
                    NAME(step)(&q, &qr, &qi, bqr, bqi);
                    NAME(step)(&p, local, local + 1, bpr, bpi);
                    NAME(step)(&q, local + 2, local + 3, bqr, bqi);
                    bpr = p.br * v;
                    bpi = p.bi * v;
                    bqr = q.br * v;
                    bqi = q.bi * v;
                }
                for (int k = 0; k <= pair; k++) {
                    const int64_t at = 2 * (n + k);
                    NAME(carry)(carries + at * LANES, powers + at * LANES, 1, local + 2 * k);
                    NAME(narrow)(state + at, carries + at * LANES);
                }
            }
            for (int64_t t = 0; t < steps; t++) NAME(store_row)(yrow + t * H, count, yb[t]);
        }
        for (int64_t n = 0; n < N; n++) {
            REAL *end = x_final + 2 * ((b * H + h) * N + n);
            NAME(scatter)(end, 2 * N, count, state[2 * n]);
            NAME(scatter)(end + 1, 2 * N, count, state[2 * n + 1]);
        }
    }
}

/* Adds a vector of this precision to LANES doubles. */
static inline void NAME(accumulate)(double *total, VEC v) {
    for (int64_t l = 0; l < LANES; l++) total[l] += (double)v[l];
}

/* Gradients of the above. dy (B, L, H), dx_final (B, H, N) complex (NULL: zero) to du, and, for
 * each sequence, sums (B, H, N, 6) and dD (B, H) in double: the six are those of lam, B and C.
 * dx0 (B, H, N) complex. States are run again within each chunk from `starts`.
 */
CLONES void NAME(fused_backward)(int64_t first, int64_t last, int64_t L, int64_t H, int64_t N,
                                 const REAL *u, const REAL *lam, const REAL *B, const REAL *C,
                                 const REAL *D, const REAL *starts, const REAL *dy,
                                 const REAL *dx_final, REAL *du, double *sums, double *dD,
                                 REAL *dx0, REAL *scratch) {
    const int64_t blocks = (H + LANES - 1) / LANES, chunks = (L + STEPS - 1) / STEPS;
    VEC *adjoint = (VEC *)scratch; /* (N, 2) */
    NAME(mode) *modes = (NAME(mode) *)(adjoint + 2 * N);
    double *carries = (double *)(modes + N), *powers = carries + 2 * N * LANES; /* (N, 2, LANES) */
    double *totals = powers + 2 * N * LANES; /* (N, 6, LANES), then (LANES) */
    VEC ub[STEPS + 1], gb[STEPS + 1], db[STEPS], xr[STEPS], xi[STEPS]; /* dy of step t in gb[t + 1] */
    for (int64_t item = first; item < last; item++) {
        const int64_t b = item / blocks, h = item % blocks * LANES;
        const int64_t count = H - h < LANES ? H - h : LANES;
        const VEC d = NAME(gather)(D + h, 1, count);
        memset(totals, 0, sizeof(double) * (6 * N + 1) * LANES);
        for (int64_t n = 0; n < N; n++) {
            modes[n] = NAME(load_mode)(lam, B, C, h, n, N, count);
            const REAL *end = dx_final ? dx_final + 2 * ((b * H + h) * N + n) : NULL;
            adjoint[2 * n] = end ? NAME(gather)(end, 2 * N, count) : (VEC){0};
            adjoint[2 * n + 1] = end ? NAME(gather)(end + 1, 2 * N, count) : (VEC){0};
            NAME(widen)(carries + 2 * n * LANES, adjoint + 2 * n);
            NAME(power)(powers + 2 * n * LANES, modes + n, L - (chunks - 1) * STEPS);
        }
        for (int64_t chunk = chunks - 1; chunk >= 0; chunk--) {
            const int64_t t0 = chunk * STEPS, steps = L - t0 < STEPS ? L - t0 : STEPS;
            const int64_t row = (b * L + t0) * H + h;
            const VEC *start = (const VEC *)(starts + (item * chunks + chunk) * 2 * N * LANES);
            VEC direct = {0};
            for (int64_t t = 0; t < steps; t++) {
                ub[t] = NAME(load_row)(u + row + t * H, count);
                gb[t + 1] = NAME(load_row)(dy + row + t * H, count);
                db[t] = d * gb[t + 1];
                direct += gb[t + 1] * ub[t];
            }
            ub[steps] = gb[0] = (VEC){0};
            if (chunk == chunks - 2 && L % STEPS) /* the last, shorter one is done */
                for (int64_t n = 0; n < N; n++) NAME(power)(powers + 2 * n * LANES, modes + n, STEPS);
            NAME(accumulate)(totals + 6 * N * LANES, direct);
            for (int64_t n = 0; n < N; n++) {
                const NAME(mode) p = modes[n];
                VEC sr = start[2 * n], si = start[2 * n + 1];
                VEC bur = p.br * ub[0], bui = p.bi * ub[0];
                for (int64_t t = 0; t < steps; t++) {
                    xr[t] = sr;
                    xi[t] = si;
                    NAME(step)(&p, &sr, &si, bur, bui);
                    bur = p.br * ub[t + 1];
                    bui = p.bi * ub[t + 1];
                }
                const NAME(mode) back = {p.lr, -p.li};
                VEC gr = adjoint[2 * n], gi = adjoint[2 * n + 1], local[2] = {{0}};
                VEC cgr = p.cr * gb[steps], cgi = -p.ci * gb[steps];
                VEC lr = {0}, li = {0}, br = {0}, bi = {0}, cr = {0}, ci = {0};
                for (int64_t t = steps - 1; t >= 0; t--) {
                    const VEC v = ub[t], g = gb[t + 1], a = xr[t], c = xi[t];
                    db[t] += p.br * gr + p.bi * gi;
                    br += v * gr;
                    bi += v * gi;
                    lr += gr * a + gi * c;
                    li += gi * a - gr * c;
                    cr += g * a;
                    ci -= g * c;
                    NAME(step)(&back, &gr, &gi, cgr, cgi);
                    NAME(step)(&back, local, local + 1, cgr, cgi);
                    cgr = p.cr * gb[t];
                    cgi = -p.ci * gb[t];
                }
                NAME(carry)(carries + 2 * n * LANES, powers + 2 * n * LANES, -1, local);
                NAME(narrow)(adjoint + 2 * n, carries + 2 * n * LANES);
                double *total = totals + 6 * n * LANES;
                NAME(accumulate)(total, lr);
                NAME(accumulate)(total + LANES, li);
                NAME(accumulate)(total + 2 * LANES, br);
                NAME(accumulate)(total + 3 * LANES, bi);
                NAME(accumulate)(total + 4 * LANES, cr);
                NAME(accumulate)(total + 5 * LANES, ci);
            }
            for (int64_t t = 0; t < steps; t++) NAME(store_row)(du + row + t * H, count, db[t]);
        }
        for (int64_t l = 0; l < count; l++) {
            for (int64_t n = 0; n < N; n++) {
                const int64_t at = (b * H + h + l) * N + n;
                for (int64_t k = 0; k < 6; k++)
                    sums[6 * at + k] = totals[(6 * n + k) * LANES + l];
                dx0[2 * at] = adjoint[2 * n][l];
                dx0[2 * at + 1] = adjoint[2 * n + 1][l];
            }
            dD[b * H + h + l] = totals[6 * N * LANES + l];
        }
    }
}

#undef VEC
#undef LANES
#undef STEPS
