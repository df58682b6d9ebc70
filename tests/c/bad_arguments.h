/* What every entry point has to refuse, for test_arguments.c: all that a call takes, in one struct, and a table of what makes
 * one of its fields wrong. */
#ifndef BAD_ARGUMENTS_H
#define BAD_ARGUMENTS_H

#include <math.h>
#include <stddef.h>

#include "fusedlstm.h"

enum entry { PACK, FORWARD, BACKWARD, MATMUL, ACTIVATION, SLOPE, EMBEDDING, UPDATE, ROWS, AVERAGE, ENTRIES };
static const char *const ENTRY_NAME[ENTRIES] = {
    "rnn_pack",           "rnn_forward", "rnn_backward",  "matmul",        "activation_forward", "activation_backward",
    "embedding_gradient", "update",      "update by row", "average_update"};

/* All that any call takes. The pointers at the end are of buffers that belong to other calls. */
struct call {
    struct fusedlstm_rnn layer;
    struct fusedlstm_rnn_forward forward;
    struct fusedlstm_rnn_backward backward;
    struct fusedlstm_matmul matmul;
    struct fusedlstm_update update, table; /* of RMSprop; of Adam, by row */
    const struct fusedlstm_rnn *layer_argument;
    const void *arguments; /* the struct of the entry point */
    struct fusedlstm_rnn_weights weights;
    const struct fusedlstm_rnn_weights *weights_argument;
    void *packed;
    int32_t dtype, activation;
    int64_t n, rows, width;
    const int64_t *ids, *rows_negative, *rows_twice, *rows_too_large;
    void *x, *y, *z;
    double momentum;
    const void *pack_of_other_inputs, *pack_of_other_units, *pack_of_other_dtype, *pack_of_other_isa,
        *pack_for_inference;
    void *saved_of_other_batch, *saved_of_other_steps, *saved_of_other_units, *saved_used;
};

enum { LAYER = 1 << PACK | 1 << FORWARD | 1 << BACKWARD, UPDATES = 1 << UPDATE | 1 << ROWS };
enum {
    ELEMENTWISE = 1 << ACTIVATION | 1 << SLOPE | 1 << EMBEDDING,
    STRUCTS = 1 << FORWARD | 1 << BACKWARD | 1 << MATMUL
};
enum kind { TO_INT32, TO_INT64, TO_DOUBLE, TO_NULL, SHIFTED, POINTER_AT };

struct bad {
    int entries;      /* set of entry points */
    const char *name; /* that *error must give */
    size_t at;        /* in struct call */
    enum kind kind;
    double number;
    int status;      /* 0: FUSEDLSTM_INVALID */
    size_t if_given; /* only wrong where the pointer there is not NULL; 0: always */
};

#define AT(field) offsetof(struct call, field)
#define INT32(entries, field, name, value) {entries, name, AT(field), TO_INT32, value, 0, 0}
#define INT64(entries, field, name, value) {entries, name, AT(field), TO_INT64, value, 0, 0}
#define NOT_FINITE(entries, field, name)                                                                               \
    {entries, name, AT(field), TO_DOUBLE, HUGE_VAL, 0, 0}, {entries, name, AT(field), TO_DOUBLE, -HUGE_VAL, 0, 0},     \
        {entries, name, AT(field), TO_DOUBLE, NAN, 0, 0}
#define NOT_NULL(entries, field, name) {entries, name, AT(field), TO_NULL, 0, 0, 0}
#define ALIGNED_TO(bytes, entries, field, name) {entries, name, AT(field), SHIFTED, bytes, 0, AT(field)}
#define HUGE_STRIDE(entries, field, name, pointer)                                                                     \
    {entries, name, AT(field), TO_INT64, 0x1p62, 0, AT(pointer)}, {                                                    \
        entries, name, AT(field), TO_INT64, -0x1p62, 0, AT(pointer)                                                    \
    }
