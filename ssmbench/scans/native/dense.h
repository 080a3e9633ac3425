/* The layer with a dense matrix for one type: included by kernels.c with REAL and NAME(x).
 *
 * (x[t+1], y[t]) = G (u[t], x[t]), G = [B A; D C], from x[0] = x0. u (B, L, M), y (B, L, P),
 * x0 (B, N), real; s (B, L, N) receives the state that each step starts from (NULL: nowhere) and
 * end (B, N) the last one.
 * columns (M + N, W): row j is the column G[:, j], padded with zeros to W, a multiple of LANES.
 * Inputs are summed before states, which are often much larger: fewer of the sums round that much.
 * Lanes are rows of G. SEQUENCES sequences, a group, share every load of G.
 *
 * The backward pass is the layer of the transposed matrices in reverse, with dy for u and g, the
 * gradient of the state that a step leads to, for x. It also sums (dy, g) (u, x)', all gradients of
 * G, from BLOCK steps of a group at a time, in double precision.
 */

typedef REAL NAME(wide) __attribute__((vector_size(64), aligned(64)));
#define VEC NAME(wide)
#define LANES ((int64_t)(64 / sizeof(REAL)))
#define SEQUENCES 4
#define ROWS 4 /* vectors of rows at a time: ROWS x SEQUENCES sums are kept in registers */
#define BLOCK 16

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

/* out (SEQUENCES, W) = G in, for all rows. */
static inline __attribute__((always_inline)) void NAME(all_rows)(int64_t width, int64_t W,
                                                             const REAL *columns, const REAL *in,
                                                             REAL *out) {
    int64_t row = 0;
    for (; row + ROWS * LANES <= W; row += ROWS * LANES)
        NAME(product)(ROWS, width, W, columns + row, in, out + row);
    for (; row < W; row += LANES) NAME(product)(1, width, W, columns + row, in, out + row);
}

/* An item is a group. */
CLONES void NAME(dense_layer_forward)(int64_t first, int64_t last, int64_t batch, int64_t L,
                                      int64_t N, int64_t M, int64_t P, int64_t W,
                                      const REAL *columns, const REAL *u, const REAL *x0, REAL *y,
                                      REAL *s, REAL *end, REAL *scratch) {
    const int64_t width = N + M;
    REAL *out = scratch, *in = scratch + SEQUENCES * W; /* (SEQUENCES, W) and (SEQUENCES, width) */
    for (int64_t item = first; item < last; item++) {
        const int64_t b0 = item * SEQUENCES;
        const int64_t used = batch - b0 < SEQUENCES ? batch - b0 : SEQUENCES;
        memset(in, 0, SEQUENCES * width * sizeof(REAL));
        for (int64_t q = 0; q < used; q++)
            memcpy(in + q * width + M, x0 + (b0 + q) * N, N * sizeof(REAL));
        for (int64_t t = 0; t < L; t++) {
            for (int64_t q = 0; q < used; q++) {
                const int64_t at = (b0 + q) * L + t;
                memcpy(in + q * width, u + at * M, M * sizeof(REAL));
                if (s) memcpy(s + at * N, in + q * width + M, N * sizeof(REAL));
            }
            NAME(all_rows)(width, W, columns, in, out);
            for (int64_t q = 0; q < used; q++) {
                memcpy(y + ((b0 + q) * L + t) * P, out + q * W + N, P * sizeof(REAL));
                memcpy(in + q * width + M, out + q * W, N * sizeof(REAL));
            }
        }
        for (int64_t q = 0; q < used; q++)
            memcpy(end + (b0 + q) * N, in + q * width + M, N * sizeof(REAL));
    }
}

/* sums (4 rows or 1 from the first, vectors of columns) += left' right over `count` rows. */
static inline __attribute__((always_inline)) void NAME(add_outer_tile)(int lefts, int vectors,
                                                                   int64_t count, int64_t width,
                                                                   int64_t V, const REAL *left,
                                                                   const REAL *right,
                                                                   double *sums) {
    VEC sum[SEQUENCES][ROWS] = {{{0}}};
    for (int64_t r = 0; r < count; r++)
        for (int k = 0; k < vectors; k++) {
            VEC a;
            memcpy(&a, right + r * V + k * LANES, sizeof a);
            for (int q = 0; q < lefts; q++) sum[q][k] += a * left[r * width + q];
        }
    for (int q = 0; q < lefts; q++)
        for (int k = 0; k < vectors; k++)
            for (int64_t i = 0; i < LANES; i++) sums[q * V + k * LANES + i] += sum[q][k][i];
}

