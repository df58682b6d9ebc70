/* No call reads or writes outside its buffers: each one ends, and in a second run begins, at a page that may not be
 * touched. Sizes lie around the widths of vectors, on every instruction set and dtype. A fault ends the program with the
 * description of the call on stderr. */
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include "problem.h"

static char description[256];

static void on_fault(int number) {
    (void)number;
    static const char text[] = "a byte outside the buffers was touched: ";
    if (write(2, text, sizeof text - 1) < 0 || write(2, description, strlen(description)) < 0 || write(2, "\n", 1) < 0)
        _exit(4);
    _exit(3);
}

/* ---------------------------------------------------------------------------------------------------- the buffers */

enum { SLACK = 0x5a };
static struct mapping {
    unsigned char *base, *block;
    size_t total, bytes;
} mappings[64];

static void *guarded_get(struct pool *pool, size_t bytes, size_t alignment) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), inside = (bytes + page - 1) / page * page;
    struct mapping *m = &mappings[pool->count++];
    m->total = inside + 2 * page;
    m->bytes = bytes;
    m->base = mmap(NULL, m->total, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (m->base == MAP_FAILED) abort();
    /* Where the alignment leaves a few bytes behind the end, they are looked at afterwards. */
    memset(m->base + page, SLACK, inside);
    m->block = m->base + page + (pool->at_end ? (inside - bytes) / alignment * alignment : 0);
    if (mprotect(m->base, page, PROT_NONE) || mprotect(m->base + page + inside, page, PROT_NONE)) abort();
    return m->block;
}

static void guarded_release(struct pool *pool) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    while (pool->count > 0) {
        struct mapping *m = &mappings[--pool->count];
        long changed = 0;
        for (unsigned char *c = m->base + page; c < m->base + m->total - page; c++)
            if (c < m->block || c >= m->block + m->bytes) changed += *c != SLACK;
        CHECK(changed == 0, "%s: %ld bytes beside a buffer of %zu are written", description, changed, m->bytes);
        munmap(m->base, m->total);
    }
}

static void *numbers(struct pool *pool, int64_t count, int dtype, uint64_t *random) {
    void *array = guarded_get(pool, (size_t)count * element_size(dtype), element_size(dtype));
    for (int64_t k = 0; k < count; k++) set_element(array, k, dtype, random_unit(random));
    return array;
}

/* -------------------------------------------------------------------------------------------------------- the calls */

static void check_recurrent(const struct shape *shape, uint64_t seed, int at_end) {
    struct problem p;
    snprintf(description, sizeof description,
             "cell %d %s float%d B %lld T %lld I %lld H %lld flags %d mask %d layout %d states %d threads %d at_end %d",
             shape->cell, fusedlstm_isa(), 8 * (int)element_size(shape->dtype), (long long)shape->batch,
             (long long)shape->steps, (long long)shape->inputs, (long long)shape->units, shape->flags, shape->mask,
             shape->layout, shape->states, shape->threads, at_end);
    problem_make(&p, shape, seed, guarded_get, guarded_release, at_end);
    CHECK(problem_run(&p) == FUSEDLSTM_OK, "%s", description);
    problem_free(&p);
}

static void check_recurrents(int dtype, int lanes, int count, int at_end) {
    uint64_t random = (uint64_t)lanes;
    for (int k = 0; k < count; k++) {
        const int64_t widest = 2 * lanes + 1;
        struct shape shape = {.batch = random_below(&random, 9),
                              .steps = random_below(&random, 6),
                              .dtype = dtype,
                              .inputs = random_below(&random, 6 * lanes + 2),
                              .units = 1 + k % widest,
                              .activation = 1 + (int)random_below(&random, 7),
                              .recurrent_activation = FUSEDLSTM_SIGMOID,
                              .flags = (int)random_below(&random, 8),
                              .threads = 1,
                              .states = k & 1,
                              .mask = (int)random_below(&random, MASKS),
                              .layout = (int)random_below(&random, LAYOUTS)};
        if (k % 8 == 7) shape.units += 4 * lanes; /* more than one panel */
        if (k % 3) shape.inputs = random_below(&random, widest + 1);
        make_variant(&shape, (int)random_below(&random, VARIANTS));
        check_recurrent(&shape, random_bits(&random), at_end);
    }
    /* Large enough for three threads, by rows and by units. */
    for (int batch = 2; batch <= 26; batch += 24) {
        struct shape shape = {.batch = batch,
                              .steps = 3,
                              .inputs = 67,
                              .units = 4 * lanes * 3 + 1,
                              .dtype = dtype,
                              .activation = FUSEDLSTM_TANH,
                              .recurrent_activation = FUSEDLSTM_SIGMOID,
                              .flags = FUSEDLSTM_TRAINING,
                              .threads = 3,
                              .mask = RANDOM_MASK,
                              .layout = WITH_GAPS};
        const struct shape plain = shape;
        for (int variant = 0; variant < VARIANTS; variant++) {
            shape = plain;
            make_variant(&shape, variant);
            check_recurrent(&shape, 1, at_end);
        }
    }
}

