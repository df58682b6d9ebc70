/* The worker team, and how many threads it may have.
 *
 * No OpenMP: its GNU runtime hangs in a process that forked after using it. Here a fork's child starts without workers
 * and makes its own; a thread that finds the team busy does its work alone instead of waiting. Workers spin briefly for
 * the next call, then sleep. */
#if !defined(_WIN32)
#define _GNU_SOURCE /* sched_getaffinity */
#endif
#include "threads.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(_WIN32)
#include <windows.h>
typedef SRWLOCK lock_t;
typedef CONDITION_VARIABLE signal_t;
typedef HANDLE thread_t;
#define LOCK_INIT SRWLOCK_INIT
#define SIGNAL_INIT CONDITION_VARIABLE_INIT
#define THREAD_RESULT DWORD WINAPI
static void lock(lock_t *l) {
    AcquireSRWLockExclusive(l);
}
static void unlock(lock_t *l) {
    ReleaseSRWLockExclusive(l);
}
static void wait_for(signal_t *s, lock_t *l) {
    SleepConditionVariableSRW(s, l, INFINITE, 0);
}
static void wake_all(signal_t *s) {
    WakeAllConditionVariable(s);
}
static void yield(void) {
    SwitchToThread();
}
static void nap(void) {
    Sleep(1);
}
static int start(thread_t *t, DWORD(WINAPI *f)(void *), void *argument) {
    *t = CreateThread(NULL, 0, f, argument, 0, NULL);
    return *t != NULL;
}
#else
#include <pthread.h>
#include <sched.h>
#include <time.h>
#include <signal.h>
#include <unistd.h>
typedef pthread_mutex_t lock_t;
typedef pthread_cond_t signal_t;
typedef pthread_t thread_t;
#define LOCK_INIT PTHREAD_MUTEX_INITIALIZER
#define SIGNAL_INIT PTHREAD_COND_INITIALIZER
#define THREAD_RESULT void *
static void lock(lock_t *l) {
    pthread_mutex_lock(l);
}
static void unlock(lock_t *l) {
    pthread_mutex_unlock(l);
}
static void wait_for(signal_t *s, lock_t *l) {
    pthread_cond_wait(s, l);
}
static void wake_all(signal_t *s) {
    pthread_cond_broadcast(s);
}
static void yield(void) {
    sched_yield();
}
static void nap(void) {
    nanosleep(&(struct timespec){.tv_nsec = 50000}, NULL);
}
static int start(thread_t *t, void *(*f)(void *), void *argument) {
    /* Signals are for the program's own threads: Python's Ctrl-C must not land here. */
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int failed = pthread_create(t, NULL, f, argument);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return !failed;
}
#endif

#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
static void pause_briefly(void) {
    _mm_pause();
}
#elif defined(__aarch64__)
static void pause_briefly(void) {
    __asm__ volatile("yield");
}
#else
static void pause_briefly(void) {
}
#endif

enum {
    MAX_THREADS = 1024,
    SPINS_BEFORE_SLEEP = 4000, /* 50 to 200 us: longer than the gap between two steps of a training loop's layers */
    SPINS_BEFORE_YIELD = 1000,
    SPINS_BEFORE_NAP = 1200
};

struct team {
    /* The call at hand: its number, times 2^16, plus its count of members. One word, so that a worker that looks late
     * never takes the count of one call for that of another. */
    _Atomic uint64_t call;
    work_function work;
    void *job;
    atomic_int unfinished; /* workers still at it */
    struct meeting meeting;
    atomic_flag busy;
    int workers; /* started; only touched by who holds `busy` */
    atomic_int asleep, stop;
    lock_t lock; /* for sleeping and waking only */
    signal_t wake;
    thread_t threads[MAX_THREADS];
};

static struct team team = {.busy = ATOMIC_FLAG_INIT, .lock = LOCK_INIT, .wake = SIGNAL_INIT};

enum { COUNT_BITS = 16, COUNT_MASK = (1 << COUNT_BITS) - 1 };

/* One round of waiting for other members. One that is not here after thousands of rounds has no core to run on: it gets
 * this one. */
static void wait_a_little(int spins) {
    if (spins < SPINS_BEFORE_YIELD)
        pause_briefly();
    else if (spins < SPINS_BEFORE_NAP)
        yield();
    else
        nap();
}

static uint64_t wait_for_call(uint64_t seen) {
    for (int spins = 0; spins < SPINS_BEFORE_SLEEP; spins++) {
        uint64_t call = atomic_load_explicit(&team.call, memory_order_acquire);
        if (call != seen) return call;
        pause_briefly();
    }
    lock(&team.lock);
    atomic_fetch_add(&team.asleep, 1);
    uint64_t call;
    while ((call = atomic_load(&team.call)) == seen) wait_for(&team.wake, &team.lock);
    atomic_fetch_sub(&team.asleep, 1);
    unlock(&team.lock);
    return call;
}

struct start_of_worker {
    int id;
    uint64_t seen;
};

