/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The health watch looks at what the core and the parts show, and puts what is wrong into the
 * list (health.h).
 */
#ifndef MEDIATOR_CONTROL_HEALTH_WATCH_H
#define MEDIATOR_CONTROL_HEALTH_WATCH_H

#define HEALTH_WATCH_MS 1000u

struct core_event;
struct health_watch;
struct mediator;

/* NULL: no memory.  It looks every HEALTH_WATCH_MS from start to stop. */
struct health_watch *health_watch_new(struct mediator *mediator);
void health_watch_free(struct health_watch *watch);
int health_watch_start(struct health_watch *watch); /* -errno */
void health_watch_stop(struct health_watch *watch);

/* At once, for who is about to show it. */
void health_watch_look(struct health_watch *watch);
/* An effect of the core: workers that don't start. */
void health_watch_event(struct health_watch *watch, const struct core_event *event);

#endif /* MEDIATOR_CONTROL_HEALTH_WATCH_H */
