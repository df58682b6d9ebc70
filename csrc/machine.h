/* What this process may use of the machine, and how work is best shared out on it. See machine.c. */
#ifndef FUSEDLSTM_MACHINE_H
#define FUSEDLSTM_MACHINE_H

#include <stdint.h>

#include "kernels/kernels.h"

/* The number of threads for a call that asks for `requested`; 0: the default of fusedlstm.h. */
int threads_allowed(int requested);

/* The CPU quota of this process's control groups, rounded to nothing; `cpus` where none is smaller. `membership` is laid
 * out like /proc/self/cgroup, `root` like /sys/fs/cgroup. */
double cgroup_cpus(const char *membership, const char *root, double cpus);

/* What a choice depends on. */
struct machine {
    double flops;    /* operations a second of one member */
    double handover; /* seconds a phase costs that two members share */
    double wake;     /* seconds it costs to bring one more member into a call, on average */
    double cache;    /* bytes of a core's second-level cache */
};
/* This one, with these kernels, for a call of `members` at most: see team_costs. Speed and caches are measured when they are
 * asked for first, in less than a millisecond. */
struct machine this_machine(const struct kernels *kernels, int dtype, int members);

/* A recurrent layer's work. */
struct load {
    int64_t rows, steps, blocks; /* blocks of units, the least that a member can have */
    double flops;                /* of a row and step */
    double weight_bytes;
    double state_bytes; /* of a row, that a step reads of all units */
    int passes;         /* phases of a step whose units are shared out */
    int tile_rows;      /* rows that share a pass over the weights */
    int rows_only;      /* the units cannot be shared out */
};

/* How many threads to use, `most` at the most, for a share of the rows or of the units each: what takes least, where each
 * step up to more threads has to save a tenth. */
struct split {
    int threads, units;
};
struct split best_split(const struct machine *machine, const struct load *load, int most);

/* How many for work that can be cut anywhere: each has to be worth its waking. */
int threads_worth(const struct machine *machine, double flops, int most);

#endif
