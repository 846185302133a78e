/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The files of vgpu-client share these declarations. */
#ifndef VGPU_CLIENT_H
#define VGPU_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "vgpu/vgpu.h"

enum client_exit {
    EXIT_OK = 0,
    EXIT_FAILED = 1, /* a job failed or a result was wrong */
    EXIT_USAGE = 2,
    EXIT_UNREACHABLE = 3, /* no device, or no mediator behind it */
    EXIT_REFUSED = 4,     /* queue full or rate limited, also after the retries */
    EXIT_QUARANTINED = 5,
};

enum client_mode { MODE_JOBS, MODE_REGISTERS, MODE_LIST, MODE_CHANNEL, MODE_BULK };

/* Work on buffers: the word on the command line instead of two numbers. */
enum client_bulk { BULK_SGEMM, BULK_VADD, BULK_BANDWIDTH, BULK_LATENCY };

struct client_op {
    const char *name;
    uint32_t opcode;
    uint32_t params, results, unit, gives, most; /* as VGPU_OPERATIONS says */
};

struct client_options {
    enum client_mode mode;
    char spec[300];
    struct vgpu_options device;
    const struct client_op *op;
    bool have_operands;
    uint32_t a, b;
    uint32_t elements;
    uint32_t spin_us;
    uint64_t count;      /* 0: no limit */
    uint64_t seconds_ns; /* 0: no limit */
    bool stream;         /* many jobs and a summary, not one job and its result */
    bool bench;
    bool progress;
    bool json;
    bool keep_going;
    enum client_bulk bulk;
    uint64_t n; /* elements, rows or jobs of a bulk; 0: its default */
    bool check; /* the product, too */
};

/* Fill *options from the command line.  Returns -1 to go on, or the exit status. */
int options_parse(struct client_options *options, int argc, char **argv);

/* One job: what was asked, and what came of it. */
struct client_job {
    const struct client_op *op;
    uint32_t a, b, sum;
    uint32_t elements;
    uint32_t spin_us;
    bool wrong;        /* the device answered, but not with the right result */
    char mistake[160]; /* what was wrong */
    struct vgpu_device_info info;
};

/* Run it and check its result; gives enum vgpu_result.  `random` feeds the vectors. */
int job_run(struct vgpu *v, struct client_job *job, uint64_t *random);

uint64_t client_random(uint64_t *state);

/* Exit status for a failed call on `v` (NULL: a failed open). */
int client_exit_status(const struct vgpu *v, int result);

/* The three modes of work; each gives the exit status. */
int client_run_single(struct vgpu *v, const struct client_options *options);
int client_run_stream(struct vgpu *v, const struct client_options *options);
int client_show_registers(struct vgpu *v, const struct client_options *options);
int client_list_devices(const struct client_options *options);
int client_run_bulk(struct vgpu *v, const struct client_options *options);
int client_show_channel(struct vgpu *v, const struct client_options *options);

/* Say on stderr, or as a JSON object on stdout, what failed; gives `status` back. */
int client_report_error(const struct client_options *options, uint32_t code, const char *text,
                        int status);

/* `text` as a JSON string with its quotes. */
void client_print_json_string(const char *text);

#endif
