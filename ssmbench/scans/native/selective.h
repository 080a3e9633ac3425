/* Diagonal systems that vary with time, sampled, scanned and read in one pass: included by kernels.c
 * after delta.h, with REAL, INT and NAME(x) defined.
 *
 * x[t+1] = a x[t] + e B[t] u[t], y[t] = C[t] (k x + f B[t] u[t]) + D u[t] for each of N states of H
 * channels, where x is x[t] or, after the input, x[t+1]. a, e, k and f follow from dt[t] and lam by
 * a rule; of a system that is discrete already, a is given and e = k = 1, f = 0.
 *
 * u, dt, y (B, L, H); lam (H, N), or where a is given (B, L, G, N); B, C (B, L, G, N), each row
 * for the H / G channels of a group, or with OWN_ROWS (B, L, H, N); D (H), or with D_VARIES
 * (B, L, H); x0, end (B, H, N). starts (items, chunks, N, LANES) receives the states before every
 * STRIDE-th step (NULL: nowhere), from which the backward pass computes the others.
 *
 * Lanes are channels. An item is (sequence, group, block of LANES channels of the group); within a
 * chunk, states are taken one after another, so that each lives in a register.
 */

#define VEC NAME(channels)
#define BITS NAME(lane_order)
#define LANES ((int64_t)(64 / sizeof(REAL)))
#define STRIDE 32

#ifndef SELECTIVE_RULES
#define SELECTIVE_RULES
enum { GIVEN, EXPONENTIAL, ONE_STAGE, TUSTIN };
enum { EULER_INPUT = 1, AFTER_INPUT = 2, OWN_ROWS = 4, D_VARIES = 8 };

/* z -> e^z = 2 (2^(k-1) e^r), which is finite up to the largest number, where 2^k is not:
 * z / log 2 + round has k in its lowest bits; log 2 in two parts. */
#define SINGLE (sizeof(REAL) == 4)
#define ROUND ((REAL)(SINGLE ? 0x1.8p23 : 0x1.8p52))
#define LOG2_HIGH ((REAL)(SINGLE ? 0.693359375 : 6.93147180369123816490e-01))
#define LOG2_LOW ((REAL)(SINGLE ? -2.12194440e-4 : 1.90821492927058770002e-10))
#define LOWEST ((REAL)(SINGLE ? -86.0 : -707.0)) /* 2^(k-1) e^r is normal */
#define HIGHEST ((REAL)(SINGLE ? 88.9 : 710.0))  /* e^z is infinite */
#define MANTISSA (SINGLE ? 23 : 52)
#define BIAS (SINGLE ? 127 : 1023)
#define SMALLEST ((REAL)(SINGLE ? 1e-20 : 1e-150))
/* Terms of phi_1(r) = sum r^n / (n + 1)! such that those left out are below a quarter of the last
 * place for |r| <= log(2) / 2, of its derivative too. */
#define TERMS (SINGLE ? 8 : 14)
static const double RECIPROCAL_FACTORIAL[15] = {
    1.0,         1.0,          1.0 / 2,        1.0 / 6,         1.0 / 24,
    1.0 / 120,   1.0 / 720,    1.0 / 5040,     1.0 / 40320,     1.0 / 362880,
    1.0 / 3628800, 1.0 / 39916800, 1.0 / 479001600, 1.0 / 6227020800., 1.0 / 87178291200.};
#endif

typedef struct {
    int64_t L, H, N, G, rule, flags;
    REAL alpha, hold; /* of ONE_STAGE: the stage's place, and that at which the input is read */
} NAME(layer);

/* Where a item's numbers lie: its first channel, their number, and the rows of its tables. */
typedef struct {
    int64_t sequence, channel, used, row, width, apart; /* entry (t, n): row + t width + n */
} NAME(place);

