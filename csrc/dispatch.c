/* Which kernels to use: those of the best instruction set that this machine has, or of the one asked for. This file is
 * compiled without any instruction-set flag, so it runs everywhere. HAVE_KERNELS_* come from CMakeLists.txt. */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "fusedlstm.h"
#include "kernels/kernels.h"

struct isa {
    const struct kernels *float32, *float64;
    int (*runs_here)(void);
};

#define DECLARE(isa) extern const struct kernels kernels_##isa##_32, kernels_##isa##_64;
#define TABLES(isa) &kernels_##isa##_32, &kernels_##isa##_64

#if defined(HAVE_KERNELS_V2)
DECLARE(v2)
static int has_v2(void) {
    return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("ssse3") && __builtin_cpu_supports("popcnt");
}
#endif
#if defined(HAVE_KERNELS_V3)
DECLARE(v3)
static int has_v3(void) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
           __builtin_cpu_supports("bmi2");
}
#endif
#if defined(HAVE_KERNELS_V4)
DECLARE(v4)
static int has_v4(void) {
    return has_v3() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl");
}
#endif
#if defined(HAVE_KERNELS_NEON)
DECLARE(neon)
#endif
#if defined(HAVE_KERNELS_GENERIC)
DECLARE(generic)
#endif
#if defined(HAVE_KERNELS_NEON) || defined(HAVE_KERNELS_GENERIC)
static int always(void) {
    return 1;
}
#endif

static const struct isa ISAS[] = {
/* best first */
#if defined(HAVE_KERNELS_V4)
    {TABLES(v4), has_v4},
#endif
#if defined(HAVE_KERNELS_V3)
    {TABLES(v3), has_v3},
#endif
#if defined(HAVE_KERNELS_V2)
    {TABLES(v2), has_v2},
#endif
#if defined(HAVE_KERNELS_NEON)
    {TABLES(neon), always},
#endif
#if defined(HAVE_KERNELS_GENERIC)
    {TABLES(generic), always},
#endif
};
enum { ISA_COUNT = sizeof ISAS / sizeof *ISAS };

static _Atomic(const struct isa *) in_use;

/* The best one with this name, or of any name for NULL; NULL if the machine has none. */
static const struct isa *find(const char *name) {
    for (int k = 0; k < ISA_COUNT; k++)
        if ((!name || strcmp(name, ISAS[k].float32->isa) == 0) && ISAS[k].runs_here()) return &ISAS[k];
    return NULL;
}

static const struct isa *current(void) {
    const struct isa *isa = atomic_load_explicit(&in_use, memory_order_acquire);
    if (isa) return isa;
    const char *wanted = getenv("FUSEDLSTM_ISA");
    isa = wanted && *wanted ? find(wanted) : NULL;
    if (!isa) isa = find(NULL);
    atomic_store_explicit(&in_use, isa, memory_order_release);
    return isa;
}

const struct kernels *kernels_in_use(int dtype) {
    const struct isa *isa = current();
    if (!isa) return NULL;
    return dtype == FUSEDLSTM_FLOAT32 ? isa->float32 : isa->float64;
}

const char *fusedlstm_isa(void) {
    const struct isa *isa = current();
    return isa ? isa->float32->isa : "none";
}

int fusedlstm_set_isa(const char *name) {
    const struct isa *isa = find(name);
    if (!isa) return FUSEDLSTM_NO_ISA;
    atomic_store_explicit(&in_use, isa, memory_order_release);
    return FUSEDLSTM_OK;
}

const char *fusedlstm_available_isa(int index) {
    for (int k = 0; k < ISA_COUNT && index >= 0; k++)
        if (ISAS[k].runs_here() && index-- == 0) return ISAS[k].float32->isa;
    return NULL;
}
