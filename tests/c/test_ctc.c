/* The CTC loss: no byte outside its buffers is touched, bad arguments are refused by name with nothing changed, the value
 * is that of all spellings, the threads do not change a bit. On every instruction set and dtype. */
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "check.h"
#include "fusedlstm.h"

static char description[256];

static void on_fault(int number) {
    (void)number;
    static const char text[] = "a byte outside the buffers was touched: ";
    if (write(2, text, sizeof text - 1) < 0 || write(2, description, strlen(description)) < 0) _exit(4);
    _exit(3);
}

/* Blocks that end, or begin, at a page that may not be touched. */
enum { MOST = 16, SLACK = 0x5a };
static struct block {
    unsigned char *base, *start;
    size_t inside, bytes;
} blocks[MOST];
static int block_count;

static void *guarded(size_t bytes, size_t alignment, int at_end) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    struct block *b = &blocks[block_count++];
    b->inside = (bytes + page) / page * page;
    b->bytes = bytes;
    b->base = mmap(NULL, b->inside + 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (b->base == MAP_FAILED) abort();
    memset(b->base + page, SLACK, b->inside);
    b->start = b->base + page + (at_end ? (b->inside - bytes) / alignment * alignment : 0);
    if (mprotect(b->base, page, PROT_NONE) || mprotect(b->base + page + b->inside, page, PROT_NONE)) abort();
    return b->start;
}

static void release(void) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    while (block_count > 0) {
        struct block *b = &blocks[--block_count];
        long changed = 0;
        for (unsigned char *c = b->base + page; c < b->base + page + b->inside; c++)
            if (c < b->start || c >= b->start + b->bytes) changed += *c != SLACK;
        CHECK(changed == 0, "%s: %ld bytes beside a buffer of %zu are written", description, changed, b->bytes);
        munmap(b->base, b->inside + 2 * page);
    }
}

static size_t element_size(int dtype) {
    return dtype == FUSEDLSTM_FLOAT32 ? sizeof(float) : sizeof(double);
}
static double element(const void *array, int64_t k, int dtype) {
    return dtype == FUSEDLSTM_FLOAT32 ? (double)((const float *)array)[k] : ((const double *)array)[k];
}
static void set_element(void *array, int64_t k, int dtype, double x) {
    if (dtype == FUSEDLSTM_FLOAT32)
        ((float *)array)[k] = (float)x;
    else
        ((double *)array)[k] = x;
}

/* Random logits and targets; all arrays guarded. */
static struct fusedlstm_ctc make(int dtype, int64_t B, int64_t T, int64_t C, int64_t L, int at_end, int gradient,
                                 int threads, uint64_t *random) {
    const size_t size = element_size(dtype);
    struct fusedlstm_ctc ctc = {.batch = B, .steps = T, .classes = C, .labels = L, .dtype = dtype, .threads = threads};
    void *logits = guarded((size_t)(B * T * C) * size, size, at_end);
    int64_t *targets = guarded((size_t)(B * L) * sizeof *targets, sizeof *targets, at_end);
    int64_t *target_lengths = guarded((size_t)B * sizeof *targets, sizeof *targets, at_end);
    int64_t *input_lengths = guarded((size_t)B * sizeof *targets, sizeof *targets, at_end);
    for (int64_t k = 0; k < B * T * C; k++) set_element(logits, k, dtype, 3 * random_unit(random));
    for (int64_t k = 0; k < B * L; k++) targets[k] = C > 1 ? 1 + random_below(random, C - 1) : 0;
    for (int64_t b = 0; b < B; b++) {
        target_lengths[b] = C > 1 ? random_below(random, L + 1) : 0;
        input_lengths[b] = T - random_below(random, T / 2 + 1);
    }
    ctc.logits = logits;
    ctc.targets = targets;
    ctc.target_lengths = target_lengths;
    ctc.input_lengths = input_lengths;
    ctc.values = guarded((size_t)B * size, size, at_end);
    ctc.d_logits = gradient ? guarded((size_t)(B * T * C) * size, size, at_end) : NULL;
    ctc.workspace = guarded(fusedlstm_ctc_workspace_size(&ctc), 64, at_end);
    snprintf(description, sizeof description, "ctc %s float%d B %lld T %lld C %lld L %lld gradient %d threads %d",
             fusedlstm_isa(), 8 * (int)size, (long long)B, (long long)T, (long long)C, (long long)L, gradient, threads);
    return ctc;
}