static inline NAME(place) NAME(placed)(const NAME(layer) *m, int64_t item) {
    const int own = m->flags & OWN_ROWS;
    const int64_t groups = own ? 1 : m->G, share = m->H / groups;
    const int64_t blocks = (share + LANES - 1) / LANES, group = item / blocks % groups;
    const int64_t at = item % blocks * LANES, b = item / (blocks * groups);
    const int64_t channel = group * share + at, width = (own ? m->H : groups) * m->N;
    const int64_t used = share - at < LANES ? share - at : LANES;
    return (NAME(place)){b,     channel,           used, b * m->L * width + (own ? channel : group) * m->N,
                         width, own ? m->N : 0};
}

static inline __attribute__((always_inline)) VEC NAME(all)(REAL x) { return x - (VEC){0}; }

/* mask ? x : y */
static inline __attribute__((always_inline)) VEC NAME(choose)(BITS mask, VEC x, VEC y) {
    return (VEC)(((BITS)x & mask) | ((BITS)y & ~mask));
}

/* The entries of a table for an item's channels: one for all of them, or `apart` apart. */
static inline __attribute__((always_inline)) VEC NAME(entries)(const REAL *p, int64_t apart,
                                                               int64_t used) {
    if (!apart) return NAME(all)(*p);
    VEC v = {0};
    for (int64_t l = 0; l < used; l++) v[l] = p[l * apart];
    return v;
}

/* sum r^n / (n + 1)! and its derivative. */
static inline __attribute__((always_inline)) VEC NAME(series)(VEC r) {
    VEC sum = NAME(all)((REAL)RECIPROCAL_FACTORIAL[TERMS]);
    for (int n = TERMS - 1; n >= 1; n--) sum = sum * r + (REAL)RECIPROCAL_FACTORIAL[n];
    return sum;
}

static inline __attribute__((always_inline)) VEC NAME(series_slope)(VEC r) {
    VEC sum = NAME(all)((TERMS - 1) * (REAL)RECIPROCAL_FACTORIAL[TERMS]);
    for (int n = TERMS - 2; n >= 1; n--) sum = sum * r + n * (REAL)RECIPROCAL_FACTORIAL[n + 1];
    return sum;
}

/* e^z, and e^z - 1 without cancellation: twice 2^(k-1) (e^r - 1) + (2^(k-1) - 1/2). NaN stays NaN. */
static inline __attribute__((always_inline)) VEC NAME(exponential)(VEC z, VEC *less_one) {
    z = NAME(choose)((BITS)(z < LOWEST), NAME(all)(LOWEST), z);
    z = NAME(choose)((BITS)(z > HIGHEST), NAME(all)(HIGHEST), z);
    const VEC shifted = z * (REAL)1.4426950408889634 + ROUND, k = shifted - ROUND;
    const VEC r = (z - k * LOG2_HIGH) - k * LOG2_LOW, p = r * NAME(series)(r);
    const VEC half = (VEC)(((BITS)shifted << MANTISSA) + ((INT)(BIAS - 1) << MANTISSA));
    *less_one = 2 * (half * p + (half - (REAL)0.5));
    return 2 * (half * (1 + p));
}

/* What a step does to a state: its four numbers. */
typedef struct {
    VEC a, e, k, f;
} NAME(step_of);

static inline __attribute__((always_inline)) NAME(step_of) NAME(sample)(const NAME(layer) *m, VEC dt,
                                                                        VEC lam, VEC inverse) {
    const VEC one = NAME(all)(1), z = dt * lam;
    const int euler = m->flags & EULER_INPUT;
    if (m->rule == EXPONENTIAL) { /* dt * 0: NaN where dt is infinite, which e^z - 1 hides */
        VEC less_one;
        const VEC a = NAME(exponential)(z, &less_one);
        return (NAME(step_of)){a, euler ? dt : less_one * inverse + dt * 0, one, {0}};
    }
    if (m->rule == TUSTIN) {
        const VEC M = 1 / (1 - z * (REAL)0.5);
        return (NAME(step_of)){M * (1 + z * (REAL)0.5), dt * M, M, dt * M * (REAL)0.5};
    }
    const VEC M = 1 / (1 - m->alpha * z), a = M * (1 + (1 - m->alpha) * z);
    const VEC held = M * ((1 - m->hold) + m->hold * a);
    return (NAME(step_of)){a, euler ? dt : dt * held, one, dt * M * m->hold};
}

