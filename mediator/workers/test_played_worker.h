/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This module plays a worker that behaves, or misbehaves, as a test wants.  Its vm_id says how
 * (modulo A_KIND, so that several VMs can have workers of one kind).
 */
#ifndef MEDIATOR_WORKERS_TEST_PLAYED_WORKER_H
#define MEDIATOR_WORKERS_TEST_PLAYED_WORKER_H

/* What a worker may be like.  The numbers are vm_ids. */
enum character {
    GOOD = 1,
    NEVER_READY,
    SAYS_TOO_LITTLE,
    SAYS_NOTHING, /* a packet of no bytes */
    SAYS_TOO_MUCH,
    OTHER_MAGIC,
    OTHER_VERSION,
    OTHER_LENGTH,
    OTHER_TYPE,
    READY_TWICE,
    READY_TOO_SHORT,
    READY_WITHOUT_END_OF_NAME,
    DONE_BEFORE_READY,
    CLOSES_ITS_SOCKET,
    DONE_OF_ANOTHER_JOB,
    DONE_TWICE,
    DONE_WITH_HUGE_COUNT,
    DONE_WITH_OTHER_LENGTH,
    DONE_THEN_GONE,
    LEAVES_A_JOB,
    CRASHES_WITH_A_JOB,
    IS_KILLED_BY_THE_HOST,
    READS_NOTHING,
    IS_DEAF_TO_QUIT,
    WANTS_ITS_ARGUMENTS,
    IS_NOT_READY_YET,
    BRINGS_DESCRIPTORS, /* beside each answer */
    SAYS_NOTHING_BESIDE_DESCRIPTORS,
};

#define A_KIND 1000u

/* A worker's life by its command line; returns its exit status, or never. */
int played_worker_main(int argc, char **argv);

#endif /* MEDIATOR_WORKERS_TEST_PLAYED_WORKER_H */
