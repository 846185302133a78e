/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How it decides
 *
 * Taking a GPU away from its VMs is a strong measure, so only what makes it
 * unusable does it: the GPU is lost, NVML demands a reset, or the driver's own
 * recovery action says reset or reboot.  That action is what NVIDIA's Xid
 * document (docs.nvidia.com/deploy/xid-errors, "Xid 154: GPU recovery action
 * changed") tells a monitor to act on.  Drivers before 570 don't have it; there
 * the Xids decide that the document's catalogue answers with RESET_GPU.
 *
 * A guest's own mistakes raise Xids too (13, 31, 43, 45: bad addresses, killed
 * processes).  They are counted and shown and change nothing: otherwise one VM
 * could take the GPU away from all.
 *
 * Heat, throttling, ECC errors and rows waiting to be remapped are warnings:
 * the GPU still computes rightly ("a pending remapping won't affect future work
 * on the GPU", NVML's reference).  Silence of NVML is a warning as well: a
 * monitor that hangs is no proof that the GPU does.
 */
#include "mediator/gpu/nvml_health.h"
#include "common/ns.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "mediator/gpu/nvml_api.h"

static const struct xid {
    uint32_t number;
    bool reset;
    const char *meaning;
} xids[] = {
    {13, false, "a program's kernel failed"},
    {31, false, "a program used a bad address"},
    {43, false, "a program's channel was stopped"},
    {45, false, "a program was removed from the GPU"},
    {46, true, "the GPU stopped processing"},
    {48, true, "an ECC error of two bits"},
    {62, true, "the GPU's power management processor halted"},
    {63, false, "a memory row was marked for remapping"},
    {64, true, "a memory row could not be recorded for remapping"},
    {74, false, "an NVLink error"},
    {79, true, "the GPU has fallen off the bus"},
    {94, false, "an uncorrected memory error, contained to its program"},
    {95, true, "an uncorrected memory error that was not contained"},
    {109, false, "a context switch timed out"}, /* a guest's endless kernel can do it */
    {110, true, "a security fault"},
    {119, true, "the GPU's system processor timed out"},
    {120, true, "the GPU's system processor failed"},
    {136, true, "the GPU's links failed to train"},
    {140, true, "an unrecovered ECC error"},
    {143, true, "the GPU failed to initialise"},
    {154, false, "the driver's recommended recovery changed"},
};

static const struct xid *find_xid(uint32_t number)
{
    for (size_t i = 0; i < sizeof(xids) / sizeof(xids[0]); i++) {
        if (xids[i].number == number) {
            return &xids[i];
        }
    }
    return NULL;
}

bool nvml_xid_needs_reset(uint32_t number)
{
    const struct xid *xid = find_xid(number);

    return xid && xid->reset;
}

const char *nvml_xid_meaning(uint32_t number)
{
    const struct xid *xid = find_xid(number);

    return xid ? xid->meaning : "";
}

const char *nvml_recovery_name(uint32_t action)
{
    static const char *const names[] = {
        [NVML_RECOVERY_NONE] = "none",
        [NVML_RECOVERY_RESET] = "reset",
        [NVML_RECOVERY_REBOOT] = "reboot",
        [NVML_RECOVERY_DRAIN_P2P] = "drain p2p",
        [NVML_RECOVERY_DRAIN_AND_RESET] = "drain and reset",
        [NVML_RECOVERY_RESET_BUS] = "reset bus",
    };

    return action < sizeof(names) / sizeof(names[0]) ? names[action] : "unknown";
}

/* Appends to a list; what doesn't fit is left out. */
static void __attribute__((format(printf, 3, 4)))
append(char *text, size_t text_bytes, const char *format, ...)
{
    size_t used = strlen(text);
    va_list args;

    if (used > 0 && used + 2 < text_bytes) {
        memcpy(text + used, ", ", 3);
        used += 2;
    }
    va_start(args, format);
    vsnprintf(text + used, text_bytes - used, format, args);
    va_end(args);
}

void nvml_clocks_events_text(uint64_t events, char *text, size_t text_bytes)
{
    static const struct {
        uint64_t bit;
        const char *name;
    } names[] = {
        {NVML_CLOCKS_IDLE, "idle"},
        {NVML_CLOCKS_APPLICATION, "application clocks"},
        {NVML_CLOCKS_POWER_CAP, "power cap"},
        {NVML_CLOCKS_HW_SLOWDOWN, "hw slowdown"},
        {NVML_CLOCKS_SYNC_BOOST, "sync boost"},
        {NVML_CLOCKS_SW_THERMAL, "sw thermal"},
        {NVML_CLOCKS_HW_THERMAL, "hw thermal"},
        {NVML_CLOCKS_POWER_BRAKE, "power brake"},
        {NVML_CLOCKS_DISPLAY, "display clocks"},
    };

    text[0] = '\0';
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (events & names[i].bit) {
            append(text, text_bytes, "%s", names[i].name);
        }
        events &= ~names[i].bit;
    }
    if (events) {
        append(text, text_bytes, "0x%" PRIx64, events);
    }
    if (!text[0]) {
        append(text, text_bytes, "none");
    }
}

