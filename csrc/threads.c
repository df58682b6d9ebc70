/* The worker team.
 *
 * No OpenMP: its GNU runtime hangs in a process that forked after using it. Here a fork's child starts without workers
 * and makes its own; a thread that finds the team busy does its work alone instead of waiting. Workers spin briefly for
 * the next call, then sleep. Nobody waits for a worker that has not come: its share is done by who has time. */
#if !defined(_WIN32)
#define _GNU_SOURCE /* sched_getaffinity */
#endif
#include "threads.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>

#include "system.h"

enum {
    SPINS_BEFORE_YIELD = 1000, /* 15 to 50 us */
    SPINS_BEFORE_NAP = 20000,  /* milliseconds: a share that others have may be that much longer */
    SPINS_BEFORE_SLEEP =
        1500, /* of which a third yields, another 200 us: longer than the gap between two layers' calls */
    SPINS_BEFORE_TAKING = 16 /* about what it takes to see that another member is there */
};

/* Where a member takes its shares, phase by phase. What others look at while they wait is on a cache line of its own, so
 * that taking a share is as a rule a matter between a core and its first-level cache. */
struct seat {
    _Alignas(64) _Atomic uint64_t taken; /* the last phase in which the share of this seat was taken, by whomever */
    uint64_t seen;                       /* `taken`, as its member last saw it */
    int alone;                           /* whether its member took another's share the last time it could have */
    _Alignas(64) _Atomic uint64_t done;  /* the last phase in which it was done */
};
static const uint64_t CLOSED = UINT64_MAX; /* in `taken`: this seat has no part in the call under way */

/* Phases are numbered through all calls, so no number comes twice; those of a group from 0 on, in seats that nobody looks at
 * beyond his share of `divide`.
 *
 * A share is taken by setting its seat's `taken` from the phase before to the phase: by its own member, once the phase
 * before is over, or by another that has found the phase begun and has no share of its own left. Who has taken a share
 * may read all below `opened` and the caller's memory until it sets `done`: the phase cannot end, so nobody writes there.
 * Without a share, only atomics are read. What was written in a phase is seen in the next: `done` is stored with release,
 * and who takes a share has either read every `done` with acquire, or a seat's `taken` from one who had. */
struct crew {
    struct seat *seats;
    atomic_int count;
    _Atomic uint64_t opened; /* the last phase that may be begun */
    uint64_t first;          /* of the sequence under way */
    work_function work;
    void *job;
    atomic_int dismissed; /* of a group: its job is done */
};

/* A thread, for waking it. */
struct worker {
    lock_t lock;
    signal_t wake;
    atomic_int asleep;
    thread_t thread;
};

static struct team {
    struct crew crew;
    atomic_flag busy;
    atomic_int core; /* that the caller is on; no worker should be */
    int workers;     /* started; only touched by who holds `busy` */
    atomic_int stop;
    _Atomic double handover, wake;     /* seconds, measured; 0: not yet */
    struct worker worker[MAX_THREADS]; /* worker k has seat k; the caller has seat 0 */
    struct seat seats[MAX_THREADS], group_seats[MAX_THREADS];
} team = {.crew = {.seats = team.seats}, .busy = ATOMIC_FLAG_INIT};

/* One round of waiting for other members. One that does not come for long may have no core to run on: it gets this one. */
static void wait_a_little(int spins) {
    if (spins < SPINS_BEFORE_YIELD)
        pause_briefly();
    else if (spins < SPINS_BEFORE_NAP)
        yield();
    else
        nap();
}

static int over(const struct crew *crew, uint64_t phase) {
    int count = atomic_load_explicit(&crew->count, memory_order_relaxed);
    for (int k = 0; k < count; k++)
        if (atomic_load_explicit(&crew->seats[k].done, memory_order_acquire) < phase) return 0;
    return 1;
}

static int take(struct seat *seat, uint64_t phase) {
    uint64_t before = phase - 1;
    return atomic_compare_exchange_strong_explicit(&seat->taken, &before, phase, memory_order_acq_rel,
                                                   memory_order_relaxed);
}

/* The seat whose share member `me` has taken, and its phase; or -1. Before it looks for another's share, a member that
 * had company in the last phase waits for a moment: looking costs the other more than that. */