/* Rows that would lie over each other. */
#define NARROW_STRIDE(entries, field, name, pointer)                                                                   \
    {entries, name, AT(field), TO_INT64, 0, 0, AT(pointer)}, {entries, name, AT(field), TO_INT64, 1, 0, AT(pointer)},  \
    {                                                                                                                  \
        entries, name, AT(field), TO_INT64, -1, 0, AT(pointer)                                                         \
    }
#define OTHERS(entries, field, name, other) {entries, name, AT(field), POINTER_AT, AT(other), 0, 0}
#define NEEDED(bytes, entries, field, name) NOT_NULL(entries, field, name), ALIGNED_TO(bytes, entries, field, name)

static const struct bad BAD[] = {
    /* The layer. Sizes whose products overflow are told by the last factor, or by the units. */
    NOT_NULL(LAYER, layer_argument, "layer"),
    INT32(LAYER, layer.dtype, "dtype", -1),
    INT32(LAYER, layer.dtype, "dtype", 2),
    INT32(LAYER, layer.dtype, "dtype", INT32_MIN),
    INT64(LAYER, layer.batch, "batch", -1),
    INT64(LAYER, layer.batch, "batch", -0x1p63),
    INT64(LAYER, layer.batch, "batch", 0x1p31),
    INT64(LAYER, layer.batch, "batch", 0x1p62),
    INT64(LAYER, layer.batch, "steps", 0x1p30),
    INT64(LAYER, layer.steps, "steps", -1),
    INT64(LAYER, layer.steps, "steps", -0x1p63),
    INT64(LAYER, layer.steps, "steps", 0x1p30),
    INT64(LAYER, layer.steps, "steps", 0x1p62),
    INT64(LAYER, layer.inputs, "inputs", -1),
    INT64(LAYER, layer.inputs, "inputs", 0x1p31),
    INT64(LAYER, layer.inputs, "inputs", 0x1p62),
    INT64(LAYER, layer.units, "units", 0),
    INT64(LAYER, layer.units, "units", -1),
    INT64(LAYER, layer.units, "units", 0x1p30),
    INT64(LAYER, layer.units, "units", 0x1p62),
    INT32(LAYER, layer.activation, "activation", -1),
    INT32(LAYER, layer.activation, "activation", FUSEDLSTM_EXP),
    INT32(LAYER, layer.activation, "activation", 1000),
    INT32(LAYER, layer.recurrent_activation, "recurrent_activation", -1),
    INT32(LAYER, layer.recurrent_activation, "recurrent_activation", FUSEDLSTM_EXP),
    INT32(LAYER, layer.flags, "flags", -1),
    INT32(LAYER, layer.flags, "flags", 512),
    INT32(LAYER, layer.flags, "flags", INT32_MAX),
    INT32(LAYER, layer.flags, "flags", 4096),
    INT32(LAYER, layer.flags, "flags", FUSEDLSTM_COUPLED_GATES | FUSEDLSTM_NO_INPUT_GATE),
    INT32(LAYER, layer.flags, "flags", FUSEDLSTM_COUPLED_GATES | FUSEDLSTM_NO_FORGET_GATE),
    INT32(LAYER, layer.cell, "cell", -1),
    INT32(LAYER, layer.cell, "cell", 3),
    INT32(LAYER, layer.input_dropout, "input_dropout", -1),
    INT32(LAYER, layer.input_dropout, "input_dropout", 3),
    INT32(LAYER, layer.recurrent_dropout, "recurrent_dropout", 2),
    INT32(LAYER, layer.threads, "threads", -1),
    INT32(LAYER, layer.threads, "threads", INT32_MIN),
    {LAYER, "cell_clip", AT(layer.cell_clip), TO_DOUBLE, -1, 0, 0},
    {LAYER, "cell_clip", AT(layer.cell_clip), TO_DOUBLE, NAN, 0, 0},
    INT64(LAYER, layer.projection, "projection", -1),
    INT64(LAYER, layer.projection, "projection", 0x1p31),
    {LAYER, "zoneout_h", AT(layer.zoneout_h), TO_DOUBLE, -0.1, 0, 0},
    {LAYER, "zoneout_h", AT(layer.zoneout_h), TO_DOUBLE, NAN, 0, 0},
    {LAYER, "zoneout_c", AT(layer.zoneout_c), TO_DOUBLE, 1.1, 0, 0},
    {LAYER, "zoneout_c", AT(layer.zoneout_c), TO_DOUBLE, NAN, 0, 0},
    {LAYER, "epsilon", AT(layer.epsilon), TO_DOUBLE, -1, 0, 0},
    NOT_FINITE(LAYER, layer.epsilon, "epsilon"),
    /* Packing. */
    NOT_NULL(1 << PACK, weights_argument, "weights"),
    NEEDED(1, 1 << PACK, weights.kernel, "kernel"),
    NEEDED(2, 1 << PACK, weights.recurrent, "recurrent"),
    ALIGNED_TO(1, 1 << PACK, weights.bias, "bias"),
    OTHERS(1 << PACK, weights.gate_recurrence, "gate_recurrence", weights.kernel),
    OTHERS(1 << PACK, weights.projection, "projection", weights.kernel),
    NEEDED(32, 1 << PACK, packed, "packed"),
    /* Forward. */
    NOT_NULL(STRUCTS, arguments, "args"),
    NEEDED(1, 1 << FORWARD, forward.shared.x, "x"),
    NEEDED(16, 1 << FORWARD, forward.shared.packed, "packed"),
    NEEDED(32, 1 << FORWARD, forward.workspace, "workspace"),
    HUGE_STRIDE(1 << FORWARD, forward.shared.x_batch_stride, "x_batch_stride", forward.shared.x),
    HUGE_STRIDE(1 << FORWARD, forward.shared.x_step_stride, "x_step_stride", forward.shared.x),
    HUGE_STRIDE(1 << FORWARD, forward.shared.mask_batch_stride, "mask_batch_stride", forward.shared.mask),
    HUGE_STRIDE(1 << FORWARD, forward.shared.mask_step_stride, "mask_step_stride", forward.shared.mask),
    HUGE_STRIDE(1 << FORWARD, forward.y_batch_stride, "y_batch_stride", forward.y),
    NARROW_STRIDE(1 << FORWARD, forward.y_batch_stride, "y_batch_stride", forward.y),
    ALIGNED_TO(2, 1 << FORWARD, forward.h0, "h0"),
    ALIGNED_TO(1, 1 << FORWARD, forward.c0, "c0"),
    ALIGNED_TO(1, 1 << FORWARD, forward.y, "y"),
    ALIGNED_TO(3, 1 << FORWARD, forward.h, "h"),
    ALIGNED_TO(1, 1 << FORWARD, forward.c, "c"),
    ALIGNED_TO(8, 1 << FORWARD, forward.saved, "saved"),
    OTHERS(1 << FORWARD, forward.shared.packed, "packed", pack_of_other_inputs),
    OTHERS(1 << FORWARD, forward.shared.packed, "packed", pack_of_other_units),
    OTHERS(1 << FORWARD, forward.shared.packed, "packed", pack_of_other_dtype),
    OTHERS(1 << FORWARD, forward.shared.packed, "packed", pack_of_other_isa),
    OTHERS(1 << FORWARD, forward.shared.packed, "packed", saved_of_other_batch),
    OTHERS(1 << FORWARD, forward.shared.input_dropout, "input_dropout", weights.kernel),
    OTHERS(1 << FORWARD, forward.shared.recurrent_dropout, "recurrent_dropout", weights.kernel),
    OTHERS(1 << FORWARD, forward.shared.normalization, "normalization", weights.kernel),
    OTHERS(1 << FORWARD, forward.g0, "g0", weights.kernel),
    OTHERS(1 << FORWARD, forward.g, "g", weights.kernel),
    /* Backward. */
    NEEDED(1, 1 << BACKWARD, backward.shared.x, "x"),
    NEEDED(16, 1 << BACKWARD, backward.shared.packed, "packed"),
    NEEDED(32, 1 << BACKWARD, backward.saved, "saved"),
    NEEDED(4, 1 << BACKWARD, backward.workspace, "workspace"),
    {1 << BACKWARD, "flags", AT(layer.flags), TO_INT32, 0, 0, 0},
    {1 << BACKWARD, "flags", AT(layer.flags), TO_INT32, FUSEDLSTM_LAST_STEP, 0, 0},
    HUGE_STRIDE(1 << BACKWARD, backward.shared.x_batch_stride, "x_batch_stride", backward.shared.x),
    HUGE_STRIDE(1 << BACKWARD, backward.shared.x_step_stride, "x_step_stride", backward.shared.x),
    HUGE_STRIDE(1 << BACKWARD, backward.shared.mask_batch_stride, "mask_batch_stride", backward.shared.mask),
    HUGE_STRIDE(1 << BACKWARD, backward.shared.mask_step_stride, "mask_step_stride", backward.shared.mask),
    HUGE_STRIDE(1 << BACKWARD, backward.d_y_batch_stride, "d_y_batch_stride", backward.d_y),
    HUGE_STRIDE(1 << BACKWARD, backward.d_x_batch_stride, "d_x_batch_stride", backward.d_x),
    HUGE_STRIDE(1 << BACKWARD, backward.d_x_step_stride, "d_x_step_stride", backward.d_x),
    NARROW_STRIDE(1 << BACKWARD, backward.d_x_batch_stride, "d_x_batch_stride", backward.d_x),
    NARROW_STRIDE(1 << BACKWARD, backward.d_x_step_stride, "d_x_step_stride", backward.d_x),
    ALIGNED_TO(1, 1 << BACKWARD, backward.d_y, "d_y"),
    ALIGNED_TO(1, 1 << BACKWARD, backward.d_h, "d_h"),
    ALIGNED_TO(1, 1 << BACKWARD, backward.d_c, "d_c"),
    ALIGNED_TO(1, 1 << BACKWARD, backward.d_x, "d_x"),
    ALIGNED_TO(1, 1 << BACKWARD, backward.d_kernel, "d_kernel"),
    ALIGNED_TO(2, 1 << BACKWARD, backward.d_recurrent, "d_recurrent"),
    ALIGNED_TO(2, 1 << BACKWARD, backward.d_bias, "d_bias"),
    ALIGNED_TO(3, 1 << BACKWARD, backward.d_h0, "d_h0"),
    ALIGNED_TO(3, 1 << BACKWARD, backward.d_c0, "d_c0"),
    OTHERS(1 << BACKWARD, backward.shared.packed, "packed", pack_for_inference),
    OTHERS(1 << BACKWARD, backward.shared.packed, "packed", pack_of_other_inputs),
    OTHERS(1 << BACKWARD, backward.shared.packed, "packed", pack_of_other_isa),
    OTHERS(1 << BACKWARD, backward.saved, "saved", saved_of_other_batch),
    OTHERS(1 << BACKWARD, backward.saved, "saved", saved_of_other_steps),
    OTHERS(1 << BACKWARD, backward.saved, "saved", saved_of_other_units),
    OTHERS(1 << BACKWARD, backward.saved, "saved", saved_used),
    OTHERS(1 << BACKWARD, backward.saved, "saved", packed),
    OTHERS(1 << BACKWARD, backward.shared.input_dropout, "input_dropout", weights.kernel),
    OTHERS(1 << BACKWARD, backward.shared.recurrent_dropout, "recurrent_dropout", weights.kernel),
    OTHERS(1 << BACKWARD, backward.shared.normalization, "normalization", weights.kernel),
    OTHERS(1 << BACKWARD, backward.d_peepholes, "d_peepholes", weights.kernel),
    OTHERS(1 << BACKWARD, backward.d_g, "d_g", weights.kernel),
    OTHERS(1 << BACKWARD, backward.d_g0, "d_g0", weights.kernel),
    OTHERS(1 << BACKWARD, backward.d_gate_recurrence, "d_gate_recurrence", weights.kernel),
    OTHERS(1 << BACKWARD, backward.d_projection, "d_projection", weights.kernel),
    OTHERS(1 << BACKWARD, backward.d_normalization, "d_normalization", weights.kernel),
    /* The product. */
    INT32(1 << MATMUL, matmul.dtype, "dtype", -1),
    INT32(1 << MATMUL, matmul.dtype, "dtype", 2),
    INT64(1 << MATMUL, matmul.rows, "rows", -1),
    INT64(1 << MATMUL, matmul.rows, "rows", 0x1p62),
    INT64(1 << MATMUL, matmul.rows, "rows", 0x1p56),
    INT64(1 << MATMUL, matmul.inner, "inner", -1),
    INT64(1 << MATMUL, matmul.inner, "inner", 0x1p62),
    INT64(1 << MATMUL, matmul.columns, "columns", -1),
    INT64(1 << MATMUL, matmul.columns, "columns", 0x1p62),
    INT32(1 << MATMUL, matmul.threads, "threads", -1),
    NEEDED(1, 1 << MATMUL, matmul.a, "a"),
    NEEDED(2, 1 << MATMUL, matmul.b, "b"),
    ALIGNED_TO(1, 1 << MATMUL, matmul.bias, "bias"),
    NEEDED(1, 1 << MATMUL, matmul.out, "out"),
    NEEDED(8, 1 << MATMUL, matmul.workspace, "workspace"),
    HUGE_STRIDE(1 << MATMUL, matmul.a_row_stride, "a_row_stride", matmul.a),
    HUGE_STRIDE(1 << MATMUL, matmul.a_column_stride, "a_column_stride", matmul.a),
    HUGE_STRIDE(1 << MATMUL, matmul.b_row_stride, "b_row_stride", matmul.b),
    HUGE_STRIDE(1 << MATMUL, matmul.b_column_stride, "b_column_stride", matmul.b),
    HUGE_STRIDE(1 << MATMUL, matmul.out_row_stride, "out_row_stride", matmul.out),
    NARROW_STRIDE(1 << MATMUL, matmul.out_row_stride, "out_row_stride", matmul.out),
    /* Elementwise. */
    INT32(ELEMENTWISE, dtype, "dtype", -1),
    INT32(ELEMENTWISE, dtype, "dtype", 2),
    INT64(ELEMENTWISE, n, "n", -1),
    INT64(ELEMENTWISE, n, "n", -0x1p63),
    INT64(ELEMENTWISE, n, "n", 0x1p60),
    INT32(1 << ACTIVATION | 1 << SLOPE, activation, "activation", -1),
    INT32(1 << ACTIVATION | 1 << SLOPE, activation, "activation", 9),
    NEEDED(1, 1 << ACTIVATION, x, "x"),
    NEEDED(2, 1 << ACTIVATION, y, "y"),
    NEEDED(1, 1 << SLOPE, x, "y"),
    NEEDED(1, 1 << SLOPE, y, "d_y"),
    NEEDED(1, 1 << SLOPE, z, "d_x"),
    INT64(1 << EMBEDDING, rows, "rows", -1),
    INT64(1 << EMBEDDING, width, "width", -1),
    INT64(1 << EMBEDDING, width, "width", 0x1p62),
    INT64(1 << EMBEDDING, rows, "width", 0x1p62),
    NEEDED(4, 1 << EMBEDDING, ids, "ids"),
    NEEDED(1, 1 << EMBEDDING, x, "d_out"),
    NEEDED(1, 1 << EMBEDDING, y, "d_table"),
    INT64(1 << EMBEDDING, rows, "ids", 2),
    /* Updates. */
    NOT_NULL(UPDATES, arguments, "update"),
    INT32(1 << UPDATE, update.dtype, "dtype", 3),
    INT32(1 << UPDATE, update.rule, "rule", -1),
    INT32(1 << UPDATE, update.rule, "rule", FUSEDLSTM_ADAMAX + 1),
    INT64(1 << UPDATE, update.n, "n", -1),
    INT64(1 << UPDATE, update.n, "n", 0x1p62),
    NEEDED(1, 1 << UPDATE, update.w, "w"),
    NEEDED(1, 1 << UPDATE, update.g, "g"),
    NOT_FINITE(1 << UPDATE, update.learning_rate, "learning_rate"),
    {1 << UPDATE, "clip", AT(update.clip), TO_DOUBLE, -1, 0, 0},
    {1 << UPDATE, "clip", AT(update.clip), TO_DOUBLE, NAN, 0, 0},
    NOT_FINITE(1 << UPDATE, update.decay, "decay"),
    NOT_FINITE(1 << UPDATE, update.momentum, "momentum"),
    NOT_FINITE(1 << UPDATE, update.beta_1, "beta_1"),
    NOT_FINITE(1 << UPDATE, update.beta_2, "beta_2"),
    NOT_FINITE(1 << UPDATE, update.epsilon, "epsilon"),
    NOT_FINITE(1 << UPDATE, update.m_factor, "m_factor"),
    NOT_FINITE(1 << UPDATE, update.g_factor, "g_factor"),
    NOT_FINITE(1 << UPDATE, update.v_factor, "v_factor"),
    NEEDED(1, 1 << UPDATE, update.slots[0], "mean_square"),
    ALIGNED_TO(1, 1 << UPDATE, update.slots[1], "average"),
    ALIGNED_TO(1, 1 << UPDATE, update.slots[2], "velocity"),
    NEEDED(1, 1 << ROWS, table.w, "w"),
    NEEDED(1, 1 << ROWS, table.g, "g"),
    NEEDED(1, 1 << ROWS, table.slots[0], "m"),
    NEEDED(1, 1 << ROWS, table.slots[1], "v"),
    ALIGNED_TO(1, 1 << ROWS, table.slots[2], "v_max"),
    INT64(1 << ROWS, table.width, "width", 0),
    INT64(1 << ROWS, table.width, "width", -1),
    INT64(1 << ROWS, table.width, "width", 4),
    INT64(1 << ROWS, table.row_count, "row_count", -1),
    INT64(1 << ROWS, table.row_count, "row_count", 6),
    INT64(1 << ROWS, table.row_count, "row_count", 0x1p62),
    NEEDED(4, 1 << ROWS, table.rows, "rows"),
    OTHERS(1 << ROWS, table.rows, "rows", rows_negative),
    OTHERS(1 << ROWS, table.rows, "rows", rows_twice),
    OTHERS(1 << ROWS, table.rows, "rows", rows_too_large),
    INT32(1 << AVERAGE, dtype, "dtype", -1),
    INT64(1 << AVERAGE, n, "n", -1),
    INT64(1 << AVERAGE, n, "n", 0x1p62),
    NEEDED(1, 1 << AVERAGE, x, "w"),
    NEEDED(1, 1 << AVERAGE, y, "average"),
    NOT_FINITE(1 << AVERAGE, momentum, "momentum"),
};
enum { BAD_COUNT = sizeof BAD / sizeof *BAD };

/* Pointers that may be NULL: given or not, at random. */
static const struct {
    enum entry entry;
    size_t at;
} OPTIONAL[] = {{PACK, AT(weights.bias)},
                {FORWARD, AT(forward.shared.mask)},
                {FORWARD, AT(forward.h0)},
                {FORWARD, AT(forward.c0)},
                {FORWARD, AT(forward.y)},
                {FORWARD, AT(forward.h)},
                {FORWARD, AT(forward.c)},
                {BACKWARD, AT(backward.d_y)},
                {BACKWARD, AT(backward.d_h)},
                {BACKWARD, AT(backward.d_c)},
                {BACKWARD, AT(backward.d_x)},
                {BACKWARD, AT(backward.d_kernel)},
                {BACKWARD, AT(backward.d_recurrent)},
                {BACKWARD, AT(backward.d_bias)},
                {BACKWARD, AT(backward.d_h0)},
                {BACKWARD, AT(backward.d_c0)},
                {MATMUL, AT(matmul.bias)},
                {UPDATE, AT(update.slots[1])},
                {UPDATE, AT(update.slots[2])},
                {ROWS, AT(table.slots[2])}};
enum { OPTIONAL_COUNT = sizeof OPTIONAL / sizeof *OPTIONAL };

#endif
