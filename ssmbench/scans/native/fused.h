/* The fused layer for one floating-point type: included by kernels.c with REAL and NAME(x) defined.
 *
 * Vectors hold LANES numbers, 64 bytes: one AVX-512 register, or what the compiler makes of it.
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

CLONES void NAME(fused_forward)(int64_t first, int64_t last, int64_t L, int64_t H, int64_t N,
                                const REAL *u, const REAL *lam, const REAL *B, const REAL *C,
                                const REAL *D, const REAL *x0, REAL *y, REAL *x_final,
                                REAL *starts, REAL *scratch) {
    const int64_t blocks = (H + LANES - 1) / LANES, chunks = (L + STEPS - 1) / STEPS;
    VEC *state = (VEC *)scratch; /* (N, 2) */
    NAME(mode) *modes = (NAME(mode) *)(state + 2 * N);
    VEC ub[STEPS], yb[STEPS];
    for (int64_t item = first; item < last; item++) {
        const int64_t b = item / blocks, h = item % blocks * LANES;
        const int64_t count = H - h < LANES ? H - h : LANES;
        const VEC d = NAME(gather)(D + h, 1, count);
        for (int64_t n = 0; n < N; n++) {
            modes[n] = NAME(load_mode)(lam, B, C, h, n, N, count);
            const REAL *start = x0 ? x0 + 2 * ((b * H + h) * N + n) : NULL;
            state[2 * n] = start ? NAME(gather)(start, 2 * N, count) : (VEC){0};
            state[2 * n + 1] = start ? NAME(gather)(start + 1, 2 * N, count) : (VEC){0};
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
            for (int64_t n = 0; n < N; n += 2) {
                const int pair = n + 1 < N;
                const NAME(mode) p = modes[n], q = pair ? modes[n + 1] : NAME(no_mode);
                VEC pr = state[2 * n], pi = state[2 * n + 1];
                VEC qr = pair ? state[2 * n + 2] : (VEC){0}, qi = pair ? state[2 * n + 3] : (VEC){0};
                for (int64_t t = 0; t < steps; t++) {
                    const VEC v = ub[t];
                    yb[t] += (p.cr * pr - p.ci * pi) + (q.cr * qr - q.ci * qi);
                    const VEC nr = p.br * v + p.lr * pr - p.li * pi;
                    const VEC mr = q.br * v + q.lr * qr - q.li * qi;
                    pi = p.bi * v + p.lr * pi + p.li * pr;
                    qi = q.bi * v + q.lr * qi + q.li * qr;
                    pr = nr;
                    qr = mr;
                }
                state[2 * n] = pr;
                state[2 * n + 1] = pi;
                if (pair) {
                    state[2 * n + 2] = qr;
                    state[2 * n + 3] = qi;
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
    double *totals = (double *)(modes + N); /* (N, 6, LANES), then (LANES) */
    VEC ub[STEPS], gb[STEPS], db[STEPS], xr[STEPS], xi[STEPS];
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
        }
        for (int64_t chunk = chunks - 1; chunk >= 0; chunk--) {
            const int64_t t0 = chunk * STEPS, steps = L - t0 < STEPS ? L - t0 : STEPS;
            const int64_t row = (b * L + t0) * H + h;
            const VEC *start = (const VEC *)(starts + (item * chunks + chunk) * 2 * N * LANES);
            VEC direct = {0};
            for (int64_t t = 0; t < steps; t++) {
                ub[t] = NAME(load_row)(u + row + t * H, count);
                gb[t] = NAME(load_row)(dy + row + t * H, count);
                db[t] = d * gb[t];
                direct += gb[t] * ub[t];
            }
            NAME(accumulate)(totals + 6 * N * LANES, direct);
            for (int64_t n = 0; n < N; n++) {
                const NAME(mode) p = modes[n];
                VEC sr = start[2 * n], si = start[2 * n + 1];
                for (int64_t t = 0; t < steps; t++) {
                    xr[t] = sr;
                    xi[t] = si;
                    const VEC nr = p.br * ub[t] + p.lr * sr - p.li * si;
                    si = p.bi * ub[t] + p.lr * si + p.li * sr;
                    sr = nr;
                }
                VEC gr = adjoint[2 * n], gi = adjoint[2 * n + 1];
                VEC lr = {0}, li = {0}, br = {0}, bi = {0}, cr = {0}, ci = {0};
                for (int64_t t = steps - 1; t >= 0; t--) {
                    const VEC v = ub[t], g = gb[t], a = xr[t], c = xi[t];
                    db[t] += p.br * gr + p.bi * gi;
                    br += v * gr;
                    bi += v * gi;
                    lr += gr * a + gi * c;
                    li += gi * a - gr * c;
                    cr += g * a;
                    ci -= g * c;
                    const VEC next = p.lr * gr + p.li * gi + g * p.cr;
                    gi = p.lr * gi - p.li * gr - g * p.ci;
                    gr = next;
                }
                adjoint[2 * n] = gr;
                adjoint[2 * n + 1] = gi;
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
