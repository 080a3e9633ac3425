/* The recurrence with a dense matrix for one type: included by kernels.c with REAL and NAME(x).
 *
 * x[t+1] = A x[t] + v[t] from x[0] = x0; s[t] = x[t], the state before v[t], and end = x[L]. In
 * reverse x[t] = A x[t+1] + v[t] from x[L] = x0; s[t] = x[t+1], and end = x[0]. v, s (B, L, N), x0
 * and end (B, N), real; s may be v.
 * columns (N, W): row j is the column A[:, j], padded with zeros to W, a multiple of ROWS vectors.
 * Lanes are rows of A. An item is SEQUENCES sequences, which share every load of A.
 */

typedef REAL NAME(wide) __attribute__((vector_size(64), aligned(64)));
#define VEC NAME(wide)
#define LANES ((int64_t)(64 / sizeof(REAL)))
#define SEQUENCES 4
#define ROWS 4

CLONES void NAME(dense_scan)(int64_t first, int64_t last, int64_t batch, int64_t L, int64_t N,
                             int64_t W, int64_t reverse, const REAL *columns, const REAL *v,
                             const REAL *x0, REAL *s, REAL *end, REAL *scratch) {
    REAL *old = scratch, *new = scratch + SEQUENCES * W; /* (SEQUENCES, W) each */
    for (int64_t item = first; item < last; item++) {
        const int64_t b0 = item * SEQUENCES;
        const int64_t used = batch - b0 < SEQUENCES ? batch - b0 : SEQUENCES;
        memset(scratch, 0, 2 * SEQUENCES * W * sizeof(REAL));
        for (int64_t q = 0; q < used; q++) memcpy(old + q * W, x0 + (b0 + q) * N, N * sizeof(REAL));
        for (int64_t step = 0; step < L; step++) {
            const int64_t t = reverse ? L - 1 - step : step;
            for (int64_t q = 0; q < used; q++)
                memcpy(new + q * W, v + ((b0 + q) * L + t) * N, N * sizeof(REAL));
            for (int64_t row = 0; row < W; row += ROWS * LANES) {
                VEC sum[SEQUENCES][ROWS];
                for (int q = 0; q < SEQUENCES; q++)
                    for (int k = 0; k < ROWS; k++)
                        memcpy(&sum[q][k], new + q * W + row + k * LANES, sizeof(VEC));
                for (int64_t j = 0; j < N; j++) {
                    VEC a[ROWS];
                    memcpy(a, columns + j * W + row, sizeof a);
                    for (int q = 0; q < SEQUENCES; q++)
                        for (int k = 0; k < ROWS; k++) sum[q][k] += a[k] * old[q * W + j];
                }
                for (int q = 0; q < SEQUENCES; q++)
                    for (int k = 0; k < ROWS; k++)
                        memcpy(new + q * W + row + k * LANES, &sum[q][k], sizeof(VEC));
            }
            for (int64_t q = 0; q < used; q++)
                memcpy(s + ((b0 + q) * L + t) * N, old + q * W, N * sizeof(REAL));
            REAL *swap = old;
            old = new;
            new = swap;
        }
        for (int64_t q = 0; q < used; q++) memcpy(end + (b0 + q) * N, old + q * W, N * sizeof(REAL));
    }
}

#undef VEC
#undef LANES
#undef SEQUENCES
#undef ROWS
