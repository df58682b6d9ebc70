/* sigmoid and tanh within 2 ULP over all float32 inputs, on every instruction set; the other activations, and float64,
 * on dense samples. An error is |result - exact value| in units of the last place that a result of that size has.
 *
 * The library flushes denormal numbers: where the exact value is smaller than the smallest normal number, 0 is right too.
 *
 *   test_accuracy [--stride N]     every N-th float32 input, and the ends of every exponent: for emulators and sanitizers
 */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "fusedlstm.h"

enum { BLOCK = 1 << 16, EDGE = 256, MAX_ISAS = 4, PROCESSES = 2, MANTISSAS = 1 << 23, SIGN = (int)0x80000000 };
enum { SIGMOID, TANH, EXHAUSTIVE, EXP = EXHAUSTIVE, ELU, SOFTPLUS, SOFTSIGN, HARD_SIGMOID, RELU, FUNCTIONS };

static const struct {
    const char *name;
    int activation;
    double bound32, bound64; /* ULP; the header promises those of sigmoid and tanh, the others hold what was measured */
    double smallest;         /* errors of results below count in units of this one's last place */
} FUNCTION[FUNCTIONS] = {
    [SIGMOID] = {"sigmoid", FUSEDLSTM_SIGMOID, 2, 4, 0},
    [TANH] = {"tanh", FUSEDLSTM_TANH, 2, 4, 0},
    [EXP] = {"exp", FUSEDLSTM_EXP, 2, 4, 0},
    [ELU] = {"elu", FUSEDLSTM_ELU, 2, 4, 0},
    [SOFTPLUS] = {"softplus", FUSEDLSTM_SOFTPLUS, 3, 4, 0},
    [SOFTSIGN] = {"softsign", FUSEDLSTM_SOFTSIGN, 2, 2, 0},
    [HARD_SIGMOID] = {"hard_sigmoid", FUSEDLSTM_HARD_SIGMOID, 2, 2, 0.5}, /* x / 6 + 1/2 cancels near -3 */
    [RELU] = {"relu", FUSEDLSTM_RELU, 0, 0, 0},
};

struct worst {
    double error;
    double x, got, expected;
    long failures; /* inputs whose error is above the bound, or that break a rule for NaN, Inf or the sign */
    long inputs;
};
struct results {
    struct worst worst[PROCESSES][MAX_ISAS][FUNCTIONS];
};

static const char *isas[MAX_ISAS];
static int isa_count;

static void apply(int function, int dtype, int64_t n, const void *x, void *y) {
    int status = fusedlstm_activation_forward(dtype, FUNCTION[function].activation, n, x, y, NULL);
    if (status != FUSEDLSTM_OK) abort();
}

/* ---------------------------------------------------------------------------------------------------- float32 */

/* The exact values for inputs of one exponent field, in double: their error is below 2^-20 ULP of a float32. Where libm
 * would only cost time a series or a limit stands in:
 *   |x| < 2^-14   sigmoid x = 1/2 + x/4 - ..., the rest < x^3/48 < 2^-47; tanh x = x - x^3/3 + ..., the rest < 2^-58 x;
 *                 exp x = 1 + x + x^2/2 + ..., the rest < 2^-44
 *   x >= 32       1 - tanh x < 2^-90 and 1 - sigmoid x < 2^-46
 *   x <= -128     sigmoid x < 2^-184, less than half the smallest denormal number; so is exp x */
static void exact32(int function, int exponent, int64_t n, const float *x, double *exact) {
    const int tiny = exponent < 127 - 14, large = exponent >= 127 + (x[0] < 0 && function != TANH ? 7 : 5);
#define EACH(expression)                                                                                               \
    do {                                                                                                               \
        for (int64_t k = 0; k < n; k++) {                                                                              \
            double d = x[k];                                                                                           \
            exact[k] = (expression);                                                                                   \
        }                                                                                                              \
        return;                                                                                                        \
    } while (0)
    switch (function) {
    case SIGMOID:
        if (tiny) EACH(0.5 + d / 4);
        if (large) EACH(d > 0);
        EACH(1 / (1 + exp(-d)));
    case TANH:
        if (tiny) EACH(d - d * d * d / 3);
        if (large) EACH(d > 0 ? 1 : -1);
        EACH(tanh(d));
    case EXP:
        if (tiny) EACH(1 + d + d * d / 2);
        if (large && x[0] < 0) EACH(d > 0);
        EACH(exp(d));
    case ELU: EACH(d > 0 ? d : expm1(d));
    case SOFTPLUS: EACH(d > 0 ? d + log1p(exp(-d)) : log1p(exp(d)));
    case SOFTSIGN: EACH(d / (1 + fabs(d)));
    case HARD_SIGMOID: EACH(fmin(fmax(d / 6 + 0.5, 0), 1));
    default: EACH(d > 0 ? d : 0);
    }
#undef EACH
}

