/* One LSTM call with all its buffers: made from a few numbers, filled at random, run forward and backward. */
#ifndef PROBLEM_H
#define PROBLEM_H

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "fusedlstm.h"
#include "kernels/kernels.h"

enum layout { BATCH_MAJOR, TIME_MAJOR, REVERSED, WITH_GAPS, LAYOUTS };
enum { NO_MASK, RANDOM_MASK, MASK_WITH_EMPTY_ROW, MASKS };

struct shape {
    int64_t batch, steps, inputs, units;
    int dtype, activation, recurrent_activation, flags, threads;
    int mask;
    int layout; /* of x, y, d_y and d_x; the mask takes the next one */
    int states; /* h0, d_h and, of an LSTM, c0 and d_c are given */
    int cell;
    int input_dropout, recurrent_dropout; /* numbers of masks */
    int peepholes;
    int projects; /* to a few less than the units */
    int zoneout;  /* NO_ZONEOUT ... */
};
enum { NO_ZONEOUT, ZONEOUT_RATES, ZONEOUT_MASKS };

static inline int64_t output_count(const struct shape *shape) {
    return shape->projects ? shape->units / 2 + 1 : shape->units;
}

/* Gates of a cell, and numbers in its bias. */
static inline int64_t gate_count(const struct shape *shape) {
    return shape->cell == FUSEDLSTM_LSTM ? 4 : shape->cell == FUSEDLSTM_GRU ? 3 : 1;
}
static inline int64_t bias_size(const struct shape *shape) {
    return gate_count(shape) * shape->units * (shape->flags & FUSEDLSTM_RESET_AFTER ? 2 : 1);
}

/* Where buffers come from; `get` returns exactly `bytes` bytes, aligned. */
struct pool {
    void *(*get)(struct pool *pool, size_t bytes, size_t alignment);
    void (*release)(struct pool *pool);
    struct {
        void *block;
        size_t bytes;
    } taken[64];
    int count;
    int at_end; /* for test_guard_pages.c */
};

static inline void *plain_get(struct pool *pool, size_t bytes, size_t alignment) {
    void *block = NULL;
    if (posix_memalign(&block, alignment < sizeof(void *) ? sizeof(void *) : alignment, bytes ? bytes : 1)) abort();
    pool->taken[pool->count++].block = block;
    return block;
}
static inline void plain_release(struct pool *pool) {
    while (pool->count > 0) free(pool->taken[--pool->count].block);
}

/* (batch, steps, width) elements somewhere in a block. */
struct grid {
    char *block, *origin;
    size_t bytes;
    int64_t batch_stride, step_stride;
};

enum { OUTPUTS = 15 };
struct problem {
    struct shape shape;
    size_t size; /* of an element */
    struct pool pool;
    struct fusedlstm_rnn layer;
    struct fusedlstm_rnn_forward forward;
    struct fusedlstm_rnn_backward backward;
    struct fusedlstm_rnn_weights weights;
    struct grid x, mask, y, d_y, d_x;
    /* Everything that the two calls give back, gaps of strided arrays included. */
    struct {
        const char *name;
        void *data;
        size_t bytes;
    } outputs[OUTPUTS];
};

static inline size_t element_size(int dtype) {
    return dtype == FUSEDLSTM_FLOAT32 ? sizeof(float) : sizeof(double);
}
static inline double element(const void *array, int64_t at, int dtype) {
    return dtype == FUSEDLSTM_FLOAT32 ? (double)((const float *)array)[at] : ((const double *)array)[at];
}
static inline void set_element(void *array, int64_t at, int dtype, double value) {
    if (dtype == FUSEDLSTM_FLOAT32)
        ((float *)array)[at] = (float)value;
    else
        ((double *)array)[at] = value;
}

/* A buffer that reads as NaN until it is written. */
static inline void *blank(struct pool *pool, size_t bytes, size_t alignment) {
    void *block = pool->get(pool, bytes, alignment);
    memset(block, 0xff, bytes);
    return block;
}
static inline void *random_array(struct problem *p, int64_t count, double scale, uint64_t *random) {
    void *array = blank(&p->pool, (size_t)count * p->size, p->size);
    for (int64_t k = 0; k < count; k++) set_element(array, k, p->shape.dtype, scale * random_unit(random));
    return array;
}

