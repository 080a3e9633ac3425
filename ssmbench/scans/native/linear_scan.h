/* The first-order recurrence with every state written, for one type: included by kernels.c with
 * REAL, INT, NAME(x) and PARTS (1: real numbers, 2: complex, interleaved) defined.
 *
 * s[t] = a[t] s[t-1] + b[t]; in reverse s[t] = a[t] s[t+1] + b[t]. b, s (B, L, N); x0 (B, N);
 * a (N), or (B, L, N) where it varies. Lanes are states; an item is (sequence, block of states).
 * Several vectors go side by side, so that one's latency hides behind the others' work.
 */

typedef REAL NAME(pack) __attribute__((vector_size(64), aligned(64)));
typedef INT NAME(order) __attribute__((vector_size(64), aligned(64)));
#define VEC NAME(pack)
#define LANES ((int64_t)(64 / sizeof(REAL)))
#define GROUP 4
#define BLOCK (GROUP * LANES) /* numbers of an item */
#define FLUSH 64              /* steps whose sums stay in single precision */

static inline VEC NAME(get)(const REAL *p, int64_t count) {
    VEC v = {0};
    if (count >= LANES)
        memcpy(&v, p, sizeof v);
    else
        for (int64_t l = 0; l < count; l++) v[l] = p[l];
    return v;
}

static inline void NAME(put)(REAL *p, VEC v, int64_t count) {
    if (count >= LANES)
        memcpy(p, &v, sizeof v);
    else
        for (int64_t l = 0; l < count; l++) p[l] = v[l];
}

#if PARTS == 2
/* (re, im) -> (re, re), (im, im), (im, re); and the sign that makes i i = -1. */
static inline VEC NAME(real_parts)(VEC v) {
    NAME(order) m;
    for (int64_t l = 0; l < LANES; l++) m[l] = l & ~(INT)1;
    return __builtin_shuffle(v, m);
}
static inline VEC NAME(imaginary_parts)(VEC v) {
    NAME(order) m;
    for (int64_t l = 0; l < LANES; l++) m[l] = l | 1;
    return __builtin_shuffle(v, m);
}
static inline VEC NAME(swapped)(VEC v) {
    NAME(order) m;
    for (int64_t l = 0; l < LANES; l++) m[l] = l ^ 1;
    return __builtin_shuffle(v, m);
}
static inline VEC NAME(signs)(void) {
    VEC s;
    for (int64_t l = 0; l < LANES; l++) s[l] = l & 1 ? 1 : -1;
    return s;
}
/* c + a x, and c + conj(a) x. */
static inline VEC NAME(multiply_add)(VEC a, VEC x, VEC c) {
    return c + NAME(real_parts)(a) * x +
           NAME(signs)() * NAME(imaginary_parts)(a) * NAME(swapped)(x);
}
static inline VEC NAME(conjugate_multiply_add)(VEC a, VEC x, VEC c) {
    return c + NAME(real_parts)(a) * x -
           NAME(signs)() * NAME(imaginary_parts)(a) * NAME(swapped)(x);
}
#else
static inline VEC NAME(multiply_add)(VEC a, VEC x, VEC c) { return c + a * x; }
static inline VEC NAME(conjugate_multiply_add)(VEC a, VEC x, VEC c) { return c + a * x; }
#endif

