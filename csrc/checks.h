/* What the public functions check their arguments with. */
#ifndef FUSEDLSTM_CHECKS_H
#define FUSEDLSTM_CHECKS_H

#include <stddef.h>
#include <stdint.h>

#include "fusedlstm.h"

/* Every check ends in one of these; `name` is that of the offending field. */
static inline int refuse(const char **error, const char *name, int status) {
    if (error) *error = name;
    return status;
}
#define REQUIRE(condition, name)                                                                                       \
    do {                                                                                                               \
        if (!(condition)) return refuse(error, name, FUSEDLSTM_INVALID);                                               \
    } while (0)
#define REQUIRE_OK(call)                                                                                               \
    do {                                                                                                               \
        int status_ = (call);                                                                                          \
        if (status_ != FUSEDLSTM_OK) return status_;                                                                   \
    } while (0)

enum { BUFFER_ALIGNMENT = 64 };

static inline int dtype_valid(int dtype) {
    return dtype == FUSEDLSTM_FLOAT32 || dtype == FUSEDLSTM_FLOAT64;
}
static inline size_t size_of(int dtype) {
    return dtype == FUSEDLSTM_FLOAT32 ? sizeof(float) : sizeof(double);
}
static inline int aligned(const void *pointer, size_t alignment) {
    return (uintptr_t)pointer % alignment == 0;
}
/* An optional array of elements; a needed one is also not NULL. */
static inline int array(const void *pointer, int dtype) {
    return aligned(pointer, size_of(dtype));
}
static inline int needed(const void *pointer, int dtype, int64_t elements) {
    return elements == 0 || (pointer && array(pointer, dtype));
}
static inline int buffer(const void *pointer, size_t size) {
    return size == 0 || (pointer && aligned(pointer, BUFFER_ALIGNMENT));
}
/* Addresses stay far from the ends of the address space. */
static inline int stride_fits(int64_t stride, int64_t count) {
    int64_t limit = INT64_MAX / 64 / (count > 0 ? count : 1);
    return count <= 1 || (stride >= -limit && stride <= limit);
}
/* Rows that are written must not run into each other. */
static inline int stride_separates(int64_t stride, int64_t count, int64_t width) {
    return stride_fits(stride, count) && (count <= 1 || stride >= width || stride <= -width);
}

/* How many threads to use for so much work: `requested` at most, 0 for the default. */
int threads_for(int requested, double flops, int dtype);

#endif