static inline struct grid make_grid(struct pool *pool, int layout, int64_t batch, int64_t steps, int64_t width,
                                    size_t size) {
    const int64_t strides[LAYOUTS][2] = {[BATCH_MAJOR] = {steps * width, width},
                                         [TIME_MAJOR] = {width, batch * width},
                                         [REVERSED] = {steps * width, -width},
                                         [WITH_GAPS] = {-(width + 3), batch * (width + 3) + 5}};
    struct grid g = {.batch_stride = strides[layout][0], .step_stride = strides[layout][1]};
    if (batch * steps * width == 0) {
        g.block = g.origin = pool->get(pool, 0, size);
        return g;
    }
    int64_t low = 0, high = width;
    const int64_t last[2] = {(batch - 1) * g.batch_stride, (steps - 1) * g.step_stride};
    for (int k = 0; k < 2; k++) *(last[k] < 0 ? &low : &high) += last[k];
    g.bytes = (size_t)(high - low) * size;
    g.block = blank(pool, g.bytes, size);
    g.origin = g.block - low * (int64_t)size;
    return g;
}
static inline void *grid_row(const struct grid *g, int64_t row, int64_t step, size_t size) {
    return g->origin + (row * g->batch_stride + step * g->step_stride) * (int64_t)size;
}
static inline void randomize_grid(struct problem *p, const struct grid *g, int64_t steps, int64_t width,
                                  uint64_t *random) {
    for (int64_t b = 0; b < p->shape.batch; b++)
        for (int64_t t = 0; t < steps; t++)
            for (int64_t k = 0; k < width; k++)
                set_element(grid_row(g, b, t, p->size), k, p->shape.dtype, random_unit(random));
}

static inline void output(struct problem *p, const char *name, void *data, size_t bytes) {
    int at = 0;
    while (p->outputs[at].name) at++;
    p->outputs[at].name = name;
    p->outputs[at].data = data;
    p->outputs[at].bytes = bytes;
}
/* `count` numbers that a call writes, if it is `wanted`. */
static inline void *output_array(struct problem *p, const char *name, int wanted, int64_t count) {
    if (!wanted) return NULL;
    void *array = blank(&p->pool, (size_t)count * p->size, p->size);
    output(p, name, array, (size_t)count * p->size);
    return array;
}
static inline const uint8_t *random_bytes(struct problem *p, int64_t count, uint64_t *random) {
    uint8_t *bytes = p->pool.get(&p->pool, (size_t)count, 1);
    for (int64_t k = 0; k < count; k++) bytes[k] = (uint8_t)random_below(random, 2);
    return bytes;
}

