/* The public functions: check the arguments, decide how the work is shared out, call through the kernel table. */
#include <math.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "checks.h"
#include "fusedlstm.h"
#include "kernels/kernels.h"
#include "machine.h"

/* ------------------------------------------------------------------------------------------------------- machine */

static atomic_int threads_set;

int fusedlstm_num_threads(void) {
    return threads_allowed(atomic_load(&threads_set));
}

int fusedlstm_set_num_threads(int threads) {
    if (threads < 0 || threads > 1024) return FUSEDLSTM_INVALID;
    atomic_store(&threads_set, threads);
    return FUSEDLSTM_OK;
}

static int most_threads(int requested) {
    return threads_allowed(requested > 0 ? requested : atomic_load(&threads_set));
}

/* Below this no machine is worth being asked about, and no worker is started. */
static const double SMALL_WORK = 300000; /* flops */

/* The machine, for a call's choice of threads; NULL: there is nothing to choose. To be asked once for a call. */
static const struct machine *machine_for(struct machine *machine, double flops, int dtype, int most) {
    if (most == 1 || flops < SMALL_WORK) return NULL;
    *machine = this_machine(kernels_in_use(dtype), dtype, most);
    return machine;
}

int threads_for(int requested, double flops, int dtype) {
    struct machine machine;
    int most = most_threads(requested);
    struct float_state state = float_state_enter();
    int threads = machine_for(&machine, flops, dtype, most) ? threads_worth(&machine, flops, most) : 1;
    float_state_leave(state);
    return threads;
}

/* ---------------------------------------------------------------------------------------------- recurrent layers */

static int gate_activation(int activation) {
    return activation >= FUSEDLSTM_LINEAR && activation <= FUSEDLSTM_SOFTPLUS;
}

static int gates_of(const struct fusedlstm_rnn *layer) {
    return layer->cell == FUSEDLSTM_LSTM ? 4 : layer->cell == FUSEDLSTM_GRU ? 3 : 1;
}

/* No dropout mask, one, or one a gate. */
static int dropout_sets(const struct fusedlstm_rnn *layer, int sets) {
    return sets == 0 || sets == 1 || sets == gates_of(layer);
}