/* sums (width, V) += left (count, width)' right (count, V). */
static inline __attribute__((always_inline)) void NAME(add_outer)(int64_t count, int64_t width,
                                                              int64_t V, const REAL *left,
                                                              const REAL *right, double *sums) {
    int64_t j = 0;
    for (; j + SEQUENCES <= width; j += SEQUENCES) {
        int64_t i = 0;
        for (; i + ROWS * LANES <= V; i += ROWS * LANES)
            NAME(add_outer_tile)(SEQUENCES, ROWS, count, width, V, left + j, right + i,
                             sums + j * V + i);
        for (; i < V; i += LANES)
            NAME(add_outer_tile)(SEQUENCES, 1, count, width, V, left + j, right + i, sums + j * V + i);
    }
    for (; j < width; j++)
        for (int64_t i = 0; i < V; i += LANES)
            NAME(add_outer_tile)(1, 1, count, width, V, left + j, right + i, sums + j * V + i);
}

/* columns (P + N, W) are of [A' C'; B' D']; u (B, L, M) and x (B, L, N) those of the forward pass,
 * dy (B, L, P), dend (B, N); du (B, L, M) and dx0 (B, N) are written. An item is a share of the
 * groups, with sums (P + N, V) of its own, zero at first; V is M + N to whole vectors. */
CLONES void NAME(dense_layer_backward)(int64_t first, int64_t last, int64_t shares, int64_t batch,
                                       int64_t L, int64_t N, int64_t M, int64_t P, int64_t W,
                                       int64_t V, const REAL *columns, const REAL *u, const REAL *x,
                                       const REAL *dy, const REAL *dend, REAL *du, REAL *dx0,
                                       double *sums, REAL *scratch) {
    const int64_t width = N + P, groups = (batch + SEQUENCES - 1) / SEQUENCES;
    const int64_t slot = SEQUENCES * width; /* what a step multiplies; the next follows it */
    REAL *out = scratch, *right = out + SEQUENCES * W, *left = right + BLOCK * SEQUENCES * V;
    memset(right, 0, (BLOCK * SEQUENCES * V + (BLOCK + 1) * slot) * sizeof(REAL));
    for (int64_t item = first; item < last; item++)
        for (int64_t group = groups * item / shares; group < groups * (item + 1) / shares;
             group++) {
            const int64_t b0 = group * SEQUENCES;
            const int64_t used = batch - b0 < SEQUENCES ? batch - b0 : SEQUENCES;
            if (used < SEQUENCES) memset(left, 0, (BLOCK + 1) * slot * sizeof(REAL));
            for (int64_t q = 0; q < used; q++)
                memcpy(left + q * width + P, dend + (b0 + q) * N, N * sizeof(REAL));
            int64_t filled = 0;
            for (int64_t t = L - 1; t >= 0; t--) {
                REAL *in = left + filled * slot, *pairs = right + filled * SEQUENCES * V;
                for (int64_t q = 0; q < used; q++) {
                    const int64_t at = (b0 + q) * L + t;
                    memcpy(in + q * width, dy + at * P, P * sizeof(REAL));
                    memcpy(pairs + q * V, u + at * M, M * sizeof(REAL));
                    memcpy(pairs + q * V + M, x + at * N, N * sizeof(REAL));
                }
                NAME(all_rows)(width, W, columns, in, out);
                filled++;
                for (int64_t q = 0; q < used; q++) {
                    memcpy(du + ((b0 + q) * L + t) * M, out + q * W + N, M * sizeof(REAL));
                    memcpy(in + slot + q * width + P, out + q * W, N * sizeof(REAL));
                }
                if (filled < BLOCK && t > 0) continue;
                NAME(add_outer)(filled * SEQUENCES, width, V, left, right, sums + item * width * V);
                memcpy(left, left + filled * slot, slot * sizeof(REAL));
                filled = 0;
            }
            for (int64_t q = 0; q < used; q++)
                memcpy(dx0 + (b0 + q) * N, left + q * width + P, N * sizeof(REAL));
        }
}

#undef VEC
#undef LANES
#undef SEQUENCES
#undef ROWS
#undef BLOCK
