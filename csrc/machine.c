/* What this process may use of the machine, and how work is best shared out on it.
 *
 * Nothing here is tuned to one machine: how fast a member computes, what it costs to hand over and to wake, and how large
 * a second-level cache is are measured or asked for. Only the choice depends on them, never a result. */
#if !defined(_WIN32)
#define _GNU_SOURCE /* sched_getaffinity */
#endif
#include "machine.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__APPLE__)
#include <sys/sysctl.h>
#endif

#include "system.h"
#include "threads.h"

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

int threads_allowed(int requested) {
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

/* ------------------------------------------------------------------------------------------------ speed and caches */

static const double USUAL_CACHE = 1 << 20, USUAL_SPEED = 3e10;

/* Bytes of a core's second-level cache. */
static double second_level_cache(void) {
    double size = 0;
#if defined(__linux__)
    for (int k = 0; k < 5 && size == 0; k++) {
        char path[80];
        double level = 0, kilobytes = 0;
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/level", k);
        if (read_numbers(path, "%lf", &level, NULL) != 1 || level != 2) continue;
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/size", k);
        if (read_numbers(path, "%lfK", &kilobytes, NULL) == 1) size = 1024 * kilobytes;
    }
#elif defined(__APPLE__)
    uint64_t bytes = 0;
    size_t length = sizeof bytes;
    if (sysctlbyname("hw.l2cachesize", &bytes, &length, NULL, 0) == 0) size = (double)bytes;
#elif defined(_WIN32)
    static SYSTEM_LOGICAL_PROCESSOR_INFORMATION information[1024];
    DWORD length = sizeof information;
    if (GetLogicalProcessorInformation(information, &length))
        for (DWORD k = 0; k < length / sizeof information[0]; k++)
            if (information[k].Relationship == RelationCache && information[k].Cache.Level == 2)
                size = (double)information[k].Cache.Size;
#endif
    return size > 0 ? size : USUAL_CACHE;
}

/* Operations a second of one core in products that its caches hold. */
static double measured_speed(const struct kernels *kernels, int dtype) {
    enum { ROWS = 96, INNER = 128, COLUMNS = 64, TIMES = 3 };
    struct fusedlstm_matmul m = {.rows = ROWS, .inner = INNER, .columns = COLUMNS, .dtype = dtype, .threads = 1};
    m.a_row_stride = INNER;
    m.a_column_stride = m.b_column_stride = 1;
    m.b_row_stride = m.out_row_stride = COLUMNS;
    size_t numbers = ROWS * INNER + INNER * COLUMNS + ROWS * COLUMNS, workspace = kernels->matmul_workspace_size(&m);
    char *block = calloc(1, numbers * sizeof(double) + workspace + 64);
    if (!block) return USUAL_SPEED;
    char *here = block + 64 - (uintptr_t)block % 64;
    m.workspace = here;
    m.a = here + workspace;
    m.b = (const double *)m.a + ROWS * INNER;
    m.out = (double *)(uintptr_t)m.b + INNER * COLUMNS;
    double best = 1;
    for (int k = 0; k < TIMES; k++) {
        double begin = seconds();
        team_run(1, kernels->matmul, &m);
        double time = seconds() - begin;
        if (time < best) best = time;
    }
    free(block);
    return best > 0 ? 2.0 * ROWS * INNER * COLUMNS / best : USUAL_SPEED;
}

struct machine this_machine(const struct kernels *kernels, int dtype, int members) {
    static _Atomic double cache, speeds[5][2]; /* by the width of their vectors, which tells the kernels apart */
    _Atomic double *speed = &speeds[kernels->vec_bytes / 16][dtype == FUSEDLSTM_FLOAT64];
    struct team_costs costs = team_costs(members);
    double bytes = atomic_load(&cache), flops = atomic_load(speed);
    if (bytes == 0) atomic_store(&cache, bytes = second_level_cache());
    if (flops == 0) atomic_store(speed, flops = measured_speed(kernels, dtype));
    return (struct machine){.flops = flops, .handover = costs.handover, .wake = costs.wake, .cache = bytes};
}

/* ------------------------------------------------------------------------------------------------------- the choice */

/* Cache lines that come from another core while a member computes, and from beyond its second-level cache, take a
 * fraction of a hand-over each, as many are under way at once and most are asked for ahead. */
enum { LINE = 64, LINES_OF_OTHERS = 6, LINES_FROM_FAR = 256 };

static int64_t largest_share(int64_t total, int members) {
    return (total + members - 1) / members;
}

/* Seconds of one step for so many rows and this part of the units: a tile's pass over the weights costs as much as half a
 * row does. */
static double step_time(const struct machine *m, const struct load *load, int64_t rows, double part) {
    double bytes = part * load->weight_bytes, far = bytes > m->cache ? bytes / LINE / LINES_FROM_FAR * m->handover : 0;
    double passes = 0.5 * (double)largest_share(rows, load->tile_rows);
    return ((double)rows + passes) * part * load->flops / m->flops + far;
}

struct split best_split(const struct machine *m, const struct load *load, int most) {
    const double worth = 0.9; /* of the time that fewer take */
    struct split best = {.threads = 1};
    double least = (double)load->steps * step_time(m, load, load->rows, 1);
    if (least < m->wake) return best;
    for (int n = 2, next; n <= most && least > 0; n = next) {
        next = n < most && n + 1 + n / 4 > most ? most : n + 1 + n / 4;
        /* All members' lines are looked at in a phase, some at once. The phase counts twice, as members are never quite
         * even. */
        double phase = 2 * m->handover * (1 + (n - 2) / 8.0), wake = m->wake * (n - 1);
        double part = (double)largest_share(load->blocks, n) / (double)load->blocks;
        double of_others =
            (double)load->rows * load->state_bytes * (1 - 1.0 / n) / LINE / LINES_OF_OTHERS * m->handover;
        double rows = wake + phase + (double)load->steps * step_time(m, load, largest_share(load->rows, n), 1);
        double units =
            wake + (double)load->steps * (load->passes * phase + of_others + step_time(m, load, load->rows, part));
        int by_units = !load->rows_only && units < rows;
        double time = by_units ? units : rows;
        if (time > worth * least) continue;
        least = time;
        best = (struct split){.threads = n, .units = by_units};
    }
    return best;
}

int threads_worth(const struct machine *m, double flops, int most) {
    double each = flops / m->flops / (2 * m->handover + m->wake);
    return each < 2 ? 1 : each < most ? (int)each : most;
}