static inline void problem_make(struct problem *p, const struct shape *shape, uint64_t seed,
                                void *(*get)(struct pool *, size_t, size_t), void (*release)(struct pool *),
                                int at_end) {
    const int64_t B = shape->batch, T = shape->steps, I = shape->inputs, H = shape->units;
    const int64_t columns = gate_count(shape) * H, P = output_count(shape);
    const int recurs = shape->flags & FUSEDLSTM_FULL_GATE_RECURRENCE, norm = shape->flags & FUSEDLSTM_LAYER_NORM;
    const int lstm = shape->cell == FUSEDLSTM_LSTM;
    const int last_step = (shape->flags & FUSEDLSTM_LAST_STEP) != 0, training = shape->flags & FUSEDLSTM_TRAINING;
    *p = (struct problem){.shape = *shape, .size = element_size(shape->dtype)};
    p->pool = (struct pool){.get = get, .release = release, .at_end = at_end};
    p->layer = (struct fusedlstm_rnn){.batch = B,
                                      .steps = T,
                                      .inputs = I,
                                      .units = H,
                                      .dtype = shape->dtype,
                                      .activation = shape->activation,
                                      .flags = shape->flags,
                                      .recurrent_activation = shape->recurrent_activation,
                                      .threads = shape->threads,
                                      .cell = shape->cell,
                                      .input_dropout = shape->input_dropout,
                                      .recurrent_dropout = shape->recurrent_dropout,
                                      .projection = shape->projects ? P : 0,
                                      .zoneout_h = shape->zoneout == ZONEOUT_RATES ? 0.2 : 0,
                                      .zoneout_c = shape->zoneout == ZONEOUT_RATES ? 0.3 : 0,
                                      .epsilon = 1e-5};
    uint64_t random = seed;
    p->weights.kernel = random_array(p, I * columns, 1 / sqrt((double)(I + 1)), &random);
    p->weights.recurrent = random_array(p, P * columns, 1 / sqrt((double)P), &random);
    p->weights.bias = random_array(p, bias_size(shape), 0.5, &random);
    if (recurs) p->weights.gate_recurrence = random_array(p, 9 * H * H, 0.4 / sqrt((double)H), &random);
    if (shape->projects) p->weights.projection = random_array(p, H * P, 1 / sqrt((double)H), &random);
    p->x = make_grid(&p->pool, shape->layout, B, T, I, p->size);
    randomize_grid(p, &p->x, T, I, &random);
    p->y = make_grid(&p->pool, shape->layout, B, last_step ? 1 : T, P, p->size);
    p->mask = make_grid(&p->pool, (shape->layout + 1) % LAYOUTS, B, T, 1, 1);
    for (int64_t b = 0; b < B; b++)
        for (int64_t t = 0; t < T; t++)
            *(uint8_t *)grid_row(&p->mask, b, t, 1) =
                (shape->mask == MASK_WITH_EMPTY_ROW && b == 0) ? 0 : (uint8_t)(random_below(&random, 3) * 127);

    struct fusedlstm_rnn_forward *f = &p->forward;
    f->shared.x = p->x.origin;
    f->shared.x_batch_stride = p->x.batch_stride;
    f->shared.x_step_stride = p->x.step_stride;
    f->shared.mask = shape->mask ? (const uint8_t *)p->mask.origin : NULL;
    f->shared.mask_batch_stride = p->mask.batch_stride;
    f->shared.mask_step_stride = p->mask.step_stride;
    f->h0 = shape->states ? random_array(p, B * P, 1, &random) : NULL;
    f->c0 = shape->states && lstm ? random_array(p, B * H, 1, &random) : NULL;
    f->g0 = shape->states && recurs ? random_array(p, 3 * B * H, 1, &random) : NULL;
    void *packed = blank(&p->pool, fusedlstm_rnn_packed_size(&p->layer), 64);
    f->shared.packed = packed;
    f->y = p->y.origin;
    f->y_batch_stride = p->y.batch_stride;
    f->y_step_stride = last_step ? 1 : p->y.step_stride;
    output(p, "y", p->y.block, p->y.bytes);
    f->h = output_array(p, "h", 1, B * P);
    f->c = output_array(p, "c", lstm, B * H);
    f->g = output_array(p, "g", recurs, 3 * B * H);
    if (shape->input_dropout) f->shared.input_dropout = random_array(p, shape->input_dropout * B * I, 1, &random);
    if (shape->recurrent_dropout)
        f->shared.recurrent_dropout = random_array(p, shape->recurrent_dropout * B * P, 1, &random);
    if (shape->peepholes) f->shared.peepholes = random_array(p, 3 * H, 1, &random);
    if (norm) f->shared.normalization = random_array(p, 10 * H, 1, &random);
    if (shape->zoneout == ZONEOUT_MASKS) {
        f->shared.zoneout_h = random_bytes(p, T * B * P, &random);
        f->shared.zoneout_c = random_bytes(p, T * B * H, &random);
    }
    f->saved = training ? blank(&p->pool, fusedlstm_rnn_saved_size(&p->layer), 64) : NULL;
    f->workspace = blank(&p->pool, fusedlstm_rnn_forward_workspace_size(&p->layer), 64);
    CHECK(fusedlstm_rnn_pack(&p->layer, &p->weights, packed, NULL) == FUSEDLSTM_OK, "pack");
    if (!training) return;

    struct fusedlstm_rnn_backward *g = &p->backward;
    p->d_y = make_grid(&p->pool, shape->layout, B, last_step ? 1 : T, P, p->size);
    randomize_grid(p, &p->d_y, last_step ? 1 : T, P, &random);
    p->d_x = make_grid(&p->pool, shape->layout, B, T, I, p->size);
    *g = (struct fusedlstm_rnn_backward){.shared = f->shared, .saved = f->saved};
    g->d_y = p->d_y.origin;
    g->d_y_batch_stride = p->d_y.batch_stride;
    g->d_y_step_stride = last_step ? 1 : p->d_y.step_stride;
    g->d_h = shape->states ? random_array(p, B * P, 1, &random) : NULL;
    g->d_c = shape->states && lstm ? random_array(p, B * H, 1, &random) : NULL;
    g->d_g = shape->states && recurs ? random_array(p, 3 * B * H, 1, &random) : NULL;
    g->d_x = p->d_x.origin;
    g->d_x_batch_stride = p->d_x.batch_stride;
    g->d_x_step_stride = p->d_x.step_stride;
    output(p, "d_x", p->d_x.block, p->d_x.bytes);
    g->d_kernel = output_array(p, "d_kernel", 1, I * columns);
    g->d_recurrent = output_array(p, "d_recurrent", 1, P * columns);
    g->d_bias = output_array(p, "d_bias", 1, bias_size(shape));
    g->d_h0 = output_array(p, "d_h0", 1, B * P);
    g->d_c0 = output_array(p, "d_c0", lstm, B * H);
    g->d_g0 = output_array(p, "d_g0", recurs, 3 * B * H);
    g->d_peepholes = output_array(p, "d_peepholes", shape->peepholes, 3 * H);
    g->d_gate_recurrence = output_array(p, "d_gate_recurrence", recurs, 9 * H * H);
    g->d_projection = output_array(p, "d_projection", shape->projects, H * P);
    g->d_normalization = output_array(p, "d_normalization", norm, 10 * H);
    g->workspace = blank(&p->pool, fusedlstm_rnn_backward_workspace_size(&p->layer), 64);
}

