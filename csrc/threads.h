/* The worker team: runs one function on several threads at once, which may meet at a barrier. See threads.c. */
#ifndef FUSEDLSTM_THREADS_H
#define FUSEDLSTM_THREADS_H

#include <stdatomic.h>

/* Where members meet. */
struct meeting {
    atomic_int arrived;
    atomic_uint passed; /* how often they have met */
};

/* One of the threads that work on a call: number `id` of `count`. */
struct member {
    int id, count;
    struct meeting *meeting; /* NULL where it works alone */
};

typedef void (*work_function)(void *job, struct member *member);

/* Calls work(job, member) on up to `count` threads, the caller's among them, and returns when all are done. Runs it on
 * the caller's alone (count = 1) where another thread is using the team or no thread can be started: `work` must give
 * the same result for any count. Denormals are flushed inside; the caller's floating-point environment is restored. */
void team_run(int count, work_function work, void *job);

/* Divides the members among `jobs` jobs that have nothing to do with each other: calls work(job[k], member) on each of a
 * group, whose members meet at meetings[k], or where there are fewer members than jobs, on one member after another. To
 * be called by all members; meetings[k] begins as zeros. */
void team_divide(struct member *member, int jobs, work_function work, void *const *job, struct meeting *meetings);

/* Waits until every member is here; what they wrote before is visible after. */
void team_barrier(struct member *member);

/* The number of threads for a call that asks for `requested`; 0: the default of fusedlstm.h. */
int team_threads(int requested);

/* The CPU quota of this process's control groups, rounded to nothing; `cpus` where none is smaller. `membership` is laid
 * out like /proc/self/cgroup, `root` like /sys/fs/cgroup. */
double cgroup_cpus(const char *membership, const char *root, double cpus);

/* Floating-point state: rounding to nearest, no traps, denormals flushed to zero, whatever the caller has; and back. The
 * workers do the same, so results do not depend on who computes them. */
struct float_state {
    unsigned long long bits;
};
struct float_state float_state_enter(void);
void float_state_leave(struct float_state state);

#endif