/* What one unit of the last place at `exact` goes into 1: 2^(23 - e), from the bits of its exponent. No branch and no
 * call, so that the loops over it become vector code. */
static inline double per_ulp32(double exact) {
    uint64_t bits, smallest = (uint64_t)(1023 - 126) << 52;
    memcpy(&bits, &exact, sizeof bits);
    bits &= (uint64_t)0x7ff << 52;
    bits = bits < smallest ? smallest : bits;
    bits = ((uint64_t)(2 * 1023 + 23) << 52) - bits;
    memcpy(&exact, &bits, sizeof exact);
    return exact;
}
static inline double error32(double got, double exact, double smallest) {
    double error = fabs(got - exact) * per_ulp32(fabs(exact) > smallest ? exact : smallest);
    error = fabs(exact) < FLT_MIN && got == 0 ? 0 : error;
    return exact >= 0x1p128 && got == (float)HUGE_VAL ? 0 : error;
}

static void note(struct worst *worst, double error, double bound, double x, double got, double expected) {
    if (!(error <= bound)) {
        if (worst->failures++ == 0)
            fprintf(stderr, "x = %a (%.9g): got %a, expected %a, error %g ULP\n", x, x, got, expected, error);
    }
    if (!(error <= worst->error)) *worst = (struct worst){error, x, got, expected, worst->failures, worst->inputs};
}

static void compare32(struct worst *worst, int function, int64_t n, const float *x, const float *got,
                      const double *exact) {
    const double bound = FUNCTION[function].bound32, smallest = FUNCTION[function].smallest;
    const double limit = worst->error < bound ? worst->error : bound;
    int above = 0;
    for (int64_t k = 0; k < n; k++) above |= !(error32(got[k], exact[k], smallest) <= limit);
    worst->inputs += n;
    for (int64_t k = 0; above && k < n; k++)
        note(worst, error32(got[k], exact[k], smallest), bound, x[k], got[k], exact[k]);
}

/* A result that has to be exactly this one, NaN for NaN. */
static void require(struct worst *worst, float x, float got, float expected) {
    int right = isnan(expected) ? isnan(got) : got == expected;
    note(worst, right ? 0 : HUGE_VAL, 0, x, got, expected);
    worst->inputs++;
}

struct block {
    float x[BLOCK], negative[BLOCK], y[BLOCK], y_negative[BLOCK];
    double exact[BLOCK], exact_negative[BLOCK];
};

/* Inputs of one exponent: first, first + stride, ... n of them, and their negatives. */
static void check_block(struct block *b, int function, uint32_t first, uint32_t stride, int64_t n,
                        struct worst worst[][FUNCTIONS]) {
    int exponent = (int)(first >> 23);
    if (exponent == 0 && function == RELU) return; /* it only compares, so it hands denormal numbers on */
    for (int64_t k = 0; k < n; k++) {
        uint32_t bits = first + (uint32_t)k * stride;
        memcpy(&b->x[k], &bits, sizeof bits);
        b->negative[k] = -b->x[k];
    }
    exact32(function, exponent, n, b->x, b->exact);
    if (function != TANH) exact32(function, exponent, n, b->negative, b->exact_negative);
    for (int isa = 0; isa < isa_count; isa++) {
        struct worst *w = &worst[isa][function];
        fusedlstm_set_isa(isas[isa]);
        apply(function, FUSEDLSTM_FLOAT32, n, b->x, b->y);
        apply(function, FUSEDLSTM_FLOAT32, n, b->negative, b->y_negative);
        if (exponent == 255) { /* Inf and NaN */
            for (int64_t k = 0; k < n; k++) {
                float x = b->x[k], minus = function == TANH ? -1 : (float)b->exact_negative[k];
                require(w, x, b->y[k], isnan(x) ? x : (float)b->exact[k]);
                require(w, -x, b->y_negative[k], isnan(x) ? x : minus);
            }
            continue;
        }
        compare32(w, function, n, b->x, b->y, b->exact);
        if (function != TANH) {
            compare32(w, function, n, b->negative, b->y_negative, b->exact_negative);
            continue;
        }
        /* tanh is odd to the bit, so the negative half has the same errors. */
        uint32_t y, y_negative, differ = 0;
        for (int64_t k = 0; k < n; k++) {
            memcpy(&y, &b->y[k], sizeof y);
            memcpy(&y_negative, &b->y_negative[k], sizeof y);
            differ |= y ^ y_negative ^ (uint32_t)SIGN;
        }
        w->inputs += n;
        if (differ) note(w, HUGE_VAL, 0, b->negative[0], b->y_negative[0], -b->y[0]);
    }
}

