/* The delta rule for one type: included by kernels.c with REAL, INT and NAME(x) defined.
 *
 * X_half = f X + k e', e = w u - g k'(f X); m = q' X_half, y = r m; X_next = X_half - q (e m)'.
 * u, y (B, L, G, P); key k, query q (B, L, G, N); decay f (B, L, G, F), F = N or 1; gates (B, L, G,
 * 4) = g, w, e, r; x0, end (B, G, N, P). starts (B G, blocks, chunks, N, LANES) receives the states
 * before every STRIDE-th step (NULL: nowhere), from which the backward pass computes the others.
 *
 * An item is a group of a sequence. Lanes are channels, a block of them at a time: X is N vectors.
 * Writing and erasing of one step and the decay of the next are one pass over X, which also sums
 * k' (f X) and q' (f X), since q' X_half = q' (f X) + (q' k) e'.
 */

typedef REAL NAME(channels) __attribute__((vector_size(64), aligned(sizeof(REAL))));
typedef INT NAME(lane_order) __attribute__((vector_size(64), aligned(64)));
#define VEC NAME(channels)
#define LANES ((int64_t)(64 / sizeof(REAL)))
#define STRIDE 32
#define WIDE 4 /* rows of X at a time: their sums are independent chains */

static inline __attribute__((always_inline)) VEC NAME(take)(const REAL *p, int64_t count) {
    VEC v = {0};
    if (count >= LANES)
        memcpy(&v, p, sizeof v);
    else
        for (int64_t l = 0; l < count; l++) v[l] = p[l];
    return v;
}

static inline __attribute__((always_inline)) void NAME(give)(REAL *p, VEC v, int64_t count) {
    if (count >= LANES)
        memcpy(p, &v, sizeof v);
    else
        for (int64_t l = 0; l < count; l++) p[l] = v[l];
}

/* out[j] = the sum of the lanes of v[j], for four vectors: two foldings, then quarters. */
static inline __attribute__((always_inline)) void NAME(lane_sums)(const VEC *v, REAL *out) {
    NAME(lane_order) even, odd, low, high;
    for (int64_t l = 0; l < LANES; l++) {
        even[l] = (l & ~(INT)1) + (l & 1) * LANES;
        odd[l] = even[l] + 1;
        low[l] = (l & ~(INT)3) + (l & 1) + (l & 2) / 2 * LANES;
        high[l] = low[l] + 2;
    }
    const VEC a = __builtin_shuffle(v[0], v[1], even) + __builtin_shuffle(v[0], v[1], odd);
    const VEC b = __builtin_shuffle(v[2], v[3], even) + __builtin_shuffle(v[2], v[3], odd);
    const VEC c = __builtin_shuffle(a, b, low) + __builtin_shuffle(a, b, high);
    for (int64_t j = 0; j < 4; j++) {
        out[j] = c[j];
        for (int64_t l = 4; l < LANES; l += 4) out[j] += c[l + j];
    }
}

/* What the step before leaves to be done: X - q m' + k e'. */
typedef struct {
    const REAL *k, *q;
    VEC e, m;
} NAME(remainder);

/* x = f (x + what is left), its sums along k and q, and q' k; `before` (NULL: nowhere) receives
 * the state before the step.
 */
static inline __attribute__((always_inline)) REAL NAME(pass)(int64_t N, int64_t F, const REAL *k,
                                                             const REAL *q, const REAL *f,
                                                             NAME(remainder) left, VEC *x,
                                                             VEC *before, VEC *along_k,
                                                             VEC *along_q) {
    VEC held[WIDE] = {{0}}, seen[WIDE] = {{0}};
    REAL product[WIDE] = {0};
    int64_t n = 0;
#define ROW(n, j)                                                  \
    {                                                              \
        VEC z = x[n] + left.k[n] * left.e - left.q[n] * left.m;    \
        if (before) before[n] = z;                                 \
        z *= f[F == 1 ? 0 : n];                                    \
        x[n] = z;                                                  \
        held[j] += k[n] * z;                                       \
        seen[j] += q[n] * z;                                       \
        product[j] += k[n] * q[n];                                 \
    }
    for (; n + WIDE <= N; n += WIDE)
        for (int64_t j = 0; j < WIDE; j++) ROW(n + j, j)
    for (; n < N; n++) ROW(n, 0)
#undef ROW
    *along_k = (held[0] + held[1]) + (held[2] + held[3]);
    *along_q = (seen[0] + seen[1]) + (seen[2] + seen[3]);
    return (product[0] + product[1]) + (product[2] + product[3]);
}

