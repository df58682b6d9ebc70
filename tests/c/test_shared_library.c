/* The shared library loaded, used on several threads and unloaded a thousand times: no thread stays behind, memory does
 * not grow, nothing is printed. Takes the library's path; links nothing of it. */
#include <dirent.h>
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "fusedlstm.h"

enum { ROWS = 128, INNER = 64, COLUMNS = 64 };
static float a[ROWS * INNER], b[INNER * COLUMNS], out[ROWS * COLUMNS], first[ROWS * COLUMNS];

/* Threads of this process; 0 where the system does not say. */
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

static long resident_bytes(void) {
    long total = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file && fscanf(file, "%ld %ld", &total, &resident) != 2) resident = 0;
    if (file) fclose(file);
    return resident * sysconf(_SC_PAGESIZE);
}

int main(int count, char **arguments) {
    if (count < 2) return 2;
    const int repeats = count > 2 ? atoi(arguments[2]) : 1000, at_start = tasks();
    long warm = 0;
    for (int k = 0; k < INNER * ROWS; k++) a[k] = (float)(k % 7) - 3;
    for (int k = 0; k < INNER * COLUMNS; k++) b[k] = (float)(k % 5) / 3;
    struct fusedlstm_matmul m = {.rows = ROWS,
                                 .inner = INNER,
                                 .columns = COLUMNS,
                                 .dtype = FUSEDLSTM_FLOAT32,
                                 .threads = 3,
                                 .a = a,
                                 .b = b,
                                 .out = out,
                                 .a_row_stride = INNER,
                                 .a_column_stride = 1,
                                 .b_row_stride = COLUMNS,
                                 .b_column_stride = 1,
                                 .out_row_stride = COLUMNS};
    for (int k = 0; k < repeats; k++) {
        void *library = dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL);
        CHECK(library, "%s", library ? "" : dlerror());
        if (!library) break;
        CHECK(tasks() == at_start, "%d threads after loading, %d before", tasks(), at_start);
        size_t (*size)(const struct fusedlstm_matmul *);
        int (*matmul)(const struct fusedlstm_matmul *, const char **);
        /* POSIX lets dlsym's pointer be that of a function; C only lets its bytes be copied. */
        void *symbol = dlsym(library, "fusedlstm_matmul_workspace_size");
        memcpy(&size, &symbol, sizeof size);
        symbol = dlsym(library, "fusedlstm_matmul");
        memcpy(&matmul, &symbol, sizeof matmul);
        m.workspace = aligned_alloc(64, (size(&m) + 63) / 64 * 64);
        CHECK(matmul(&m, NULL) == FUSEDLSTM_OK, "round %d", k);
        CHECK(!at_start || tasks() == at_start + 2, "%d threads in use, %d before", tasks(), at_start);
        free(m.workspace);
        CHECK(dlclose(library) == 0, "dlclose");
        CHECK(tasks_soon(at_start) == at_start, "%d threads after unloading, %d before", tasks(), at_start);
        if (k == 0) memcpy(first, out, sizeof out);
        CHECK(memcmp(first, out, sizeof out) == 0, "round %d differs", k);
        memset(out, 0, sizeof out);
        if (k == repeats / 10) warm = resident_bytes();
    }
    if (repeats >= 1000) /* a short run, under valgrind say, never gets warm */
        CHECK(resident_bytes() - warm <= 1 << 20, "resident memory grew from %ld to %ld bytes", warm, resident_bytes());
    return check_summary("test_shared_library");
}