/* The probability that the steps from t spell the labels from k, `before` being the class of the step before. */
static double spelled(const struct fusedlstm_ctc *c, int64_t b, const double *p, int64_t t, int64_t k, int64_t before) {
    if (t == c->input_lengths[b]) return k == c->target_lengths[b];
    const int64_t *labels = c->targets + b * c->labels;
    double sum = p[t * c->classes] * spelled(c, b, p, t + 1, k, 0);
    if (before) sum += p[t * c->classes + before] * spelled(c, b, p, t + 1, k, before);
    if (k < c->target_lengths[b] && labels[k] != before)
        sum += p[t * c->classes + labels[k]] * spelled(c, b, p, t + 1, k + 1, labels[k]);
    return sum;
}

static void check_values(const struct fusedlstm_ctc *c) {
    const int64_t T = c->steps, C = c->classes;
    double *p = calloc((size_t)(T * C) + 1, sizeof *p);
    for (int64_t b = 0; p && b < c->batch; b++) {
        for (int64_t t = 0; t < T; t++) {
            double sum = 0;
            for (int64_t k = 0; k < C; k++)
                sum += p[t * C + k] = exp(element(c->logits, (b * T + t) * C + k, c->dtype));
            for (int64_t k = 0; k < C; k++) p[t * C + k] /= sum;
        }
        double want = -log(spelled(c, b, p, 0, 0, 0)), got = element(c->values, b, c->dtype);
        double bound = (c->dtype == FUSEDLSTM_FLOAT32 ? 1e-5 : 1e-13) * (1 + fabs(want));
        CHECK(isinf(want) ? isinf(got) && got > 0 : fabs(got - want) <= bound, "%s: row %lld is %g, not %g",
              description, (long long)b, got, want);
        /* The probabilities of a step, less the shares of the paths, sum to 0; steps that do not count have none. */
        for (int64_t t = 0; c->d_logits && t < T; t++) {
            double sum = 0, most = 0;
            for (int64_t k = 0; k < C; k++) {
                double d = element(c->d_logits, (b * T + t) * C + k, c->dtype);
                sum += d;
                most = fmax(most, fabs(d));
            }
            CHECK(fabs(sum) <= 1e3 * bound && (t < c->input_lengths[b] || most == 0), "%s: gradient of row %lld",
                  description, (long long)b);
        }
    }
    free(p);
}

static void check_sizes(int dtype, int at_end, uint64_t *random) {
    for (int64_t size = 1; size <= 40; size++) {
        const int64_t T = random_below(random, 7), L = random_below(random, 4);
        for (int wide = 0; wide < 2; wide++) { /* classes, then labels, around the widths of vectors */
            struct fusedlstm_ctc ctc = make(dtype, random_below(random, 4), T, wide ? 3 : size, wide ? size : L, at_end,
                                            (int)random_below(random, 4) > 0, 1, random);
            CHECK(fusedlstm_ctc_loss(&ctc, NULL) == FUSEDLSTM_OK, "%s", description);
            check_values(&ctc);
            release();
        }
    }
}

static void check_threads(int dtype) {
    const int64_t B = 13, T = 40, C = 20, L = 12, count = B * T * C;
    static double first[13 * 40 * 20];
    for (int threads = 1; threads <= 4; threads++) {
        uint64_t random = 5;
        struct fusedlstm_ctc ctc = make(dtype, B, T, C, L, 1, 1, threads, &random);
        fusedlstm_set_num_threads(threads);
        CHECK(fusedlstm_ctc_loss(&ctc, NULL) == FUSEDLSTM_OK, "%s", description);
        long differ = 0;
        for (int64_t k = 0; k < count; k++) {
            if (threads == 1) first[k] = element(ctc.d_logits, k, dtype);
            differ += element(ctc.d_logits, k, dtype) != first[k];
        }
        CHECK(differ == 0, "%s: %ld numbers differ", description, differ);
        release();
    }
    fusedlstm_set_num_threads(0);
}

static void refused(struct fusedlstm_ctc ctc, const char *name) {
    const char *error = "untouched";
    unsigned char before[64], *values = ctc.values;
    const size_t bytes = 2 * element_size(ctc.dtype == 1);
    if (values) memcpy(before, values, bytes);
    CHECK(fusedlstm_ctc_loss(&ctc, &error) == FUSEDLSTM_INVALID && strcmp(error, name) == 0, "bad %s names '%s'", name,
          error);
    CHECK(fusedlstm_ctc_loss(&ctc, NULL) == FUSEDLSTM_INVALID, "bad %s without a place for the name", name);
    CHECK(!values || memcmp(before, values, bytes) == 0, "bad %s: values are changed", name);
}