static THREAD_RESULT worker(void *argument) {
    struct start_of_worker begin = *(struct start_of_worker *)argument;
    free(argument);
    for (uint64_t seen = begin.seen;;) {
        seen = wait_for_call(seen);
        if (atomic_load(&team.stop)) return 0;
        struct member member = {.id = begin.id, .count = (int)(seen & COUNT_MASK), .meeting = &team.meeting};
        if (member.id >= member.count) continue;
        struct float_state state = float_state_enter();
        team.work(team.job, &member);
        float_state_leave(state);
        atomic_fetch_sub_explicit(&team.unfinished, 1, memory_order_release);
    }
}

static void publish(uint64_t call) {
    atomic_store(&team.call, call);
    if (atomic_load(&team.asleep) > 0) {
        lock(&team.lock);
        wake_all(&team.wake);
        unlock(&team.lock);
    }
}

#if !defined(_WIN32)
/* Only the forking thread lives on in the child: no worker is there, no lock is held, nothing is under way. */
static void reset_in_child(void) {
    memset(&team, 0, sizeof team);
    atomic_flag_clear(&team.busy);
    pthread_mutex_init(&team.lock, NULL);
    pthread_cond_init(&team.wake, NULL);
}

static void at_fork(void) {
    pthread_atfork(NULL, NULL, reset_in_child);
}

/* Unloading the library must not leave threads in code that is gone. */
__attribute__((destructor)) static void stop_workers(void) {
    if (team.workers == 0 || atomic_flag_test_and_set(&team.busy)) return;
    atomic_store(&team.stop, 1);
    publish(atomic_load(&team.call) + ((uint64_t)1 << COUNT_BITS));
    for (int k = 0; k < team.workers; k++) pthread_join(team.threads[k], NULL);
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
    while (team.workers < count - 1) {
        struct start_of_worker *begin = malloc(sizeof *begin);
        if (!begin) break;
        *begin = (struct start_of_worker){.id = team.workers + 1, .seen = atomic_load(&team.call)};
        if (!start(&team.threads[team.workers], worker, begin)) {
            free(begin);
            break;
        }
        team.workers++;
    }
    return count <= team.workers + 1 ? count : team.workers + 1;
}

void team_run(int count, work_function work, void *job) {
    struct float_state state = float_state_enter();
    struct member member = {.id = 0, .count = 1, .meeting = NULL};
    int together = count > 1 && !atomic_flag_test_and_set_explicit(&team.busy, memory_order_acquire);
    if (together) {
        member.count = gather(count < MAX_THREADS ? count : MAX_THREADS);
        if (member.count > 1) {
            member.meeting = &team.meeting;
            team.work = work;
            team.job = job;
            atomic_store(&team.meeting.arrived, 0);
            atomic_store(&team.unfinished, member.count - 1);
            uint64_t number = (atomic_load(&team.call) >> COUNT_BITS) + 1;
            publish(number << COUNT_BITS | (uint64_t)member.count);
        }
    }
    work(job, &member);
    if (together) {
        for (int spins = 0; atomic_load_explicit(&team.unfinished, memory_order_acquire) > 0 && member.meeting; spins++)
            wait_a_little(spins);
        atomic_flag_clear_explicit(&team.busy, memory_order_release);
    }
    float_state_leave(state);
}

void team_barrier(struct member *member) {
    struct meeting *m = member->meeting;
    if (!m) return;
    unsigned passed = atomic_load_explicit(&m->passed, memory_order_acquire);
    if (atomic_fetch_add_explicit(&m->arrived, 1, memory_order_acq_rel) == member->count - 1) {
        atomic_store_explicit(&m->arrived, 0, memory_order_relaxed);
        atomic_fetch_add_explicit(&m->passed, 1, memory_order_release);
        return;
    }
    for (int spins = 0; atomic_load_explicit(&m->passed, memory_order_acquire) == passed; spins++) wait_a_little(spins);
}

void team_divide(struct member *member, int jobs, work_function work, void *const *job, struct meeting *meetings) {
    if (member->count <= jobs) {
        struct member alone = {.count = 1};
        for (int k = member->id; k < jobs; k += member->count) work(job[k], &alone);
        return;
    }
    /* Group k is members k count / jobs ... (k + 1) count / jobs - 1, rounded down. */
    int k = 0;
    while (member->id >= (k + 1) * member->count / jobs) k++;
    int first = k * member->count / jobs, count = (k + 1) * member->count / jobs - first;
    struct member of_group = {.id = member->id - first, .count = count, .meeting = count > 1 ? &meetings[k] : NULL};
    work(job[k], &of_group);
}

/* ------------------------------------------------------------------------------------------- floating-point state */

