/* The LSTM, and what stands around it, against plain loops in double: every instruction set and dtype, all activations,
 * masks, strides, the last step alone, degenerate sizes. */
#include "problem.h"

/* ------------------------------------------------------------------------------------------ the reference, in double */

static double activation(int kind, double x) {
    switch (kind) {
    case FUSEDLSTM_TANH: return tanh(x);
    case FUSEDLSTM_SIGMOID: return 1 / (1 + exp(-x));
    case FUSEDLSTM_RELU: return x > 0 ? x : 0;
    case FUSEDLSTM_HARD_SIGMOID: return fmin(fmax(x / 6 + 0.5, 0), 1);
    case FUSEDLSTM_SOFTSIGN: return x / (1 + fabs(x));
    case FUSEDLSTM_ELU: return x > 0 ? x : expm1(x);
    case FUSEDLSTM_SOFTPLUS: return fmax(x, 0) + log1p(exp(-fabs(x)));
    case FUSEDLSTM_EXP: return exp(x);
    default: return x;
    }
}
/* From the input, unlike in the library, so that the two do not share a mistake. */
static double slope(int kind, double x) {
    switch (kind) {
    case FUSEDLSTM_TANH: return 1 / (cosh(x) * cosh(x));
    case FUSEDLSTM_SIGMOID: return 1 / (2 + exp(x) + exp(-x));
    case FUSEDLSTM_RELU: return x > 0;
    case FUSEDLSTM_HARD_SIGMOID: return fabs(x) < 3 ? 1.0 / 6 : 0;
    case FUSEDLSTM_SOFTSIGN: return 1 / ((1 + fabs(x)) * (1 + fabs(x)));
    case FUSEDLSTM_ELU: return x > 0 ? 1 : exp(x);
    case FUSEDLSTM_SOFTPLUS: return 1 / (1 + exp(-x));
    case FUSEDLSTM_EXP: return exp(x);
    default: return 1;
    }
}

/* All that the naive LSTM keeps; arrays are contiguous and batch-major, states have T+1 steps. */
struct naive {
    double *z, *h, *c, *y, *dz, *d_h, *d_c, *d_repeated, *d_x, *d_kernel, *d_recurrent, *d_bias;
};
static double *zeros(int64_t count) {
    double *array = calloc((size_t)count + 1, sizeof *array);
    if (!array) abort();
    return array;
}
enum { I_GATE, F_GATE, C_GATE, O_GATE };

static double at(const struct problem *p, const void *array, int64_t k) {
    return array ? element(array, k, p->shape.dtype) : 0;
}
static int used(const struct problem *p, int64_t b, int64_t t) {
    return !p->shape.mask || *(uint8_t *)grid_row(&p->mask, b, t, 1) != 0;
}
static double x_at(const struct problem *p, int64_t b, int64_t t, int64_t k) {
    return at(p, grid_row(&p->x, b, t, p->size), k);
}

static void naive_forward(const struct problem *p, struct naive *n) {
    const int64_t B = p->shape.batch, T = p->shape.steps, I = p->shape.inputs, H = p->shape.units;
    const int zero = p->shape.flags & FUSEDLSTM_ZERO_OUTPUT_FOR_MASK;
    n->z = zeros(B * T * 4 * H);
    n->y = zeros(B * T * H);
    n->h = zeros(B * (T + 1) * H);
    n->c = zeros(B * (T + 1) * H);
    for (int64_t b = 0; b < B; b++) {
        for (int64_t u = 0; u < H; u++) {
            n->h[b * (T + 1) * H + u] = at(p, p->forward.h0, b * H + u);
            n->c[b * (T + 1) * H + u] = at(p, p->forward.c0, b * H + u);
        }
        for (int64_t t = 0; t < T; t++) {
            double *h = n->h + (b * (T + 1) + t) * H, *c = n->c + (b * (T + 1) + t) * H;
            double *z = n->z + (b * T + t) * 4 * H, *y = n->y + (b * T + t) * H;
            if (!used(p, b, t)) {
                memcpy(h + H, h, (size_t)H * sizeof *h);
                memcpy(c + H, c, (size_t)H * sizeof *c);
                if (t > 0 && !zero) memcpy(y, y - H, (size_t)H * sizeof *y);
                continue;
            }
            for (int64_t g = 0; g < 4 * H; g++) {
                z[g] = at(p, p->weights.bias, g);
                for (int64_t k = 0; k < I; k++) z[g] += x_at(p, b, t, k) * at(p, p->weights.kernel, k * 4 * H + g);
                for (int64_t k = 0; k < H; k++) z[g] += h[k] * at(p, p->weights.recurrent, k * 4 * H + g);
            }
            for (int64_t u = 0; u < H; u++) {
                double i = activation(p->shape.recurrent_activation, z[I_GATE * H + u]);
                double f = activation(p->shape.recurrent_activation, z[F_GATE * H + u]);
                double o = activation(p->shape.recurrent_activation, z[O_GATE * H + u]);
                c[H + u] = f * c[u] + i * activation(p->shape.activation, z[C_GATE * H + u]);
                y[u] = h[H + u] = o * activation(p->shape.activation, c[H + u]);
            }
        }
    }
}

