/* The team itself: every share of every phase is done once, after all of the phase before, whatever the size of the crew, in
 * groups, and with several callers; and recurrent layers of every kind, in inference and training, are the same to the bit
 * however they are shared out.
 *
 *   test_team [LAYERS [CALLS]]     how many layers of each dtype and instruction set; how many calls of the team */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "kernels/kernels.h"
#include "problem.h"
#include "threads.h"

/* ------------------------------------------------------------------------------------------------------------ layers */

static void check_layer(int dtype, int number, uint64_t *random) {
    static const int THREADS[] = {1, 2, 3, 5, 8};
    struct shape shape = {.batch = (int64_t)random_below(random, 9),
                          .steps = (int64_t)random_below(random, 7),
                          .inputs = (int64_t)random_below(random, 40),
                          .units = 1 + (int64_t)random_below(random, 150),
                          .dtype = dtype,
                          .threads = 1,
                          .activation = 1 + (int)random_below(random, 7),
                          .recurrent_activation = FUSEDLSTM_SIGMOID,
                          .states = number & 1,
                          .flags = (int)random_below(random, 8),
                          .mask = (int)random_below(random, MASKS),
                          .layout = (int)random_below(random, LAYOUTS)};
    make_variant(&shape, (int)random_below(random, VARIANTS));
    const uint64_t seed = random_bits(random);
    struct problem one, many;
    problem_new(&one, &shape, seed);
    CHECK(problem_run(&one) == FUSEDLSTM_OK, "status");
    for (int t = 0; t < 5; t++)
        for (int split_units = 0; split_units < 2; split_units++) {
            if (split_units && (shape.input_dropout || shape.recurrent_dropout)) continue; /* rows only: see api.c */
            problem_new(&many, &shape, seed);
            problem_run_split(&many, THREADS[t], split_units);
            const char *differs = problem_difference(&one, &many);
            CHECK(!differs,
                  "%s layer %d cell %d float%d B %d T %d I %d H %d flags %d, %d threads, by units %d: %s differs",
                  fusedlstm_isa(), number, (int)shape.cell, dtype ? 64 : 32, (int)shape.batch, (int)shape.steps,
                  (int)shape.inputs, (int)shape.units, shape.flags, THREADS[t], split_units, differs);
            problem_free(&many);
        }
    problem_free(&one);
}

/* ---------------------------------------------------------------------------------------------------------- the team */

enum { MOST_MEMBERS = 9, MOST_JOBS = 6, EXTRA_PHASES = 3 };

/* What is computed: places of even and odd phases; each is a sum over those of the phase before. */
struct sums {
    long places[2][MOST_MEMBERS];
    atomic_int shares[MOST_MEMBERS];
    int64_t phases;
    int members; /* of the crew that was there */
};

static long place(long before_sum, int64_t phase, int id) {
    return before_sum % 1000 + 7 * phase + id;
}

static void add_up(void *sums, int64_t phase, const struct member *member) {
    struct sums *s = sums;
    long before = 0;
    for (int k = 0; k < member->count; k++) before += s->places[(phase + 1) & 1][k];
    s->places[phase & 1][member->id] = place(before, phase, member->id);
    atomic_fetch_add_explicit(&s->shares[member->id], 1, memory_order_relaxed);
    if (member->id == 0) s->members = member->count;
}

static void lead_sums(void *sums, struct crew *crew) {
    struct sums *s = sums;
    team_phases(crew, s->phases, add_up, s);
    team_phases(crew, 0, add_up, s);
    team_phases(crew, EXTRA_PHASES, add_up, s);
}

/* Against the same sums on one thread, `times` one after the other. */
static void check_sums(struct sums *s, int times) {
    struct sums expected = {.phases = s->phases, .members = s->members};
    for (int n = 0; n < times; n++)
        for (int64_t part = 0; part < 2; part++)
            for (int64_t phase = 0; phase < (part ? EXTRA_PHASES : s->phases); phase++) {
                long before = 0;
                for (int k = 0; k < s->members; k++) before += expected.places[(phase + 1) & 1][k];
                for (int k = 0; k < s->members; k++) expected.places[phase & 1][k] = place(before, phase, k);
            }
    CHECK(memcmp(expected.places, s->places, sizeof s->places) == 0, "sums of %d members", s->members);
    for (int k = 0; k < s->members; k++)
        CHECK(atomic_load(&s->shares[k]) == times * (s->phases + EXTRA_PHASES), "%d shares of member %d of %d",
              atomic_load(&s->shares[k]), k, s->members);
}

struct groups {
    struct sums sums[MOST_JOBS];
    void *each[MOST_JOBS];
    int jobs;
};
static void lead_groups(void *groups, struct crew *crew) {
    struct groups *g = groups;
    for (int times = 0; times < 2; times++) team_divide(crew, g->jobs, lead_sums, g->each);
}

static long calls = 20000;

static void *call_often(void *seed) {
    uint64_t random = (uint64_t)(uintptr_t)seed;
    for (long n = 0; n < calls; n++) {
        int count = 1 + (int)random_below(&random, MOST_MEMBERS);
        if (random_below(&random, 3)) {
            struct sums s = {.phases = (int64_t)random_below(&random, 30)};
            team_run(count, lead_sums, &s);
            CHECK(s.members == count || s.members == 1, "%d members of %d", s.members, count); /* 1: the team is busy */
            check_sums(&s, 1);
        } else {
            struct groups g = {.jobs = 1 + (int)random_below(&random, MOST_JOBS)};
            for (int k = 0; k < g.jobs; k++) g.each[k] = &g.sums[k];
            for (int k = 0; k < g.jobs; k++) g.sums[k].phases = (int64_t)random_below(&random, 20);
            team_run(count, lead_groups, &g);
            for (int k = 0; k < g.jobs; k++) check_sums(&g.sums[k], 2);
        }
        if (random_below(&random, 50) == 0) usleep((unsigned)random_below(&random, 800)); /* workers go to sleep */
    }
    return NULL;
}

int main(int count, char **arguments) {
    const int layers = count > 1 ? atoi(arguments[1]) : 150;
    if (count > 2) calls = atol(arguments[2]);
    const char *isa;
    for (int k = 0; (isa = fusedlstm_available_isa(k)); k++) {
        fusedlstm_set_isa(isa);
        for (int dtype = FUSEDLSTM_FLOAT32; dtype <= FUSEDLSTM_FLOAT64; dtype++) {
            uint64_t random = 77 + (uint64_t)dtype;
            for (int n = 0; n < layers; n++) check_layer(dtype, n, &random);
        }
    }
    call_often((void *)(uintptr_t)5);
    calls /= 3;
    pthread_t callers[3];
    for (int k = 0; k < 3; k++) pthread_create(&callers[k], NULL, call_often, (void *)(uintptr_t)(k + 9));
    for (int k = 0; k < 3; k++) pthread_join(callers[k], NULL);
    return check_summary("test_team");
}