static int check_layer(const struct fusedlstm_rnn *layer, const char **error) {
    const int for_lstm = FUSEDLSTM_COUPLED_GATES | FUSEDLSTM_NO_INPUT_GATE | FUSEDLSTM_NO_FORGET_GATE |
                         FUSEDLSTM_NO_OUTPUT_GATE | FUSEDLSTM_NO_INPUT_ACTIVATION | FUSEDLSTM_NO_OUTPUT_ACTIVATION |
                         FUSEDLSTM_FULL_GATE_RECURRENCE | FUSEDLSTM_LAYER_NORM;
    const int for_all = FUSEDLSTM_TRAINING | FUSEDLSTM_LAST_STEP | FUSEDLSTM_ZERO_OUTPUT_FOR_MASK;
    REQUIRE(layer, "layer");
    REQUIRE(dtype_valid(layer->dtype), "dtype");
    REQUIRE(layer->cell >= FUSEDLSTM_LSTM && layer->cell <= FUSEDLSTM_SIMPLE_RNN, "cell");
    REQUIRE(layer->batch >= 0 && layer->batch <= INT32_MAX, "batch");
    REQUIRE(layer->steps >= 0 && layer->steps <= INT32_MAX, "steps");
    REQUIRE(layer->batch == 0 || layer->steps <= INT32_MAX / layer->batch, "steps");
    REQUIRE(layer->inputs >= 0 && layer->inputs <= INT32_MAX, "inputs");
    REQUIRE(layer->units >= 1 && layer->units <= INT32_MAX, "units");
    REQUIRE(layer->projection >= 0 && layer->projection <= INT32_MAX, "projection");
    REQUIRE(layer->cell == FUSEDLSTM_LSTM || layer->projection == 0, "projection");
    /* Every buffer is smaller than this, so sizes computed later do not overflow. */
    double width = (double)layer->units + (double)layer->projection + 64,
           rows = (double)layer->batch * ((double)layer->steps + 128) + 256;
    double largest = 64 * width * (rows + (double)layer->inputs + width) + 64 * rows * (double)layer->inputs;
    REQUIRE(largest < 1e18, "units");
    REQUIRE(gate_activation(layer->activation), "activation");
    REQUIRE(gate_activation(layer->recurrent_activation), "recurrent_activation");
    int allowed = for_all | (layer->cell == FUSEDLSTM_LSTM  ? for_lstm
                             : layer->cell == FUSEDLSTM_GRU ? FUSEDLSTM_RESET_AFTER
                                                            : 0);
    REQUIRE((layer->flags & ~allowed) == 0, "flags");
    /* A forget gate that is coupled to an input gate of 1 would be 0; one that is 1 is not coupled. */
    int coupled = (layer->flags & FUSEDLSTM_COUPLED_GATES) != 0;
    REQUIRE(!coupled || !(layer->flags & (FUSEDLSTM_NO_INPUT_GATE | FUSEDLSTM_NO_FORGET_GATE)), "flags");
    REQUIRE(layer->threads >= 0, "threads");
    REQUIRE(dropout_sets(layer, layer->input_dropout), "input_dropout");
    REQUIRE(dropout_sets(layer, layer->recurrent_dropout), "recurrent_dropout");
    REQUIRE(layer->cell_clip >= 0, "cell_clip"); /* false for NaN */
    REQUIRE(layer->cell == FUSEDLSTM_LSTM || layer->cell_clip == 0, "cell_clip");
    REQUIRE(layer->zoneout_h >= 0 && layer->zoneout_h <= 1, "zoneout_h");
    REQUIRE(layer->zoneout_c >= 0 && layer->zoneout_c <= 1, "zoneout_c");
    REQUIRE(layer->cell == FUSEDLSTM_LSTM || layer->zoneout_h == 0, "zoneout_h");
    REQUIRE(layer->cell == FUSEDLSTM_LSTM || layer->zoneout_c == 0, "zoneout_c");
    REQUIRE(isfinite(layer->epsilon) && layer->epsilon >= 0, "epsilon");
    return kernels_in_use(layer->dtype) ? FUSEDLSTM_OK : refuse(error, "isa", FUSEDLSTM_NO_ISA);
}

size_t fusedlstm_rnn_packed_size(const struct fusedlstm_rnn *layer) {
    return check_layer(layer, NULL) ? 0 : kernels_in_use(layer->dtype)->rnn_packed_size(layer);
}
size_t fusedlstm_rnn_saved_size(const struct fusedlstm_rnn *layer) {
    return check_layer(layer, NULL) ? 0 : kernels_in_use(layer->dtype)->rnn_saved_size(layer);
}
size_t fusedlstm_rnn_forward_workspace_size(const struct fusedlstm_rnn *layer) {
    return check_layer(layer, NULL) ? 0 : kernels_in_use(layer->dtype)->rnn_forward_workspace_size(layer);
}
size_t fusedlstm_rnn_backward_workspace_size(const struct fusedlstm_rnn *layer) {
    return check_layer(layer, NULL) ? 0 : kernels_in_use(layer->dtype)->rnn_backward_workspace_size(layer);
}

/* An array that a flag or a number of the layer asks for, and that has no meaning without it. */
static int where(int wanted, const void *pointer, int64_t elements, int dtype) {
    return wanted ? needed(pointer, dtype, elements) : !pointer;
}

static int has(const struct fusedlstm_rnn *layer, int flag) {
    return (layer->flags & flag) != 0;
}

static int64_t outputs_of(const struct fusedlstm_rnn *layer) {
    return layer->projection ? layer->projection : layer->units;
}