static void naive_backward_step(const struct problem *p, struct naive *n, int64_t b, int64_t t) {
    const int64_t T = p->shape.steps, I = p->shape.inputs, H = p->shape.units;
    const int inner = p->shape.activation, gate = p->shape.recurrent_activation;
    const double *z = n->z + (b * T + t) * 4 * H, *c = n->c + (b * (T + 1) + t) * H, *h = n->h + (b * (T + 1) + t) * H;
    double *dz = n->dz, *d_h = n->d_h + b * H, *d_c = n->d_c + b * H;
    for (int64_t u = 0; u < H; u++) {
        double i = activation(gate, z[I_GATE * H + u]), f = activation(gate, z[F_GATE * H + u]);
        double o = activation(gate, z[O_GATE * H + u]), g = activation(inner, z[C_GATE * H + u]);
        d_c[u] += d_h[u] * o * slope(inner, c[H + u]);
        dz[I_GATE * H + u] = d_c[u] * g * slope(gate, z[I_GATE * H + u]);
        dz[F_GATE * H + u] = d_c[u] * c[u] * slope(gate, z[F_GATE * H + u]);
        dz[C_GATE * H + u] = d_c[u] * i * slope(inner, z[C_GATE * H + u]);
        dz[O_GATE * H + u] = d_h[u] * activation(inner, c[H + u]) * slope(gate, z[O_GATE * H + u]);
        d_c[u] *= f;
    }
    for (int64_t k = 0; k < H; k++) d_h[k] = 0;
    for (int64_t g = 0; g < 4 * H; g++) {
        n->d_bias[g] += dz[g];
        for (int64_t k = 0; k < I; k++) {
            n->d_kernel[k * 4 * H + g] += x_at(p, b, t, k) * dz[g];
            n->d_x[(b * T + t) * I + k] += at(p, p->weights.kernel, k * 4 * H + g) * dz[g];
        }
        for (int64_t k = 0; k < H; k++) {
            n->d_recurrent[k * 4 * H + g] += h[k] * dz[g];
            d_h[k] += at(p, p->weights.recurrent, k * 4 * H + g) * dz[g];
        }
    }
}

static void naive_backward(const struct problem *p, struct naive *n) {
    const int64_t B = p->shape.batch, T = p->shape.steps, I = p->shape.inputs, H = p->shape.units;
    const int last_step = p->shape.flags & FUSEDLSTM_LAST_STEP, zero = p->shape.flags & FUSEDLSTM_ZERO_OUTPUT_FOR_MASK;
    n->dz = zeros(4 * H);
    n->d_h = zeros(B * H);
    n->d_c = zeros(B * H);
    n->d_repeated = zeros(H);
    n->d_x = zeros(B * T * I);
    n->d_kernel = zeros(I * 4 * H);
    n->d_recurrent = zeros(H * 4 * H);
    n->d_bias = zeros(4 * H);
    for (int64_t b = 0; b < B; b++) {
        for (int64_t u = 0; u < H; u++) {
            n->d_h[b * H + u] = at(p, p->backward.d_h, b * H + u);
            n->d_c[b * H + u] = at(p, p->backward.d_c, b * H + u);
            n->d_repeated[u] = 0;
        }
        for (int64_t t = T - 1; t >= 0; t--) {
            for (int64_t u = 0; u < H; u++) {
                double d_y = last_step && t < T - 1 ? 0 : at(p, grid_row(&p->d_y, b, last_step ? 0 : t, p->size), u);
                /* A masked step repeats the output before it, so that one gets its gradient too. */
                if (used(p, b, t)) {
                    n->d_h[b * H + u] += d_y + n->d_repeated[u];
                    n->d_repeated[u] = 0;
                } else if (!zero) {
                    n->d_repeated[u] += d_y;
                }
            }
            if (used(p, b, t)) naive_backward_step(p, n, b, t);
        }
    }
}

