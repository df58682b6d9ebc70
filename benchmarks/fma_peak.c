/* How many float32 operations a second this machine can do at best: fma_peak THREADS prints GFLOP/s.
 *
 * Every thread runs chains of fused multiply-adds that stay in registers, as many as hide the latency of the units. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX__)
#define LANES 8
#else
#define LANES 4
#endif
#define CHAINS 12
#if defined(__aarch64__)
#define VECTOR_REGISTER "+w"
#else
#define VECTOR_REGISTER "+x"
#endif
#define STEPS 4000000L
#define MAX_THREADS 1024

typedef float vec __attribute__((vector_size(4 * LANES)));
static volatile float sink;
static pthread_barrier_t start;

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static void *run(void *unused) {
    (void)unused;
    vec sum[CHAINS], factor, term;
    for (int lane = 0; lane < LANES; lane++) {
        factor[lane] = 0.999f;
        term[lane] = 0.001f;
    }
#pragma GCC unroll 12 /* all three loops, or the compiler keeps the sums in memory */
    for (int chain = 0; chain < CHAINS; chain++) sum[chain] = term * (float)chain;
    pthread_barrier_wait(&start);
    for (long step = 0; step < STEPS; step++) {
#pragma GCC unroll 12
        for (int chain = 0; chain < CHAINS; chain++) {
            sum[chain] = sum[chain] * factor + term;
            __asm__ volatile("" : VECTOR_REGISTER(sum[chain])); /* nothing is folded across steps */
        }
    }
#pragma GCC unroll 12
    for (int chain = 0; chain < CHAINS; chain++) sink = sum[chain][0];
    return NULL;
}

int main(int argc, char **argv) {
    int threads = argc > 1 ? atoi(argv[1]) : 1;
    pthread_t workers[MAX_THREADS];
    double best = 0;
    if (threads < 1 || threads > MAX_THREADS) return 1;
    for (int round = 0; round < 5; round++) {
        if (pthread_barrier_init(&start, NULL, (unsigned)threads + 1)) return 1;
        for (int i = 0; i < threads; i++)
            if (pthread_create(&workers[i], NULL, run, NULL)) return 1;
        double begin = now();
        pthread_barrier_wait(&start);
        for (int i = 0; i < threads; i++) pthread_join(workers[i], NULL);
        double rate = 2.0 * LANES * CHAINS * STEPS * threads / (now() - begin) * 1e-9;
        if (rate > best) best = rate;
        pthread_barrier_destroy(&start);
    }
    printf("%.1f\n", best);
    return 0;
}