/* A cell with options of its own: its number 0 ... VARIANTS-1, all of which leave `flags` as they were otherwise. */
enum { VARIANTS = 11 };
static inline void make_variant(struct shape *shape, int variant) {
    enum { RECURS = FUSEDLSTM_FULL_GATE_RECURRENCE, NORM = FUSEDLSTM_LAYER_NORM };
    static const struct {
        int cell, input_dropout, recurrent_dropout, flags, peepholes, projects, zoneout;
    } OF[VARIANTS] = {{FUSEDLSTM_LSTM, 0, 0, 0, 0, 0, 0},
                      {FUSEDLSTM_LSTM, 4, 4, FUSEDLSTM_COUPLED_GATES, 1, 0, 0},
                      {FUSEDLSTM_LSTM, 0, 0, RECURS, 0, 0, ZONEOUT_RATES},
                      {FUSEDLSTM_GRU, 0, 0, FUSEDLSTM_RESET_AFTER, 0, 0, 0},
                      {FUSEDLSTM_LSTM, 0, 0, NORM, 0, 0, ZONEOUT_MASKS},
                      {FUSEDLSTM_LSTM, 0, 0, 0, 1, 1, ZONEOUT_MASKS},
                      {FUSEDLSTM_GRU, 1, 3, FUSEDLSTM_RESET_AFTER, 0, 0, 0},
                      {FUSEDLSTM_LSTM, 4, 4, RECURS | NORM, 1, 1, ZONEOUT_RATES},
                      {FUSEDLSTM_GRU, 3, 3, 0, 0, 0, 0},
                      {FUSEDLSTM_SIMPLE_RNN, 0, 0, 0, 0, 0, 0},
                      {FUSEDLSTM_SIMPLE_RNN, 1, 1, 0, 0, 0, 0}};
    shape->cell = OF[variant].cell;
    shape->input_dropout = OF[variant].input_dropout;
    shape->recurrent_dropout = OF[variant].recurrent_dropout;
    shape->flags |= OF[variant].flags;
    shape->peepholes = OF[variant].peepholes;
    shape->projects = OF[variant].projects;
    shape->zoneout = OF[variant].zoneout;
}

static inline void problem_new(struct problem *p, const struct shape *shape, uint64_t seed) {
    problem_make(p, shape, seed, plain_get, plain_release, 0);
}
static inline void problem_free(struct problem *p) {
    p->pool.release(&p->pool);
}

/* Forward and, if the problem is for training, backward; the first status that is not FUSEDLSTM_OK. */
static inline int problem_run(struct problem *p) {
    int status = fusedlstm_rnn_forward(&p->layer, &p->forward, NULL);
    if (status == FUSEDLSTM_OK && p->shape.flags & FUSEDLSTM_TRAINING)
        status = fusedlstm_rnn_backward(&p->layer, &p->backward, NULL);
    return status;
}

/* The same on exactly this many threads, shared out by rows or by units: past what api.c would choose. */
static inline void problem_run_split(struct problem *p, int threads, int split_units) {
    const struct kernels *kernels = kernels_in_use(p->shape.dtype);
    struct rnn_job forward = {
        .layer = &p->layer, .forward = &p->forward, .threads = threads, .split_units = split_units};
    struct rnn_job backward = forward;
    backward.forward = NULL;
    backward.backward = &p->backward;
    team_run(threads, kernels->rnn_forward, &forward);
    if (p->shape.flags & FUSEDLSTM_TRAINING) team_run(threads, kernels->rnn_backward, &backward);
}

/* The name of the first output that differs in any bit; NULL: none. */
static inline const char *problem_difference(const struct problem *a, const struct problem *b) {
    for (int k = 0; k < OUTPUTS; k++)
        if (a->outputs[k].bytes && memcmp(a->outputs[k].data, b->outputs[k].data, a->outputs[k].bytes))
            return a->outputs[k].name;
    return NULL;
}

#endif