static void naive_free(struct naive *n) {
    double **arrays = (double **)n;
    for (size_t k = 0; k < sizeof *n / sizeof *arrays; k++) free(arrays[k]);
}

/* --------------------------------------------------------------------------------------------------- comparison */

static char description[256];

struct comparison {
    double largest, scale;
    int64_t at;
};
static void compare(struct comparison *c, double got, double expected, int64_t where) {
    if (fabs(expected) > c->scale) c->scale = fabs(expected);
    if (!(fabs(got - expected) <= c->largest)) {
        c->largest = fabs(got - expected);
        c->at = where;
    }
}
/* Rounding errors grow with the number of terms, and a little with the steps that they pass through. */
static void conclude(const struct comparison *c, const struct problem *p, const char *name, double times) {
    double eps = p->shape.dtype == FUSEDLSTM_FLOAT32 ? 0x1p-23 : 0x1p-52;
    double terms = (double)((p->shape.inputs + p->shape.units) * (p->shape.steps + 1));
    double bound = times * 4 * ceil(log2(terms + 1)) * eps * fmax(c->scale, 1);
    CHECK(c->largest <= bound, "%s: %s is off by %g at %lld, allowed is %g", description, name, c->largest,
          (long long)c->at, bound);
}
static void compare_array(const struct problem *p, const char *name, const void *got, const double *expected,
                          int64_t count, double times) {
    struct comparison c = {0};
    for (int64_t k = 0; k < count; k++) compare(&c, element(got, k, p->shape.dtype), expected[k], k);
    conclude(&c, p, name, times);
}
static void compare_grid(const struct problem *p, const char *name, const struct grid *got, const double *expected,
                         int64_t steps, int64_t first, int64_t all_steps, int64_t width, double times) {
    struct comparison c = {0};
    for (int64_t b = 0; b < p->shape.batch; b++)
        for (int64_t t = 0; t < steps; t++)
            for (int64_t k = 0; k < width; k++)
                compare(&c, element(grid_row(got, b, t, p->size), k, p->shape.dtype),
                        expected[(b * all_steps + first + t) * width + k], (b * steps + t) * width + k);
    conclude(&c, p, name, times);
}

/* Elements of a strided array that belong to no row stay as they were: NaN. */
static void check_gaps(const struct problem *p, const char *name, const struct grid *g, int64_t steps, int64_t width) {
    int64_t count = 0, numbers = 0;
    for (size_t k = 0; k < g->bytes / p->size; k++, count++)
        numbers += !isnan(element(g->block, (int64_t)k, p->shape.dtype));
    CHECK(numbers == (count ? p->shape.batch * steps * width : 0), "%s: %lld numbers of %s are written", description,
          (long long)numbers, name);
}

