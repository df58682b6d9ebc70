/* Results are the same to the bit for any number of threads, many callers at once, and in the child of a fork; the number
 * of threads follows the affinity mask, the control groups' quota and the environment. Linux has all of it; elsewhere
 * what it alone has is left out.
 *
 *   test_threads [REPEATS [shared]]     `shared`: something else keeps threads in this process, as the thread sanitizer
 *                                       and emulators do; neither follows the child of a program with threads */
#define _GNU_SOURCE
#include <dirent.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kernels/kernels.h"
#include "machine.h"
#include "problem.h"

static int repeats = 100;

static struct shape lstm_shape(int64_t batch, int64_t inputs, int64_t units, int dtype, int threads, int mask) {
    return (struct shape){.batch = batch,
                          .steps = 6,
                          .inputs = inputs,
                          .units = units,
                          .dtype = dtype,
                          .threads = threads,
                          .activation = FUSEDLSTM_TANH,
                          .recurrent_activation = FUSEDLSTM_SIGMOID,
                          .states = 1,
                          .flags = FUSEDLSTM_TRAINING,
                          .mask = mask};
}

/* ------------------------------------------------------------------------------------------------------ same results */

/* Three calls of different cells and sizes at once, on fewer, as many and more threads than calls. */
static void check_together(int dtype) {
    static const int VARIANT[] = {0, 4, 8}, THREADS[] = {1, 2, 3, 5, 8};
    struct shape shapes[] = {lstm_shape(2, 64, 300, dtype, 1, NO_MASK), lstm_shape(24, 33, 40, dtype, 1, RANDOM_MASK),
                             lstm_shape(5, 4, 17, dtype, 1, NO_MASK)};
    struct problem one[3], many[3];
    for (int k = 0; k < 3; k++) {
        make_variant(&shapes[k], VARIANT[k]);
        problem_new(&one[k], &shapes[k], 1);
        CHECK(problem_run(&one[k]) == FUSEDLSTM_OK, "status");
    }
    for (int t = 0; t < 5; t++) {
        const struct fusedlstm_rnn *layers[3];
        const struct fusedlstm_rnn_forward *forward[3];
        const struct fusedlstm_rnn_backward *backward[3];
        for (int k = 0; k < 3; k++) {
            shapes[k].threads = THREADS[t];
            problem_new(&many[k], &shapes[k], 1);
            layers[k] = &many[k].layer;
            forward[k] = &many[k].forward;
            backward[k] = &many[k].backward;
        }
        CHECK(fusedlstm_rnn_forward_together(3, layers, forward, NULL, NULL) == FUSEDLSTM_OK, "status");
        CHECK(fusedlstm_rnn_backward_together(3, layers, backward, NULL, NULL) == FUSEDLSTM_OK, "status");
        for (int k = 0; k < 3; k++) {
            const char *differs = problem_difference(&one[k], &many[k]);
            CHECK(!differs, "%s float%d, %d threads: %s of call %d differs", fusedlstm_isa(), dtype ? 64 : 32,
                  THREADS[t], differs, k);
            problem_free(&many[k]);
        }
    }
    for (int k = 0; k < 3; k++) problem_free(&one[k]);
}

