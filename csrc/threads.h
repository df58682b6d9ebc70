/* The worker team: does a sequence of phases, each cut into shares, on several threads at once. See threads.c. */
#ifndef FUSEDLSTM_THREADS_H
#define FUSEDLSTM_THREADS_H

#include <stdint.h>

enum { MAX_THREADS = 1024 };

/* Whose share of a phase is to be done: that of number `id` of `count`. Another may be doing it. */
struct member {
    int id, count;
};

/* Those who work on a call together: as many as there are shares. */
struct crew;

typedef void (*work_function)(void *job, int64_t phase, const struct member *member);
typedef void (*lead_function)(void *job, struct crew *crew);

/* Calls lead(job, crew) on the caller's thread, with up to `count` members; with itself alone where another thread is
 * using the team or no thread can be started. What is computed must not depend on that. Denormals are flushed inside; the
 * caller's floating-point environment is restored. */
void team_run(int count, lead_function lead, void *job);

/* Calls work(job, phase, member) for phase 0 ... phases-1, in each for all members; returns when all is done. What was
 * written in a phase, and before the call, is visible in the next. Each member does its own share, phase after phase, so
 * that what it reads stays in its cache; who has none left does those that others have not begun. */
void team_phases(struct crew *crew, int64_t phases, work_function work, void *job);

/* Calls lead(job[k], crew) for `jobs` jobs that have nothing to do with each other, each with a part of the members, or
 * where there are fewer members than jobs, with one after another. Not to be called within itself. */
enum { MOST_GROUPS = 16 };
void team_divide(struct crew *crew, int jobs, lead_function lead, void *const *job);

/* Seconds: what a phase costs that two members share, and what it costs now to bring one more of `members` into a call, on
 * average. Measured: the first in some of these calls, which then take up to half a millisecond, the second whenever a worker
 * is woken. To be asked once for a call: it takes note of how closely calls follow each other. */
struct team_costs {
    double handover, wake;
};
struct team_costs team_costs(int members);

/* Floating-point state: rounding to nearest, no traps, denormals flushed to zero, whatever the caller has; and back. The
 * workers do the same, so results do not depend on who computes them. */
struct float_state {
    unsigned long long bits;
};
struct float_state float_state_enter(void);
void float_state_leave(struct float_state state);

#endif