/* Adds to ddt and dlam what the gradients of the four numbers give. */
static inline __attribute__((always_inline)) void NAME(sample_back)(const NAME(layer) *m, VEC dt,
                                                                    VEC lam, VEC inverse,
                                                                    NAME(step_of) s,
                                                                    NAME(step_of) g, VEC *ddt,
                                                                    VEC *dlam) {
    const VEC z = dt * lam;
    const int euler = m->flags & EULER_INPUT;
    VEC dz, more; /* of z, and of dt where it stands alone */
    if (m->rule == EXPONENTIAL) {
        if (euler) {
            dz = s.a * g.a;
            more = g.e;
        } else { /* d(e) / d(dt) = a; d(e) / d(lam) = dt^2 phi_1'(z) = (dt a - e) / lam */
            const VEC near = dt * dt * NAME(series_slope)(z), away = (dt * s.a - s.e) * inverse;
            *ddt += s.a * (lam * g.a + g.e);
            *dlam += dt * s.a * g.a +
                     NAME(choose)((BITS)(z * z < (REAL)0.1), near, away) * g.e;
            return;
        }
    } else if (m->rule == TUSTIN) {
        const VEC M = s.k;
        dz = M * M * (g.a + (REAL)0.5 * (dt * (g.e + (REAL)0.5 * g.f) + g.k));
        more = M * (g.e + (REAL)0.5 * g.f);
    } else {
        const VEC M = 1 / (1 - m->alpha * z), square = M * M;
        if (euler) {
            dz = square * g.a;
            more = g.e;
        } else {
            const VEC mean = (1 - m->hold) + m->hold * s.a;
            dz = square * (g.a + dt * (g.e * (m->alpha * mean + m->hold * M) +
                                       g.f * (m->hold * m->alpha)));
            more = M * (mean * g.e + m->hold * g.f);
        }
    }
    *ddt += lam * dz + more;
    *dlam += dt * dz;
}

static inline int NAME(reads_input)(const NAME(layer) *m) {
    return m->rule == TUSTIN || (m->rule == ONE_STAGE && m->hold != 0);
}

/* lam of an item's channels, and 1 / lam, for state n. The exponential's quotient (e^z - 1) / lam
 * is right where lam = 0 if lam is a number so small that e^z - 1 = z. (Its square may be flushed to
 * zero: compared as it is.)
 */
static inline void NAME(load_rates)(const NAME(layer) *m, NAME(place) at, const REAL *lam, VEC *rate) {
    for (int64_t n = 0; n < m->N; n++) {
        VEC r = NAME(entries)(lam + at.channel * m->N + n, m->N, at.used);
        if (m->rule == EXPONENTIAL) {
            const BITS tiny = (BITS)(r < SMALLEST) & (BITS)(r > -SMALLEST);
            r = NAME(choose)(tiny, NAME(all)(SMALLEST), r);
        }
        rate[2 * n] = r;
        rate[2 * n + 1] = 1 / r;
    }
}

static inline void NAME(load_rows)(const REAL *p, NAME(place) at, int64_t H, int64_t steps, VEC *out) {
    for (int64_t t = 0; t < steps; t++) out[t] = NAME(take)(p + t * H, at.used);
}