/* x + what is left. */
static inline __attribute__((always_inline)) void NAME(settle)(int64_t N, NAME(remainder) left,
                                                               VEC *x) {
    for (int64_t n = 0; n < N; n++) x[n] += left.k[n] * left.e - left.q[n] * left.m;
}

CLONES void NAME(delta_forward)(int64_t first, int64_t last, int64_t L, int64_t G, int64_t N,
                                int64_t P, int64_t F, const REAL *u, const REAL *key,
                                const REAL *query, const REAL *decay, const REAL *gates,
                                const REAL *x0, REAL *y, REAL *end, REAL *starts, VEC *x) {
    const int64_t blocks = (P + LANES - 1) / LANES, chunks = (L + STRIDE - 1) / STRIDE;
    for (int64_t part = first * blocks; part < last * blocks; part++) {
        const int64_t item = part / blocks, at = part % blocks * LANES, used = P - at;
        const int64_t b = item / G, group = item % G;
        const REAL *start = x0 + item * N * P + at;
        for (int64_t n = 0; n < N; n++) x[n] = NAME(take)(start + n * P, used);
        NAME(remainder) left = {key, query, {0}, {0}};
        for (int64_t t = 0; t < L; t++) {
            const int64_t o = (b * L + t) * G + group;
            const REAL *k = key + o * N, *q = query + o * N, *s = gates + o * 4;
            if (starts && t % STRIDE == 0) {
                NAME(settle)(N, left, x);
                left.e = left.m = (VEC){0};
                memcpy(starts + (part * chunks + t / STRIDE) * N * LANES, x, N * sizeof(VEC));
            }
            VEC held, seen;
            const REAL kq = NAME(pass)(N, F, k, q, decay + o * F, left, x, NULL, &held, &seen);
            const VEC e = s[1] * NAME(take)(u + o * P + at, used) - s[0] * held;
            const VEC m = seen + kq * e;
            NAME(give)(y + o * P + at, s[3] * m, used);
            left = (NAME(remainder)){k, q, e, s[2] * m};
        }
        NAME(settle)(N, left, x);
        for (int64_t n = 0; n < N; n++) NAME(give)(end + (item * N + n) * P + at, x[n], used);
    }
}

/* Gradients of one step, whose state before it is `before`; lam is that of the state after it, and
 * becomes that of the state before it. Sums over a block's channels are added to dk, dq, df, ds.
 */
static inline __attribute__((always_inline)) VEC NAME(delta_step_back)(
    int64_t N, int64_t F, const REAL *k, const REAL *q, const REAL *f, const REAL *s, VEC u, VEC dy,
    VEC held, VEC e, VEC m, const VEC *before, VEC *lam, REAL *dk, REAL *dq, REAL *df, REAL *ds) {
    VEC along_k[WIDE] = {{0}}, along_q[WIDE] = {{0}};
    REAL kq = 0;
    int64_t n = 0;
    for (; n + WIDE <= N; n += WIDE)
        for (int64_t j = 0; j < WIDE; j++) {
            along_k[j] += k[n + j] * lam[n + j];
            along_q[j] += q[n + j] * lam[n + j];
        }
    for (; n < N; n++) {
        along_k[0] += k[n] * lam[n];
        along_q[0] += q[n] * lam[n];
    }
    for (n = 0; n < N; n++) kq += k[n] * q[n];
    const VEC ql = (along_q[0] + along_q[1]) + (along_q[2] + along_q[3]);
    const VEC kl = (along_k[0] + along_k[1]) + (along_k[2] + along_k[3]);
    const VEC dm = s[3] * dy - s[2] * ql, de = kl + kq * dm, dheld = -s[0] * de, erased = s[2] * m;
    const VEC sums[4] = {-(de * held), de * u, -(m * ql), dy * m};
    REAL total[4];
    NAME(lane_sums)(sums, total);
    for (int64_t j = 0; j < 4; j++) ds[j] += total[j];
    VEC decayed = {0};
    for (n = 0; n < N; n += 4) {
        const int64_t count = N - n < 4 ? N - n : 4;
        VEC vk[4] = {{0}}, vq[4] = {{0}}, vf[4] = {{0}};
        for (int64_t j = 0; j < count; j++) {
            const int64_t i = n + j;
            const REAL fi = f[F == 1 ? 0 : i];
            const VEC z = fi * before[i], half = z + k[i] * e, dhalf = lam[i] + q[i] * dm;
            const VEC dz = dhalf + k[i] * dheld;
            vq[j] = half * dm - erased * lam[i];
            vk[j] = dhalf * e + z * dheld;
            vf[j] = dz * before[i];
            lam[i] = fi * dz;
        }
        NAME(lane_sums)(vk, total);
        for (int64_t j = 0; j < count; j++) dk[n + j] += total[j];
        NAME(lane_sums)(vq, total);
        for (int64_t j = 0; j < count; j++) dq[n + j] += total[j];
        if (F == 1) {
            decayed += (vf[0] + vf[1]) + (vf[2] + vf[3]);
        } else {
            NAME(lane_sums)(vf, total);
            for (int64_t j = 0; j < count; j++) df[n + j] += total[j];
        }
    }
    if (F == 1) {
        const VEC shares[4] = {decayed};
        NAME(lane_sums)(shares, total);
        df[0] += total[0];
    }
    return s[1] * de; /* du */
}