static int take_share(struct crew *crew, int me, int spins, uint64_t *phase) {
    struct seat *mine = &crew->seats[me];
    uint64_t now = atomic_load_explicit(&mine->taken, memory_order_acquire);
    if (now == CLOSED) return -1;
    if (over(crew, now)) {
        if (now >= atomic_load_explicit(&crew->opened, memory_order_acquire)) return -1;
        return take(mine, *phase = now + 1) ? me : -1;
    }
    if (spins < SPINS_BEFORE_TAKING && !mine->alone) return -1;
    int count = atomic_load_explicit(&crew->count, memory_order_relaxed);
    for (int k = 0; k < count; k++) {
        struct seat *seat = &crew->seats[k];
        if (atomic_load_explicit(&seat->taken, memory_order_relaxed) == now - 1 && take(seat, *phase = now)) {
            mine->alone = 1;
            return k;
        }
    }
    mine->alone = 0;
    return -1;
}

/* Does a share if there is one to take. */
static int do_share(struct crew *crew, int me, int spins) {
    uint64_t phase;
    int seat = take_share(crew, me, spins, &phase);
    if (seat < 0) return 0;
    struct member member = {.id = seat, .count = atomic_load_explicit(&crew->count, memory_order_relaxed)};
    crew->work(crew->job, (int64_t)(phase - crew->first), &member);
    atomic_store_explicit(&crew->seats[seat].done, phase, memory_order_release);
    return 1;
}

/* One round of a member's work: a share, or a moment's wait. As long as others take its share ahead of it, it stays awake. */
static void attend(struct crew *crew, int me, int *spins) {
    struct seat *mine = &crew->seats[me];
    uint64_t now = atomic_load_explicit(&mine->taken, memory_order_relaxed);
    if (now != mine->seen) *spins = 0;
    mine->seen = now;
    if (do_share(crew, me, *spins))
        *spins = 0;
    else
        wait_a_little((*spins)++);
}

static void open_seats(struct crew *crew, int count) {
    uint64_t now = atomic_load(&crew->opened);
    atomic_store_explicit(&crew->count, count, memory_order_relaxed);
    for (int k = 0; k < count; k++) {
        atomic_store_explicit(&crew->seats[k].done, now, memory_order_relaxed);
        atomic_store_explicit(&crew->seats[k].taken, now, memory_order_release);
    }
}

static void close_seats(struct crew *crew, int count) {
    for (int k = 0; k < count; k++) atomic_store_explicit(&crew->seats[k].taken, CLOSED, memory_order_relaxed);
}

/* ------------------------------------------------------------------------------------------------------- the workers */

static void wake_sleepers(int count) {
    double begin = 0;
    int woken = 0;
    for (int k = 1; k < count; k++) {
        struct worker *w = &team.worker[k];
        if (!atomic_load(&w->asleep)) continue;
        if (!woken++) begin = seconds();
        lock(&w->lock);
        wake(&w->wake);
        unlock(&w->lock);
    }
    if (!woken) return;
    double mean = atomic_load(&team.wake), last = (seconds() - begin) / woken;
    atomic_store(&team.wake, mean > 0 ? mean + (last - mean) / 8 : last);
}

/* Sleeps until phases beyond `seen` are opened. Either this sees them, or who opens them sees `asleep`: all four accesses
 * are sequentially consistent. */
static void sleep_for_phases(struct worker *w, uint64_t seen) {
    lock(&w->lock);
    atomic_store(&w->asleep, 1);
    while (atomic_load(&team.crew.opened) == seen && !atomic_load(&team.stop)) wait_for(&w->wake, &w->lock);
    atomic_store(&w->asleep, 0);
    unlock(&w->lock);
}

static THREAD_RESULT work_on(void *worker) {
    struct worker *w = worker;
    const int me = (int)(w - team.worker);
    float_state_enter();
    leave_core(atomic_load_explicit(&team.core, memory_order_relaxed));
    for (int spins = 0, called = 0; !atomic_load_explicit(&team.stop, memory_order_relaxed);) {
        uint64_t opened = atomic_load(&team.crew.opened);
        if (spins == SPINS_BEFORE_YIELD) leave_core(atomic_load_explicit(&team.core, memory_order_relaxed));
        if (atomic_load_explicit(&team.seats[me].taken, memory_order_relaxed) != CLOSED) {
            attend(&team.crew, me, &spins);
            called = 1;
        } else if (called) {
            called = spins = 0;
        } else if (spins < SPINS_BEFORE_SLEEP) {
            (spins++ < SPINS_BEFORE_YIELD ? pause_briefly : yield)();
        } else {
            sleep_for_phases(w, opened);
            leave_core(atomic_load_explicit(&team.core, memory_order_relaxed));
            spins = 0;
        }
    }
    return 0;
}