int fusedlstm_rnn_pack(const struct fusedlstm_rnn *layer, const struct fusedlstm_rnn_weights *weights, void *packed,
                       const char **error) {
    REQUIRE_OK(check_layer(layer, error));
    REQUIRE(weights, "weights");
    REQUIRE(needed(weights->kernel, layer->dtype, layer->inputs), "kernel");
    REQUIRE(needed(weights->recurrent, layer->dtype, 1), "recurrent");
    REQUIRE(array(weights->bias, layer->dtype), "bias");
    REQUIRE(where(has(layer, FUSEDLSTM_FULL_GATE_RECURRENCE), weights->gate_recurrence, 1, layer->dtype),
            "gate_recurrence");
    REQUIRE(where(layer->projection > 0, weights->projection, 1, layer->dtype), "projection");
    REQUIRE(buffer(packed, 1), "packed");

    struct pack_job job = {layer, weights, packed};
    double numbers = gates_of(layer) * (double)layer->units * (double)(layer->inputs + outputs_of(layer));
    const double of_number = 3; /* flops */
    team_run(threads_for(layer->threads, of_number * numbers, layer->dtype), kernels_in_use(layer->dtype)->rnn_pack,
             &job);
    return FUSEDLSTM_OK;
}

static int stamp_of_layer(const struct stamp *s, const struct fusedlstm_rnn *layer, int flags) {
    return s->cell == layer->cell && s->layout == (layer->flags & flags) && s->dtype == layer->dtype &&
           s->vec_bytes == (uint32_t)kernels_in_use(layer->dtype)->vec_bytes && s->inputs == layer->inputs &&
           s->units == layer->units && s->projection == layer->projection;
}

static int stamp_of_packed(const void *packed, const struct fusedlstm_rnn *layer) {
    const struct stamp *s = packed;
    return s->kind == STAMP_PACKED && stamp_of_layer(s, layer, PACKED_LAYOUT) &&
           s->training >= has(layer, FUSEDLSTM_TRAINING);
}

static int stamp_of_saved(const void *saved, const struct fusedlstm_rnn *layer) {
    const struct stamp *s = saved;
    return s->kind == STAMP_SAVED && stamp_of_layer(s, layer, SAVED_LAYOUT) && s->batch == layer->batch &&
           s->steps == layer->steps;
}

static double weights_of(const struct fusedlstm_rnn *layer) {
    double width = (double)layer->units, inner = (double)layer->inputs + (double)outputs_of(layer);
    if (has(layer, FUSEDLSTM_FULL_GATE_RECURRENCE)) inner += 9.0 / 4 * width;
    return gates_of(layer) * width * inner;
}

/* Flops of a row and step going forward, activations and all; backward has twice as many. */
static double row_work(const struct fusedlstm_rnn *layer) {
    const double of_unit = 200;
    return 2 * weights_of(layer) + of_unit * (double)layer->units;
}
static double work_of(const struct fusedlstm_rnn *layer) {
    return row_work(layer) * (double)layer->batch * (double)layer->steps;
}

/* Phases of a step that must come one after the other. */
static int passes_of(const struct fusedlstm_rnn *layer) {
    int reset_first = layer->cell == FUSEDLSTM_GRU && !has(layer, FUSEDLSTM_RESET_AFTER);
    return 1 + reset_first + 4 * has(layer, FUSEDLSTM_LAYER_NORM) + (layer->projection > 0);
}

/* What to do with so many threads at most. */
static void plan(struct rnn_job *job, const struct machine *machine, int most) {
    const struct fusedlstm_rnn *layer = job->layer;
    struct split split = {.threads = 1};
    int times = job->backward ? 2 : 1;
    if (machine && most > 1 && times * work_of(layer) >= SMALL_WORK) {
        const struct kernels *kernels = kernels_in_use(layer->dtype);
        int64_t lanes = kernels->vec_bytes / (int64_t)size_of(layer->dtype);
        int64_t of_block = layer->cell == FUSEDLSTM_SIMPLE_RNN ? 4 * lanes : lanes;
        struct load load = {.rows = layer->batch,
                            .steps = layer->steps,
                            .blocks = (layer->units + of_block - 1) / of_block,
                            .flops = times * row_work(layer),
                            .weight_bytes = weights_of(layer) * (double)size_of(layer->dtype),
                            .state_bytes = (double)outputs_of(layer) * (double)size_of(layer->dtype),
                            .passes = passes_of(layer),
                            .tile_rows = kernels->tile_rows,
                            /* Rows with dropout are multiplied by their masks by the member that owns them. */
                            .rows_only = layer->input_dropout || layer->recurrent_dropout};
        split = best_split(machine, &load, most);
    }
    job->threads = split.threads;
    job->split_units = split.units;
}
static void plan_alone(struct rnn_job *job) {
    struct machine machine;
    int most = most_threads(job->layer->threads);
    struct float_state state = float_state_enter();
    plan(job, machine_for(&machine, (job->backward ? 2 : 1) * work_of(job->layer), job->layer->dtype, most), most);
    float_state_leave(state);
}

