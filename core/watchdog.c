/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/watchdog.h"

void wd_job_started(struct watchdog *watchdog, uint64_t now_ns)
{
    watchdog->running = true;
    watchdog->aside = false;
    watchdog->started_ns = now_ns;
    watchdog->overrun_retry_ns = 0;
}

void wd_job_completed(struct watchdog *watchdog)
{
    watchdog->running = false;
}

bool wd_job_failed(struct watchdog *watchdog, const struct watchdog_config *config)
{
    watchdog->running = false;
    watchdog->fault_count++;
    return config->fault_threshold != 0 && watchdog->fault_count >= config->fault_threshold;
}

/* Deadlines beyond the end of time are none. */
static uint64_t after_ns(uint64_t start_ns, uint64_t duration_ns)
{
    uint64_t sum_ns = start_ns + duration_ns;

    return sum_ns < start_ns ? UINT64_MAX : sum_ns;
}

static uint64_t timeout_due_ns(const struct watchdog *watchdog,
                               const struct watchdog_config *config)
{
    return config->timeout_ns == 0 ? UINT64_MAX
                                   : after_ns(watchdog->started_ns, config->timeout_ns);
}

static uint64_t overrun_due_ns(const struct watchdog *watchdog,
                               const struct watchdog_config *config)
{
    uint64_t due_ns;

    if (config->overrun_ns == 0 || watchdog->aside) {
        return UINT64_MAX;
    }
    due_ns = after_ns(watchdog->started_ns, config->overrun_ns);
    return due_ns > watchdog->overrun_retry_ns ? due_ns : watchdog->overrun_retry_ns;
}

enum wd_verdict wd_check(struct watchdog *watchdog, const struct watchdog_config *config,
                         uint64_t now_ns)
{
    if (!watchdog->running) {
        return WD_FINE;
    }
    if (now_ns >= timeout_due_ns(watchdog, config)) {
        return WD_TIMEOUT;
    }
    if (now_ns >= overrun_due_ns(watchdog, config)) {
        watchdog->overrun_retry_ns = after_ns(now_ns, WD_OVERRUN_RETRY_NS);
        return WD_OVERRUN;
    }
    return WD_FINE;
}

void wd_set_aside(struct watchdog *watchdog)
{
    watchdog->aside = true;
}

uint64_t wd_deadline_ns(const struct watchdog *watchdog, const struct watchdog_config *config)
{
    uint64_t overrun_ns, timeout_ns;

    if (!watchdog->running) {
        return UINT64_MAX;
    }
    overrun_ns = overrun_due_ns(watchdog, config);
    timeout_ns = timeout_due_ns(watchdog, config);
    return timeout_ns < overrun_ns ? timeout_ns : overrun_ns;
}