/* scratch: 3 N vectors. */
CLONES void NAME(selective_forward)(int64_t first, int64_t last, int64_t L, int64_t H, int64_t N,
                                    int64_t G, int64_t rule, int64_t flags, const double *values,
                                    const REAL *u, const REAL *dt, const REAL *lam, const REAL *B,
                                    const REAL *C, const REAL *D, const REAL *x0, REAL *y,
                                    REAL *end, REAL *starts, VEC *x) {
    const NAME(layer) m = {L, H, N, G, rule, flags, (REAL)values[0], (REAL)values[1]};
    const int64_t chunks = (L + STRIDE - 1) / STRIDE;
    const int after = flags & AFTER_INPUT, reads_input = NAME(reads_input)(&m);
    VEC ub[STRIDE], yb[STRIDE], tb[STRIDE], *rate = x + N;
    for (int64_t item = first; item < last; item++) {
        const NAME(place) at = NAME(placed)(&m, item);
        const int64_t row = at.sequence * L * H + at.channel;
        const int64_t of_state = (at.sequence * H + at.channel) * N;
        if (rule != GIVEN) NAME(load_rates)(&m, at, lam, rate);
        for (int64_t n = 0; n < N; n++)
            x[n] = x0 ? NAME(entries)(x0 + of_state + n, N, at.used) : (VEC){0};
        for (int64_t chunk = 0; chunk < chunks; chunk++) {
            const int64_t t0 = chunk * STRIDE, steps = L - t0 < STRIDE ? L - t0 : STRIDE;
            const int64_t here = row + t0 * H, table = at.row + t0 * at.width;
            if (starts) memcpy(starts + (item * chunks + chunk) * N * LANES, x, N * sizeof(VEC));
            NAME(load_rows)(u + here, at, H, steps, ub);
            if (dt) NAME(load_rows)(dt + here, at, H, steps, tb);
            for (int64_t t = 0; t < steps; t++)
                yb[t] = NAME(take)(flags & D_VARIES ? D + here + t * H : D + at.channel, at.used) * ub[t];
            for (int64_t n = 0; n < N; n++) {
                VEC state = x[n];
                for (int64_t t = 0; t < steps; t++) {
                    const int64_t o = table + t * at.width + n;
                    const VEC drive = NAME(entries)(B + o, at.apart, at.used) * ub[t];
                    const VEC c = NAME(entries)(C + o, at.apart, at.used);
                    if (rule == GIVEN) {
                        const VEC now = NAME(entries)(lam + o, at.apart, at.used) * state + drive;
                        yb[t] += c * (after ? now : state);
                        state = now;
                        continue;
                    }
                    const NAME(step_of) s = NAME(sample)(&m, tb[t], rate[2 * n], rate[2 * n + 1]);
                    const VEC now = s.a * state + s.e * drive;
                    const VEC seen = after ? now : state;
                    yb[t] += c * (reads_input ? s.k * seen + s.f * drive : seen);
                    state = now;
                }
                x[n] = state;
            }
            for (int64_t t = 0; t < steps; t++) NAME(give)(y + here + t * H, yb[t], at.used);
        }
        for (int64_t n = 0; n < N; n++)
            for (int64_t l = 0; l < at.used; l++) end[of_state + l * N + n] = x[n][l];
    }
}

/* Writes the gradients of a table's entries for one state: sums over an item's channels, or where
 * each has its own row, as they are.
 */
static inline __attribute__((always_inline)) void NAME(spread)(NAME(place) at, int64_t steps,
                                                               VEC *of_steps, REAL *out) {
    if (at.apart) {
        for (int64_t t = 0; t < steps; t++)
            for (int64_t l = 0; l < at.used; l++) out[t * at.width + l * at.apart] = of_steps[t][l];
        return;
    }
    for (int64_t t = steps; t % 4; t++) of_steps[t] = (VEC){0};
    for (int64_t t = 0; t < steps; t += 4) {
        REAL total[4];
        NAME(lane_sums)(of_steps + t, total);
        for (int64_t j = 0; j < 4 && t + j < steps; j++) out[(t + j) * at.width] = total[j];
    }
}