/* What both calls get. */
static int check_shared(const struct fusedlstm_rnn *layer, const struct fusedlstm_rnn_shared *shared,
                        const char **error) {
    int64_t B = layer->batch, T = layer->steps, I = layer->inputs, P = outputs_of(layer);
    int lstm = layer->cell == FUSEDLSTM_LSTM;
    REQUIRE(needed(shared->x, layer->dtype, B * T * I), "x");
    REQUIRE(stride_fits(shared->x_batch_stride, B), "x_batch_stride");
    REQUIRE(stride_fits(shared->x_step_stride, T), "x_step_stride");
    REQUIRE(!shared->mask || stride_fits(shared->mask_batch_stride, B), "mask_batch_stride");
    REQUIRE(!shared->mask || stride_fits(shared->mask_step_stride, T), "mask_step_stride");
    REQUIRE(buffer(shared->packed, 1) && stamp_of_packed(shared->packed, layer), "packed");
    REQUIRE(where(layer->input_dropout, shared->input_dropout, B * I, layer->dtype), "input_dropout");
    REQUIRE(where(layer->recurrent_dropout, shared->recurrent_dropout, B * P, layer->dtype), "recurrent_dropout");
    REQUIRE(!shared->peepholes || (lstm && array(shared->peepholes, layer->dtype)), "peepholes");
    REQUIRE(where(has(layer, FUSEDLSTM_LAYER_NORM), shared->normalization, 1, layer->dtype), "normalization");
    REQUIRE(lstm || !shared->zoneout_h, "zoneout_h");
    REQUIRE(lstm || !shared->zoneout_c, "zoneout_c");
    return FUSEDLSTM_OK;
}

static int check_forward(const struct fusedlstm_rnn *layer, const struct fusedlstm_rnn_forward *args,
                         const char **error) {
    REQUIRE_OK(check_layer(layer, error));
    REQUIRE(args, "args");
    int64_t B = layer->batch, T = layer->steps, P = outputs_of(layer);
    int training = has(layer, FUSEDLSTM_TRAINING), last_step = has(layer, FUSEDLSTM_LAST_STEP);
    int lstm = layer->cell == FUSEDLSTM_LSTM, recurs = has(layer, FUSEDLSTM_FULL_GATE_RECURRENCE);
    REQUIRE_OK(check_shared(layer, &args->shared, error));
    REQUIRE(array(args->h0, layer->dtype), "h0");
    REQUIRE(array(args->c0, layer->dtype) && (lstm || !args->c0), "c0");
    REQUIRE(array(args->g0, layer->dtype) && (recurs || !args->g0), "g0");
    REQUIRE(array(args->y, layer->dtype), "y");
    REQUIRE(!args->y || stride_separates(args->y_batch_stride, last_step || T > 0 ? B : 0, P), "y_batch_stride");
    REQUIRE(!args->y || last_step || stride_separates(args->y_step_stride, B > 0 ? T : 0, P), "y_step_stride");
    REQUIRE(array(args->h, layer->dtype), "h");
    REQUIRE(array(args->c, layer->dtype) && (lstm || !args->c), "c");
    REQUIRE(array(args->g, layer->dtype) && (recurs || !args->g), "g");
    REQUIRE(training ? buffer(args->saved, 1) : !args->saved, "saved");
    REQUIRE(buffer(args->workspace, fusedlstm_rnn_forward_workspace_size(layer)), "workspace");
    return FUSEDLSTM_OK;
}

