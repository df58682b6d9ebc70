/* Optimizer updates: check the arguments, call through the kernel table. */
#include <math.h>
#include <stddef.h>
#include <stdint.h>

#include "checks.h"
#include "fusedlstm.h"
#include "kernels/kernels.h"

/* What stands in a rule's slots: `needed` of them are, `optional` more may be. */
static const struct {
    int needed, optional;
    const char *names[3];
} SLOTS[] = {
    [FUSEDLSTM_SGD] = {0, 1, {"velocity"}},
    [FUSEDLSTM_LION] = {1, 0, {"m"}},
    [FUSEDLSTM_RMSPROP] = {1, 2, {"mean_square", "average", "velocity"}},
    [FUSEDLSTM_ADAGRAD] = {1, 0, {"total"}},
    [FUSEDLSTM_ADADELTA] = {2, 0, {"mean_square", "mean_square_step"}},
    [FUSEDLSTM_ADAM] = {2, 1, {"m", "v", "v_max"}},
    [FUSEDLSTM_NADAM] = {2, 0, {"m", "v"}},
    [FUSEDLSTM_ADAMAX] = {2, 0, {"m", "u"}},
};

static int check_slots(const struct fusedlstm_update *u, const char **error) {
    int needs = SLOTS[u->rule].needed, may = needs + SLOTS[u->rule].optional;
    if (u->rule == FUSEDLSTM_SGD && u->momentum != 0) needs = 1;
    for (int k = 0; k < 3; k++) {
        if (k >= may) {
            REQUIRE(!u->slots[k], "slots");
        } else {
            int fits = k < needs ? needed(u->slots[k], u->dtype, u->n) : array(u->slots[k], u->dtype);
            REQUIRE(fits, SLOTS[u->rule].names[k]);
        }
    }
    return FUSEDLSTM_OK;
}

static int check_rows(const struct fusedlstm_update *u, const char **error) {
    REQUIRE(u->width >= 1 && u->n % u->width == 0, "width");
    REQUIRE(u->row_count >= 0 && u->row_count <= u->n / u->width, "row_count");
    REQUIRE(u->row_count == 0 || (u->rows && aligned(u->rows, sizeof(int64_t))), "rows");
    int64_t least = 0;
    for (int64_t k = 0; k < u->row_count; k++) {
        REQUIRE(u->rows[k] >= least && u->rows[k] < u->n / u->width, "rows");
        least = u->rows[k] + 1;
    }
    return FUSEDLSTM_OK;
}

static int check_update(const struct fusedlstm_update *u, const char **error) {
    REQUIRE(u, "update");
    REQUIRE(dtype_valid(u->dtype), "dtype");
    REQUIRE(u->n >= 0 && u->n < INT64_MAX / 64, "n");
    REQUIRE(u->rule >= FUSEDLSTM_SGD && u->rule <= FUSEDLSTM_ADAMAX, "rule");
    REQUIRE(isfinite(u->learning_rate), "learning_rate");
    REQUIRE(u->clip >= 0, "clip"); /* false for NaN */
    REQUIRE(isfinite(u->decay), "decay");
    REQUIRE(isfinite(u->momentum), "momentum");
    REQUIRE(isfinite(u->beta_1), "beta_1");
    REQUIRE(isfinite(u->beta_2), "beta_2");
    REQUIRE(isfinite(u->epsilon), "epsilon");
    REQUIRE(isfinite(u->m_factor), "m_factor");
    REQUIRE(isfinite(u->g_factor), "g_factor");
    REQUIRE(isfinite(u->v_factor), "v_factor");
    REQUIRE(needed(u->w, u->dtype, u->n), "w");
    if (u->by_row) REQUIRE_OK(check_rows(u, error));
    REQUIRE(needed(u->g, u->dtype, u->by_row ? u->row_count : u->n), "g");
    REQUIRE_OK(check_slots(u, error));
    return kernels_in_use(u->dtype) ? FUSEDLSTM_OK : refuse(error, "isa", FUSEDLSTM_NO_ISA);
}

struct updates {
    int count;
    const struct fusedlstm_update *const *update;
};

/* Each member takes a part of every variable: whole rows, or whole lines of the cache. */
static void update_share(void *updates_, int64_t phase, const struct member *member) {
    const struct updates *updates = updates_;
    (void)phase;
    for (int k = 0; k < updates->count; k++) {
        const struct fusedlstm_update *u = updates->update[k];
        int64_t grain = u->by_row ? u->width : 64, grains = (u->n + grain - 1) / grain;
        int64_t from = grains * member->id / member->count * grain,
                to = grains * (member->id + 1) / member->count * grain;
        if (to > u->n) to = u->n;
        if (from < to) kernels_in_use(u->dtype)->update(u, from, to);
    }
}

static void run_updates(void *updates, struct crew *crew) {
    team_phases(crew, 1, update_share, updates);
}

int fusedlstm_update_together(int count, const struct fusedlstm_update *const *updates, int *which,
                              const char **error) {
    REQUIRE(count >= 0, "count");
    REQUIRE(count == 0 || updates, "updates");
    double elements = 0;
    for (int k = 0; k < count; k++) {
        int status = check_update(updates[k], error);
        if (status != FUSEDLSTM_OK && which) *which = k;
        REQUIRE_OK(status);
        const struct fusedlstm_update *u = updates[k];
        elements += (double)(u->by_row && update_rests(u) ? u->row_count * u->width : u->n);
    }
    if (count == 0) return FUSEDLSTM_OK;
    struct updates all = {.count = count, .update = updates};
    const double of_element = 20; /* flops that take as long as reading and writing it and its states */
    team_run(threads_for(0, of_element * elements, updates[0]->dtype), run_updates, &all);
    return FUSEDLSTM_OK;
}

int fusedlstm_update(const struct fusedlstm_update *update, const char **error) {
    return fusedlstm_update_together(1, &update, NULL, error);
}

int fusedlstm_average_update(int dtype, int64_t n, const void *w, void *average, double momentum, const char **error) {
    REQUIRE(dtype_valid(dtype), "dtype");
    REQUIRE(n >= 0 && n < INT64_MAX / 64, "n");
    REQUIRE(needed(w, dtype, n), "w");
    REQUIRE(needed(average, dtype, n), "average");
    REQUIRE(isfinite(momentum), "momentum");
    if (!kernels_in_use(dtype)) return refuse(error, "isa", FUSEDLSTM_NO_ISA);
    struct float_state state = float_state_enter();
    kernels_in_use(dtype)->average_update(n, w, average, momentum);
    float_state_leave(state);
    return FUSEDLSTM_OK;
}
