/* What this machine can do at best, in float32.
 *
 * limits THREADS prints GFLOP/s: every thread runs chains of fused multiply-adds that stay in registers, as many as
 * hide the latency of the units.
 *
 * limits THREADS BYTES prints GB/s: every thread reads BYTES of its own over and over, so from the nearest cache that
 * holds them, or from memory. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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
#define READ_AT_LEAST 1000000000L
#define ROUNDS 5
#define MAX_THREADS 1024

typedef float vec __attribute__((vector_size(4 * LANES)));
static volatile float sink;
static pthread_barrier_t start;

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* One thread's share, and when it was at work. */
struct worker {
    size_t vectors, times; /* read so many vectors of data so many times */
    vec *data;
    double begin, end;
};

static void *multiply_add(void *argument) {
    struct worker *worker = argument;
    vec sum[CHAINS], factor, term;
    for (int lane = 0; lane < LANES; lane++) {
        factor[lane] = 0.999f;
        term[lane] = 0.001f;
    }
#pragma GCC unroll 12 /* all three loops, or the compiler keeps the sums in memory */
    for (int chain = 0; chain < CHAINS; chain++) sum[chain] = term * (float)chain;
    pthread_barrier_wait(&start);
    worker->begin = now();
    for (long step = 0; step < STEPS; step++) {
#pragma GCC unroll 12
        for (int chain = 0; chain < CHAINS; chain++) {
            sum[chain] = sum[chain] * factor + term;
            __asm__ volatile("" : VECTOR_REGISTER(sum[chain])); /* nothing is folded across steps */
        }
    }
    worker->end = now();
#pragma GCC unroll 12
    for (int chain = 0; chain < CHAINS; chain++) sink = sum[chain][0];
    return NULL;
}

static void *read_again(void *argument) {
    struct worker *worker = argument;
    const size_t vectors = worker->vectors, times = worker->times;
    vec sum[CHAINS], *data = worker->data;
    memset(data, 0, vectors * sizeof(vec)); /* by the thread that reads it: it comes to stand nearby */
#pragma GCC unroll 12
    for (int chain = 0; chain < CHAINS; chain++) sum[chain] = data[chain];
    pthread_barrier_wait(&start);
    worker->begin = now();
    for (size_t time = 0; time < times; time++)
        for (size_t k = 0; k < vectors; k += CHAINS) {
#pragma GCC unroll 12
            for (int chain = 0; chain < CHAINS; chain++) {
                sum[chain] += data[k + (size_t)chain];
                __asm__ volatile("" : VECTOR_REGISTER(sum[chain]));
            }
        }
    worker->end = now();
#pragma GCC unroll 12
    for (int chain = 0; chain < CHAINS; chain++) sink = sum[chain][0];
    return NULL;
}

/* Seconds from the first thread's begin to the last one's end, the best of a few rounds; negative if it failed. */
static double best_time(int threads, void *(*run)(void *), struct worker *workers) {
    static pthread_t handles[MAX_THREADS];
    double best = 1e30;
    for (int round = 0; round < ROUNDS; round++) {
        if (pthread_barrier_init(&start, NULL, (unsigned)threads)) return -1;
        for (int i = 0; i < threads; i++)
            if (pthread_create(&handles[i], NULL, run, &workers[i])) return -1;
        for (int i = 0; i < threads; i++) pthread_join(handles[i], NULL);
        double begin = workers[0].begin, end = workers[0].end;
        for (int i = 1; i < threads; i++) {
            if (workers[i].begin < begin) begin = workers[i].begin;
            if (workers[i].end > end) end = workers[i].end;
        }
        if (end - begin < best) best = end - begin;
        pthread_barrier_destroy(&start);
    }
    return best;
}

int main(int argc, char **argv) {
    static struct worker workers[MAX_THREADS];
    int threads = argc > 1 ? atoi(argv[1]) : 1;
    long bytes = argc > 2 ? atol(argv[2]) : 0;
    if (threads < 1 || threads > MAX_THREADS || bytes < 0) return 1;
    const size_t unit = CHAINS * sizeof(vec), size = ((size_t)bytes + unit - 1) / unit * unit;
    const size_t times = size ? READ_AT_LEAST / size + 1 : 0;
    for (int i = 0; size && i < threads; i++) {
        workers[i] = (struct worker){size / sizeof(vec), times, aligned_alloc(sizeof(vec), size), 0, 0};
        if (!workers[i].data) return 1;
    }
    double seconds = best_time(threads, size ? read_again : multiply_add, workers);
    if (seconds <= 0) return 1;
    double amount = size ? (double)(size * times) : 2.0 * LANES * CHAINS * STEPS;
    printf("%.1f\n", amount * threads / seconds * 1e-9);
    for (int i = 0; i < threads; i++) free(workers[i].data);
    return 0;
}
