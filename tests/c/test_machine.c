/* How work is shared out, by invented machines of 2 to 96 cores; and that the quantities of this one are sensible. */
#include "machine.h"

#include "check.h"

static const struct machine FAST = {.flops = 1e11, .handover = 8e-8, .wake = 8e-8, .cache = 1 << 20};
static const int CORES[] = {2, 8, 32, 96};

/* An LSTM with as many inputs as units, in float32 with vectors of 16. */
static struct load lstm(int64_t rows, int64_t steps, int64_t units) {
    double weights = 8.0 * (double)units * (double)units;
    return (struct load){.rows = rows,
                         .steps = steps,
                         .blocks = (units + 15) / 16,
                         .flops = 2 * weights + 200 * (double)units,
                         .weight_bytes = 4 * weights,
                         .state_bytes = 4 * (double)units,
                         .passes = 1,
                         .tile_rows = 6};
}

static void check_choices(void) {
    for (int k = 0; k < 4; k++) {
        int most = CORES[k];
        struct load tiny = lstm(1, 100, 8), few = lstm(1, 100, 64), wide = lstm(1, 100, 2048),
                    many = lstm(960, 100, 64);
        struct split split = best_split(&FAST, &tiny, most);
        CHECK(split.threads == 1, "%d cores: %d threads for 8 units of one row", most, split.threads);
        split = best_split(&FAST, &few, most);
        CHECK(split.units && split.threads <= 4, "%d cores: %d threads for the 4 blocks of one row", most,
              split.threads);
        split = best_split(&FAST, &many, most);
        CHECK(!split.units && split.threads >= most - most / 8, "%d cores: %d threads for 960 rows", most,
              split.threads);
        split = best_split(&FAST, &wide, most);
        CHECK(split.units && 2 * split.threads > most, "%d cores: %d threads for 2048 units of one row", most,
              split.threads);
        wide.rows_only = 1;
        CHECK(best_split(&FAST, &wide, most).threads == 1, "%d cores: one row shared out by rows", most);
        many.rows = 3;
        many.rows_only = 1;
        CHECK(best_split(&FAST, &many, most).threads <= 3, "%d cores: more threads than rows", most);
        CHECK(best_split(&FAST, &many, 1).threads == 1, "one thread is all there is");
        many.rows = 0;
        CHECK(best_split(&FAST, &many, most).threads == 1, "%d cores: threads for no rows", most);
    }
    /* 1, 100, 64, 64 on two cores pays where a hand-over takes 80 ns, not where it takes 1 us; of 512 units it pays there,
     * too. */
    struct machine slow = FAST;
    slow.handover = slow.wake = 1e-6;
    struct load few = lstm(1, 100, 64), wide = lstm(1, 100, 512);
    CHECK(best_split(&FAST, &few, 2).threads == 2, "80 ns");
    CHECK(best_split(&slow, &few, 2).threads == 1, "1 us");
    CHECK(best_split(&slow, &wide, 2).units, "1 us, 512 units");
    /* Workers that sleep are not woken for less than it takes to wake them. */
    struct machine asleep = FAST;
    asleep.wake = 2e-5;
    struct load step = lstm(1, 10, 64);
    CHECK(best_split(&asleep, &step, 2).threads == 1, "woken for 10 us");
    CHECK(best_split(&FAST, &step, 2).threads == 2, "not used though awake");
    CHECK(best_split(&asleep, &wide, 2).threads == 2, "not woken for a ms");
    /* Weights that only the caches of several cores hold together are read once by all, not by each. */
    struct load large = lstm(8, 25, 1024);
    large.weight_bytes *= 8;
    CHECK(best_split(&FAST, &large, 2).units, "large weights");
    struct machine roomy = FAST;
    roomy.cache = 1 << 30;
    large.rows = 24;
    CHECK(!best_split(&roomy, &large, 2).units, "weights that every cache holds");
    /* Work that can be cut anywhere. */
    CHECK(threads_worth(&FAST, 1e4, 96) == 1 && threads_worth(&FAST, 1e12, 96) == 96, "work of any kind");
    CHECK(threads_worth(&asleep, 1e7, 96) == 4, "%d threads for 100 us", threads_worth(&asleep, 1e7, 96));
}

static void check_this_machine(void) {
    for (int dtype = FUSEDLSTM_FLOAT32; dtype <= FUSEDLSTM_FLOAT64; dtype++) {
        struct machine m = this_machine(kernels_in_use(dtype), dtype, 2),
                       again = this_machine(kernels_in_use(dtype), dtype, 2);
        CHECK(m.flops > 1e6 && m.flops < 1e13, "%g operations a second", m.flops);
        CHECK(m.handover >= 2e-8 && m.handover < 1e-2, "%g s for a hand-over", m.handover);
        CHECK(m.wake >= m.handover || m.wake > 1e-7, "%g s to wake", m.wake);
        CHECK(m.cache >= 1 << 16 && m.cache < 1e10, "%g bytes of cache", m.cache);
        CHECK(m.flops == again.flops && m.cache == again.cache, "measured twice");
    }
}

int main(void) {
    check_choices();
    check_this_machine();
    return check_summary("test_machine");
}
