/* The kernel table: what one instruction set offers for one dtype. kernels.c fills one for each pair, dispatch.c picks.
 *
 * Arguments have been checked by api.c. Work that is shared out takes a job and the crew to do it
 * with, and is called by the crew's leader. */
#ifndef FUSEDLSTM_KERNELS_H
#define FUSEDLSTM_KERNELS_H

#include "fusedlstm.h"
#include "threads.h"

struct pack_job {
    const struct fusedlstm_rnn *layer;
    const struct fusedlstm_rnn_weights *weights;
    void *packed;
};

struct rnn_job {
    const struct fusedlstm_rnn *layer;
    const struct fusedlstm_rnn_forward *forward; /* one of the two is NULL */
    const struct fusedlstm_rnn_backward *backward;
    int threads;
    int split_units; /* members share out the units of every step, instead of sharing out rows */
};

/* Stands at the head of packed weights and of saved activations, so that those of another call are told apart. */
struct stamp {
    uint32_t kind, vec_bytes;
    int32_t dtype, training, cell, layout; /* layout: the flags that change where numbers stand */
    int64_t batch, steps, inputs, units, projection;
};
enum {
    PACKED_LAYOUT = FUSEDLSTM_RESET_AFTER | FUSEDLSTM_FULL_GATE_RECURRENCE,
    SAVED_LAYOUT = PACKED_LAYOUT | FUSEDLSTM_LAYER_NORM
};
enum { STAMP_PACKED = 0x70616b31, STAMP_SAVED = 0x73617631 };

struct kernels {
    const char *isa;
    int vec_bytes, tile_rows; /* tile_rows: how many rows share a pass over the weights */

    size_t (*rnn_packed_size)(const struct fusedlstm_rnn *);
    size_t (*rnn_saved_size)(const struct fusedlstm_rnn *);
    size_t (*rnn_forward_workspace_size)(const struct fusedlstm_rnn *);
    size_t (*rnn_backward_workspace_size)(const struct fusedlstm_rnn *);
    void (*rnn_pack)(void *pack_job, struct crew *);
    void (*rnn_forward)(void *rnn_job, struct crew *);
    void (*rnn_backward)(void *rnn_job, struct crew *);

    size_t (*matmul_workspace_size)(const struct fusedlstm_matmul *);
    void (*matmul)(void *matmul_args, struct crew *);

    void (*activation_forward)(int activation, int64_t n, const void *x, void *y);
    void (*activation_backward)(int activation, int64_t n, const void *y, const void *d_y, void *d_x);

    size_t (*ctc_workspace_size)(const struct fusedlstm_ctc *);
    void (*ctc_loss)(void *ctc_args, struct crew *);

    void (*embedding_gradient)(int64_t n, int64_t width, const int64_t *ids, const void *d_out, void *d_table);
    void (*update)(const struct fusedlstm_update *, int64_t from, int64_t to); /* whole rows */
    void (*average_update)(int64_t n, const void *w, void *average, double momentum);
};

/* Every call works on the table of the instruction set in use (dispatch.c). */
const struct kernels *kernels_in_use(int dtype);

/* Whether an element whose gradient is zero stays as it is. Zero times a scale of NaN is not zero. */
static inline int update_rests(const struct fusedlstm_update *u) {
    int without_memory = u->rule == FUSEDLSTM_ADAGRAD || (u->rule == FUSEDLSTM_SGD && u->momentum == 0);
    return without_memory && u->decay == 0 && u->gradient_scale * 0 == 0;
}

#endif
