/* Every argument that a call has to refuse, at every entry point: the right status, the right name in *error, and no byte
 * changed. Then the same at random, bad and good arguments mixed.
 *
 *   test_arguments [CASES]     how many random cases; 10^5 by default */
#include <stdbool.h>

#include "bad_arguments.h"
#include "problem.h"

static int perform(enum entry entry, struct call *c, const char **error) {
    switch (entry) {
    case PACK: return fusedlstm_rnn_pack(c->layer_argument, c->weights_argument, c->packed, error);
    case FORWARD: return fusedlstm_rnn_forward(c->layer_argument, c->arguments, error);
    case BACKWARD: return fusedlstm_rnn_backward(c->layer_argument, c->arguments, error);
    case MATMUL: return fusedlstm_matmul(c->arguments, error);
    case ACTIVATION: return fusedlstm_activation_forward(c->dtype, c->activation, c->n, c->x, c->y, error);
    case SLOPE: return fusedlstm_activation_backward(c->dtype, c->activation, c->n, c->x, c->y, c->z, error);
    case EMBEDDING: return fusedlstm_embedding_gradient(c->dtype, c->n, c->rows, c->width, c->ids, c->x, c->y, error);
    case AVERAGE: return fusedlstm_average_update(c->dtype, c->n, c->x, c->y, c->momentum, error);
    default: return fusedlstm_update(c->arguments, error);
    }
}

/* -------------------------------------------------------------------------------------------------------- good calls */

/* One block for all buffers, so that one comparison sees any change. */
static _Alignas(64) unsigned char arena[1 << 20], before[1 << 20];
static size_t arena_used;

static void *arena_get(struct pool *pool, size_t bytes, size_t alignment) {
    (void)pool;
    (void)alignment;
    void *block = arena + arena_used;
    arena_used += (bytes + 127) / 64 * 64;
    if (arena_used > sizeof arena) abort();
    return block;
}
static void arena_release(struct pool *pool) {
    (void)pool;
}

/* A buffer of another call, which has been through what its kind has been through. */
static struct problem other(const struct shape *shape, int run) {
    struct problem p;
    problem_make(&p, shape, 2, arena_get, arena_release, 0);
    if (run >= 1) CHECK(fusedlstm_rnn_forward(&p.layer, &p.forward, NULL) == FUSEDLSTM_OK, "forward");
    if (run >= 2) CHECK(fusedlstm_rnn_backward(&p.layer, &p.backward, NULL) == FUSEDLSTM_OK, "backward");
    return p;
}

static struct problem made;

