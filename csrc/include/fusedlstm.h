/* fusedlstm: fused recurrent-network kernels for CPUs. The public C API.
 *
 * This header is the contract between the kernels and everything above them, and the only list of declarations:
 * the Python binding is generated from it (csrc/cffi_build.py reads all lines that are not preprocessor lines).
 *
 * Shapes are written in the letters
 *     B batch    T steps    I inputs (features of a step)    H units (width of c)
 *     P outputs (width of h: H, but for a projection)
 * row-major, the last axis contiguous. Where a buffer may have gaps, explicit strides are given, counted in elements
 * (not bytes) and possibly negative: time runs backwards when the pointer is at the last step and the step stride
 * is negative, so neither batch-major, time-major nor reversed data is ever copied.
 *
 * Rules that hold for every function:
 *   - The caller owns all memory. *_size() functions tell how many bytes a buffer needs, 0 for impossible sizes.
 *   - Arguments are checked before anything is written. A refused call returns a status other than FUSEDLSTM_OK,
 *     has changed nothing, and stores the name of the first offending field in *error (a string constant) if `error`
 *     is not NULL.
 *   - Nothing aborts, prints or exits. The worker threads are started by the first call that uses more than one.
 *   - Any number of threads may call at the same time, on different output buffers.
 *   - Denormal numbers count as zero in every sum and product; the caller's floating-point environment is restored.
 *     NaN and Inf stay in their own row of the batch.
 *   - On one instruction set, results are the same to the bit for any number of threads.
 *   - Unless said otherwise, pointers may not alias and must be aligned to their element type.
 */
#ifndef FUSEDLSTM_H
#define FUSEDLSTM_H

#include <stddef.h>
#include <stdint.h>

#ifndef FUSEDLSTM_API
#if defined(_WIN32) && defined(FUSEDLSTM_SHARED)
#define FUSEDLSTM_API __declspec(dllimport)
#else
#define FUSEDLSTM_API
#endif
#endif

