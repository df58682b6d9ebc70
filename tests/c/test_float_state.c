/* A call leaves the caller's floating-point environment as it was and does not depend on it; denormal numbers cost no
 * time; NaN and Inf stay in their row; saturated gates give finite results. */
#define _GNU_SOURCE
#include <fenv.h>
#include <time.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "problem.h"

/* The whole of the control and status registers. */
static uint64_t float_state(void) {
#if defined(__x86_64__)
    return _mm_getcsr();
#elif defined(__aarch64__)
    uint64_t control, status;
    __asm__ volatile("mrs %0, fpcr" : "=r"(control));
    __asm__ volatile("mrs %0, fpsr" : "=r"(status));
    return control << 32 | status;
#else
    return 0;
#endif
}

static struct shape lstm_shape(int dtype, int threads) {
    return (struct shape){.batch = 24,
                          .steps = 12,
                          .inputs = 20,
                          .units = 37,
                          .dtype = dtype,
                          .states = 1,
                          .activation = FUSEDLSTM_TANH,
                          .recurrent_activation = FUSEDLSTM_SIGMOID,
                          .flags = FUSEDLSTM_TRAINING,
                          .threads = threads};
}

/* ------------------------------------------------------------------------------------------------ the environment */

enum { UPDATES = 7, KINDS = UPDATES + FUSEDLSTM_ADAMAX + 1 };

/* One call of every kind, on numbers that raise every exception flag. Returns how the registers stood before and after:
 * what the test itself computes is not in them. */
static int call(int kind, int dtype, struct problem *p, uint64_t *before, uint64_t *after) {
    static double x[64], y[64], z[64], v[64];
    static _Alignas(64) char workspace[4096];
    static const int64_t ids[] = {0, 1, 1};
    fenv_t environment;
    feholdexcept(&environment);
    for (int k = 0; k < 64; k++) {
        set_element(x, k, dtype, k % 3 ? 1e30 * k : -1e-30);
        set_element(y, k, dtype, 3 + k);
        set_element(z, k, dtype, k % 2 ? 1e-37 : 1e38);
        set_element(v, k, dtype, 0);
    }
    struct fusedlstm_update u = {.n = 50,
                                 .dtype = dtype,
                                 .w = x,
                                 .g = z,
                                 .learning_rate = 1e10,
                                 .gradient_scale = 1e3,
                                 .clip = HUGE_VAL,
                                 .momentum = 0.9,
                                 .beta_1 = 0.9,
                                 .beta_2 = 0.999,
                                 .m_factor = 1,
                                 .g_factor = 1,
                                 .v_factor = 1};
    const struct fusedlstm_matmul m = {.rows = 3,
                                       .inner = 4,
                                       .columns = 5,
                                       .dtype = dtype,
                                       .a = x,
                                       .b = z,
                                       .out = y,
                                       .a_row_stride = 4,
                                       .a_column_stride = 1,
                                       .b_row_stride = 5,
                                       .b_column_stride = 1,
                                       .out_row_stride = 5,
                                       .workspace = workspace};
    int status = 1;
    fesetenv(&environment);
    *before = float_state();
    switch (kind) {
    case 0: status = fusedlstm_activation_forward(dtype, FUSEDLSTM_EXP, 60, x, y, NULL); break;
    case 1: status = fusedlstm_activation_backward(dtype, FUSEDLSTM_TANH, 60, x, y, z, NULL); break;
    case 2: status = fusedlstm_embedding_gradient(dtype, 3, 2, 7, ids, x, z, NULL); break;
    case 3: status = fusedlstm_average_update(dtype, 50, x, z, 0.9, NULL); break;
    case 4: status = fusedlstm_matmul(&m, NULL); break;
    case 5: status = fusedlstm_rnn_forward(&p->layer, &p->forward, NULL); break;
    case 6: status = problem_run(p); break;
    default:
        u.rule = kind - UPDATES;
        u.slots[0] = y;
        u.slots[1] = u.rule >= FUSEDLSTM_ADADELTA ? v : NULL;
        status = fusedlstm_update(&u, NULL);
    }
    *after = float_state();
    return status;
}