static void make_call(struct call *c, int dtype, int last_step) {
    static const int64_t ids[] = {0, 3, 1, 3}, rows[] = {0, 3, 4};
    static const int64_t rows_negative[] = {-1, 3, 4}, rows_twice[] = {0, 3, 3}, rows_too_large[] = {0, 3, 5};
    const int flags = FUSEDLSTM_TRAINING | (last_step ? FUSEDLSTM_LAST_STEP : 0);
    const struct shape shape = {.batch = 2,
                                .steps = 3,
                                .inputs = 5,
                                .units = 4,
                                .dtype = dtype,
                                .flags = flags,
                                .activation = FUSEDLSTM_TANH,
                                .recurrent_activation = FUSEDLSTM_SIGMOID,
                                .states = 1,
                                .mask = RANDOM_MASK,
                                .layout = WITH_GAPS,
                                .threads = 1};
    struct shape changed = shape;
    arena_used = 0;
    *c = (struct call){.dtype = dtype,
                       .activation = FUSEDLSTM_ELU,
                       .n = 4,
                       .rows = 4,
                       .width = 3,
                       .ids = ids,
                       .rows_negative = rows_negative,
                       .rows_twice = rows_twice,
                       .rows_too_large = rows_too_large,
                       .momentum = 0.5};
#define OTHER(field, value, run) (changed = shape, changed.field = (value), other(&changed, run))
    c->pack_of_other_inputs = OTHER(inputs, 6, 0).forward.shared.packed;
    c->pack_of_other_units = OTHER(units, 3, 0).forward.shared.packed;
    c->pack_of_other_dtype = OTHER(dtype, !dtype, 0).forward.shared.packed;
    c->pack_for_inference = OTHER(flags, 0, 0).forward.shared.packed;
    c->saved_of_other_batch = OTHER(batch, 3, 1).forward.saved;
    c->saved_of_other_steps = OTHER(steps, 2, 1).forward.saved;
    c->saved_of_other_units = OTHER(units, 5, 1).forward.saved;
    c->saved_used = OTHER(threads, 1, 2).forward.saved;
#undef OTHER
    /* A pack of another instruction set; where there is one set only, no pack at all. */
    const char *isa = fusedlstm_isa(), *second = fusedlstm_available_isa(strcmp(isa, fusedlstm_available_isa(0)) == 0);
    if (second) {
        fusedlstm_set_isa(second);
        c->pack_of_other_isa = other(&shape, 0).forward.shared.packed;
        fusedlstm_set_isa(isa);
    } else {
        c->pack_of_other_isa = blank(&(struct pool){.get = arena_get}, 4096, 64);
    }
    made = other(&shape, 1); /* its `saved` is ready for backward */
    c->layer = made.layer;
    c->forward = made.forward;
    c->backward = made.backward;
    c->weights = made.weights;
    c->packed = (void *)(uintptr_t)made.forward.shared.packed;
    uint64_t random = 1;
    struct problem *p = &made;
    c->x = random_array(p, 16, 1, &random);
    c->y = random_array(p, 16, 1, &random);
    c->z = random_array(p, 16, 1, &random);
    c->update =
        (struct fusedlstm_update){.n = 10,
                                  .dtype = dtype,
                                  .w = random_array(p, 10, 1, &random),
                                  .g = random_array(p, 10, 1, &random),
                                  .rule = FUSEDLSTM_RMSPROP,
                                  .slots = {blank(&p->pool, 10 * p->size, 64), blank(&p->pool, 10 * p->size, 64),
                                            blank(&p->pool, 10 * p->size, 64)},
                                  .learning_rate = 0.1,
                                  .gradient_scale = 1,
                                  .clip = HUGE_VAL,
                                  .momentum = 0.5,
                                  .beta_1 = 0.9,
                                  .beta_2 = 0.99,
                                  .epsilon = 1e-7};
    c->table = c->update; /* 5 rows of 2 */
    c->table.rule = FUSEDLSTM_ADAM;
    c->table.by_row = 1;
    c->table.width = 2;
    c->table.row_count = 3;
    c->table.rows = rows;
    c->matmul = (struct fusedlstm_matmul){.rows = 3,
                                          .inner = 4,
                                          .columns = 5,
                                          .dtype = dtype,
                                          .threads = 1,
                                          .a = random_array(p, 12, 1, &random),
                                          .b = random_array(p, 20, 1, &random),
                                          .bias = random_array(p, 5, 1, &random),
                                          .out = random_array(p, 15, 1, &random),
                                          .a_row_stride = 4,
                                          .a_column_stride = 1,
                                          .b_row_stride = 5,
                                          .b_column_stride = 1,
                                          .out_row_stride = -5};
    c->matmul.out = (char *)c->matmul.out + 10 * p->size;
    c->matmul.workspace = blank(&p->pool, fusedlstm_matmul_workspace_size(&c->matmul), 64);
}

/* The structs are parts of the call itself, so that their fields can be changed in it. */
static void point(struct call *c, enum entry entry) {
    c->layer_argument = &c->layer;
    c->weights_argument = &c->weights;
    c->arguments = entry == FORWARD    ? (const void *)&c->forward
                   : entry == BACKWARD ? (const void *)&c->backward
                   : entry == MATMUL   ? (const void *)&c->matmul
                   : entry == ROWS     ? (const void *)&c->table
                                       : (const void *)&c->update;
}