static int check_backward(const struct fusedlstm_rnn *layer, const struct fusedlstm_rnn_backward *args,
                          const char **error) {
    REQUIRE_OK(check_layer(layer, error));
    REQUIRE(args, "args");
    REQUIRE(layer->flags & FUSEDLSTM_TRAINING, "flags");
    int64_t B = layer->batch, T = layer->steps, I = layer->inputs;
    int last_step = has(layer, FUSEDLSTM_LAST_STEP);
    int lstm = layer->cell == FUSEDLSTM_LSTM, recurs = has(layer, FUSEDLSTM_FULL_GATE_RECURRENCE);
    REQUIRE_OK(check_shared(layer, &args->shared, error));
    REQUIRE(buffer(args->saved, 1) && stamp_of_saved(args->saved, layer), "saved");
    REQUIRE(array(args->d_y, layer->dtype), "d_y");
    REQUIRE(!args->d_y || stride_fits(args->d_y_batch_stride, B), "d_y_batch_stride");
    REQUIRE(!args->d_y || last_step || stride_fits(args->d_y_step_stride, T), "d_y_step_stride");
    REQUIRE(array(args->d_h, layer->dtype), "d_h");
    REQUIRE(array(args->d_c, layer->dtype) && (lstm || !args->d_c), "d_c");
    REQUIRE(array(args->d_g, layer->dtype) && (recurs || !args->d_g), "d_g");
    REQUIRE(array(args->d_x, layer->dtype), "d_x");
    REQUIRE(!args->d_x || stride_separates(args->d_x_batch_stride, T > 0 ? B : 0, I), "d_x_batch_stride");
    REQUIRE(!args->d_x || stride_separates(args->d_x_step_stride, B > 0 ? T : 0, I), "d_x_step_stride");
    REQUIRE(array(args->d_kernel, layer->dtype), "d_kernel");
    REQUIRE(array(args->d_recurrent, layer->dtype), "d_recurrent");
    REQUIRE(array(args->d_bias, layer->dtype), "d_bias");
    REQUIRE(array(args->d_h0, layer->dtype), "d_h0");
    REQUIRE(array(args->d_c0, layer->dtype) && (lstm || !args->d_c0), "d_c0");
    REQUIRE(array(args->d_g0, layer->dtype) && (recurs || !args->d_g0), "d_g0");
    REQUIRE(buffer(args->workspace, fusedlstm_rnn_backward_workspace_size(layer)), "workspace");
    REQUIRE(array(args->d_gate_recurrence, layer->dtype) && (recurs || !args->d_gate_recurrence), "d_gate_recurrence");
    REQUIRE(array(args->d_projection, layer->dtype) && (layer->projection || !args->d_projection), "d_projection");
    REQUIRE(array(args->d_peepholes, layer->dtype) && (args->shared.peepholes || !args->d_peepholes), "d_peepholes");
    REQUIRE(array(args->d_normalization, layer->dtype) && (args->shared.normalization || !args->d_normalization),
            "d_normalization");
    return FUSEDLSTM_OK;
}

int fusedlstm_rnn_forward(const struct fusedlstm_rnn *layer, const struct fusedlstm_rnn_forward *args,
                          const char **error) {
    REQUIRE_OK(check_forward(layer, args, error));
    struct rnn_job job = {.layer = layer, .forward = args};
    plan_alone(&job);
    team_run(job.threads, kernels_in_use(layer->dtype)->rnn_forward, &job);
    return FUSEDLSTM_OK;
}

int fusedlstm_rnn_backward(const struct fusedlstm_rnn *layer, const struct fusedlstm_rnn_backward *args,
                           const char **error) {
    REQUIRE_OK(check_backward(layer, args, error));
    struct rnn_job job = {.layer = layer, .backward = args};
    plan_alone(&job);
    team_run(job.threads, kernels_in_use(layer->dtype)->rnn_backward, &job);
    return FUSEDLSTM_OK;
}

/* Several calls at once. */
struct jobs {
    int count;
    struct rnn_job job[FUSEDLSTM_MOST_TOGETHER];
};

static void run_one(void *rnn_job, struct crew *crew) {
    const struct rnn_job *job = rnn_job;
    const struct kernels *kernels = kernels_in_use(job->layer->dtype);
    (job->forward ? kernels->rnn_forward : kernels->rnn_backward)(rnn_job, crew);
}

