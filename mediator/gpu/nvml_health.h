/* SPDX-License-Identifier: GPL-2.0-or-later */
/* This module knows what NVML can say about one GPU, and what follows from it.  It is pure. */
#ifndef MEDIATOR_GPU_NVML_HEALTH_H
#define MEDIATOR_GPU_NVML_HEALTH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NVML_PROCESSES_MAX 1280u /* a worker of each VM, and others */
#define NVML_HEALTH_TEXT_BYTES 256u

/* Which values are there: a GPU or a driver may not have all. */
#define NVML_HAS_TEMPERATURE (1u << 0)
#define NVML_HAS_SLOWDOWN (1u << 1)
#define NVML_HAS_UTILIZATION (1u << 2)
#define NVML_HAS_MEMORY (1u << 3)
#define NVML_HAS_POWER (1u << 4)
#define NVML_HAS_POWER_LIMIT (1u << 5)
#define NVML_HAS_ECC (1u << 6)
#define NVML_HAS_CLOCKS_EVENTS (1u << 7)
#define NVML_HAS_ROWS (1u << 8)
#define NVML_HAS_PAGES (1u << 9)
#define NVML_HAS_RECOVERY (1u << 10)
#define NVML_HAS_PROCESSES (1u << 11)
#define NVML_HAS_SM_CLOCK (1u << 12)
#define NVML_HAS_XIDS (1u << 13) /* Xid events are watched */

struct nvml_process {
    uint32_t pid;
    uint64_t used_bytes;
};

typedef struct nvml_health {
    uint64_t taken_ns; /* CLOCK_MONOTONIC when it was read; 0 = never */
    uint64_t age_ns;   /* then until now, set when it is handed out */
    bool stale;        /* NVML is late: hung, or in trouble */
    uint32_t has;      /* NVML_HAS_* */

    bool lost;                 /* the GPU no longer answers on its bus */
    bool reset_required;       /* NVML refuses calls until the GPU is reset */
    uint32_t error;            /* nvml_result of what failed otherwise, 0 = nothing */
    const char *error_reading; /* what was to be read then: "the temperature"; a literal */
    const char *error_text;    /* NVML's own words for it; NVML's, for the process's life */

    uint32_t temperature_c;
    uint32_t slowdown_c; /* hotter than this it clocks itself down */
    uint32_t gpu_percent;
    uint32_t memory_percent; /* of time in which memory was read or written */
    uint64_t memory_total_bytes;
    uint64_t memory_used_bytes;
    uint32_t sm_clock_mhz;
    uint32_t power_mw;
    uint32_t power_limit_mw;
    uint64_t ecc_corrected; /* since the driver was loaded */
    uint64_t ecc_uncorrected;
    uint64_t clocks_events; /* NVML_CLOCKS_* */
    uint32_t rows_remapped;
    bool rows_pending;
    bool rows_failed;
    bool pages_pending;
    uint32_t recovery_action; /* NVML_RECOVERY_* */

    /* Since monitoring began, or since the last reset. */
    uint64_t xid_count;
    uint32_t last_xid;
    uint64_t last_xid_ns; /* CLOCK_MONOTONIC */
    uint32_t reset_xid;   /* the last that asks for a reset, 0 = none */

    bool processes_unlisted; /* there are more than fit: NVML lists none then */
    uint32_t process_count;
    struct nvml_process processes[NVML_PROCESSES_MAX];
} nvml_health_t;

struct nvml_verdict {
    bool available;                       /* may be given work */
    bool needs_reset;                     /* a reset would help */
    char reason[NVML_HEALTH_TEXT_BYTES];  /* why it isn't available; "" when it is */
    char warning[NVML_HEALTH_TEXT_BYTES]; /* what else one should know; "" = nothing */
};

void nvml_health_judge(const nvml_health_t *health, struct nvml_verdict *verdict);

/* Does this Xid mean that the GPU must be reset before it can be used again? */
bool nvml_xid_needs_reset(uint32_t xid);
/* "GPU has fallen off the bus", or "" for those that have no meaning here. */
const char *nvml_xid_meaning(uint32_t xid);
/* "power cap, hw thermal", "none". */
void nvml_clocks_events_text(uint64_t events, char *text, size_t text_bytes);
/* "none", "reset", "reboot", ... */
const char *nvml_recovery_name(uint32_t action);

#endif /* MEDIATOR_GPU_NVML_HEALTH_H */
