/* Linked into a copy of libspeex in place of its own function of that name (tools/build_native.py), which sums with SSE.
 *
 * The order of the additions is the order in builds without SSE: four products at a time. To be compiled without
 * fast-math and without contraction into fused operations, which would change the last bit. */
#include <stdio.h>

#define HIDDEN __attribute__((visibility("hidden")))

HIDDEN float inner_prod(const float *x, const float *y, int count) {
    float sum = 0;
    for (int i = 0; i + 4 <= count; i += 4) {
        float four = 0;
        for (int j = i; j < i + 4; j++) four += x[j] * y[j];
        sum += four;
    }
    return sum;
}

/* The archive's code is not made for a shared object, where the C library's own stderr is out of its reach. */
HIDDEN FILE *within_reach_stderr;

__attribute__((constructor)) static void reach_stderr(void) { within_reach_stderr = stderr; }
