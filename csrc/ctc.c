/* The public functions of the CTC loss: check the arguments, then call through the kernel table. */
#include <stddef.h>
#include <stdint.h>

#include "checks.h"
#include "fusedlstm.h"
#include "kernels/kernels.h"

static int check_sizes(const struct fusedlstm_ctc *ctc, const char **error) {
    REQUIRE(ctc, "args");
    REQUIRE(dtype_valid(ctc->dtype), "dtype");
    REQUIRE(ctc->batch >= 0 && ctc->batch <= INT32_MAX, "batch");
    REQUIRE(ctc->steps >= 0 && ctc->steps <= INT32_MAX, "steps");
    REQUIRE(ctc->classes >= 1 && ctc->classes <= INT32_MAX, "classes");
    REQUIRE(ctc->labels >= 0 && ctc->labels <= INT32_MAX, "labels");
    REQUIRE(ctc->threads >= 1 && ctc->threads <= 1024, "threads");
    /* Every buffer is smaller than this, so sizes computed later do not overflow. */
    double rows = (double)ctc->batch + 1024, steps = (double)ctc->steps + 64;
    REQUIRE(rows * steps * ((double)ctc->classes + 2 * (double)ctc->labels + 128) < 1e16, "steps");
    return kernels_in_use(ctc->dtype) ? FUSEDLSTM_OK : refuse(error, "isa", FUSEDLSTM_NO_ISA);
}

size_t fusedlstm_ctc_workspace_size(const struct fusedlstm_ctc *args) {
    return check_sizes(args, NULL) ? 0 : kernels_in_use(args->dtype)->ctc_workspace_size(args);
}

static int integers(const int64_t *pointer, int64_t count) {
    return count == 0 || (pointer && aligned(pointer, sizeof *pointer));
}

int fusedlstm_ctc_loss(const struct fusedlstm_ctc *args, const char **error) {
    REQUIRE_OK(check_sizes(args, error));
    const int64_t B = args->batch, T = args->steps, C = args->classes, L = args->labels;
    REQUIRE(needed(args->logits, args->dtype, B * T * C), "logits");
    REQUIRE(integers(args->targets, B * L), "targets");
    REQUIRE(integers(args->target_lengths, B), "target_lengths");
    REQUIRE(integers(args->input_lengths, B), "input_lengths");
    REQUIRE(needed(args->values, args->dtype, B), "values");
    REQUIRE(array(args->d_logits, args->dtype), "d_logits");
    REQUIRE(buffer(args->workspace, fusedlstm_ctc_workspace_size(args)), "workspace");
    for (int64_t b = 0; b < B; b++) {
        const int64_t labels = args->target_lengths[b], steps = args->input_lengths[b];
        REQUIRE(labels >= 0 && labels <= L, "target_lengths");
        REQUIRE(steps >= 0 && steps <= T, "input_lengths");
        for (int64_t k = 0; k < labels; k++)
            REQUIRE(args->targets[b * L + k] >= 1 && args->targets[b * L + k] < C, "targets");
    }

    const double of_class = 40, of_state = 120; /* flops */
    double work = (double)B * (double)T * (of_class * (double)C + of_state * (2 * (double)L + 1));
    int threads = threads_for(args->threads, work, args->dtype);
    if (threads > args->threads) threads = args->threads; /* each has its part of the workspace */
    if (threads > B) threads = B > 1 ? (int)B : 1;
    team_run(threads, kernels_in_use(args->dtype)->ctc_loss, (void *)(uintptr_t)args);
    return FUSEDLSTM_OK;
}