static double product_at(const struct fusedlstm_matmul *m, int64_t row, int64_t column) {
    double sum = m->accumulate ? element(m->out, row * m->out_row_stride + column, m->dtype) : 0;
    if (m->bias) sum += element(m->bias, column, m->dtype);
    for (int64_t k = 0; k < m->inner; k++) {
        double a = element(m->a, row * m->a_row_stride + k * m->a_column_stride, m->dtype);
        sum += a * element(m->b, k * m->b_row_stride + column * m->b_column_stride, m->dtype);
    }
    return sum;
}

static void check_matmul(int dtype, int lanes, int at_end, uint64_t *random) {
    struct pool pool = {.at_end = at_end};
    const int64_t M = random_below(random, 15), N = random_below(random, 5 * lanes + 2);
    const int64_t K = random_below(random, 8) ? random_below(random, 3 * lanes) : 200 + random_below(random, 200);
    const int transposed_a = (int)random_below(random, 2), transposed_b = (int)random_below(random, 2);
    const int backwards = (int)random_below(random, 2);
    const int64_t gap = random_below(random, 3), size = (int64_t)element_size(dtype);
    struct fusedlstm_matmul m = {
        .rows = M, .inner = K, .columns = N, .dtype = dtype, .threads = 1, .accumulate = (int)random_below(random, 2)};
    snprintf(description, sizeof description,
             "matmul %s float%d M %lld K %lld N %lld, a^T %d b^T %d accumulate %d gap %lld", fusedlstm_isa(),
             8 * (int)size, (long long)M, (long long)K, (long long)N, transposed_a, transposed_b, m.accumulate,
             (long long)gap);
    m.a_row_stride = transposed_a ? 1 : K;
    m.a_column_stride = transposed_a ? M : 1;
    m.b_row_stride = transposed_b ? 1 : N;
    m.b_column_stride = transposed_b ? K : 1;
    m.out_row_stride = N + gap;
    const char *a = numbers(&pool, M * K, dtype, random), *b = numbers(&pool, K * N, dtype, random);
    m.a = a;
    m.b = b;
    m.bias = random_below(random, 2) ? numbers(&pool, N, dtype, random) : NULL;
    const int64_t out_count = M && N ? (M - 1) * m.out_row_stride + N : 0;
    char *out = numbers(&pool, out_count, dtype, random);
    m.out = out;
    if (backwards && M * K * N > 0) {
        m.a = a + (M - 1) * m.a_row_stride * size;
        m.a_row_stride = -m.a_row_stride;
        m.out = out + (M - 1) * m.out_row_stride * size;
        m.out_row_stride = -m.out_row_stride;
        m.b = b + (N - 1) * m.b_column_stride * size;
        m.b_column_stride = -m.b_column_stride;
    }
    double *expected = calloc((size_t)(M * N) + 1, sizeof *expected);
    for (int64_t r = 0; expected && r < M; r++)
        for (int64_t c = 0; c < N; c++) expected[r * N + c] = product_at(&m, r, c);
    m.workspace = guarded_get(&pool, fusedlstm_matmul_workspace_size(&m), 64);
    CHECK(fusedlstm_matmul(&m, NULL) == FUSEDLSTM_OK, "%s", description);
    double largest = 0;
    for (int64_t r = 0; expected && r < M; r++)
        for (int64_t c = 0; c < N; c++) {
            double off = fabs(element(m.out, r * m.out_row_stride + c, dtype) - expected[r * N + c]);
            if (!(off <= largest)) largest = off;
        }
    CHECK(largest <= (dtype == FUSEDLSTM_FLOAT32 ? 1e-4 : 1e-12), "%s is off by %g", description, largest);
    free(expected);
    guarded_release(&pool);
}