/* One state of a chunk backward: x (STRIDE + 1) and s its states and steps, c C w, w dy. */
typedef struct {
    VEC x[STRIDE + 1], w[STRIDE], u[STRIDE], dt[STRIDE], du[STRIDE], ddt[STRIDE];
    VEC da[STRIDE], db[STRIDE], dc[STRIDE];
    NAME(step_of) s[STRIDE];
} NAME(chunk);

/* The states of a chunk, from the one at its start, and what each step does to them. */
static inline __attribute__((always_inline)) void NAME(run_again)(
    const NAME(layer) *m, NAME(place) at, int64_t steps, const REAL *lam, const REAL *B,
    const VEC *rate, NAME(chunk) *k) {
    for (int64_t t = 0; t < steps; t++) {
        const int64_t o = t * at.width;
        const VEC drive = NAME(entries)(B + o, at.apart, at.used) * k->u[t];
        if (m->rule == GIVEN) {
            k->s[t].a = NAME(entries)(lam + o, at.apart, at.used);
            k->x[t + 1] = k->s[t].a * k->x[t] + drive;
        } else {
            k->s[t] = NAME(sample)(m, k->dt[t], rate[0], rate[1]);
            k->x[t + 1] = k->s[t].a * k->x[t] + k->s[t].e * drive;
        }
    }
}

/* From the gradient of the state after a chunk to that of the state before it. */
static inline __attribute__((always_inline)) VEC NAME(run_back)(const NAME(layer) *m, NAME(place) at,
                                                                int64_t steps, const REAL *B,
                                                                const REAL *C, const VEC *rate, VEC g,
                                                                NAME(chunk) *k, VEC *dlam) {
    const int after = (m->flags & AFTER_INPUT) != 0, reads_input = NAME(reads_input)(m);
    for (int64_t t = steps - 1; t >= 0; t--) {
        const int64_t o = t * at.width;
        const VEC b = NAME(entries)(B + o, at.apart, at.used), v = k->u[t];
        const VEC cw = NAME(entries)(C + o, at.apart, at.used) * k->w[t], seen = k->x[t + after];
        if (m->rule == GIVEN) {
            if (after) g += cw;
            k->dc[t] = k->w[t] * seen;
            k->da[t] = g * k->x[t];
            k->db[t] = g * v;
            k->du[t] += g * b;
            g = k->s[t].a * g + (after ? (VEC){0} : cw);
            continue;
        }
        const NAME(step_of) s = k->s[t];
        const VEC read = reads_input ? s.k * cw : cw;
        if (after) g += read;
        VEC of_drive = s.e * g;
        NAME(step_of) d = {g * k->x[t], g * (b * v)};
        k->dc[t] = k->w[t] * seen;
        if (reads_input) {
            k->dc[t] = k->w[t] * (s.k * seen + s.f * (b * v));
            of_drive += s.f * cw;
            d.k = cw * seen;
            d.f = cw * (b * v);
        }
        k->db[t] = of_drive * v;
        k->du[t] += of_drive * b;
        NAME(sample_back)(m, k->dt[t], rate[0], rate[1], s, d, k->ddt + t, dlam);
        g = s.a * g + (after ? (VEC){0} : read);
    }
    return g;
}

/* Gradients from dy (B, L, H) and dend (B, H, N). Of tables whose rows are shared, those of each
 * block of channels lie apart, `apart` numbers: dB, dC and, where lam is given, dlam are (blocks, B,
 * L, G, N). Where lam is not given, its gradients of each sequence are in sums (B, H, N), in double,
 * as are those of D, in dD_sums (B, H); dD (B, L, H) where D varies.
 * scratch: 5 N + 2 vectors, then a chunk.
 */