static void check_environment(int dtype, int threads) {
    struct shape shape = lstm_shape(dtype, threads);
    struct problem p, reference;
    problem_new(&p, &shape, 1);
    problem_new(&reference, &shape, 1);
    CHECK(problem_run(&reference) == FUSEDLSTM_OK, "reference");
    static const int ROUNDINGS[] = {FE_TONEAREST, FE_UPWARD, FE_TOWARDZERO};
    for (int rounding = 0; rounding < 3; rounding++) {
        for (int flags = 0; flags < 2; flags++) {
            for (int kind = 0; kind < KINDS; kind++) {
                fesetround(ROUNDINGS[rounding]);
                feclearexcept(FE_ALL_EXCEPT);
                if (flags) feraiseexcept(FE_ALL_EXCEPT);
                uint64_t before, after;
                int status = call(kind, dtype, &p, &before, &after);
                fesetenv(FE_DFL_ENV);
                CHECK(status == FUSEDLSTM_OK && before == after,
                      "%s float%d kind %d threads %d: state %llx became %llx", fusedlstm_isa(), dtype ? 64 : 32, kind,
                      threads, (unsigned long long)before, (unsigned long long)after);
            }
            const char *differs = problem_difference(&p, &reference);
            CHECK(!differs, "%s float%d: %s depends on the caller's rounding", fusedlstm_isa(), dtype ? 64 : 32,
                  differs);
        }
    }
#if defined(__x86_64__) && defined(__GLIBC__)
    /* A caller that wants a signal for invalid operations gets none from inside. */
    feenableexcept(FE_INVALID | FE_DIVBYZERO | FE_OVERFLOW);
    for (int kind = 0; kind < KINDS; kind++) {
        uint64_t before, after;
        int status = call(kind, dtype, &p, &before, &after);
        CHECK(status == FUSEDLSTM_OK && before == after, "kind %d with traps", kind);
    }
    fesetenv(FE_DFL_ENV);
#endif
    problem_free(&p);
    problem_free(&reference);
}

/* -------------------------------------------------------------------------------------------------- denormal numbers */

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double best_time(struct problem *p, double so_far) {
    for (int k = 0; k < 5; k++) {
        double begin = seconds();
        problem_run(p);
        double time = seconds() - begin;
        if (time < so_far) so_far = time;
    }
    return so_far;
}

static void check_denormals(int dtype) {
    struct shape shape = lstm_shape(dtype, 1);
    struct problem normal, denormal;
    problem_new(&normal, &shape, 1);
    problem_new(&denormal, &shape, 1);
    const double tiny = dtype == FUSEDLSTM_FLOAT32 ? 0x1p-130 : 0x1p-1030;
    for (int64_t k = 0; k < shape.batch * shape.steps * shape.inputs; k++)
        set_element(denormal.x.block, k, dtype, tiny * (double)(1 + k % 3));
    for (int64_t k = 0; k < shape.batch * shape.units; k++) {
        set_element((void *)(uintptr_t)denormal.forward.h0, k, dtype, tiny);
        set_element((void *)(uintptr_t)denormal.forward.c0, k, dtype, -tiny);
        set_element((void *)(uintptr_t)denormal.backward.d_h, k, dtype, tiny);
    }
    for (int64_t k = 0; k < shape.batch * shape.steps * shape.units; k++)
        set_element(denormal.d_y.block, k, dtype, tiny);
    double with = 1e9, without = 1e9;
    for (int attempt = 0; attempt < 40; attempt++) {
        without = best_time(&normal, without);
        with = best_time(&denormal, with);
        if (attempt >= 3 && with <= 1.5 * without) break;
    }
    CHECK(with <= 1.5 * without, "%s float%d: %g s with denormal numbers, %g s without", fusedlstm_isa(),
          dtype ? 64 : 32, with, without);
    problem_free(&normal);
    problem_free(&denormal);
}

/* --------------------------------------------------------------------------------------------------------- NaN, Inf */