static void check_recurrent(int dtype, int variant) {
    static const struct {
        int64_t batch, inputs, units;
    } SIZES[] = {{1, 5, 3}, {2, 9, 70}, {5, 0, 17}, {24, 33, 40}, {40, 20, 64}, {2, 64, 300}};
    static const int THREADS[] = {2, 3, 7, 8};
    for (int k = 0; k < 6; k++) {
        for (int mask = NO_MASK; mask <= RANDOM_MASK; mask++) {
            struct shape shape = lstm_shape(SIZES[k].batch, SIZES[k].inputs, SIZES[k].units, dtype, 1, mask);
            make_variant(&shape, variant);
            struct problem one, many;
            problem_new(&one, &shape, 1);
            CHECK(problem_run(&one) == FUSEDLSTM_OK, "status");
            for (int t = 0; t < 4; t++) {
                for (int split = 0; split < 3; split++) {            /* by rows, by units, as api.c likes */
                    if (split == 1 && shape.input_dropout) continue; /* rows with dropout are shared out only */
                    shape.threads = THREADS[t];
                    problem_new(&many, &shape, 1);
                    if (split < 2)
                        problem_run_split(&many, THREADS[t], split);
                    else
                        CHECK(problem_run(&many) == FUSEDLSTM_OK, "status");
                    const char *differs = problem_difference(&one, &many);
                    CHECK(!differs,
                          "%s variant %d float%d B %lld I %lld H %lld mask %d, %d threads, split %d: %s differs",
                          fusedlstm_isa(), variant, dtype ? 64 : 32, (long long)shape.batch, (long long)shape.inputs,
                          (long long)shape.units, mask, THREADS[t], split, differs);
                    problem_free(&many);
                }
            }
            problem_free(&one);
        }
    }
}

static void check_matmul(int dtype) {
    static const int64_t SIZES[][3] = {{3, 300, 190}, {70, 40, 50}, {64, 600, 7}, {150, 257, 33}};
    for (int k = 0; k < 4; k++) {
        const int64_t M = SIZES[k][0], K = SIZES[k][1], N = SIZES[k][2];
        struct pool pool = {.get = plain_get};
        uint64_t random = 1;
        double *a = blank(&pool, (size_t)(M * K) * 8, 64), *b = blank(&pool, (size_t)(K * N) * 8, 64);
        for (int64_t n = 0; n < M * K; n++) set_element(a, n, dtype, random_unit(&random));
        for (int64_t n = 0; n < K * N; n++) set_element(b, n, dtype, random_unit(&random));
        struct fusedlstm_matmul m = {.rows = M,
                                     .inner = K,
                                     .columns = N,
                                     .dtype = dtype,
                                     .a = a,
                                     .b = b,
                                     .a_row_stride = 1,
                                     .a_column_stride = M,
                                     .b_row_stride = N,
                                     .b_column_stride = 1,
                                     .out_row_stride = N};
        m.workspace = blank(&pool, fusedlstm_matmul_workspace_size(&m), 64);
        const size_t bytes = (size_t)(M * N) * element_size(dtype);
        void *one = m.out = blank(&pool, bytes, 64);
        m.threads = 1;
        CHECK(fusedlstm_matmul(&m, NULL) == FUSEDLSTM_OK, "status");
        m.out = blank(&pool, bytes, 64);
        for (int threads = 2; threads <= 8; threads++) {
            m.threads = threads;
            memset(m.out, 0xff, bytes);
            CHECK(fusedlstm_matmul(&m, NULL) == FUSEDLSTM_OK, "status");
            CHECK(memcmp(one, m.out, bytes) == 0, "%s float%d matmul %lld %lld %lld on %d threads differs",
                  fusedlstm_isa(), dtype ? 64 : 32, (long long)M, (long long)K, (long long)N, threads);
        }
        plain_release(&pool);
    }
}

/* The same call again and again gives the same bits, wherever its buffers lie. */
static void check_repeats(void) {
    struct shape shape = lstm_shape(26, 20, 40, FUSEDLSTM_FLOAT32, 3, RANDOM_MASK);
    struct problem first, again;
    problem_new(&first, &shape, 1);
    CHECK(problem_run(&first) == FUSEDLSTM_OK, "status");
    for (int k = 0; k < repeats; k++) {
        problem_new(&again, &shape, 1);
        CHECK(problem_run(&again) == FUSEDLSTM_OK && !problem_difference(&first, &again), "repeat %d differs", k);
        problem_free(&again);
    }
    problem_free(&first);
}

/* ---------------------------------------------------------------------------------------------------- many callers */

enum { CALLERS = 16 };
static struct problem expected;
static atomic_int wrong;