/* Every process takes every PROCESSES-th block. */
static void check_float32(uint32_t stride, int process, struct worst worst[][FUNCTIONS]) {
    struct block *b = malloc(sizeof *b);
    int64_t blocks = 0;
    for (int function = 0; b && function < FUNCTIONS; function++) {
        uint32_t step = function < EXHAUSTIVE || stride > 251 ? stride : 251;
        for (uint32_t exponent = 0; exponent <= 255; exponent++) {
            uint32_t base = exponent << 23, count = MANTISSAS / step;
            if (step > 1 && blocks++ % PROCESSES == process) {
                check_block(b, function, base, 1, EDGE, worst);
                check_block(b, function, base + MANTISSAS - EDGE, 1, EDGE, worst);
            }
            for (uint32_t done = 0; done < count; done += BLOCK) {
                int64_t n = count - done < BLOCK ? count - done : BLOCK;
                if (blocks++ % PROCESSES == process) check_block(b, function, base + done * step, step, n, worst);
            }
        }
    }
    free(b);
}

/* ---------------------------------------------------------------------------------------------------- float64 */

static long double exact64(int function, double x) {
    long double d = x;
    switch (function) {
    case SIGMOID: return 1 / (1 + expl(-d));
    case TANH: return tanhl(d);
    case EXP: return expl(d);
    case ELU: return d > 0 ? d : expm1l(d);
    case SOFTPLUS: return d > 0 ? d + log1pl(expl(-d)) : log1pl(expl(d));
    case SOFTSIGN: return d / (1 + fabsl(d));
    case HARD_SIGMOID: return fminl(fmaxl(d / 6 + 0.5L, 0), 1);
    default: return d > 0 ? d : 0;
    }
}

static double error64(double got, long double exact, double smallest) {
    if (fabsl(exact) > DBL_MAX) return got == (double)exact ? 0 : HUGE_VAL;
    if (fabsl(exact) < DBL_MIN && got == 0) return 0;
    int exponent;
    frexpl(fmaxl(fabsl(exact), smallest), &exponent);
    if (exact == 0 || exponent < DBL_MIN_EXP) exponent = DBL_MIN_EXP;
    return (double)ldexpl(fabsl(got - exact), DBL_MANT_DIG - exponent);
}

/* A third of the inputs is even over where the functions bend, a third over where they saturate, a third over all
 * exponents. */
static double sample64(uint64_t *random) {
    double x = random_unit(random);
    switch (random_below(random, 3)) {
    case 0: return 4 * x;
    case 1: return 760 * x;
    default: return ldexp(x, (int)random_below(random, 80) - 60);
    }
}

