/* The vector type and exp, expm1, log1p, sigmoid and tanh on it: the only file that knows the instruction set.
 *
 * KERNELS_REAL is 32 or 64. A `vec` holds LANES numbers of type `real`; arithmetic on it is the operators of C (GCC and
 * Clang vector extensions). MR is how many rows of four vectors fit into the registers as accumulators. */
#ifndef FUSEDLSTM_VEC_H
#define FUSEDLSTM_VEC_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define VEC_BYTES 64
#define MR 6 /* 24 accumulators of 32 registers */
#elif defined(__AVX2__)
#define VEC_BYTES 32
#define MR 3 /* 12 of 16; FMA takes the fourth weight vector from memory */
#elif defined(__aarch64__)
#define VEC_BYTES 16
#define MR 6 /* 24 of 32 */
#else
#define VEC_BYTES 16
#define MR 2 /* 8 of 16: a product needs a register of its own without FMA */
#endif

#if KERNELS_REAL == 32
typedef float real;
typedef int32_t ireal;
typedef uint32_t ureal;
#else
typedef double real;
typedef int64_t ireal;
typedef uint64_t ureal;
#endif

#define LANES ((int)(VEC_BYTES / sizeof(real)))
typedef real vec __attribute__((vector_size(VEC_BYTES)));
typedef ireal ivec __attribute__((vector_size(VEC_BYTES)));
typedef ureal uvec __attribute__((vector_size(VEC_BYTES)));
typedef real vec_unaligned __attribute__((vector_size(VEC_BYTES), aligned(sizeof(real)), may_alias));

#define INLINE static inline __attribute__((always_inline))
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 8")
#endif

INLINE vec vec_load(const real *p) {
    return *(const vec_unaligned *)p;
}
INLINE void vec_store(real *p, vec x) {
    *(vec_unaligned *)p = x;
}
INLINE vec vec_set(real x) {
    return x - (vec){0}; /* x - 0 is x for every x, -0 too */
}

/* The first n lanes, n < LANES; the others read as zero and are not written. */
INLINE vec vec_load_part(const real *p, int n) {
    vec x = {0};
    memcpy(&x, p, (size_t)n * sizeof(real));
    return x;
}
INLINE void vec_store_part(real *p, vec x, int n) {
    memcpy(p, &x, (size_t)n * sizeof(real));
}

/* 1 in the lanes whose byte is not zero, else 0; of the first n <= LANES bytes. */
INLINE vec vec_load_flags(const uint8_t *p, int64_t n) {
    typedef uint8_t bytes __attribute__((vector_size(LANES)));
    bytes b = {0};
    if (n == LANES)
        memcpy(&b, p, LANES);
    else
        for (int64_t k = 0; k < n; k++) b[k] = p[k];
    return -__builtin_convertvector(b != 0, vec);
}

/* a[0], b[0], a[1], b[1] ... of the first half of both, or with half = 1 of the second. */
INLINE vec vec_interleave(vec a, vec b, const int half) {
#if defined(__clang__)
    vec x;
    UNROLL
    for (int n = 0; n < LANES; n++) x[n] = (n % 2 ? b : a)[half * LANES / 2 + n / 2];
    return x;
#else
    ivec from;
    for (int n = 0; n < LANES; n++) from[n] = half * LANES / 2 + n / 2 + n % 2 * LANES;
    return __builtin_shuffle(a, b, from);
#endif
}