static void *caller(void *unused) {
    (void)unused;
    struct problem p = expected;
    for (int k = 0; k < repeats / 4 + 1; k++) {
        struct shape shape = expected.shape;
        shape.threads = 1 + k % 4;
        problem_new(&p, &shape, 1);
        if (problem_run(&p) != FUSEDLSTM_OK || problem_difference(&p, &expected)) atomic_fetch_add(&wrong, 1);
        problem_free(&p);
    }
    return NULL;
}

static void check_callers(void) {
    pthread_t threads[CALLERS];
    atomic_store(&wrong, 0);
    for (int k = 0; k < CALLERS; k++) CHECK(pthread_create(&threads[k], NULL, caller, NULL) == 0, "thread %d", k);
    for (int k = 0; k < CALLERS; k++) pthread_join(threads[k], NULL);
    CHECK(atomic_load(&wrong) == 0, "%d of the calls made at once differ", atomic_load(&wrong));
}

/* ------------------------------------------------------------------------------------------------------------- fork */

/* Exits with 0 when forward and backward give what the parent computed. */
static void compute_in_child(int threads) {
    struct problem p;
    struct shape shape = expected.shape;
    alarm(60);
    for (int k = 0; k < 2; k++) {
        shape.threads = threads;
        problem_new(&p, &shape, 1);
        if (problem_run(&p) != FUSEDLSTM_OK) _exit(2);
        if (problem_difference(&p, &expected)) _exit(3);
        problem_free(&p);
    }
    exit(0); /* not _exit: destructors run */
}

static void check_child(pid_t child, const char *what, int number) {
    int status = -1;
    CHECK(child > 0 && waitpid(child, &status, 0) == child && status == 0,
          "%s, fork %d: the child ended with status %x", what, number, (unsigned)status);
}

static void check_fork(void) {
    struct problem p;
    problem_new(&p, &expected.shape, 1);
    for (int k = 0; k < repeats; k++) {
        CHECK(problem_run(&p) == FUSEDLSTM_OK, "status");
        fflush(stdout);
        pid_t child = fork();
        if (child == 0) compute_in_child(1 + k % 4);
        check_child(child, "after use", k);
    }
    CHECK(problem_run(&p) == FUSEDLSTM_OK && !problem_difference(&p, &expected), "the parent differs after the forks");
    problem_free(&p);
}

static atomic_int stop;
static struct problem busy; /* not on the thread's stack, where a child's leak checker would miss what it points to */
static void *busy_caller(void *unused) {
    (void)unused;
    problem_new(&busy, &expected.shape, 1);
    while (!atomic_load(&stop)) problem_run(&busy);
    problem_free(&busy);
    return NULL;
}

static void check_fork_while_busy(void) {
    pthread_t thread;
    atomic_store(&stop, 0);
    CHECK(pthread_create(&thread, NULL, busy_caller, NULL) == 0, "thread");
    for (int k = 0; k < repeats; k++) {
        fflush(stdout);
        pid_t child = fork();
        if (child == 0) compute_in_child(3);
        check_child(child, "while another thread computes", k);
        nanosleep(&(struct timespec){.tv_nsec = 1000 * (k % 50)}, NULL);
    }
    atomic_store(&stop, 1);
    pthread_join(thread, NULL);
}

/* ------------------------------------------------------------------------------------------------ number of threads */

static int tasks(void) {
    int count = 0;
    DIR *folder = opendir("/proc/self/task");
    for (struct dirent *entry; folder && (entry = readdir(folder));) count += entry->d_name[0] != '.';
    if (folder) closedir(folder);
    return count;
}

/* A thread that has been joined may still be listed for a moment. */
static int tasks_soon(int wanted) {
    int count = tasks();
    for (int k = 0; k < 1000 && count != wanted; k++, count = tasks()) usleep(1000);
    return count;
}