#define REFUSED(field, value, name)                                                                                    \
    do {                                                                                                               \
        struct fusedlstm_ctc bad = good;                                                                               \
        bad.field = (value);                                                                                           \
        refused(bad, name);                                                                                            \
    } while (0)
#define MISALIGNED(field, by, name) REFUSED(field, (void *)((char *)(uintptr_t)good.field + (by)), name)

static void check_arguments(int dtype) {
    uint64_t random = 3;
    const struct fusedlstm_ctc good = make(dtype, 2, 5, 4, 2, 1, 1, 1, &random);
    static const int64_t sizes[] = {-1, INT64_MIN, (int64_t)1 << 31, (int64_t)1 << 62};
    for (int k = 0; k < 4; k++) {
        REFUSED(batch, sizes[k], "batch");
        REFUSED(steps, sizes[k], "steps");
        REFUSED(classes, sizes[k], "classes");
        REFUSED(labels, sizes[k], "labels");
    }
    REFUSED(classes, 0, "classes");
    REFUSED(dtype, 2, "dtype");
    REFUSED(dtype, -1, "dtype");
    REFUSED(threads, 0, "threads");
    REFUSED(threads, -1, "threads");
    REFUSED(threads, 1025, "threads");
    struct fusedlstm_ctc large = good;
    large.batch = large.steps = large.classes = INT32_MAX;
    refused(large, "steps");
    CHECK(!fusedlstm_ctc_workspace_size(&large) && !fusedlstm_ctc_workspace_size(NULL), "they have no size");
    REFUSED(logits, NULL, "logits");
    REFUSED(targets, NULL, "targets");
    REFUSED(target_lengths, NULL, "target_lengths");
    REFUSED(input_lengths, NULL, "input_lengths");
    REFUSED(values, NULL, "values");
    REFUSED(workspace, NULL, "workspace");
    MISALIGNED(logits, 1, "logits");
    MISALIGNED(targets, 4, "targets");
    MISALIGNED(target_lengths, 1, "target_lengths");
    MISALIGNED(input_lengths, 2, "input_lengths");
    MISALIGNED(d_logits, 2, "d_logits");
    MISALIGNED(workspace, 8, "workspace");
    const int64_t low[] = {1, -1}, high[] = {6, 5}, long_target[] = {2, 3}, blank[] = {1, 2, 0, 1},
                  wide[] = {1, 4, 1, 1}, two[] = {2, 2};
    REFUSED(input_lengths, low, "input_lengths");
    REFUSED(input_lengths, high, "input_lengths");
    REFUSED(target_lengths, low, "target_lengths");
    REFUSED(target_lengths, long_target, "target_lengths");
    struct fusedlstm_ctc labels = good;
    labels.target_lengths = two;
    labels.targets = blank;
    refused(labels, "targets");
    labels.targets = wide;
    refused(labels, "targets");
    const char *error = "";
    CHECK(fusedlstm_ctc_loss(NULL, &error) == FUSEDLSTM_INVALID && strcmp(error, "args") == 0, "NULL");
    CHECK(fusedlstm_ctc_loss(&good, &error) == FUSEDLSTM_OK, "the good one is refused: %s", error);
    struct fusedlstm_ctc empty = {.classes = 1, .threads = 1, .dtype = dtype, .workspace = good.workspace};
    CHECK(fusedlstm_ctc_loss(&empty, &error) == FUSEDLSTM_OK, "no rows: %s", error);
    release();
}

int main(void) {
    signal(SIGSEGV, on_fault);
    signal(SIGBUS, on_fault);
    const char *isa;
    for (int k = 0; (isa = fusedlstm_available_isa(k)); k++) {
        fusedlstm_set_isa(isa);
        for (int variant = 0; variant < 4; variant++) {
            uint64_t random = (uint64_t)(variant + 1);
            check_sizes(variant & 1, variant >> 1, &random);
        }
        for (int dtype = 0; dtype < 2; dtype++) {
            check_threads(dtype);
            check_arguments(dtype);
        }
    }
    return check_summary("test_ctc");
}