static void check_lstm(const struct shape *shape, uint64_t seed) {
    struct problem p;
    struct naive n = {0};
    const int64_t B = shape->batch, T = shape->steps, I = shape->inputs, H = shape->units;
    const int last_step = (shape->flags & FUSEDLSTM_LAST_STEP) != 0;
    snprintf(description, sizeof description,
             "%s float%d B %lld T %lld I %lld H %lld act %d rec %d flags %d mask %d layout %d", fusedlstm_isa(),
             8 * (int)element_size(shape->dtype), (long long)B, (long long)T, (long long)I, (long long)H,
             shape->activation, shape->recurrent_activation, shape->flags, shape->mask, shape->layout);
    problem_new(&p, shape, seed);
    naive_forward(&p, &n);
    CHECK(problem_run(&p) == FUSEDLSTM_OK, "%s", description);
    double *final = zeros(B * H);
    if (!last_step) compare_grid(&p, "y", &p.y, n.y, T, 0, T, H, 1);
    if (last_step && T > 0) compare_grid(&p, "y", &p.y, n.y, 1, T - 1, T, H, 1);
    if (last_step && T == 0) compare_grid(&p, "y", &p.y, final, 1, 0, 1, H, 1);
    check_gaps(&p, "y", &p.y, last_step ? 1 : T, H);
    for (int64_t k = 0; k < B * H; k++) final[k] = n.h[(k / H * (T + 1) + T) * H + k % H];
    compare_array(&p, "h", p.forward.h, final, B * H, 1);
    for (int64_t k = 0; k < B * H; k++) final[k] = n.c[(k / H * (T + 1) + T) * H + k % H];
    compare_array(&p, "c", p.forward.c, final, B * H, 1);
    if (shape->flags & FUSEDLSTM_TRAINING) {
        naive_backward(&p, &n);
        compare_grid(&p, "d_x", &p.d_x, n.d_x, T, 0, T, I, 2);
        check_gaps(&p, "d_x", &p.d_x, T, I);
        compare_array(&p, "d_kernel", p.backward.d_kernel, n.d_kernel, I * 4 * H, 2);
        compare_array(&p, "d_recurrent", p.backward.d_recurrent, n.d_recurrent, H * 4 * H, 2);
        compare_array(&p, "d_bias", p.backward.d_bias, n.d_bias, 4 * H, 2);
        compare_array(&p, "d_h0", p.backward.d_h0, n.d_h, B * H, 2);
        compare_array(&p, "d_c0", p.backward.d_c0, n.d_c, B * H, 2);
    }
    free(final);
    naive_free(&n);
    problem_free(&p);
}

static void check_lstms(int dtype) {
    struct shape shape = {.dtype = dtype, .states = 1};
    uint64_t random = 1;
    /* Each pair of activations that may stand together. */
    for (int activation_ = FUSEDLSTM_LINEAR; activation_ <= FUSEDLSTM_SOFTPLUS; activation_++)
        for (int gate = FUSEDLSTM_LINEAR; gate <= FUSEDLSTM_SOFTPLUS; gate++) {
            shape = (struct shape){.batch = 3,
                                   .steps = 3,
                                   .inputs = 5,
                                   .units = 7,
                                   .dtype = dtype,
                                   .states = 1,
                                   .activation = activation_,
                                   .recurrent_activation = gate,
                                   .flags = FUSEDLSTM_TRAINING,
                                   .threads = 1};
            check_lstm(&shape, random_bits(&random));
        }
    /* Sizes around the widths of vectors, panels, register tiles and hoisted steps, with all the options. */
    static const int64_t UNITS[] = {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 65},
                         BATCHES[] = {0, 1, 2, 5, 6, 7, 13, 33};
    for (int k = 0; k < 150; k++) {
        shape = (struct shape){.batch = BATCHES[random_below(&random, 8)],
                               .steps = random_below(&random, 7),
                               .inputs = random_below(&random, 3) ? UNITS[random_below(&random, 14)]
                                                                  : random_below(&random, 3),
                               .units = UNITS[k % 14],
                               .dtype = dtype,
                               .activation = FUSEDLSTM_TANH,
                               .recurrent_activation = FUSEDLSTM_SIGMOID,
                               .flags = (int)random_below(&random, 8),
                               .threads = 1 + (int)random_below(&random, 3),
                               .mask = (int)random_below(&random, MASKS),
                               .layout = (int)random_below(&random, LAYOUTS),
                               .states = (int)random_below(&random, 2)};
        check_lstm(&shape, random_bits(&random));
    }
    shape = (struct shape){.batch = 2,
                           .steps = 150,
                           .inputs = 3,
                           .units = 20,
                           .dtype = dtype,
                           .states = 1,
                           .activation = FUSEDLSTM_TANH,
                           .recurrent_activation = FUSEDLSTM_SIGMOID,
                           .flags = FUSEDLSTM_TRAINING,
                           .mask = RANDOM_MASK};
    check_lstm(&shape, 2);
}

int main(void) {
    const char *isa;
    for (int k = 0; (isa = fusedlstm_available_isa(k)); k++) {
        CHECK(fusedlstm_set_isa(isa) == FUSEDLSTM_OK && strcmp(fusedlstm_isa(), isa) == 0, "%s is not in use", isa);
        check_lstms(FUSEDLSTM_FLOAT32);
        check_lstms(FUSEDLSTM_FLOAT64);
        printf("%s: checked\n", isa);
    }
    return check_summary("test_lstm");
}