#if !defined(_WIN32)
/* Only the forking thread lives on in the child: no worker is there, no lock is held, nothing is under way. */
static void reset_in_child(void) {
    team.workers = 0;
    atomic_flag_clear(&team.busy);
}

static void at_fork(void) {
    pthread_atfork(NULL, NULL, reset_in_child);
}

/* Unloading the library must not leave threads in code that is gone. */
__attribute__((destructor)) static void stop_workers(void) {
    if (team.workers == 0 || atomic_flag_test_and_set(&team.busy)) return;
    atomic_store(&team.stop, 1);
    wake_sleepers(team.workers + 1);
    for (int k = 1; k <= team.workers; k++) pthread_join(team.worker[k].thread, NULL);
    team.workers = 0;
    atomic_store(&team.stop, 0);
    atomic_flag_clear(&team.busy);
}
#endif

/* Brings the team to `count` members with the caller; returns how many there are. */
static int gather(int count) {
#if !defined(_WIN32)
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, at_fork);
#endif
    if (count > MAX_THREADS) count = MAX_THREADS;
    while (team.workers < count - 1) {
        struct worker *w = &team.worker[team.workers + 1];
        init_lock(&w->lock, &w->wake);
        atomic_store(&w->asleep, 0);
        atomic_store(&team.seats[team.workers + 1].taken, CLOSED);
        if (!start(&w->thread, work_on, w)) break;
        team.workers++;
    }
    return count <= team.workers + 1 ? count : team.workers + 1;
}

/* ------------------------------------------------------------------------------------------------------------- a call */

void team_run(int count, lead_function lead, void *job) {
    struct float_state state = float_state_enter();
    struct crew alone = {.count = 1};
    int together = count > 1 && !atomic_flag_test_and_set_explicit(&team.busy, memory_order_acquire);
    if (together) atomic_store_explicit(&team.core, this_core(), memory_order_relaxed);
    if (together && (count = gather(count)) > 1) {
        open_seats(&team.crew, count);
        lead(job, &team.crew);
        close_seats(&team.crew, count);
    } else {
        lead(job, &alone);
    }
    if (together) atomic_flag_clear_explicit(&team.busy, memory_order_release);
    float_state_leave(state);
}

void team_phases(struct crew *crew, int64_t phases, work_function work, void *job) {
    int count = atomic_load_explicit(&crew->count, memory_order_relaxed);
    if (count == 1) {
        for (int64_t phase = 0; phase < phases; phase++) work(job, phase, &(struct member){.count = 1});
        return;
    }
    uint64_t before = atomic_load_explicit(&crew->opened, memory_order_relaxed), last = before + (uint64_t)phases;
    crew->first = before + 1;
    crew->work = work;
    crew->job = job;
    atomic_store(&crew->opened, last);
    if (crew == &team.crew) wake_sleepers(count);
    for (int spins = 0; !over(crew, last);) attend(crew, 0, &spins);
}

struct division {
    int jobs;
    lead_function lead;
    void *const *job;
    struct crew groups[MOST_GROUPS];
};

/* Group k is members k count / jobs ... (k + 1) count / jobs - 1, rounded down. Its first share is to lead it, the others
 * are to help until its job is done. Shares are taken from the first on, so one who helps never waits for a leader whose
 * share nobody takes. */
static void divide(void *division, int64_t phase, const struct member *member) {
    struct division *d = division;
    (void)phase;
    if (member->count <= d->jobs) {
        struct crew alone = {.count = 1};
        for (int k = member->id; k < d->jobs; k += member->count) d->lead(d->job[k], &alone);
        return;
    }
    int k = 0;
    while (member->id >= (k + 1) * member->count / d->jobs) k++;
    struct crew *group = &d->groups[k];
    int me = member->id - k * member->count / d->jobs;
    if (me == 0) {
        d->lead(d->job[k], group);
        atomic_store_explicit(&group->dismissed, 1, memory_order_release);
        return;
    }
    for (int spins = 0; !atomic_load_explicit(&group->dismissed, memory_order_acquire);) attend(group, me, &spins);
}

