/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mediator/health/health.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"

struct entry {
    struct health_problem problem;
    bool seen;
};

struct health {
    struct entry entries[HEALTH_PROBLEMS_MAX]; /* sorted by kind, then as they came */
    uint32_t count;
    /* Of those for which there is no place: they can't be told apart, so a look counts anew. */
    uint32_t left_out[HEALTH_KIND_COUNT];
    bool left_out_serious;
};

static const struct {
    const char *name;
    bool told_elsewhere; /* the part that reports it logs it, with more */
} kinds[HEALTH_KIND_COUNT] = {
    [HEALTH_KEEPER] = {"keeper", false},
    [HEALTH_DRIVER] = {"driver", false},
    [HEALTH_GPU] = {"gpu", true},
    [HEALTH_POOL] = {"pool", false},
    [HEALTH_WORKER] = {"worker", true},
    [HEALTH_PAUSED] = {"paused", false},
    [HEALTH_SOCKET] = {"socket", false},
    [HEALTH_SOCKET_ACCESS] = {"socket_access", true},
    [HEALTH_QEMU_PLACES] = {"qemu_places", true},
    [HEALTH_DATABASE] = {"database", true},
};

struct health *health_new(void)
{
    return calloc(1, sizeof(struct health));
}

void health_free(struct health *health)
{
    free(health);
}

const char *health_kind_name(enum health_kind kind)
{
    return kinds[kind].name;
}

static struct entry *find(struct health *health, enum health_kind kind, const char *subject)
{
    for (uint32_t i = 0; i < health->count; i++) {
        struct entry *entry = &health->entries[i];

        if (entry->problem.kind == kind &&
            strncmp(entry->problem.subject, subject, HEALTH_SUBJECT_BYTES - 1) == 0) {
            return entry;
        }
    }
    return NULL;
}

/* A place behind the last of its kind; NULL: there is none. */
static struct entry *insert(struct health *health, enum health_kind kind, const char *subject)
{
    uint32_t at = health->count;
    struct entry *entry;

    if (health->count == HEALTH_PROBLEMS_MAX) {
        return NULL;
    }
    while (at > 0 && health->entries[at - 1].problem.kind > kind) {
        at--;
    }
    entry = &health->entries[at];
    memmove(entry + 1, entry, (health->count - at) * sizeof(*entry));
    health->count++;
    memset(entry, 0, sizeof(*entry));
    entry->problem.kind = kind;
    snprintf(entry->problem.subject, HEALTH_SUBJECT_BYTES, "%s", subject);
    return entry;
}

static void take_out(struct health *health, struct entry *entry)
{
    uint32_t at = (uint32_t)(entry - health->entries);

    if (!kinds[entry->problem.kind].told_elsewhere) {
        log_notice("%s: no longer a problem (%s)", entry->problem.subject,
                   health_kind_name(entry->problem.kind));
    }
    memmove(entry, entry + 1, (health->count - at - 1) * sizeof(*entry));
    health->count--;
}

void health_report(struct health *health, enum health_kind kind, enum health_severity severity,
                   const char *subject, const char *format, ...)
{
    struct entry *entry = find(health, kind, subject);
    char text[HEALTH_TEXT_BYTES];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (!entry) {
        entry = insert(health, kind, subject);
    }
    if (!entry) {
        health->left_out[kind]++;
        health->left_out_serious |= severity == HEALTH_ERROR;
        return;
    }
    entry->seen = true;
    entry->problem.severity = severity;
    if (strcmp(entry->problem.text, text) != 0) {
        snprintf(entry->problem.text, sizeof(entry->problem.text), "%s", text);
        if (!kinds[kind].told_elsewhere) {
            log_write(severity == HEALTH_ERROR ? LOG_LEVEL_ERROR : LOG_LEVEL_WARNING, "%s: %s",
                      entry->problem.subject, text);
        }
    }
}

void health_clear(struct health *health, enum health_kind kind, const char *subject)
{
    struct entry *entry = find(health, kind, subject);

    if (entry) {
        take_out(health, entry);
    }
}

void health_begin(struct health *health, enum health_kind kind)
{
    health->left_out[kind] = 0;
    for (uint32_t i = 0; i < health->count; i++) {
        if (health->entries[i].problem.kind == kind) {
            health->entries[i].seen = false;
        }
    }
}

void health_end(struct health *health, enum health_kind kind)
{
    bool left_out = false;

    for (uint32_t i = health->count; i-- > 0;) {
        struct entry *entry = &health->entries[i];

        if (entry->problem.kind == kind && !entry->seen) {
            take_out(health, entry);
        }
    }
    for (uint32_t i = 0; i < HEALTH_KIND_COUNT; i++) {
        left_out |= health->left_out[i] > 0;
    }
    health->left_out_serious &= left_out;
}

bool health_good(const struct health *health)
{
    return health->count == 0;
}

bool health_serving(const struct health *health)
{
    for (uint32_t i = 0; i < health->count; i++) {
        if (health->entries[i].problem.severity == HEALTH_ERROR) {
            return false;
        }
    }
    return !health->left_out_serious;
}

uint32_t health_kind_count(const struct health *health, enum health_kind kind)
{
    uint32_t count = health->left_out[kind];

    for (uint32_t i = 0; i < health->count; i++) {
        count += health->entries[i].problem.kind == kind;
    }
    return count;
}

const struct health_problem *health_at(const struct health *health, uint32_t i)
{
    return i < health->count ? &health->entries[i].problem : NULL;
}
