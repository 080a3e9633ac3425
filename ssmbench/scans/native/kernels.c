/* Scans in plain C: no Python, no torch, no threads of its own. See the headers. */

#include <stdint.h>
#include <string.h>

/* One build runs everywhere: the loader picks the widest version that the processor has. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define CLONES
#endif

#define REAL float
#define INT int32_t
#define NAME(x) x##_float
#include "fused.h"
#include "dense.h"
#include "delta.h"
#include "selective.h"
#include "sampling.h"
#undef NAME
#define PARTS 1
#define NAME(x) x##_real_float
#include "linear_scan.h"
#undef NAME
#undef PARTS
#define PARTS 2
#define NAME(x) x##_complex_float
#include "linear_scan.h"
#undef NAME
#undef PARTS
#undef INT
#undef REAL

#define REAL double
#define INT int64_t
#define NAME(x) x##_double
#include "fused.h"
#include "dense.h"
#include "delta.h"
#include "selective.h"
#include "sampling.h"
#undef NAME
#define PARTS 1
#define NAME(x) x##_real_double
#include "linear_scan.h"
#undef NAME
#undef PARTS
#define PARTS 2
#define NAME(x) x##_complex_double
#include "linear_scan.h"