static void *pointer_at(const struct call *c, size_t at) {
    void *pointer;
    memcpy(&pointer, (const char *)c + at, sizeof pointer);
    return pointer;
}

static void spoil(struct call *c, const struct bad *bad) {
    char *field = (char *)c + bad->at, *pointer;
    int32_t small;
    int64_t large;
    switch (bad->kind) {
    case TO_INT32: memcpy(field, (small = (int32_t)bad->number, &small), sizeof small); break;
    case TO_INT64: memcpy(field, (large = (int64_t)bad->number, &large), sizeof large); break;
    case TO_DOUBLE: memcpy(field, &bad->number, sizeof bad->number); break;
    case TO_NULL: memcpy(field, (pointer = NULL, &pointer), sizeof pointer); break;
    case SHIFTED:
        memcpy(field, (pointer = (char *)pointer_at(c, bad->at) + (int)bad->number, &pointer), sizeof pointer);
        break;
    case POINTER_AT: memcpy(field, (pointer = pointer_at(c, (size_t)bad->number), &pointer), sizeof pointer); break;
    }
}

static bool is_bad(const struct call *c, const struct bad *bad) {
    return !bad->if_given || pointer_at(c, bad->if_given);
}

/* ------------------------------------------------------------------------------------------------------------ tests */

static void check_refused(enum entry entry, struct call *good, const struct bad *bad) {
    struct call c = *good;
    point(&c, entry);
    spoil(&c, bad);
    const int expected = bad->status ? bad->status : FUSEDLSTM_INVALID;
    const char *error = "untouched";
    memcpy(before, arena, arena_used);
    int status = perform(entry, &c, &error);
    CHECK(status == expected && strcmp(error, bad->name) == 0,
          "%s %s float%d, bad %s (kind %d, %g): status %d names '%s'", fusedlstm_isa(), ENTRY_NAME[entry],
          c.dtype ? 64 : 32, bad->name, bad->kind, bad->number, status, error);
    CHECK(perform(entry, &c, NULL) == expected, "%s without a place for the name", ENTRY_NAME[entry]);
    CHECK(memcmp(before, arena, arena_used) == 0, "%s, bad %s: memory was changed", ENTRY_NAME[entry], bad->name);
    if (bad->entries != LAYER || !c.layer_argument) return;
    CHECK(!fusedlstm_rnn_packed_size(&c.layer) && !fusedlstm_rnn_saved_size(&c.layer) &&
              !fusedlstm_rnn_forward_workspace_size(&c.layer) && !fusedlstm_rnn_backward_workspace_size(&c.layer),
          "bad %s has a size", bad->name);
}

static void check_each(int dtype, int last_step) {
    struct call good;
    make_call(&good, dtype, last_step);
    for (int entry = 0; entry < ENTRIES; entry++) {
        for (int k = 0; k < BAD_COUNT; k++) {
            /* Without TRAINING the layer itself is fine: only backward refuses it. */
            if (!(BAD[k].entries & 1 << entry)) continue;
            check_refused((enum entry)entry, &good, &BAD[k]);
        }
        static const struct bad STRIDE[] = {
            HUGE_STRIDE(1 << FORWARD, forward.y_step_stride, "y_step_stride", forward.y),
            NARROW_STRIDE(1 << FORWARD, forward.y_step_stride, "y_step_stride", forward.y),
            HUGE_STRIDE(1 << BACKWARD, backward.d_y_step_stride, "d_y_step_stride", backward.d_y)};
        for (int k = 0; k < 7 && !last_step; k++)
            if (STRIDE[k].entries & 1 << entry) check_refused((enum entry)entry, &good, &STRIDE[k]);
    }
    for (int entry = 0; entry < ENTRIES; entry++) {
        point(&good, (enum entry)entry);
        const char *error = "untouched";
        CHECK(perform((enum entry)entry, &good, &error) == FUSEDLSTM_OK && strcmp(error, "untouched") == 0,
              "%s refuses '%s'", ENTRY_NAME[entry], error);
    }
    /* `saved` is used up, and inference has none. */
    const struct bad again = OTHERS(1 << BACKWARD, backward.saved, "saved", backward.saved);
    check_refused(BACKWARD, &good, &again);
    good.layer.flags &= ~FUSEDLSTM_TRAINING;
    const struct bad not_training = OTHERS(1 << FORWARD, forward.saved, "saved", saved_used);
    check_refused(FORWARD, &good, &not_training);
}

