/* What the C tests share: a check that goes on after a failure, random numbers that repeat. */
#ifndef CHECK_H
#define CHECK_H

#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>

static atomic_long checks_passed, checks_failed;

/* CHECK(condition, format, ...) counts; what failed is printed with its place, the first few times. */
#define CHECK(condition, ...)                                                                                          \
    do {                                                                                                               \
        if (condition)                                                                                                 \
            checks_passed++;                                                                                           \
        else                                                                                                           \
            check_failed(__FILE__, __LINE__, #condition, __VA_ARGS__);                                                 \
    } while (0)

__attribute__((format(printf, 4, 5))) static inline void check_failed(const char *file, int line, const char *condition,
                                                                      const char *format, ...) {
    enum { SHOWN = 20 };
    if (checks_failed++ >= SHOWN) return;
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "%s:%d: %s is false: ", file, line, condition);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
}

/* The end of main: says how it went and returns the exit status. */
static inline int check_summary(const char *name) {
    if (checks_failed)
        printf("%s: %ld checks failed, %ld passed\n", name, checks_failed, checks_passed);
    else
        printf("%s: %ld checks passed\n", name, checks_passed);
    return checks_failed != 0;
}

/* 64 random bits: a counter whose bits are mixed (Steele, Lea and Flood 2014, SplitMix). */
static inline uint64_t random_bits(uint64_t *state) {
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}
/* 0 ... below-1 */
static inline int64_t random_below(uint64_t *state, int64_t below) {
    return (int64_t)(random_bits(state) % (uint64_t)below);
}
/* In [-1, 1). */
static inline double random_unit(uint64_t *state) {
    return (double)(int64_t)random_bits(state) * 0x1p-63;
}

#endif