/* The default number, asked for in a fresh child: it is found out once. */
static int default_in_child(const char *environment, int cpus) {
    pid_t child = fork();
    if (child == 0) {
        if (environment) setenv("FUSEDLSTM_NUM_THREADS", environment, 1);
#if defined(__linux__)
        cpu_set_t now, wanted;
        CPU_ZERO(&wanted);
        if (sched_getaffinity(0, sizeof now, &now)) _exit(255);
        for (int cpu = 0; cpu < CPU_SETSIZE && cpus > 0; cpu++)
            if (CPU_ISSET(cpu, &now)) {
                CPU_SET(cpu, &wanted);
                cpus--;
            }
        if (CPU_COUNT(&wanted) > 0 && sched_setaffinity(0, sizeof wanted, &wanted)) _exit(255);
#endif
        _exit(fusedlstm_num_threads());
    }
    int status = 0;
    return waitpid(child, &status, 0) == child && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* Called first: no thread has been started and nothing asked for. */
static void check_defaults(void) {
    unsetenv("FUSEDLSTM_NUM_THREADS");
    const int base = default_in_child(NULL, 0);
    CHECK(base >= 1, "%d threads", base);
    CHECK(default_in_child("7", 0) == 7, "FUSEDLSTM_NUM_THREADS=7 is ignored");
    static const char *const BAD[] = {"", "0", "-1", "two", "3x", "1025", "99999999999999999999", "2.5"};
    for (int k = 0; k < 8; k++) CHECK(default_in_child(BAD[k], 0) == base, "FUSEDLSTM_NUM_THREADS='%s' counts", BAD[k]);
#if defined(__linux__)
    CHECK(default_in_child(NULL, 1) == 1, "one CPU, %d threads", default_in_child(NULL, 1));
    if (base >= 2) CHECK(default_in_child(NULL, 2) == 2, "two CPUs, %d threads", default_in_child(NULL, 2));
    CHECK(default_in_child("5", 1) == 5, "the environment is the last word");
#endif
    CHECK(fusedlstm_set_num_threads(5) == FUSEDLSTM_OK && fusedlstm_num_threads() == 5, "set 5");
    CHECK(fusedlstm_set_num_threads(-1) == FUSEDLSTM_INVALID && fusedlstm_set_num_threads(1025) == FUSEDLSTM_INVALID,
          "numbers out of range");
    CHECK(fusedlstm_num_threads() == 5, "a refused number changes nothing");
    CHECK(fusedlstm_set_num_threads(0) == FUSEDLSTM_OK && fusedlstm_num_threads() == base, "back to the default");
}

static char folder[] = "/tmp/fusedlstm-XXXXXX";

static void write_file(const char *path, const char *text) {
    char full[512];
    snprintf(full, sizeof full, "%s/%s", folder, path);
    for (char *slash = full + strlen(folder) + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = 0;
        mkdir(full, 0700);
        *slash = '/';
    }
    FILE *file = fopen(full, "w");
    CHECK(file && fputs(text, file) >= 0, "cannot write %s", full);
    if (file) fclose(file);
}

static double quota(const char *membership, double cpus) {
    char path[512];
    write_file("membership", membership);
    snprintf(path, sizeof path, "%s/membership", folder);
    return cgroup_cpus(path, folder, cpus);
}

static void check_quota(void) {
    CHECK(mkdtemp(folder), "no temporary folder");
    CHECK(cgroup_cpus("/nonexistent", folder, 8) == 8, "no file");
    CHECK(quota("0::/\n", 8) == 8, "no quota");
    static const struct {
        const char *v2, *v1;
        double cpus;
    } QUOTAS[] = {{"50000 100000\n", "50000\n", 0.5},
                  {"100000 100000\n", "100000\n", 1},
                  {"200000 100000\n", "200000\n", 2},
                  {"250000 100000\n", "250000\n", 2.5},
                  {"max 100000\n", "-1\n", 8},
                  {"1600000 100000\n", "1600000\n", 8},
                  {"nonsense\n", "nonsense\n", 8},
                  {"", "", 8},
                  {"100000 0\n", "0\n", 8}};
    for (int k = 0; k < 9; k++) {
        write_file("a/b/cpu.max", QUOTAS[k].v2);
        CHECK(quota("0::/a/b\n", 8) == QUOTAS[k].cpus, "version 2, %s", QUOTAS[k].v2);
        write_file("cpu/c/cpu.cfs_quota_us", QUOTAS[k].v1);
        write_file("cpu/c/cpu.cfs_period_us", "100000\n");
        CHECK(quota("9:memory:/a\n4:cpu,cpuacct:/c\n", 8) == QUOTAS[k].cpus, "version 1, %s", QUOTAS[k].v1);
    }
    /* The groups above count too, whichever is the smallest. */
    write_file("a/cpu.max", "150000 100000\n");
    write_file("a/b/cpu.max", "300000 100000\n");
    CHECK(quota("0::/a/b\n", 8) == 1.5, "the parent's quota");
    CHECK(quota("0::/a/b/missing\n", 8) == 1.5, "a group without a file");
    write_file("cpu.max", "20000 10000\n");
    CHECK(quota("0::/\n", 8) == 2, "the root's quota, where a container has it");
    write_file("a/cpu.max", "max 100000\n");
    CHECK(quota("0::/a/b\n", 8) == 2, "the root's quota above others");
    /* Both versions at once, and a controller whose name only begins alike. */
    write_file("cpu/c/cpu.cfs_quota_us", "110000\n");
    CHECK(quota("3:cpuacct,cpu:/c\n0::/a\n", 8) == 1.1, "version 1 beside version 2");
    CHECK(quota("3:cpuset:/c\n0::/a\n", 8) == 2, "cpuset is another controller");
    CHECK(quota("3:cpuset,cpuacct:/c\n", 8) == 8, "cpuacct is another controller");
    CHECK(quota("", 8) == 8 && quota("no colon\n", 8) == 8 && quota("0:\n", 8) == 8, "lines of another form");
    char command[600];
    snprintf(command, sizeof command, "rm -r '%s'", folder);
    CHECK(system(command) == 0, "%s", command);
}

int main(int count, char **arguments) {
    if (count > 1) repeats = atoi(arguments[1]); /* fewer for emulators and sanitizers */
    const int alone = count <= 2;
#if defined(__linux__)
    const int at_start = tasks();
    check_defaults();
    CHECK(tasks() == at_start, "%d threads at the start, %d before the first computation", at_start, tasks());
    check_quota();
#endif
    const char *isa;
    for (int k = 0; (isa = fusedlstm_available_isa(k)); k++) {
        fusedlstm_set_isa(isa);
        for (int dtype = FUSEDLSTM_FLOAT32; dtype <= FUSEDLSTM_FLOAT64; dtype++) {
            /* Slow builds ask for few repeats, and get every third variant. */
            for (int variant = 0; variant < VARIANTS; variant += repeats < 100 ? 3 : 1) check_recurrent(dtype, variant);
            check_together(dtype);
            check_matmul(dtype);
        }
    }
    fusedlstm_set_isa(NULL);
#if defined(__linux__)
    const int after_use = tasks();
    if (alone) CHECK(after_use == at_start + 7, "%d threads at the start, %d after calls with 8", at_start, after_use);
#endif
    check_repeats();
    struct shape shape = lstm_shape(26, 24, 40, FUSEDLSTM_FLOAT32, 3, RANDOM_MASK);
    problem_new(&expected, &shape, 1);
    CHECK(problem_run(&expected) == FUSEDLSTM_OK, "status");
    check_callers();
    if (alone) {
        check_fork();
        check_fork_while_busy();
    }
#if defined(__linux__)
    CHECK(tasks_soon(after_use) == after_use, "%d threads became %d", after_use, tasks());
#endif
    problem_free(&expected);
    return check_summary("test_threads");
}
