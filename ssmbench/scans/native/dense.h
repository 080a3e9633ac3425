/* The layer with a dense matrix for one type: included by kernels.c with REAL and NAME(x).
 *
 * (x[t+1], y[t]) = G (u[t], x[t]), G = [B A; D C], from x[0] = x0; in reverse (x[t], y[t]) =
 * G (u[t], x[t+1]) from x[L] = x0. u (B, L, M), y (B, L, P), x0 (B, N), real; s (B, L, N) receives
 * the state that each step starts from (NULL: nowhere) and end (B, N) the last one.
 * columns (M + N, W): row j is the column G[:, j], padded with zeros to W, a multiple of LANES.
 * Inputs are summed before states, which are often much larger: fewer of the sums round that much.
 * Lanes are rows of G. An item is SEQUENCES sequences, which share every load of G.
 */

typedef REAL NAME(wide) __attribute__((vector_size(64), aligned(64)));
#define VEC NAME(wide)
#define LANES ((int64_t)(64 / sizeof(REAL)))
#define SEQUENCES 4
#define ROWS 4 /* vectors of rows at a time: ROWS x SEQUENCES sums are kept in registers */

/* out[q] = G[rows] in[q] for `rows` vectors of rows; in (SEQUENCES, width), out (SEQUENCES, W). */
static inline __attribute__((always_inline)) void NAME(product)(int rows, int64_t width, int64_t W,
                                                                const REAL *columns, const REAL *in,
                                                                REAL *out) {
    VEC sum[SEQUENCES][ROWS] = {{{0}}};
    for (int64_t j = 0; j < width; j++)
        for (int k = 0; k < rows; k++) {
            VEC a;
            memcpy(&a, columns + j * W + k * LANES, sizeof a);
            for (int q = 0; q < SEQUENCES; q++) sum[q][k] += a * in[q * width + j];
        }
    for (int q = 0; q < SEQUENCES; q++)
        memcpy(out + q * W, sum[q], rows * sizeof(VEC));
}

CLONES void NAME(dense_layer)(int64_t first, int64_t last, int64_t batch, int64_t L, int64_t N,
                              int64_t M, int64_t P, int64_t W, int64_t reverse,
                              const REAL *columns, const REAL *u, const REAL *x0, REAL *y, REAL *s,
                              REAL *end, REAL *scratch) {
    const int64_t width = N + M;
    REAL *out = scratch, *in = scratch + SEQUENCES * W; /* (SEQUENCES, W) and (SEQUENCES, width) */
    for (int64_t item = first; item < last; item++) {
        const int64_t b0 = item * SEQUENCES;
        const int64_t used = batch - b0 < SEQUENCES ? batch - b0 : SEQUENCES;
        memset(in, 0, SEQUENCES * width * sizeof(REAL));
        for (int64_t q = 0; q < used; q++)
            memcpy(in + q * width + M, x0 + (b0 + q) * N, N * sizeof(REAL));
        for (int64_t step = 0; step < L; step++) {
            const int64_t t = reverse ? L - 1 - step : step;
            for (int64_t q = 0; q < used; q++) {
                const int64_t at = (b0 + q) * L + t;
                memcpy(in + q * width, u + at * M, M * sizeof(REAL));
                if (s) memcpy(s + at * N, in + q * width + M, N * sizeof(REAL));
            }
            int64_t row = 0;
            for (; row + ROWS * LANES <= W; row += ROWS * LANES)
                NAME(product)(ROWS, width, W, columns + row, in, out + row);
            for (; row < W; row += LANES) NAME(product)(1, width, W, columns + row, in, out + row);
            for (int64_t q = 0; q < used; q++) {
                memcpy(y + ((b0 + q) * L + t) * P, out + q * W + N, P * sizeof(REAL));
                memcpy(in + q * width + M, out + q * W, N * sizeof(REAL));
            }
        }
        for (int64_t q = 0; q < used; q++)
            memcpy(end + (b0 + q) * N, in + q * width + M, N * sizeof(REAL));
    }
}

#undef VEC
#undef LANES
#undef SEQUENCES
#undef ROWS
