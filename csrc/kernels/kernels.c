/* One instruction set's kernels for one dtype. Compiled once for each pair, with the compiler flags of the instruction
 * set, KERNELS_ISA its name and KERNELS_REAL 32 or 64. All is static but the table, so that no instruction of a wider
 * set can be linked into another object. */
#include "kernels.h"

#include <math.h>

#include "vec.h"

#if KERNELS_REAL == 32
#define real_sqrt sqrtf
#define real_abs fabsf
#else
#define real_sqrt sqrt
#define real_abs fabs
#endif

/* Each block builds on the ones before. */
#include "activations.inc"
#include "gemm.inc"

#include "ctc.inc"
#include "optimizers.inc"

#include "recurrent_layout.inc"

#include "recurrent_packing.inc"

#include "recurrent_forward.inc"

#include "recurrent_backward.inc"

#include "recurrent_gradients.inc"

#include "lstm_variants.inc"

#include "gru.inc"
#include "lstm.inc"
#include "simple_rnn.inc"

#include "recurrent.inc"

#define NAME_(isa, bits) kernels_##isa##_##bits
#define NAME(isa, bits) NAME_(isa, bits)
#define TEXT_(isa) #isa
#define TEXT(isa) TEXT_(isa)

extern const struct kernels NAME(KERNELS_ISA, KERNELS_REAL);
const struct kernels NAME(KERNELS_ISA, KERNELS_REAL) = {
    .isa = TEXT(KERNELS_ISA),
    .vec_bytes = VEC_BYTES,
    .tile_rows = MR,
    .rnn_packed_size = rnn_packed_size,
    .rnn_saved_size = rnn_saved_size,
    .rnn_forward_workspace_size = rnn_forward_workspace_size,
    .rnn_backward_workspace_size = rnn_backward_workspace_size,
    .rnn_pack = rnn_pack,
    .rnn_forward = rnn_forward,
    .rnn_backward = rnn_backward,
    .matmul_workspace_size = matmul_workspace_size,
    .matmul = matmul,
    .activation_forward = activation_forward,
    .activation_backward = activation_backward,
    .ctc_workspace_size = ctc_workspace_size,
    .ctc_loss = ctc_loss,
    .embedding_gradient = embedding_gradient,
    .update = update,
    .average_update = average_update,
};