/* Gradients from dy (B, L, G, P) and dend (B, G, N, P); dkey, dquery, ddecay and dgates come filled
 * with zeros. scratch: (2 + STRIDE) N + 3 STRIDE vectors.
 */
CLONES void NAME(delta_backward)(int64_t first, int64_t last, int64_t L, int64_t G, int64_t N,
                                 int64_t P, int64_t F, const REAL *u, const REAL *key,
                                 const REAL *query, const REAL *decay, const REAL *gates,
                                 const REAL *starts, const REAL *dy, const REAL *dend, REAL *du,
                                 REAL *dkey, REAL *dquery, REAL *ddecay, REAL *dgates, REAL *dx0,
                                 VEC *scratch) {
    const int64_t blocks = (P + LANES - 1) / LANES, chunks = (L + STRIDE - 1) / STRIDE;
    VEC *x = scratch, *lam = x + N, *before = lam + N, *kept = before + STRIDE * N;
    for (int64_t part = first * blocks; part < last * blocks; part++) {
        const int64_t item = part / blocks, at = part % blocks * LANES, used = P - at;
        const int64_t b = item / G, group = item % G;
        const int64_t row = b * L * G + group; /* of step 0 */
        for (int64_t n = 0; n < N; n++) lam[n] = NAME(take)(dend + (item * N + n) * P + at, used);
        for (int64_t chunk = chunks - 1; chunk >= 0; chunk--) {
            const int64_t from = chunk * STRIDE, to = from + STRIDE < L ? from + STRIDE : L;
            memcpy(x, starts + (part * chunks + chunk) * N * LANES, N * sizeof(VEC));
            NAME(remainder) left = {key, query, {0}, {0}};
            for (int64_t t = from; t < to; t++) {
                const int64_t o = row + t * G;
                const REAL *k = key + o * N, *q = query + o * N, *s = gates + o * 4;
                VEC *own = kept + 3 * (t - from), held, seen;
                const REAL kq = NAME(pass)(N, F, k, q, decay + o * F, left, x,
                                           before + (t - from) * N, &held, &seen);
                own[0] = held;
                own[1] = s[1] * NAME(take)(u + o * P + at, used) - s[0] * held;
                own[2] = seen + kq * own[1];
                left = (NAME(remainder)){k, q, own[1], s[2] * own[2]};
            }
            for (int64_t t = to - 1; t >= from; t--) {
                const int64_t o = row + t * G;
                const VEC *own = kept + 3 * (t - from);
                const VEC v = NAME(delta_step_back)(
                    N, F, key + o * N, query + o * N, decay + o * F, gates + o * 4,
                    NAME(take)(u + o * P + at, used), NAME(take)(dy + o * P + at, used), own[0],
                    own[1], own[2], before + (t - from) * N, lam, dkey + o * N, dquery + o * N,
                    ddecay + o * F, dgates + o * 4);
                NAME(give)(du + o * P + at, v, used);
            }
        }
        for (int64_t n = 0; n < N; n++) NAME(give)(dx0 + (item * N + n) * P + at, lam[n], used);
    }
}

#undef VEC
#undef LANES
#undef STRIDE
#undef WIDE