static void check_elementwise(int dtype, int64_t n, int at_end, uint64_t *random) {
    struct pool pool = {.at_end = at_end};
    snprintf(description, sizeof description, "elementwise %s float%d n %lld", fusedlstm_isa(),
             8 * (int)element_size(dtype), (long long)n);
    void *a = numbers(&pool, n, dtype, random), *b = numbers(&pool, n, dtype, random);
    void *c = numbers(&pool, n, dtype, random), *d = numbers(&pool, n, dtype, random);
    for (int activation = FUSEDLSTM_LINEAR; activation <= FUSEDLSTM_EXP; activation++) {
        CHECK(fusedlstm_activation_forward(dtype, activation, n, a, b, NULL) == FUSEDLSTM_OK, "%s", description);
        CHECK(fusedlstm_activation_backward(dtype, activation, n, b, a, c, NULL) == FUSEDLSTM_OK, "%s", description);
        CHECK(fusedlstm_activation_forward(dtype, activation, n, c, c, NULL) == FUSEDLSTM_OK, "%s", description);
    }
    struct fusedlstm_update u = {.n = n,
                                 .dtype = dtype,
                                 .w = a,
                                 .g = b,
                                 .learning_rate = 1e-3,
                                 .gradient_scale = 1,
                                 .clip = HUGE_VAL,
                                 .decay = 1e-3,
                                 .momentum = 0.9,
                                 .beta_1 = 0.9,
                                 .beta_2 = 0.99,
                                 .epsilon = 1,
                                 .m_factor = 1,
                                 .g_factor = 1,
                                 .v_factor = 1};
    void *e = numbers(&pool, n, dtype, random);
    for (u.rule = FUSEDLSTM_SGD; u.rule <= FUSEDLSTM_ADAMAX; u.rule++) {
        u.slots[0] = c;
        u.slots[1] = u.rule == FUSEDLSTM_RMSPROP || u.rule >= FUSEDLSTM_ADADELTA ? d : NULL;
        u.slots[2] = u.rule == FUSEDLSTM_RMSPROP || u.rule == FUSEDLSTM_ADAM ? e : NULL;
        for (int row = 0; row < 3 && n % 3 == 0; row++) { /* 3 rows, one of which has a gradient */
            struct fusedlstm_update by_row = u;
            const int64_t rows = row;
            by_row.by_row = n > 0;
            by_row.width = n / 3;
            by_row.row_count = 1;
            by_row.rows = &rows;
            by_row.g = numbers(&pool, n / 3, dtype, random);
            CHECK(!fusedlstm_update(&by_row, NULL), "%s, row %d of rule %d", description, row, u.rule);
        }
        CHECK(!fusedlstm_update(&u, NULL), "%s, rule %d", description, u.rule);
    }
    CHECK(!fusedlstm_average_update(dtype, n, a, e, 0.9, NULL), "%s", description);
    const int64_t width = 1 + random_below(random, 9), rows = 1 + random_below(random, 5),
                  count = random_below(random, 9);
    int64_t *ids = guarded_get(&pool, (size_t)count * sizeof *ids, sizeof *ids);
    for (int64_t k = 0; k < count; k++) ids[k] = random_below(random, rows);
    void *rows_in = numbers(&pool, count * width, dtype, random), *table = numbers(&pool, rows * width, dtype, random);
    CHECK(!fusedlstm_embedding_gradient(dtype, count, rows, width, ids, rows_in, table, NULL), "%s", description);
    guarded_release(&pool);
}

int main(int argument_count, char **arguments) {
    const int scale = argument_count > 1 ? atoi(arguments[1]) : 3; /* how many calls; fewer for emulators */
    signal(SIGSEGV, on_fault);
    signal(SIGBUS, on_fault);
    const char *isa;
    for (int k = 0; (isa = fusedlstm_available_isa(k)); k++) {
        fusedlstm_set_isa(isa);
        for (int variant = 0; variant < 4; variant++) {
            const int dtype = variant & 1, at_end = variant >> 1;
            const int lanes = (strcmp(isa, "v4") == 0   ? 64
                               : strcmp(isa, "v3") == 0 ? 32
                                                        : 16) /
                              (int)element_size(dtype);
            uint64_t random = (uint64_t)(variant + 1);
            check_recurrents(dtype, lanes, scale * (2 * lanes + 1), at_end);
            for (int call = 0; call < 40 * scale; call++) check_matmul(dtype, lanes, at_end, &random);
            for (int64_t n = 0; n <= 2 * lanes + 1; n++) check_elementwise(dtype, n, at_end, &random);
            check_elementwise(dtype, 16 * lanes + 1, at_end, &random);
        }
        printf("%s: checked\n", isa);
    }
    return check_summary("test_guard_pages");
}