/* Lane by lane: condition (all bits or none, as comparisons give) ? a : b. */
INLINE vec vec_select(ivec condition, vec a, vec b) {
    return (vec)((condition & (ivec)a) | (~condition & (ivec)b));
}
/* NaN in x stays NaN: x86's minimum and maximum then give their second operand, and comparisons with it are false. */
#if defined(__AVX512F__) && KERNELS_REAL == 32
#define EXTREME(which, a, b) (vec) _mm512_##which##_ps((__m512)(a), (__m512)(b))
#elif defined(__AVX512F__)
#define EXTREME(which, a, b) (vec) _mm512_##which##_pd((__m512d)(a), (__m512d)(b))
#elif defined(__AVX2__) && KERNELS_REAL == 32
#define EXTREME(which, a, b) (vec) _mm256_##which##_ps((__m256)(a), (__m256)(b))
#elif defined(__AVX2__)
#define EXTREME(which, a, b) (vec) _mm256_##which##_pd((__m256d)(a), (__m256d)(b))
#else
#define EXTREME(which, a, b) vec_select(extreme_##which((a), (b)), (a), (b))
INLINE ivec extreme_max(vec a, vec b) {
    return a > b;
}
INLINE ivec extreme_min(vec a, vec b) {
    return a < b;
}
#endif
INLINE vec vec_at_least(vec x, real low) {
    return EXTREME(max, vec_set(low), x);
}
INLINE vec vec_at_most(vec x, real high) {
    return EXTREME(min, vec_set(high), x);
}

#define SIGN_BIT ((ireal)((uint64_t)1 << (KERNELS_REAL - 1)))
INLINE vec vec_abs(vec x) {
    return (vec)((ivec)x & ~((ivec){0} + SIGN_BIT));
}
/* x with the sign of s, for x >= 0. */
INLINE vec vec_with_sign(vec x, vec s) {
    return (vec)((ivec)x | ((ivec)s & ((ivec){0} + SIGN_BIT)));
}

#if KERNELS_REAL == 32
enum { MANTISSA_BITS = 23, EXPONENT_BIAS = 127 };
static const real LOG2_E = 1.44269504088896341f;
/* ln 2 in two parts, the first with few enough bits that n times it is exact. */
static const real LN2_HIGH = 0.693359375f, LN2_LOW = -2.12194440054690583e-4f;
static const real ROUND = 12582912.0f; /* 1.5 * 2^23: adding it rounds to an integer, found in the low bits */
static const real EXP_HIGH = 88.0f;    /* 2^n stays finite up to here, with 2^n (1 + p) */
static const real EXP_LOWEST = -104.0f, EXP_HIGHEST = 89.0f; /* exp is 0 and Inf beyond */
static const real TANH_ONE = 10.0f;                          /* tanh rounds to 1 beyond */
/* e^r = 1 + r + r^2 q(r), |r| <= ln(2)/2: tools/expm1_coefficients.py, error 2^-26.0 */
static const real EXP_Q[] = {4.99999967287706903e-01f, 1.66665414921586458e-01f, 4.16676001351220238e-02f,
                             8.36674013103583247e-03f, 1.38580997033956477e-03f};
#else
enum { MANTISSA_BITS = 52, EXPONENT_BIAS = 1023 };
static const real LOG2_E = 1.44269504088896341;
static const real LN2_HIGH = 6.93147180369123816490e-01, LN2_LOW = 1.90821492927058770002e-10;
static const real ROUND = 6755399441055744.0; /* 1.5 * 2^52 */
static const real EXP_HIGH = 709.0;
static const real EXP_LOWEST = -746.0, EXP_HIGHEST = 710.0;
static const real TANH_ONE = 20.0;
/* error 2^-61.6 */
static const real EXP_Q[] = {5.00000000000000000e-01, 1.66666666666666768e-01, 4.16666666666664354e-02,
                             8.33333333332143301e-03, 1.38888888889909302e-03, 1.98412698865925739e-04,
                             2.48015871238128973e-05, 2.75572437563535999e-06, 2.75574400653617313e-07,
                             2.51091923337719416e-08, 2.08646982757621481e-09};
#endif

/* e^r - 1, |r| <= ln(2)/2. Two coefficients at a time, so that half as many operations wait for each other; there is an odd
 * number of them. */