static void check_machine(void) {
    const char *isa = fusedlstm_isa();
    CHECK(fusedlstm_set_isa("") == FUSEDLSTM_NO_ISA && fusedlstm_set_isa("v9") == FUSEDLSTM_NO_ISA, "unknown names");
    CHECK(fusedlstm_isa() == isa, "a refused name changes nothing");
    CHECK(!fusedlstm_available_isa(-1) && !fusedlstm_available_isa(1000) && !fusedlstm_available_isa(INT32_MIN),
          "indices");
    CHECK(!fusedlstm_matmul_workspace_size(NULL) && !fusedlstm_rnn_packed_size(NULL), "NULL has no size");
    /* Nothing to compute: whatever else is given counts for little, and it takes no time. */
    struct fusedlstm_matmul empty = {.inner = (int64_t)1 << 48, .columns = 5, .out_row_stride = 5};
    empty.columns = 0;
    CHECK(fusedlstm_matmul(&empty, NULL) == FUSEDLSTM_OK, "an empty product");
    const char *error = NULL;
    CHECK(fusedlstm_activation_forward(0, 1, 0, NULL, NULL, &error) == FUSEDLSTM_OK && !error, "no elements");
    CHECK(fusedlstm_embedding_gradient(0, 0, 0, 0, NULL, NULL, NULL, &error) == FUSEDLSTM_OK && !error, "no rows");
}

/* A layer that says it has something, in a call that has none of it. */
static void check_missing(int dtype) {
    struct call c;
    make_call(&c, dtype, 0);
    struct fusedlstm_rnn recurs = made.layer, projects = made.layer, normalizes = made.layer;
    const char *missing = "";
    recurs.flags |= FUSEDLSTM_FULL_GATE_RECURRENCE;
    projects.projection = 3;
    normalizes.flags |= FUSEDLSTM_LAYER_NORM;
    CHECK(fusedlstm_rnn_pack(&recurs, &made.weights, c.packed, &missing) && !strcmp(missing, "gate_recurrence"), "%s",
          missing);
    CHECK(fusedlstm_rnn_pack(&projects, &made.weights, c.packed, &missing) && !strcmp(missing, "projection"), "%s",
          missing);
    CHECK(fusedlstm_rnn_forward(&normalizes, &made.forward, &missing) && !strcmp(missing, "normalization"), "%s",
          missing);
    CHECK(fusedlstm_rnn_backward(&normalizes, &made.backward, &missing), "%s", missing);
    for (int entry = FORWARD; entry <= BACKWARD; entry++)
        for (int of_state = 0; of_state < 2; of_state++) {
            struct fusedlstm_rnn layer = made.layer;
            const char *error = "", *name = of_state ? "recurrent_dropout" : "input_dropout";
            *(of_state ? &layer.recurrent_dropout : &layer.input_dropout) = 4;
            int status = entry == FORWARD ? fusedlstm_rnn_forward(&layer, &made.forward, &error)
                                          : fusedlstm_rnn_backward(&layer, &made.backward, &error);
            CHECK(status == FUSEDLSTM_INVALID && strcmp(error, name) == 0, "%s names '%s'", name, error);
        }
}