#ifdef __cplusplus
extern "C" {
#endif

enum fusedlstm_status {
    FUSEDLSTM_OK = 0,
    FUSEDLSTM_INVALID = 1, /* an argument is out of its domain: *error names it */
    FUSEDLSTM_NO_ISA = 2   /* this machine cannot run the instruction set asked for */
};

enum fusedlstm_dtype { FUSEDLSTM_FLOAT32 = 0, FUSEDLSTM_FLOAT64 = 1 };

/* y = activation(x); the derivative is always taken from y, so only outputs are kept for backward. */
enum fusedlstm_activation {
    FUSEDLSTM_LINEAR = 0,       /* x */
    FUSEDLSTM_TANH = 1,         /* float32 within 2 ULP, float64 within 4 */
    FUSEDLSTM_SIGMOID = 2,      /* 1 / (1 + exp(-x)); float32 within 2 ULP, float64 within 4 */
    FUSEDLSTM_RELU = 3,         /* max(x, 0) */
    FUSEDLSTM_HARD_SIGMOID = 4, /* clip(x / 6 + 1/2, 0, 1) */
    FUSEDLSTM_SOFTSIGN = 5,     /* x / (1 + |x|) */
    FUSEDLSTM_ELU = 6,          /* x > 0 ? x : exp(x) - 1 */
    FUSEDLSTM_SOFTPLUS = 7,     /* log(1 + exp(x)) */
    FUSEDLSTM_EXP = 8           /* exp(x); elementwise calls only, not a gate */
};

/* ------------------------------------------------------------------------------------------------ the machine */

/* "v2", "v3", "v4" (x86-64 levels), "neon" or "generic": the instruction set in use. It is chosen at the first call:
 * FUSEDLSTM_ISA in the environment if the machine has it, else the best one. Never NULL. */
FUSEDLSTM_API const char *fusedlstm_isa(void);

/* Forces one, NULL for the best. Packed weights and saved activations made under another one are not usable after.
 * Not to be called while another thread is inside a call. FUSEDLSTM_NO_ISA leaves everything as it was. */
FUSEDLSTM_API int fusedlstm_set_isa(const char *isa);

/* Name number `index` (from 0) of those that were compiled in and that this machine can run, best first; else NULL. */
FUSEDLSTM_API const char *fusedlstm_available_isa(int index);

/* How many threads a call with threads = 0 may use: the number set here, else FUSEDLSTM_NUM_THREADS, else the smaller
 * of the CPUs in the affinity mask and the cgroup's CPU quota rounded down; at least 1. */
FUSEDLSTM_API int fusedlstm_num_threads(void);

/* 0 returns to the default. Values below 0 and above 1024 are refused. */
FUSEDLSTM_API int fusedlstm_set_num_threads(int threads);

/* ------------------------------------------------------------------------------------------- recurrent layers */

/* For each step, h' and c' being the state before it, W (I,nH) the kernel, U (H,nH) the recurrent weights, b the bias and
 * n the number of gates; s = recurrent_activation, a = activation:
 *
 * FUSEDLSTM_LSTM, n = 4, gates in the order i f c o, b (4H,):
 *     [zi zf zc zo] = x W + h' U + b
 *     i = s(zi)   f = s(zf)   g = a(zc)   c = f c' + i g   o = s(zo)   h = o a(c)
 *     (Hochreiter and Schmidhuber 1997; Gers, Schmidhuber and Cummins 2000), with the variants of the flags below, and
 *     with peepholes p: zi += p_i c'   zf += p_f c'   zo += p_o c (Gers and Schmidhuber 2000);
 *     with FULL_GATE_RECURRENCE (Greff et al. 2015): [zi zf zo] += [i' f' o'] G, i' f' o' being the gates of the step
 *     before, which are a third state g (B,3H);
 *     with LAYER_NORM, N(v) = (v - mean v) / sqrt(variance of v + epsilon) over a row's 4H or H numbers (Ba, Kiros and
 *     Hinton 2016): [zi zf zc zo] = k_x N(x W) + k_h N(h' U + [i' f' 0 o'] G) + b   h = o a(k_c N(c) + l_c);
 *     with a projection M (H,P) (Sak, Senior and Beaufays 2014): h = (o a(c)) M, of width P; U is (P,4H) then;
 *     with zoneout (Krueger et al. 2017) c, and h, then keep c', and h', in the units that a mask of the step names, or
 *     without masks c = c + zoneout_c (c' - c), h likewise. This c is what o's peephole and h see.
 * FUSEDLSTM_GRU, n = 3, gates in the order z r h (Cho et al. 2014):
 *     z = s(x W_z + h' U_z + b_z)   r = s(x W_r + h' U_r + b_r)   g = a(x W_h + (r h') U_h + b_h), b (3H,);
 *     with FUSEDLSTM_RESET_AFTER g = a(x W_h + b_h + r (h' U_h + d_h)) and z, r with a second bias too, b (2,3H)
 *     h = z h' + (1 - z) g
 * FUSEDLSTM_SIMPLE_RNN, n = 1, b (H,):
 *     h = a(x W + h' U + b)   (Elman 1990)
 *
 * A masked step of a row carries the state over; its output is the previous output, zero if there was none, and always
 * zero with FUSEDLSTM_ZERO_OUTPUT_FOR_MASK. */
enum fusedlstm_cell { FUSEDLSTM_LSTM = 0, FUSEDLSTM_GRU = 1, FUSEDLSTM_SIMPLE_RNN = 2 };

enum fusedlstm_rnn_flags {
    FUSEDLSTM_TRAINING = 1,                /* keep in `saved` what backward needs */
    FUSEDLSTM_LAST_STEP = 2,               /* y and d_y are (B,H): the output of the last step only */
    FUSEDLSTM_ZERO_OUTPUT_FOR_MASK = 4,    /* see above */
    FUSEDLSTM_COUPLED_GATES = 8,           /* LSTM: f = 1 - i (CIFG); zf is not used */
    FUSEDLSTM_NO_INPUT_GATE = 16,          /* LSTM: i = 1 (NIG); zi is not used */
    FUSEDLSTM_NO_FORGET_GATE = 32,         /* LSTM: f = 1 (NFG); zf is not used */
    FUSEDLSTM_NO_OUTPUT_GATE = 64,         /* LSTM: o = 1 (NOG); zo is not used */
    FUSEDLSTM_NO_INPUT_ACTIVATION = 128,   /* LSTM: g = zc (NIAF) */
    FUSEDLSTM_NO_OUTPUT_ACTIVATION = 256,  /* LSTM: h = o c (NOAF) */
    FUSEDLSTM_RESET_AFTER = 512,           /* GRU: see above */
    FUSEDLSTM_FULL_GATE_RECURRENCE = 1024, /* LSTM: see above */
    FUSEDLSTM_LAYER_NORM = 2048            /* LSTM: see above */
};

/* Sizes and options of one call; forward and backward of one call get the same. */
struct fusedlstm_rnn {
    int64_t batch, steps, inputs, units; /* B, T, I >= 0, H >= 1 */
    int32_t dtype;                       /* enum fusedlstm_dtype: of every void pointer below */
    int32_t activation;                  /* LINEAR ... SOFTPLUS: of the candidate, and of an LSTM's c */
    int32_t recurrent_activation;        /* LINEAR ... SOFTPLUS: of the gates */
    int32_t flags;                       /* enum fusedlstm_rnn_flags */
    int32_t cell;                        /* enum fusedlstm_cell */
    int32_t threads;                     /* 0: fusedlstm_num_threads(); small calls use fewer */
    /* How many dropout masks there are of x and of h': 0, 1 (the gates share it), or n (one a gate, in their order). */
    int32_t input_dropout, recurrent_dropout;
    int64_t projection;          /* LSTM: P; 0: none */
    double cell_clip;            /* LSTM: c is clipped to +-cell_clip; 0: not clipped */
    double zoneout_h, zoneout_c; /* LSTM: 0 ... 1, 0: none; used where no masks are given */
    double epsilon;              /* LSTM with LAYER_NORM: added to the variances */
};

/* The weights in the order in which the kernels read them. Packing is the only step that reads Keras's layout; a pack
 * serves any batch and steps, until the weights change. A pack for TRAINING also holds the transposed weights. */
FUSEDLSTM_API size_t fusedlstm_rnn_packed_size(const struct fusedlstm_rnn *layer);
struct fusedlstm_rnn_weights {
    const void *kernel;          /* (I,nH) */
    const void *recurrent;       /* (P,nH) */
    const void *bias;            /* as above; NULL: none */
    const void *gate_recurrence; /* (3H,3H), rows and columns in the order i f o: FULL_GATE_RECURRENCE only */
    const void *projection;      /* (H,P): with a projection only */
};
FUSEDLSTM_API int fusedlstm_rnn_pack(const struct fusedlstm_rnn *layer, const struct fusedlstm_rnn_weights *weights,
                                     void *packed, /* packed_size bytes, aligned to 64 */
                                     const char **error);

/* `saved` (only with TRAINING) goes from forward to backward, which destroys it; states and gates, no more.
 * `workspace` is scratch, not kept between calls. Forward's is the smaller one without TRAINING. */
FUSEDLSTM_API size_t fusedlstm_rnn_saved_size(const struct fusedlstm_rnn *layer);
FUSEDLSTM_API size_t fusedlstm_rnn_forward_workspace_size(const struct fusedlstm_rnn *layer);
FUSEDLSTM_API size_t fusedlstm_rnn_backward_workspace_size(const struct fusedlstm_rnn *layer);

/* What both calls get, with the same contents. */
struct fusedlstm_rnn_shared {
    const void *x;       /* (B,T,I); batch and step strides below, features contiguous */
    const uint8_t *mask; /* (B,T), nonzero = use the step; NULL: all are used */
    const void *packed;  /* from fusedlstm_rnn_pack for the same layer, but for B, T; TRAINING flag or more */
    /* Dropout masks, constant over time, multiplied into x and h' ahead of the products (Gal and Ghahramani 2016):
     * (input_dropout,B,I) and (recurrent_dropout,B,P) contiguous; NULL where the layer has 0 */
    const void *input_dropout, *recurrent_dropout;
    const void *peepholes;     /* (3,H): p_i p_f p_o; NULL: none. LSTM only */
    const void *normalization; /* (10,H): k_x (i f c o), k_h (i f c o), k_c, l_c; with LAYER_NORM only */
    /* (T,B,P) and (T,B,H) contiguous, nonzero = keep the old value; NULL: the rates of the layer count. LSTM only */
    const uint8_t *zoneout_h, *zoneout_c;
    int64_t x_batch_stride, x_step_stride;
    int64_t mask_batch_stride, mask_step_stride;
};

struct fusedlstm_rnn_forward {
    struct fusedlstm_rnn_shared shared;
    /* (B,P), (B,H) and (B,3H) contiguous; NULL: zeros. They may alias h, c and g. c0: LSTM; g0: FULL_GATE_RECURRENCE */
    const void *h0, *c0, *g0;
    void *y;         /* (B,T,P), or (B,P) with LAST_STEP; NULL: not wanted */
    void *h, *c, *g; /* contiguous, shaped like h0, c0 and g0: the final state; NULL: not wanted */
    void *saved;     /* saved_size bytes, aligned to 64; NULL without TRAINING */
    void *workspace; /* forward_workspace_size bytes, aligned to 64 */
    int64_t y_batch_stride, y_step_stride; /* y_step_stride is not read with LAST_STEP */
};
FUSEDLSTM_API int fusedlstm_rnn_forward(const struct fusedlstm_rnn *layer, const struct fusedlstm_rnn_forward *args,
                                        const char **error);

/* `count` calls, at most FUSEDLSTM_MOST_TOGETHER, that have nothing to do with each other, like the two directions of a
 * bidirectional layer: the threads are divided among them. Refused as a whole if one is; *which is then its number, if
 * `which` is not NULL. The results are those of single calls, to the bit. */
enum { FUSEDLSTM_MOST_TOGETHER = 16 };
FUSEDLSTM_API int fusedlstm_rnn_forward_together(int count, const struct fusedlstm_rnn *const *layers,
                                                 const struct fusedlstm_rnn_forward *const *args, int *which,
                                                 const char **error);

/* Gradients of a loss, given those of the outputs. Every d_ output is overwritten, none is added to. */
struct fusedlstm_rnn_backward {
    struct fusedlstm_rnn_shared shared;
    void *saved;                 /* from forward; destroyed */
    const void *d_y;             /* like y of forward: (B,T,P) or (B,P) with LAST_STEP; NULL: zeros */
    const void *d_h, *d_c, *d_g; /* contiguous, of the final state, shaped like it; NULL: zeros */
    void *d_x;                   /* (B,T,I); this and all that follow, NULL: not wanted */
    void *d_kernel;              /* (I,nH) contiguous */
    void *d_recurrent;           /* (P,nH) contiguous */
    void *d_bias;                /* shaped like the bias */
    void *d_h0, *d_c0, *d_g0;    /* contiguous, shaped like h0, c0 and g0 */
    void *d_peepholes;           /* (3,H) */
    void *d_gate_recurrence;     /* (3H,3H) */
    void *d_projection;          /* (H,P) */
    void *d_normalization;       /* (10,H) */
    void *workspace;             /* backward_workspace_size bytes, aligned to 64; needed */
    int64_t d_y_batch_stride, d_y_step_stride;
    int64_t d_x_batch_stride, d_x_step_stride;
};
FUSEDLSTM_API int fusedlstm_rnn_backward(const struct fusedlstm_rnn *layer, const struct fusedlstm_rnn_backward *args,
                                         const char **error);

FUSEDLSTM_API int fusedlstm_rnn_backward_together(int count, const struct fusedlstm_rnn *const *layers,
                                                  const struct fusedlstm_rnn_backward *const *args, int *which,
                                                  const char **error);

/* --------------------------------------------------------------------------------------------- around the layer */

/* out (M,N) = a (M,K) b (K,N) + bias (N,), or out += ... with accumulate. Any strides, negative and zero too, on a
 * and b; out has contiguous columns. K = 0 gives zeros. workspace: matmul_workspace_size bytes, aligned to 64. */
struct fusedlstm_matmul {
    int64_t rows, inner, columns; /* M, K, N >= 0 */
    int32_t dtype, accumulate, threads;
    const void *a, *b;
    const void *bias; /* (N,) contiguous; NULL: none */
    void *out;
    int64_t a_row_stride, a_column_stride, b_row_stride, b_column_stride, out_row_stride;
    void *workspace;
};
FUSEDLSTM_API size_t fusedlstm_matmul_workspace_size(const struct fusedlstm_matmul *args);
FUSEDLSTM_API int fusedlstm_matmul(const struct fusedlstm_matmul *args, const char **error);

/* y = activation(x), n elements each; y may be x. */
FUSEDLSTM_API int fusedlstm_activation_forward(int dtype, int activation, int64_t n, const void *x, void *y,
                                               const char **error);

/* d_x = d_y * activation'(x), with activation' computed from y = activation(x); d_x may be d_y. */
FUSEDLSTM_API int fusedlstm_activation_backward(int dtype, int activation, int64_t n, const void *y, const void *d_y,
                                                void *d_x, const char **error);

/* d_table (rows,width) contiguous: row ids[k] += d_out row k, for k in 0 ... n-1, in this order. An id outside
 * 0 ... rows-1 is refused before anything is written. */
FUSEDLSTM_API int fusedlstm_embedding_gradient(int dtype, int64_t n, int64_t rows, int64_t width, const int64_t *ids,
                                               const void *d_out, void *d_table, const char **error);

/* The CTC loss of every row, -log of the probability that its steps spell the target (Graves et al. 2006): the sum over
 * all ways to write the target's labels in the row's steps, in order, each over one or more steps, blanks (class 0) in
 * between where wanted, and needed between equal labels. A step's probabilities are the softmax of its logits.
 * Where there is no such way, too few steps or an infinite logit being in the way, the value is Inf and the gradient 0;
 * where a step has no softmax, both are NaN. Logits further than 1e30 below the largest count as -Inf. */
struct fusedlstm_ctc {
    int64_t batch, steps, classes, labels; /* B, T >= 0, C >= 1 with the blank, L >= 0 */
    int32_t dtype;
    int32_t threads;               /* 1 or more: the most that may work; each has its part of the workspace */
    const void *logits;            /* (B,T,C) contiguous */
    const int64_t *targets;        /* (B,L) contiguous: labels, 1 ... C-1 */
    const int64_t *target_lengths; /* (B,): how many of a row's targets count, 0 ... L */
    const int64_t *input_lengths;  /* (B,): how many of a row's steps count, 0 ... T; the gradient of the others is 0 */
    void *values;                  /* (B,) */
    void *d_logits;                /* (B,T,C) contiguous: the gradient of the sum of the values; NULL: not wanted */
    void *workspace;               /* ctc_workspace_size bytes, aligned to 64 */
};
FUSEDLSTM_API size_t fusedlstm_ctc_workspace_size(const struct fusedlstm_ctc *args);
FUSEDLSTM_API int fusedlstm_ctc_loss(const struct fusedlstm_ctc *args, const char **error);

/* Optimizer updates of one variable, one pass over the weights and all buffers of the rule. In each of them
 *     g = clip(gradient_scale * g, -clip, clip) and w -= decay * w
 * come first; bias corrections are folded into lr, the learning rate, by the caller. The rules, with the buffers that
 * stand in `slots` (those in brackets may be NULL, all others of the three have to be):
 *     SGD       [v]          momentum 0: w -= lr g. Else v = momentum v - lr g; w += v, with nesterov
 *                            w += momentum v - lr g (then v is needed)
 *     LION      m            w -= lr sign(beta_1 m + (1-beta_1) g); m = beta_2 m + (1-beta_2) g
 *     RMSPROP   s [a] [v]    s += (1-beta_2)(g^2 - s); a += (1-beta_2)(g - a); step = lr g / sqrt(s - a^2 + epsilon), a^2
 *                            only with `a` (centered). w -= step, or with `v`: v = momentum v + step; w -= v
 *     ADAGRAD   s            s += g^2; w -= lr g / sqrt(s + epsilon)
 *     ADADELTA  s d          s += (1-beta_2)(g^2 - s); step = g sqrt(d + epsilon) / sqrt(s + epsilon);
 *                            d += (1-beta_2)(step^2 - d); w -= lr step
 *     ADAM      m v [v_max]  m += (1-beta_1)(g - m); v += (1-beta_2)(g^2 - v); w -= lr m / (sqrt(v) + epsilon); with
 *                            v_max = max(v_max, v) in v's place (amsgrad). AdamW is `decay`
 *     NADAM     m v          m, v as above; w -= lr (m_factor m + g_factor g) / (sqrt(v_factor v) + epsilon)
 *     ADAMAX    m u          m as above; u = max(beta_2 u, |g|); w -= lr m / (u + epsilon)
 * (Sutskever et al. 2013; Chen et al. 2023; Tieleman and Hinton 2012; Duchi et al. 2011; Zeiler 2012; Kingma and Ba
 * 2015; Reddi et al. 2018; Loshchilov and Hutter 2019; Dozat 2016.)
 *
 * With `by_row`, w is a table of n / width rows, and g holds the gradients of row_count of them, those that `rows`
 * names; that of every other row is zero, and costs no more than the rule makes of it. */
enum fusedlstm_rule {
    FUSEDLSTM_SGD = 0,
    FUSEDLSTM_LION = 1,
    FUSEDLSTM_RMSPROP = 2,
    FUSEDLSTM_ADAGRAD = 3,
    FUSEDLSTM_ADADELTA = 4,
    FUSEDLSTM_ADAM = 5,
    FUSEDLSTM_NADAM = 6,
    FUSEDLSTM_ADAMAX = 7
};
struct fusedlstm_update {
    int64_t n;
    int32_t dtype, rule, nesterov, by_row;
    void *w;        /* (n,) updated */
    const void *g;  /* (n,) the gradient; by_row (row_count,width) */
    void *slots[3]; /* (n,) each, updated */
    /* What the rule does not name is unused. clip: HUGE_VAL for none. */
    double learning_rate, gradient_scale, clip, decay;
    double momentum, beta_1, beta_2, epsilon, m_factor, g_factor, v_factor;
    /* With by_row: width divides n; rows (row_count,) ascending, each once, in 0 ... n/width - 1. */
    int64_t width, row_count;
    const int64_t *rows;
};
FUSEDLSTM_API int fusedlstm_update(const struct fusedlstm_update *update, const char **error);

/* Those of several variables, all checked before the first is run. If one is refused, *which (which may be NULL) is its
 * number. */
FUSEDLSTM_API int fusedlstm_update_together(int count, const struct fusedlstm_update *const *updates, int *which,
                                            const char **error);

/* The exponential moving average of n weights: average = momentum average + (1-momentum) w. */
FUSEDLSTM_API int fusedlstm_average_update(int dtype, int64_t n, const void *w, void *average, double momentum,
                                           const char **error);

#ifdef __cplusplus
}
#endif
#endif