static void check_rows(int dtype, double value, int threads) {
    struct shape shape = lstm_shape(dtype, threads);
    struct problem clean, spoilt;
    problem_new(&clean, &shape, 3);
    problem_new(&spoilt, &shape, 3);
    const int64_t row = 5, T = shape.steps, I = shape.inputs, H = shape.units;
    set_element(grid_row(&spoilt.x, row, 2, spoilt.size), 7, dtype, value);
    CHECK(problem_run(&clean) == FUSEDLSTM_OK && problem_run(&spoilt) == FUSEDLSTM_OK, "status");
    const struct {
        const char *name;
        const void *clean, *spoilt;
        int64_t width; /* numbers in a row of the batch */
    } arrays[] = {{"y", clean.forward.y, spoilt.forward.y, T * H},
                  {"h", clean.forward.h, spoilt.forward.h, H},
                  {"c", clean.forward.c, spoilt.forward.c, H},
                  {"d_x", clean.backward.d_x, spoilt.backward.d_x, T * I},
                  {"d_h0", clean.backward.d_h0, spoilt.backward.d_h0, H},
                  {"d_c0", clean.backward.d_c0, spoilt.backward.d_c0, H}};
    for (int k = 0; k < 6; k++) {
        const size_t bytes = (size_t)arrays[k].width * clean.size;
        for (int64_t b = 0; b < shape.batch; b++) {
            int same = memcmp((const char *)arrays[k].clean + (size_t)b * bytes,
                              (const char *)arrays[k].spoilt + (size_t)b * bytes, bytes) == 0;
            CHECK(b == row ? !same : same, "%s float%d: %g in row %lld, and row %lld of %s is %s", fusedlstm_isa(),
                  dtype ? 64 : 32, value, (long long)row, (long long)b, arrays[k].name, same ? "the same" : "another");
        }
    }
    /* Ahead of the spoilt step nothing is spoilt, after it everything is where a NaN went in. */
    for (int64_t k = 0; k < T * H; k++) {
        int number = isfinite(element(grid_row(&spoilt.y, row, 0, spoilt.size), k, dtype)) != 0;
        if (k < 2 * H || isnan(value))
            CHECK(number == (k < 2 * H), "%s: y[%lld] of the spoilt row is finite: %d", fusedlstm_isa(), (long long)k,
                  number);
    }
    problem_free(&clean);
    problem_free(&spoilt);
}

static void check_saturated(int dtype) {
    struct shape shape = lstm_shape(dtype, 1);
    struct problem p;
    problem_new(&p, &shape, 4);
    uint64_t random = 5;
    for (int64_t k = 0; k < shape.batch * shape.steps * shape.inputs; k++)
        set_element(p.x.block, k, dtype, random_below(&random, 2) ? 1e4 : -1e4);
    CHECK(problem_run(&p) == FUSEDLSTM_OK, "status");
    for (int output_ = 0; p.outputs[output_].name; output_++)
        for (size_t k = 0; k < p.outputs[output_].bytes / p.size; k++)
            CHECK(isfinite(element(p.outputs[output_].data, (int64_t)k, dtype)), "%s float%d: %s[%zu]", fusedlstm_isa(),
                  dtype ? 64 : 32, p.outputs[output_].name, k);
    problem_free(&p);
    double edges[] = {1e4, -1e4, HUGE_VAL, -HUGE_VAL}, y[4];
    double x[4];
    for (int k = 0; k < 4; k++) set_element(x, k, dtype, edges[k]);
    fusedlstm_activation_forward(dtype, FUSEDLSTM_SIGMOID, 4, x, y, NULL);
    for (int k = 0; k < 4; k++) CHECK(element(y, k, dtype) == (edges[k] > 0), "sigmoid(%g)", edges[k]);
    fusedlstm_activation_forward(dtype, FUSEDLSTM_TANH, 4, x, y, NULL);
    for (int k = 0; k < 4; k++) CHECK(element(y, k, dtype) == copysign(1, edges[k]), "tanh(%g)", edges[k]);
}

int main(void) {
    const char *isa;
    for (int k = 0; (isa = fusedlstm_available_isa(k)); k++) {
        fusedlstm_set_isa(isa);
        for (int dtype = FUSEDLSTM_FLOAT32; dtype <= FUSEDLSTM_FLOAT64; dtype++) {
            for (int threads = 1; threads <= 3; threads += 2) {
                check_environment(dtype, threads);
                check_rows(dtype, NAN, threads);
                check_rows(dtype, HUGE_VAL, threads);
            }
            check_denormals(dtype);
            check_saturated(dtype);
        }
        printf("%s: checked\n", isa);
    }
    return check_summary("test_float_state");
}
