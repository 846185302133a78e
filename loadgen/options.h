/* SPDX-License-Identifier: GPL-2.0-or-later */
/* This module reads what the command line asks for. */
#ifndef LOADGEN_OPTIONS_H
#define LOADGEN_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "loadgen/job_mix.h"

#define LOADGEN_VMS_MAX 1024u
#define LOADGEN_GROUPS_MAX 64u
#define LOADGEN_DEPTH_MAX 4096u /* requests in flight, one VM */
#define LOADGEN_PATH_BYTES 108u /* of sockaddr_un */

/* VMs that behave alike. */
struct loadgen_group {
    uint32_t count;
    uint32_t vm_id; /* of the first; the others count up */
    struct job_mix mix;
    uint32_t depth;    /* most in flight */
    double rate_hz;    /* each VM; 0 = closed loop */
    bool poisson;      /* open loop: random gaps, else even ones */
    uint64_t think_ns; /* closed loop: from an answer to the next request */
    uint64_t stop_ns;  /* submits nothing later than this after the start; 0 = to the end */
    char pool;
    uint8_t priority;
};

struct loadgen_connect {
    uint32_t vm_id;
    const char *path;
};

struct loadgen_options {
    struct loadgen_group groups[LOADGEN_GROUPS_MAX];
    uint32_t group_count;
    uint32_t vm_count;
    const char *socket_path; /* %d stands for the vm_id */
    struct loadgen_connect connects[LOADGEN_VMS_MAX];
    uint32_t connect_count;
    uint64_t duration_ns; /* 0 = until `count` */
    uint64_t warmup_ns;
    uint64_t drain_ns;
    uint64_t busy_wait_ns;
    uint64_t count; /* jobs of each VM; 0 = until `duration_ns` */
    uint64_t seed;
    bool hello;
    bool reconnect;
    bool quiet;
    const char *json_path; /* "-" = standard output */
};

/* Returns -1 to go on, or the exit status: it has said why. */
int loadgen_options_parse(struct loadgen_options *options, int argc, char **argv);

/* The socket of a VM, or NULL when the path is too long. `buffer`: LOADGEN_PATH_BYTES. */
const char *loadgen_socket_path(const struct loadgen_options *options, uint32_t vm_id,
                                char *buffer);

#endif /* LOADGEN_OPTIONS_H */