CLONES void NAME(selective_backward)(int64_t first, int64_t last, int64_t L, int64_t H, int64_t N,
                                     int64_t G, int64_t rule, int64_t flags, int64_t apart,
                                     const double *values, const REAL *u, const REAL *dt,
                                     const REAL *lam, const REAL *B, const REAL *C, const REAL *D,
                                     const REAL *starts, const REAL *dy, const REAL *dend, REAL *du,
                                     REAL *ddt, REAL *dlam, REAL *dB, REAL *dC, REAL *dD,
                                     double *sums, double *dD_sums, REAL *dx0, VEC *adjoint) {
    const NAME(layer) m = {L, H, N, G, rule, flags, (REAL)values[0], (REAL)values[1]};
    const int64_t chunks = (L + STRIDE - 1) / STRIDE, share = flags & OWN_ROWS ? H : H / G;
    const int64_t blocks = (share + LANES - 1) / LANES;
    VEC *rate = adjoint + N;
    double *totals = (double *)(rate + 2 * N); /* (N, LANES), then (LANES) of D */
    NAME(chunk) *k = (NAME(chunk) *)(rate + 4 * N + 2);
    for (int64_t item = first; item < last; item++) {
        const NAME(place) at = NAME(placed)(&m, item);
        const int64_t row = at.sequence * L * H + at.channel;
        const int64_t of_state = (at.sequence * H + at.channel) * N;
        const int64_t part = at.apart ? 0 : item % blocks * apart;
        if (rule != GIVEN) NAME(load_rates)(&m, at, lam, rate);
        memset(totals, 0, sizeof(double) * (N + 1) * LANES);
        for (int64_t n = 0; n < N; n++) adjoint[n] = NAME(entries)(dend + of_state + n, N, at.used);
        for (int64_t chunk = chunks - 1; chunk >= 0; chunk--) {
            const int64_t t0 = chunk * STRIDE, steps = L - t0 < STRIDE ? L - t0 : STRIDE;
            const int64_t here = row + t0 * H, table = at.row + t0 * at.width;
            const REAL *start = starts + (item * chunks + chunk) * N * LANES;
            VEC direct = {0};
            NAME(load_rows)(u + here, at, H, steps, k->u);
            NAME(load_rows)(dy + here, at, H, steps, k->w);
            if (dt) NAME(load_rows)(dt + here, at, H, steps, k->dt);
            for (int64_t t = 0; t < steps; t++) {
                const VEC d = NAME(take)(flags & D_VARIES ? D + here + t * H : D + at.channel, at.used);
                const VEC product = k->w[t] * k->u[t];
                k->du[t] = d * k->w[t];
                k->ddt[t] = (VEC){0};
                if (flags & D_VARIES)
                    NAME(give)(dD + here + t * H, product, at.used);
                else
                    direct += product;
            }
            NAME(accumulate)(totals + N * LANES, direct);
            for (int64_t n = 0; n < N; n++) {
                const int64_t o = table + n;
                VEC of_rate = {0};
                memcpy(k->x, start + n * LANES, sizeof(VEC));
                NAME(run_again)(&m, at, steps, lam + o, B + o, rate + 2 * n, k);
                adjoint[n] = NAME(run_back)(&m, at, steps, B + o, C + o, rate + 2 * n, adjoint[n], k,
                                            &of_rate);
                NAME(spread)(at, steps, k->db, dB + part + o);
                NAME(spread)(at, steps, k->dc, dC + part + o);
                if (rule == GIVEN)
                    NAME(spread)(at, steps, k->da, dlam + part + o);
                else
                    NAME(accumulate)(totals + n * LANES, of_rate);
            }
            for (int64_t t = 0; t < steps; t++) {
                NAME(give)(du + here + t * H, k->du[t], at.used);
                if (dt) NAME(give)(ddt + here + t * H, k->ddt[t], at.used);
            }
        }
        for (int64_t l = 0; l < at.used; l++) {
            for (int64_t n = 0; n < N; n++) {
                dx0[of_state + l * N + n] = adjoint[n][l];
                if (rule != GIVEN) sums[of_state + l * N + n] = totals[n * LANES + l];
            }
            if (!(flags & D_VARIES)) dD_sums[at.sequence * H + at.channel + l] = totals[N * LANES + l];
        }
    }
}

#undef VEC
#undef BITS
#undef LANES
#undef STRIDE