static void run_jobs(void *jobs_, struct crew *crew) {
    struct jobs *jobs = jobs_;
    void *each[FUSEDLSTM_MOST_TOGETHER];
    for (int k = 0; k < jobs->count; k++) each[k] = &jobs->job[k];
    team_divide(crew, jobs->count, run_one, each);
}

static void run_together(struct jobs *jobs, double work) {
    if (jobs->count == 0) return;
    int requested = jobs->job[0].layer->threads, most = 1;
    for (int k = 1; k < jobs->count; k++)
        if (jobs->job[k].layer->threads > requested) requested = jobs->job[k].layer->threads;
    struct machine here;
    struct float_state state = float_state_enter();
    const struct machine *machine = machine_for(&here, work, jobs->job[0].layer->dtype, most_threads(requested));
    int threads = machine ? threads_worth(machine, work, most_threads(requested)) : 1;
    for (int k = 0; k < jobs->count; k++) {
        plan(&jobs->job[k], machine, threads > jobs->count ? (threads + jobs->count - 1) / jobs->count : 1);
        if (jobs->job[k].threads > most) most = jobs->job[k].threads;
    }
    float_state_leave(state);
    team_run(threads < most * jobs->count ? threads : most * jobs->count, run_jobs, jobs);
}

/* Either `forward` or `backward` is given. */
static int check_and_run(int count, const struct fusedlstm_rnn *const *layers,
                         const struct fusedlstm_rnn_forward *const *forward,
                         const struct fusedlstm_rnn_backward *const *backward, int *which, const char **error) {
    REQUIRE(count >= 0 && count <= FUSEDLSTM_MOST_TOGETHER, "count");
    REQUIRE(count == 0 || layers, "layers");
    REQUIRE(count == 0 || forward || backward, "args");
    struct jobs jobs = {.count = count};
    double work = 0;
    for (int k = 0; k < count; k++) {
        int status =
            forward ? check_forward(layers[k], forward[k], error) : check_backward(layers[k], backward[k], error);
        if (status != FUSEDLSTM_OK && which) *which = k;
        REQUIRE_OK(status);
        jobs.job[k].layer = layers[k];
        if (forward)
            jobs.job[k].forward = forward[k];
        else
            jobs.job[k].backward = backward[k];
        work += (forward ? 1 : 2) * work_of(layers[k]);
    }
    run_together(&jobs, work);
    return FUSEDLSTM_OK;
}

int fusedlstm_rnn_forward_together(int count, const struct fusedlstm_rnn *const *layers,
                                   const struct fusedlstm_rnn_forward *const *args, int *which, const char **error) {
    return check_and_run(count, layers, args, NULL, which, error);
}

int fusedlstm_rnn_backward_together(int count, const struct fusedlstm_rnn *const *layers,
                                    const struct fusedlstm_rnn_backward *const *args, int *which, const char **error) {
    return check_and_run(count, layers, NULL, args, which, error);
}

/* ------------------------------------------------------------------------------------------------ around the layer */

static int check_matmul(const struct fusedlstm_matmul *m, const char **error) {
    REQUIRE(m, "args");
    REQUIRE(dtype_valid(m->dtype), "dtype");
    REQUIRE(m->rows >= 0 && m->rows < INT64_MAX / 2, "rows");
    REQUIRE(m->inner >= 0 && m->inner < INT64_MAX / 2, "inner");
    REQUIRE(m->columns >= 0 && m->columns < INT64_MAX / 2, "columns");
    double rows = (double)m->rows, inner = (double)m->inner, columns = (double)m->columns + 64;
    REQUIRE(rows * inner < 1e17 && rows * columns < 1e17, "rows");
    REQUIRE(inner * columns < 1e17, "columns");
    REQUIRE(m->threads >= 0, "threads");
    return kernels_in_use(m->dtype) ? FUSEDLSTM_OK : refuse(error, "isa", FUSEDLSTM_NO_ISA);
}

size_t fusedlstm_matmul_workspace_size(const struct fusedlstm_matmul *args) {
    return check_matmul(args, NULL) ? 0 : kernels_in_use(args->dtype)->matmul_workspace_size(args);
}