static void refuse(struct nvml_verdict *verdict, bool reset_helps, const char *reason)
{
    verdict->available = false;
    verdict->needs_reset = reset_helps;
    snprintf(verdict->reason, sizeof(verdict->reason), "%s", reason);
}

static void judge_recovery(const nvml_health_t *health, struct nvml_verdict *verdict)
{
    switch (health->recovery_action) {
    case NVML_RECOVERY_NONE: break;
    case NVML_RECOVERY_RESET:
    case NVML_RECOVERY_RESET_BUS:
        refuse(verdict, true, "the driver asks for a reset of this GPU");
        break;
    case NVML_RECOVERY_REBOOT:
        refuse(verdict, false, "the driver asks for a reboot of this host");
        break;
    default:
        append(verdict->warning, sizeof(verdict->warning), "the driver recommends: %s",
               nvml_recovery_name(health->recovery_action));
    }
}

static void judge_warnings(const nvml_health_t *health, struct nvml_verdict *verdict)
{
    const uint64_t troubles = NVML_CLOCKS_HW_SLOWDOWN | NVML_CLOCKS_SW_THERMAL |
                              NVML_CLOCKS_HW_THERMAL | NVML_CLOCKS_POWER_BRAKE;
    char *text = verdict->warning;
    const size_t bytes = sizeof(verdict->warning);

    if ((health->has & NVML_HAS_TEMPERATURE) && (health->has & NVML_HAS_SLOWDOWN) &&
        health->slowdown_c && health->temperature_c >= health->slowdown_c) {
        append(text, bytes, "too hot: %" PRIu32 " C, it slows down from %" PRIu32 " C",
               health->temperature_c, health->slowdown_c);
    }
    if ((health->has & NVML_HAS_CLOCKS_EVENTS) && (health->clocks_events & troubles)) {
        char events[96];

        nvml_clocks_events_text(health->clocks_events & troubles, events, sizeof(events));
        append(text, bytes, "slowed down: %s", events);
    }
    if ((health->has & NVML_HAS_ECC) && health->ecc_uncorrected) {
        append(text, bytes, "%" PRIu64 " uncorrected memory errors", health->ecc_uncorrected);
    }
    if (health->rows_failed) {
        append(text, bytes, "a memory row could not be remapped: have the GPU checked");
    }
    if (health->rows_pending || health->pages_pending) {
        append(text, bytes, "bad memory waits for the next reset to be taken out of use");
    }
    if (health->error) {
        append(text, bytes, "NVML can't read %s: %s (error %" PRIu32 ")",
               health->error_reading ? health->error_reading : "it",
               health->error_text ? health->error_text : "unknown", health->error);
    }
}

void nvml_health_judge(const nvml_health_t *health, struct nvml_verdict *verdict)
{
    char reason[NVML_HEALTH_TEXT_BYTES];

    memset(verdict, 0, sizeof(*verdict));
    verdict->available = true;
    if (health->stale || health->taken_ns == 0) {
        append(verdict->warning, sizeof(verdict->warning), "no news from NVML for %" PRIu64 " s",
               health->age_ns / NS_PER_S);
    }
    if (health->taken_ns == 0) {
        return;
    }
    judge_warnings(health, verdict);
    if (health->lost || health->reset_xid == 79) {
        refuse(verdict, false,
               "the GPU is lost: it no longer answers on its bus; check its power and seating, "
               "and reboot the host");
    } else if (health->reset_required) {
        refuse(verdict, true, "NVML refuses this GPU until it is reset");
    } else if (health->has & NVML_HAS_RECOVERY) {
        judge_recovery(health, verdict);
    } else if (health->reset_xid) {
        snprintf(reason, sizeof(reason), "Xid %" PRIu32 ": %s; the GPU needs a reset",
                 health->reset_xid, nvml_xid_meaning(health->reset_xid));
        refuse(verdict, true, reason);
    }
}