static void check_float64(int64_t samples, int process, struct worst worst[][FUNCTIONS]) {
    enum { RUN = 4096 };
    static const double SPECIAL[] = {0.0, -0.0, HUGE_VAL, -HUGE_VAL, DBL_MAX, -DBL_MAX, DBL_MIN, -DBL_MIN, 1, -1};
    double *x = malloc(RUN * sizeof *x), *y = malloc(RUN * sizeof *y);
    long double *exact = malloc(RUN * sizeof *exact);
    uint64_t random = (uint64_t)process;
    for (int function = 0; x && y && exact && function < FUNCTIONS; function++) {
        for (int64_t done = 0; done < samples; done += RUN) {
            for (int k = 0; k < RUN; k++) {
                int special = done == 0 && k < (int)(sizeof SPECIAL / sizeof *SPECIAL);
                x[k] = special ? SPECIAL[k] : sample64(&random);
                exact[k] = exact64(function, x[k]);
                if (special && isinf(x[k]) && function == SOFTSIGN) x[k] = 1, exact[k] = 0.5L; /* Inf / Inf is NaN */
            }
            for (int isa = 0; isa < isa_count; isa++) {
                struct worst *w = &worst[isa][function];
                fusedlstm_set_isa(isas[isa]);
                apply(function, FUSEDLSTM_FLOAT64, RUN, x, y);
                for (int k = 0; k < RUN; k++) {
                    double error = error64(y[k], exact[k], FUNCTION[function].smallest);
                    note(w, error, FUNCTION[function].bound64, x[k], y[k], (double)exact[k]);
                }
                double not_a_number = NAN;
                apply(function, FUSEDLSTM_FLOAT64, 1, &not_a_number, y);
                note(w, isnan(y[0]) ? 0 : HUGE_VAL, 0, NAN, y[0], NAN);
                w->inputs += RUN;
            }
        }
    }
    free(x);
    free(y);
    free(exact);
}

/* ------------------------------------------------------------------------------------------------------------- */

static void report(const char *dtype, int float32, struct results *results) {
    for (int isa = 0; isa < isa_count; isa++) {
        for (int function = 0; function < FUNCTIONS; function++) {
            struct worst all = {0}, *part;
            double bound = float32 ? FUNCTION[function].bound32 : FUNCTION[function].bound64;
            for (int p = 0; p < PROCESSES; p++) {
                part = &results->worst[p][isa][function];
                long inputs = all.inputs + part->inputs, failures = all.failures + part->failures;
                if (p == 0 || !(part->error <= all.error)) all = *part;
                all.inputs = inputs;
                all.failures = failures;
            }
            printf("%-8s %-7s %-12s %11ld inputs, largest error %.4f ULP at %a\n", isas[isa], dtype,
                   FUNCTION[function].name, all.inputs, all.error, all.x);
            CHECK(all.inputs > 0 && all.failures == 0 && all.error <= bound,
                  "%s %s %s: %ld inputs above %g ULP, the worst at x = %a (%.17g): got %a, expected %a", isas[isa],
                  dtype, FUNCTION[function].name, all.failures, bound, all.x, all.x, all.got, all.expected);
        }
    }
}

int main(int count, char **arguments) {
    long stride = 1;
    if (count == 3 && strcmp(arguments[1], "--stride") == 0) stride = atol(arguments[2]);
    if (stride < 1 || stride > MANTISSAS / EDGE || (count != 1 && count != 3)) {
        fprintf(stderr, "usage: test_accuracy [--stride 1 ... %d]\n", MANTISSAS / EDGE);
        return 2;
    }
    while (isa_count < MAX_ISAS && (isas[isa_count] = fusedlstm_available_isa(isa_count))) isa_count++;
    CHECK(isa_count > 0, "no instruction set is available");

    /* fusedlstm_set_isa is for the whole process, so the work is shared out to processes. */
    struct results *results =
        mmap(NULL, 2 * sizeof *results, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (results == MAP_FAILED) return 2;
    pid_t child[PROCESSES];
    for (int p = 0; p < PROCESSES; p++) {
        child[p] = fork();
        if (child[p] == 0) {
            check_float32((uint32_t)stride, p, results[0].worst[p]);
            check_float64(stride == 1 ? 1 << 21 : 1 << 16, p, results[1].worst[p]);
            _exit(0);
        }
    }
    for (int p = 0; p < PROCESSES; p++) {
        int status = -1;
        CHECK(child[p] > 0 && waitpid(child[p], &status, 0) == child[p] && status == 0,
              "process %d ended with status %d", p, status);
    }
    report("float32", 1, &results[0]);
    report("float64", 0, &results[1]);
    struct rusage used;
    getrusage(RUSAGE_CHILDREN, &used);
    printf("%.1f s of processor time\n", (double)used.ru_utime.tv_sec + 1e-6 * (double)used.ru_utime.tv_usec);
    return check_summary("test_accuracy");
}