INLINE vec small_expm1(vec r) {
    int k = (int)(sizeof EXP_Q / sizeof *EXP_Q) - 1;
    vec r2 = r * r, q = vec_set(EXP_Q[k]);
    UNROLL
    for (k = k - 2; k >= 0; k -= 2) q = q * r2 + (r * EXP_Q[k + 1] + EXP_Q[k]);
    return q * r2 + r;
}

/* e^x = 2^n (1 + p): the integer n in the low bits of *shifted, p = e^r - 1 returned. */
INLINE vec exp_reduced(vec x, vec *shifted) {
    *shifted = x * LOG2_E + ROUND;
    vec n = *shifted - ROUND;
    return small_expm1((x - n * LN2_HIGH) - n * LN2_LOW);
}
/* The same of e^-x = 2^-n (1 + p). */
INLINE vec exp_minus_reduced(vec x, vec *shifted) {
    *shifted = x * LOG2_E + ROUND;
    vec n = *shifted - ROUND;
    return small_expm1((n * LN2_HIGH - x) + n * LN2_LOW);
}

/* 2^n; the high bits of ROUND vanish in the shift. Zero for n = -EXPONENT_BIAS. */
INLINE vec power_of_two(ivec shifted) {
    return (vec)(((uvec)shifted << MANTISSA_BITS) + ((ureal)EXPONENT_BIAS << MANTISSA_BITS)); /* NaN: any bits */
}

/* For x <= EXP_HIGH; wrong below -EXP_HIGH, where callers clamp. */
INLINE vec vec_expm1(vec x) {
    vec shifted, p = exp_reduced(x, &shifted);
    vec scale = power_of_two((ivec)shifted);
    return scale * p + (scale - (real)1);
}

INLINE vec vec_exp(vec x) {
    x = vec_at_most(vec_at_least(x, EXP_LOWEST), EXP_HIGHEST);
    vec shifted, p = exp_reduced(x, &shifted);
    /* 2^n in two factors: n may be beyond the largest exponent, or below the smallest. */
    ivec n = (ivec)shifted - (ivec)vec_set(ROUND);
    ivec half = n >> 1;
    vec first = power_of_two(half);
    return (first * p + first) * power_of_two(n - half);
}

/* log(1 + u) for u in [0, 1]: 2 atanh(s) = t (1 + s^2/3 + s^4/5 + ...), s = u / (2 + u) <= 1/3, t = 2 s: no smaller than
 * the result, so that it is not flushed ahead of it. */
INLINE vec vec_log1p_of_unit(vec u) {
    vec t = (u + u) / (u + (real)2), s2 = t * t * (real)0.25;
    vec sum = vec_set((real)1 / (KERNELS_REAL == 32 ? 17 : 35));
    for (int k = KERNELS_REAL == 32 ? 15 : 33; k >= 3; k -= 2) sum = sum * s2 + (real)1 / (real)k;
    return t + t * (s2 * sum);
}

/* 1 / (1 + e^-x) = 2^n / (2^n + 1 + p). Where the result is denormal it is zero: denormals are flushed inside a call. */
INLINE vec vec_sigmoid(vec x) {
    vec shifted, p = exp_minus_reduced(vec_at_most(vec_at_least(x, -EXP_HIGH), EXP_HIGH), &shifted);
    vec scale = power_of_two((ivec)shifted);
    return scale / ((p + scale) + (real)1); /* p first: a small 2^n would be lost in 1 */
}

/* (1 - e^-2a) / (1 + e^-2a) = (2^n - 1 - p) / (2^n + 1 + p), a = |x|, with the sign put back. Numerator and denominator are
 * rounded once each, and the numerator is small where the result is. e^2a would do the same, but rounds more for small a. */
INLINE vec vec_tanh(vec x) {
    vec a = vec_at_most(vec_abs(x), TANH_ONE);
    vec shifted, p = exp_minus_reduced(a + a, &shifted);
    vec scale = power_of_two((ivec)shifted);
    return vec_with_sign(((scale - (real)1) - p) / ((scale + (real)1) + p), x);
}

#endif
