/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The watchdog watches one VM's running job, and counts the VM's faults.
 *
 * Deadlines in, verdicts out: nothing here sleeps or knows the time.  A job
 * runs from the moment that it is the oldest in its worker.  After `overrun_ns`
 * others are let in beside it (asked again as long as that could not be done),
 * after `timeout_ns` its worker is to be killed.
 */
#ifndef CORE_WATCHDOG_H
#define CORE_WATCHDOG_H

#include <stdbool.h>
#include <stdint.h>

#include "common/ns.h"

struct watchdog_config {
    uint64_t overrun_ns;      /* 0 = never */
    uint64_t timeout_ns;      /* 0 = never */
    uint32_t fault_threshold; /* 0 = never quarantine */
};

struct watchdog {
    bool running;
    bool aside; /* the overrun was dealt with */
    uint64_t started_ns;
    uint64_t overrun_retry_ns; /* not asked again before */
    uint32_t fault_count;
};

enum wd_verdict {
    WD_FINE,
    WD_OVERRUN,
    WD_TIMEOUT,
};

/* How often an overrun that could not be dealt with is looked at again. */
#define WD_OVERRUN_RETRY_NS (5 * NS_PER_MS)

void wd_job_started(struct watchdog *watchdog, uint64_t now_ns);
/* It ended well, or at least it ended. */
void wd_job_completed(struct watchdog *watchdog);
/* It ended by a fault.  True when the threshold is reached: quarantine. */
bool wd_job_failed(struct watchdog *watchdog, const struct watchdog_config *config);

/* Call at the deadline.  OVERRUN: answer with wd_set_aside() if it was done. */
enum wd_verdict wd_check(struct watchdog *watchdog, const struct watchdog_config *config,
                         uint64_t now_ns);
void wd_set_aside(struct watchdog *watchdog);
/* When wd_check() is due, UINT64_MAX = not at all. */
uint64_t wd_deadline_ns(const struct watchdog *watchdog, const struct watchdog_config *config);

#endif /* CORE_WATCHDOG_H */