int fusedlstm_matmul(const struct fusedlstm_matmul *args, const char **error) {
    REQUIRE_OK(check_matmul(args, error));
    REQUIRE(needed(args->a, args->dtype, args->rows * args->inner), "a");
    REQUIRE(needed(args->b, args->dtype, args->inner * args->columns), "b");
    REQUIRE(array(args->bias, args->dtype), "bias");
    REQUIRE(needed(args->out, args->dtype, args->rows * args->columns), "out");
    REQUIRE(stride_fits(args->a_row_stride, args->rows), "a_row_stride");
    REQUIRE(stride_fits(args->a_column_stride, args->inner), "a_column_stride");
    REQUIRE(stride_fits(args->b_row_stride, args->inner), "b_row_stride");
    REQUIRE(stride_fits(args->b_column_stride, args->columns), "b_column_stride");
    REQUIRE(stride_separates(args->out_row_stride, args->rows, args->columns), "out_row_stride");
    REQUIRE(buffer(args->workspace, fusedlstm_matmul_workspace_size(args)), "workspace");

    if (args->rows == 0 || args->columns == 0) return FUSEDLSTM_OK; /* whatever `inner` is */
    double work = 2 * (double)args->rows * (double)args->inner * (double)args->columns;
    int threads = threads_for(args->threads, work, args->dtype);
    team_run(threads, kernels_in_use(args->dtype)->matmul, (void *)(uintptr_t)args);
    return FUSEDLSTM_OK;
}

/* What the elementwise calls have in common. */
static int check_elements(int dtype, int64_t n, const char **error) {
    REQUIRE(dtype_valid(dtype), "dtype");
    REQUIRE(n >= 0 && n < INT64_MAX / 64, "n");
    return kernels_in_use(dtype) ? FUSEDLSTM_OK : refuse(error, "isa", FUSEDLSTM_NO_ISA);
}

int fusedlstm_activation_forward(int dtype, int activation, int64_t n, const void *x, void *y, const char **error) {
    REQUIRE_OK(check_elements(dtype, n, error));
    REQUIRE(activation >= FUSEDLSTM_LINEAR && activation <= FUSEDLSTM_EXP, "activation");
    REQUIRE(needed(x, dtype, n), "x");
    REQUIRE(needed(y, dtype, n), "y");
    struct float_state state = float_state_enter();
    kernels_in_use(dtype)->activation_forward(activation, n, x, y);
    float_state_leave(state);
    return FUSEDLSTM_OK;
}

int fusedlstm_activation_backward(int dtype, int activation, int64_t n, const void *y, const void *d_y, void *d_x,
                                  const char **error) {
    REQUIRE_OK(check_elements(dtype, n, error));
    REQUIRE(activation >= FUSEDLSTM_LINEAR && activation <= FUSEDLSTM_EXP, "activation");
    REQUIRE(needed(y, dtype, n), "y");
    REQUIRE(needed(d_y, dtype, n), "d_y");
    REQUIRE(needed(d_x, dtype, n), "d_x");
    struct float_state state = float_state_enter();
    kernels_in_use(dtype)->activation_backward(activation, n, y, d_y, d_x);
    float_state_leave(state);
    return FUSEDLSTM_OK;
}

int fusedlstm_embedding_gradient(int dtype, int64_t n, int64_t rows, int64_t width, const int64_t *ids,
                                 const void *d_out, void *d_table, const char **error) {
    REQUIRE_OK(check_elements(dtype, n, error));
    REQUIRE(rows >= 0, "rows");
    REQUIRE(width >= 0 && (width == 0 || (n < INT64_MAX / 64 / width && rows < INT64_MAX / 64 / width)), "width");
    REQUIRE(n == 0 || (ids && aligned(ids, sizeof(int64_t))), "ids");
    REQUIRE(needed(d_out, dtype, n * width), "d_out");
    REQUIRE(needed(d_table, dtype, rows * width), "d_table");
    for (int64_t k = 0; k < n; k++) REQUIRE(ids[k] >= 0 && ids[k] < rows, "ids");
    struct float_state state = float_state_enter();
    kernels_in_use(dtype)->embedding_gradient(n, width, ids, d_out, d_table);
    float_state_leave(state);
    return FUSEDLSTM_OK;
}