void team_divide(struct crew *crew, int jobs, lead_function lead, void *const *job) {
    struct division division = {.jobs = jobs, .lead = lead, .job = job};
    int count = atomic_load_explicit(&crew->count, memory_order_relaxed);
    for (int k = 0; k < jobs && jobs < count; k++) {
        int first = k * count / jobs;
        division.groups[k].seats = team.group_seats + first;
        open_seats(&division.groups[k], (k + 1) * count / jobs - first);
    }
    team_phases(crew, 1, divide, &division);
}

/* ---------------------------------------------------------------------------------------------------- what it costs */

enum { TRIAL_PHASES = 16, TRIALS = 8, LAST_TRIAL = 1024 };
static const double ASSUMED_HANDOVER = 1e-7, ASSUMED_WAKE = 2e-5, SHORTEST_HANDOVER = 2e-8, FIRST_TRIAL = 4e-4,
                    LATER_TRIAL = 1e-4, CLOSE = 2e-4;

struct trial {
    const void *thread[2][2]; /* of even and odd phases, of the two shares: who did them, an address that only it has */
    int shared;               /* phases that both took part in */
};

/* Does nothing for about as long as the smallest share is worth its while. */
static void try_phase(void *trial, int64_t phase, const struct member *member) {
    static _Thread_local char mark;
    struct trial *t = trial;
    t->thread[phase % 2][member->id] = &mark;
    if (phase > 0 && member->id == 0) t->shared += t->thread[1 - phase % 2][0] != t->thread[1 - phase % 2][1];
    for (int k = 0; k < 12; k++) pause_briefly();
}

/* Phases of the crew against the same ones alone: the best of a few in which both took part from the first to the last. */
static void try_phases(void *longest, struct crew *crew) {
    struct crew alone = {.count = 1};
    double begin = seconds(), by_one = 1, by_two = 1;
    if (atomic_load_explicit(&crew->count, memory_order_relaxed) != 2) return;
    for (int together = 0; together < TRIALS && seconds() - begin < *(const double *)longest;) {
        struct trial trial = {.shared = 0};
        double start = seconds();
        team_phases(&alone, TRIAL_PHASES, try_phase, &trial);
        trial.shared = 0;
        double middle = seconds();
        team_phases(crew, TRIAL_PHASES, try_phase, &trial);
        double end = seconds();
        if (middle - start < by_one) by_one = middle - start;
        if (trial.shared < TRIAL_PHASES - 1) continue;
        if (end - middle < by_two) by_two = end - middle;
        together++;
    }
    if (by_two == 1) return;
    double least = atomic_load(&team.handover), handover = (by_two - by_one) / TRIAL_PHASES;
    if (handover < SHORTEST_HANDOVER) handover = SHORTEST_HANDOVER;
    if (least == 0 || handover < least) atomic_store(&team.handover, handover);
}

struct team_costs team_costs(int members) {
    static atomic_int tried;
    static _Atomic double asked;
    /* Other programs disturb a trial, or keep the worker from coming: it is repeated at the second, fourth ... call. */
    int tries = atomic_load_explicit(&tried, memory_order_relaxed);
    if (tries < LAST_TRIAL && (tries = atomic_fetch_add(&tried, 1) + 1, (tries & (tries - 1)) == 0)) {
        double longest = tries == 1 ? FIRST_TRIAL : LATER_TRIAL;
        team_run(2, try_phases, &longest);
    }
    double handover = atomic_load(&team.handover), wake = atomic_load(&team.wake);
    double now = seconds(), before = atomic_exchange_explicit(&asked, now, memory_order_relaxed);
    if (handover == 0) handover = ASSUMED_HANDOVER;
    if (wake == 0) wake = ASSUMED_WAKE;
    /* Who is awake need not be woken; and where calls follow each other closely, this is the time to. */
    int asleep = 0;
    for (int k = 1; k < members && now - before >= CLOSE; k++)
        asleep += atomic_load_explicit(&team.worker[k].asleep, memory_order_relaxed);
    if (asleep > 0) handover = handover < wake ? handover : wake;
    wake = members > 1 ? handover + (wake - handover) * asleep / (members - 1) : handover;
    return (struct team_costs){.handover = handover, .wake = wake};
}
