/* What the worker team and the measuring need of the operating system and the processor: locks, threads, cores, time. To be
 * included with _GNU_SOURCE defined, for affinity on Linux. */
#ifndef FUSEDLSTM_SYSTEM_H
#define FUSEDLSTM_SYSTEM_H

#if defined(_WIN32)
#include <windows.h>
typedef SRWLOCK lock_t;
typedef CONDITION_VARIABLE signal_t;
typedef HANDLE thread_t;
#define THREAD_RESULT DWORD WINAPI
static inline void lock(lock_t *l) {
    AcquireSRWLockExclusive(l);
}
static inline void unlock(lock_t *l) {
    ReleaseSRWLockExclusive(l);
}
static inline void wait_for(signal_t *s, lock_t *l) {
    SleepConditionVariableSRW(s, l, INFINITE, 0);
}
static inline void wake(signal_t *s) {
    WakeConditionVariable(s);
}
static inline void init_lock(lock_t *l, signal_t *s) {
    InitializeSRWLock(l);
    InitializeConditionVariable(s);
}
static inline void yield(void) {
    SwitchToThread();
}
static inline void nap(void) {
    Sleep(1);
}
static inline int this_core(void) {
    return -1;
}
static inline double seconds(void) {
    LARGE_INTEGER ticks, frequency;
    QueryPerformanceCounter(&ticks);
    QueryPerformanceFrequency(&frequency);
    return (double)ticks.QuadPart / (double)frequency.QuadPart;
}
static inline void leave_core(int core) {
    (void)core;
}
static inline int start(thread_t *t, DWORD(WINAPI *f)(void *), void *argument) {
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
#define THREAD_RESULT void *
static inline void lock(lock_t *l) {
    pthread_mutex_lock(l);
}
static inline void unlock(lock_t *l) {
    pthread_mutex_unlock(l);
}
static inline void wait_for(signal_t *s, lock_t *l) {
    pthread_cond_wait(s, l);
}
static inline void wake(signal_t *s) {
    pthread_cond_signal(s);
}
static inline void init_lock(lock_t *l, signal_t *s) {
    pthread_mutex_init(l, NULL);
    pthread_cond_init(s, NULL);
}
static inline void yield(void) {
    sched_yield();
}
static inline void nap(void) {
    nanosleep(&(struct timespec){.tv_nsec = 50000}, NULL);
}
static inline double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}
static inline int this_core(void) {
#if defined(__linux__)
    return sched_getcpu();
#else
    return -1;
#endif
}
/* A thread that slept wakes up where it was or where it was woken from, and a virtual machine's system, which takes an idle
 * processor for one that does not run, may leave it there though another is free. */
static inline void leave_core(int core) {
#if defined(__linux__)
    cpu_set_t allowed, others;
    if (core < 0 || this_core() != core || sched_getaffinity(0, sizeof allowed, &allowed)) return;
    others = allowed;
    CPU_CLR(core, &others);
    if (CPU_COUNT(&others) > 0 && sched_setaffinity(0, sizeof others, &others) == 0)
        sched_setaffinity(0, sizeof allowed, &allowed);
#else
    (void)core;
#endif
}
static inline int start(thread_t *t, void *(*f)(void *), void *argument) {
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
static inline void pause_briefly(void) {
    _mm_pause();
}
#elif defined(__aarch64__)
static inline void pause_briefly(void) {
    __asm__ volatile("yield");
}
#else
static inline void pause_briefly(void) {
}
#endif

#endif