/* Every rule takes its own slots, and no others. */
static void check_slots(int dtype) {
    static const int needed[] = {[FUSEDLSTM_SGD] = 1,     [FUSEDLSTM_LION] = 1,     [FUSEDLSTM_RMSPROP] = 1,
                                 [FUSEDLSTM_ADAGRAD] = 1, [FUSEDLSTM_ADADELTA] = 2, [FUSEDLSTM_ADAM] = 2,
                                 [FUSEDLSTM_NADAM] = 2,   [FUSEDLSTM_ADAMAX] = 2};
    static const int most[] = {[FUSEDLSTM_SGD] = 1,     [FUSEDLSTM_LION] = 1,     [FUSEDLSTM_RMSPROP] = 3,
                               [FUSEDLSTM_ADAGRAD] = 1, [FUSEDLSTM_ADADELTA] = 2, [FUSEDLSTM_ADAM] = 3,
                               [FUSEDLSTM_NADAM] = 2,   [FUSEDLSTM_ADAMAX] = 2};
    struct call c;
    make_call(&c, dtype, 0);
    memcpy(before, arena, arena_used);
    for (int rule = FUSEDLSTM_SGD; rule <= FUSEDLSTM_ADAMAX; rule++) {
        for (int given = 0; given <= 3; given++) {
            struct fusedlstm_update u = c.update;
            u.n = 0; /* nothing to change, so that good calls change nothing either */
            u.rule = rule;
            for (int k = given; k < 3; k++) u.slots[k] = NULL;
            const char *error = "";
            int status = fusedlstm_update(&u, &error);
            CHECK(given > most[rule] ? status == FUSEDLSTM_INVALID && !strcmp(error, "slots") : status == FUSEDLSTM_OK,
                  "rule %d with %d slots: status %d names '%s'", rule, given, status, error);
            if (given >= needed[rule]) continue;
            u.n = 10;
            CHECK(fusedlstm_update(&u, &error) == FUSEDLSTM_INVALID && error[0] && strcmp(error, "slots"),
                  "rule %d lacks a slot: '%s'", rule, error);
        }
    }
    CHECK(memcmp(before, arena, arena_used) == 0, "memory changed");
}

/* Calls at once are checked as each by itself; one that is refused keeps the others from running. */
static void check_together(void) {
    struct call c;
    make_call(&c, 0, 0);
    struct fusedlstm_rnn wrong = made.layer;
    wrong.cell = -1;
    const struct fusedlstm_rnn *layers[] = {&made.layer, &wrong};
    const struct fusedlstm_rnn_forward *forward[] = {&made.forward, &made.forward};
    const struct fusedlstm_rnn_backward *backward[] = {&made.backward, &made.backward};
    int which = -1;
    const char *error = "";
    memcpy(before, arena, arena_used);
    CHECK(fusedlstm_rnn_forward_together(2, layers, forward, &which, &error) == FUSEDLSTM_INVALID && which == 1 &&
              strcmp(error, "cell") == 0,
          "forward: call %d, '%s'", which, error);
    which = -1;
    CHECK(fusedlstm_rnn_backward_together(2, layers, backward, &which, &error) == FUSEDLSTM_INVALID && which == 1 &&
              strcmp(error, "cell") == 0,
          "backward: call %d, '%s'", which, error);
    CHECK(fusedlstm_rnn_forward_together(FUSEDLSTM_MOST_TOGETHER + 1, layers, forward, NULL, &error) &&
              strcmp(error, "count") == 0 && fusedlstm_rnn_forward_together(-1, layers, forward, NULL, NULL),
          "count");
    CHECK(fusedlstm_rnn_forward_together(1, NULL, forward, NULL, &error) && strcmp(error, "layers") == 0, "layers");
    CHECK(fusedlstm_rnn_backward_together(1, layers, NULL, NULL, &error) && strcmp(error, "args") == 0, "args");
    CHECK(memcmp(before, arena, arena_used) == 0, "memory changed");
    CHECK(fusedlstm_rnn_forward_together(0, NULL, NULL, NULL, NULL) == FUSEDLSTM_OK, "no calls");
}