CLONES void NAME(linear_scan)(int64_t first, int64_t last, int64_t L, int64_t N, int64_t varies,
                              int64_t reverse, const REAL *a, const REAL *b, const REAL *x0,
                              REAL *s) {
    const int64_t width = N * PARTS, blocks = (width + BLOCK - 1) / BLOCK;
    for (int64_t item = first; item < last; item++) {
        const int64_t row = item / blocks, at = item % blocks * BLOCK, rest = width - at;
        const int64_t used = rest >= BLOCK ? GROUP : (rest + LANES - 1) / LANES;
        VEC x[GROUP], k[GROUP];
        for (int64_t g = 0; g < used; g++) {
            x[g] = NAME(get)(x0 + row * width + at + g * LANES, rest - g * LANES);
            if (!varies) k[g] = NAME(get)(a + at + g * LANES, rest - g * LANES);
        }
        for (int64_t step = 0; step < L; step++) {
            const int64_t t = reverse ? L - 1 - step : step;
            const int64_t here = (row * L + t) * width + at;
            if (used == GROUP && rest >= BLOCK) { /* the common case, unrolled */
                for (int64_t g = 0; g < GROUP; g++) {
                    const int64_t p = here + g * LANES;
                    if (varies) k[g] = NAME(get)(a + p, LANES);
                    x[g] = NAME(multiply_add)(k[g], x[g], NAME(get)(b + p, LANES));
                    NAME(put)(s + p, x[g], LANES);
                }
            } else {
                for (int64_t g = 0; g < used; g++) {
                    const int64_t p = here + g * LANES, count = rest - g * LANES;
                    if (varies) k[g] = NAME(get)(a + p, count);
                    x[g] = NAME(multiply_add)(k[g], x[g], NAME(get)(b + p, count));
                    NAME(put)(s + p, x[g], count);
                }
            }
        }
    }
}

/* Gradients: ds (B, L, N) to db (B, L, N), dx0 (B, N), and da: (B, N) sums in double, or (B, L, N)
 * in `da` where a varies. The other of the two is not touched.
 */
CLONES void NAME(linear_scan_backward)(int64_t first, int64_t last, int64_t L, int64_t N,
                                       int64_t varies, int64_t reverse, const REAL *a,
                                       const REAL *x0, const REAL *s, const REAL *ds, REAL *db,
                                       REAL *dx0, double *sums, REAL *da) {
    const int64_t width = N * PARTS, blocks = (width + BLOCK - 1) / BLOCK;
    const int64_t back = (reverse ? 1 : -1) * width; /* from a state to the one before it */
    const VEC zero = {0};
    for (int64_t item = first; item < last; item++) {
        const int64_t row = item / blocks, at = item % blocks * BLOCK, rest = width - at;
        const int64_t used = rest >= BLOCK ? GROUP : (rest + LANES - 1) / LANES;
        VEC carry[GROUP], k[GROUP], sum[GROUP];
        double total[64 / sizeof(REAL) * GROUP] = {0};
        for (int64_t g = 0; g < used; g++) {
            carry[g] = sum[g] = zero;
            if (!varies) k[g] = NAME(get)(a + at + g * LANES, rest - g * LANES);
        }
        for (int64_t step = L - 1; step >= 0; step--) {
            const int64_t t = reverse ? L - 1 - step : step;
            const int64_t here = (row * L + t) * width + at;
            const REAL *before = step ? s + here + back : x0 + row * width + at;
            for (int64_t g = 0; g < used; g++) {
                const int64_t p = here + g * LANES, count = rest - g * LANES;
                const VEC grad = NAME(get)(ds + p, count) + carry[g];
                const VEC previous = NAME(get)(before + g * LANES, count);
                NAME(put)(db + p, grad, count);
                if (varies) {
                    k[g] = NAME(get)(a + p, count);
                    NAME(put)(da + p, NAME(conjugate_multiply_add)(previous, grad, zero), count);
                } else {
                    sum[g] = NAME(conjugate_multiply_add)(previous, grad, sum[g]);
                }
                carry[g] = NAME(conjugate_multiply_add)(k[g], grad, zero);
            }
            if (!varies && (step % FLUSH == 0))
                for (int64_t g = 0; g < used; g++) {
                    for (int64_t l = 0; l < LANES; l++) total[g * LANES + l] += (double)sum[g][l];
                    sum[g] = zero;
                }
        }
        for (int64_t g = 0; g < used; g++)
            NAME(put)(dx0 + row * width + at + g * LANES, carry[g], rest - g * LANES);
        if (!varies)
            for (int64_t l = 0; l < BLOCK && l < rest; l++) sums[row * width + at + l] = total[l];
    }
}

#undef VEC
#undef LANES
#undef GROUP
#undef BLOCK
#undef FLUSH
