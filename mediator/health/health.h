/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Health is the list of what is wrong at the moment: the one list from which show-health,
 * /healthz, the metric and the log follow.  The parts that notice something put it in and take
 * it out again; nothing else happens here.
 *
 * A problem is a kind and a subject ("pool B", "VM 7", a path): reporting the same
 * again only changes its text.  One line is logged when it comes, changes or goes,
 * but for kinds whose parts tell it themselves.
 */
#ifndef MEDIATOR_HEALTH_HEALTH_H
#define MEDIATOR_HEALTH_HEALTH_H

#include <stdbool.h>
#include <stdint.h>

#define HEALTH_PROBLEMS_MAX 128u /* those beyond are counted, and not listed */
#define HEALTH_SUBJECT_BYTES 128u
#define HEALTH_TEXT_BYTES 640u

/* The order is that of the list for people: what explains the rest comes first. */
enum health_kind {
    HEALTH_KEEPER,        /* nobody starts workers: only VMs that have one are served */
    HEALTH_DRIVER,        /* the GPU driver does not work: no VM is served */
    HEALTH_GPU,           /* a GPU is out of use, or wants a reset */
    HEALTH_POOL,          /* a pool has VMs, and no GPU that takes work */
    HEALTH_WORKER,        /* a VM's worker does not start */
    HEALTH_PAUSED,        /* dispatch is paused, and nobody is there who holds it */
    HEALTH_SOCKET,        /* a socket is gone, or another program has its place */
    HEALTH_SOCKET_ACCESS, /* a VM's QEMU can't reach its socket */
    HEALTH_QEMU_PLACES,   /* more QEMUs than there are places for */
    HEALTH_DATABASE,      /* what is decided can't be written, or read */
    HEALTH_KIND_COUNT
};

enum health_severity {
    HEALTH_WARNING, /* all VMs are served, and somebody should look */
    HEALTH_ERROR,   /* a VM that should be served is not */
};

struct health_problem {
    enum health_kind kind;
    enum health_severity severity;
    char subject[HEALTH_SUBJECT_BYTES];
    char text[HEALTH_TEXT_BYTES]; /* a sentence: what it is, and what to do */
};

struct health;

struct health *health_new(void); /* NULL: no memory */
void health_free(struct health *health);

/* "driver", "pool", "socket_access": for metrics and JSON. */
const char *health_kind_name(enum health_kind kind);

void health_report(struct health *health, enum health_kind kind, enum health_severity severity,
                   const char *subject, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
void health_clear(struct health *health, enum health_kind kind, const char *subject);

/*
 * For who looks at everything of a kind at once: what is not reported between the
 * two is over.
 */
void health_begin(struct health *health, enum health_kind kind);
void health_end(struct health *health, enum health_kind kind);

/* Nothing is wrong; no VM suffers from what is. */
bool health_good(const struct health *health);
bool health_serving(const struct health *health);
/* How many of this kind, those that are not listed too. */
uint32_t health_kind_count(const struct health *health, enum health_kind kind);
/* The i-th by kind, or NULL: there are not so many. */
const struct health_problem *health_at(const struct health *health, uint32_t i);

#endif /* MEDIATOR_HEALTH_HEALTH_H */