static void check_updates_together(void) {
    struct call c;
    make_call(&c, 0, 0);
    struct fusedlstm_update wrong = c.table;
    wrong.rows = c.rows_too_large;
    const struct fusedlstm_update *updates[] = {&c.update, &wrong};
    int which = -1;
    const char *error = "";
    memcpy(before, arena, arena_used);
    CHECK(fusedlstm_update_together(2, updates, &which, &error) == FUSEDLSTM_INVALID && which == 1 &&
              strcmp(error, "rows") == 0,
          "update %d, '%s'", which, error);
    CHECK(fusedlstm_update_together(-1, updates, NULL, &error) && strcmp(error, "count") == 0, "count");
    CHECK(fusedlstm_update_together(1, NULL, NULL, &error) && strcmp(error, "updates") == 0, "updates");
    CHECK(memcmp(before, arena, arena_used) == 0, "memory changed");
    CHECK(fusedlstm_update_together(0, NULL, NULL, NULL) == FUSEDLSTM_OK, "no updates");
}

static void fuzz(int64_t cases) {
    struct call good;
    uint64_t random = 1;
    int64_t refused = 0;
    for (int64_t k = 0; k < cases; k++) {
        if (k % 1000 == 0) { /* another instruction set, dtype, and fresh buffers */
            int isa_count = 0;
            while (fusedlstm_available_isa(isa_count)) isa_count++;
            fusedlstm_set_isa(fusedlstm_available_isa((int)random_below(&random, isa_count)));
            make_call(&good, (int)random_below(&random, 2), (int)random_below(&random, 2));
        }
        const enum entry entry = (enum entry)random_below(&random, ENTRIES);
        if (entry == BACKWARD) /* again, the last one used it up */
            CHECK(fusedlstm_rnn_forward(&made.layer, &made.forward, NULL) == FUSEDLSTM_OK, "forward");
        struct call c = good;
        point(&c, entry);
        for (int o = 0; o < OPTIONAL_COUNT; o++)
            if (OPTIONAL[o].entry == entry && random_below(&random, 4) == 0)
                memset((char *)&c + OPTIONAL[o].at, 0, sizeof(void *));
        const struct bad *chosen[3];
        int count = 0;
        for (int tries = (int)random_below(&random, 4); tries > 0; tries--) {
            const struct bad *bad = &BAD[random_below(&random, BAD_COUNT)];
            int taken = 0;
            for (int j = 0; j < count; j++) taken |= chosen[j]->at == bad->at;
            if (taken || !(bad->entries & 1 << entry) || !is_bad(&c, bad)) continue;
            spoil(&c, bad);
            chosen[count++] = bad;
        }
        /* Pointers that were shifted or exchanged stay bad, whatever else is; a NULL layer hides the layer's fields. */
        const char *error = "untouched";
        if (count) memcpy(before, arena, arena_used);
        int status = perform(entry, &c, &error), named = 0;
        for (int j = 0; j < count; j++) named |= strcmp(error, chosen[j]->name) == 0;
        if (count) {
            CHECK(status != FUSEDLSTM_OK && named,
                  "case %lld: %s with %d bad arguments, one is %s: status %d names '%s'", (long long)k,
                  ENTRY_NAME[entry], count, chosen[0]->name, status, error);
            CHECK(memcmp(before, arena, arena_used) == 0, "case %lld: %s changed memory", (long long)k,
                  ENTRY_NAME[entry]);
        } else {
            CHECK(status == FUSEDLSTM_OK, "case %lld: %s refuses good arguments: %s", (long long)k, ENTRY_NAME[entry],
                  error);
        }
        refused += status != FUSEDLSTM_OK;
    }
    CHECK(refused > cases / 10 && refused < cases, "%lld of %lld refused", (long long)refused, (long long)cases);
}

int main(int count, char **arguments) {
    const char *isa;
    check_machine();
    for (int k = 0; (isa = fusedlstm_available_isa(k)); k++) {
        fusedlstm_set_isa(isa);
        for (int variant = 0; variant < 4; variant++) check_each(variant & 1, variant >> 1);
        check_missing(0);
        check_missing(1);
        check_slots(0);
        check_slots(1);
        check_together();
        check_updates_together();
    }
    fuzz(count > 1 ? atoll(arguments[1]) : 100000);
    return check_summary("test_arguments");
}
