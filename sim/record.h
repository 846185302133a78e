/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A record is what a run leaves behind for the judge: for each VM, at equal steps, the GPU
 * time that it had and the GPU time that was its part.
 *
 * A VM's *budget* grows by s a nanosecond while its worker takes jobs: s is its part
 * of the shares of all VMs placed on its GPU.  It is counted by k, the others that run
 * aside there meanwhile.
 */
#ifndef SIM_RECORD_H
#define SIM_RECORD_H

#include "sim/sim.h"

/* So many VMs aside are told apart, and none; beside more of them the GPU is divided further. */
#define SIM_ASIDES 4u

struct sim_track {
    /* one for each step, the first at the beginning; all only grow */
    uint64_t *got_ns;
    double *budget_ns[SIM_ASIDES]; /* by how many others run aside */
    double *share_ns;              /* all of it */
    uint32_t *overruns;            /* jobs of others that were set aside */
    uint64_t *forgotten_ns;        /* what others may have had ahead that were moved away */
    uint32_t *stretches;           /* pauses beyond patience that ended */
    uint32_t *waits;               /* times that it had work again, having had none */

    double part, rate; /* of share and of budget, now */
    uint32_t beside;   /* so many others */
    double budget_now_ns[SIM_ASIDES], share_now_ns;
    uint64_t mark_ns; /* up to here both are counted */
    uint32_t stretches_now, waits_now;
    uint64_t forgotten_now_ns;
    uint64_t longest_ns; /* job that it sent, or that its worker was slow to take up */
    uint64_t handed_ns;  /* most that its worker had to do at a time */
    double part_max;     /* its largest s */
    uint64_t work_ns;    /* time in which it had work, up to its last answer */
    uint64_t work_since_ns;
};

struct sim_record {
    const struct sim_promise *promise;
    uint64_t step_ns;
    uint64_t enough_ns; /* the run ends when VM 0 has had so much; 0 = at its end */
    uint32_t steps, capacity;
    uint32_t vm_count;
    struct sim_track *vms;
};

/* For a run of `vm_count` VMs; `record` is the caller's to destroy. */
void sim_record_init(struct sim_record *record, const struct sim_promise *promise,
                     uint64_t duration_ns, uint64_t step_ns, uint32_t vm_count);
void sim_record_destroy(struct sim_record *record);

#endif /* SIM_RECORD_H */