#if defined(__x86_64__) || defined(_M_X64)
enum { NO_TRAPS = 0x1f80, FLUSH_RESULTS = 0x8000, FLUSH_INPUTS = 0x0040 };
struct float_state float_state_enter(void) {
    unsigned old = _mm_getcsr();
    _mm_setcsr(NO_TRAPS | FLUSH_RESULTS | FLUSH_INPUTS);
    return (struct float_state){old};
}
void float_state_leave(struct float_state state) {
    _mm_setcsr((unsigned)state.bits);
}
#elif defined(__aarch64__)
struct float_state float_state_enter(void) {
    unsigned long long control, status;
    __asm__ volatile("mrs %0, fpcr" : "=r"(control));
    __asm__ volatile("mrs %0, fpsr" : "=r"(status));
    __asm__ volatile("msr fpcr, %0" : : "r"(1ull << 24));
    return (struct float_state){control << 32 | status}; /* both are 32 bits wide */
}
void float_state_leave(struct float_state state) {
    __asm__ volatile("msr fpcr, %0" : : "r"(state.bits >> 32));
    __asm__ volatile("msr fpsr, %0" : : "r"(state.bits & 0xffffffff));
}
#else
struct float_state float_state_enter(void) {
    return (struct float_state){0};
}
void float_state_leave(struct float_state state) {
    (void)state;
}
#endif

/* ---------------------------------------------------------------------------------------------- number of threads */

static int processors(void) {
#if defined(_WIN32)
    DWORD_PTR mine = 0, all = 0;
    int count = 0;
    if (!GetProcessAffinityMask(GetCurrentProcess(), &mine, &all)) return 1;
    for (; mine; mine &= mine - 1) count++;
    return count;
#elif defined(__linux__)
    cpu_set_t mine;
    if (sched_getaffinity(0, sizeof mine, &mine) == 0) return CPU_COUNT(&mine);
    return (int)sysconf(_SC_NPROCESSORS_ONLN);
#else
    return (int)sysconf(_SC_NPROCESSORS_ONLN);
#endif
}

static int read_numbers(const char *path, const char *format, double *a, double *b) {
    FILE *file = fopen(path, "r");
    if (!file) return 0;
    int count = b ? fscanf(file, format, a, b) : fscanf(file, format, a);
    fclose(file);
    return count;
}

/* The quota of one group and the groups above it, in CPUs; `cpus` where there is no smaller one. */
static double quota_of_group(const char *root, char *group, int version, double cpus) {
    char path[2048];
    for (;;) {
        double quota = -1, period = 0;
        int found;
        if (version == 2) {
            snprintf(path, sizeof path, "%s%s/cpu.max", root, group);
            found = read_numbers(path, "%lf %lf", &quota, &period) == 2; /* "max" is no number: no limit */
        } else {
            snprintf(path, sizeof path, "%s%s/cpu.cfs_quota_us", root, group);
            found = read_numbers(path, "%lf", &quota, NULL) == 1;
            snprintf(path, sizeof path, "%s%s/cpu.cfs_period_us", root, group);
            found = found && read_numbers(path, "%lf", &period, NULL) == 1;
        }
        if (found && quota > 0 && period > 0 && quota / period < cpus) cpus = quota / period;
        char *parent = strrchr(group, '/');
        if (!parent) return cpus;
        *parent = 0; /* "/a/b" -> "/a" -> "" (the root) -> done */
    }
}

/* Whether "cpu" is in a list like "cpu,cpuacct". */
static int names_cpu(const char *controllers) {
    for (const char *name = controllers; *name; name += strspn(name, ",")) {
        size_t length = strcspn(name, ",");
        if (length == 3 && strncmp(name, "cpu", 3) == 0) return 1;
        name += length;
    }
    return 0;
}

double cgroup_cpus(const char *membership, const char *root, double cpus) {
    char line[1024], mount[1200];
    FILE *file = fopen(membership, "r");
    if (!file) return cpus;
    while (fgets(line, sizeof line, file)) {
        char *controllers = strchr(line, ':'), *group = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!group) continue;
        *group++ = 0;
        controllers++;
        group[strcspn(group, "\n")] = 0;
        if (strcmp(group, "/") == 0) *group = 0;
        if (*controllers == 0) {
            cpus = quota_of_group(root, group, 2, cpus);
        } else if (names_cpu(controllers)) {
            snprintf(mount, sizeof mount, "%s/cpu", root);
            cpus = quota_of_group(mount, group, 1, cpus);
        }
    }
    fclose(file);
    return cpus;
}

static int default_threads(void) {
    const char *text = getenv("FUSEDLSTM_NUM_THREADS");
    char *end;
    long number = text ? strtol(text, &end, 10) : 0;
    if (text && end != text && *end == 0 && number >= 1 && number <= MAX_THREADS) return (int)number;
    double cpus = processors();
#if defined(__linux__)
    cpus = cgroup_cpus("/proc/self/cgroup", "/sys/fs/cgroup", cpus);
#endif
    return cpus < 1 ? 1 : cpus > MAX_THREADS ? MAX_THREADS : (int)cpus;
}

int team_threads(int requested) {
    static atomic_int known; /* reading files is slow; the answer changes too seldom to ask again */
    if (requested > 0) return requested < MAX_THREADS ? requested : MAX_THREADS;
    int count = atomic_load(&known);
    if (count == 0) {
        struct float_state state = float_state_enter();
        atomic_store(&known, count = default_threads());
        float_state_leave(state);
    }
    return count;
}
