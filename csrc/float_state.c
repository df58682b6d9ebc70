/* The floating-point state that calls compute in: see threads.h. */
#include "threads.h"

#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
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
