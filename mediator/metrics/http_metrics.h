/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This module answers GET /metrics for Prometheus, and GET /healthz for whoever watches over
 * us.
 *
 * Theory of operation.  libmicrohttpd has no thread: it has an epoll
 * descriptor, which the loop watches like any other, and MHD_run() does what is
 * due without waiting.  The text is made in steps (core/metrics/metrics_export.h) as
 * the client takes it, one buffer at a time, and other events have their turn
 * between two of them.
 *
 * Nobody can hold anything: every answer ends its connection; a connection that
 * is not done after HTTP_CONNECTION_MAX_MS is cut off, whatever it is doing;
 * when there are more than HTTP_CLIENTS_MAX, the oldest is.  Request bodies are
 * not read, headers are limited to HTTP_HEADER_BYTES.
 */
#ifndef MEDIATOR_METRICS_HTTP_METRICS_H
#define MEDIATOR_METRICS_HTTP_METRICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "mediator/base/http_address.h"

#define HTTP_CLIENTS_MAX 32u
#define HTTP_CONNECTION_MAX_MS 15000u
#define HTTP_IDLE_MAX_S 5u
#define HTTP_HEADER_BYTES 16384u

struct core;
struct health;
struct http_metrics;
struct metrics_external;

/* What the pages are made of.  All of it outlives http_metrics_free(). */
struct http_metrics_uses {
    uv_loop_t *loop;
    struct core *core;
    const bool *stopping; /* the daemon is: no longer healthy */
    void *opaque;
    /* All that the core doesn't know; the state of health as it is at this moment. */
    void (*fill)(void *opaque, struct metrics_external *external);
    const struct health *(*health)(void *opaque);
};

/* -errno with an `error`.  The address that it listens on is logged. */
int http_metrics_start(const struct http_metrics_uses *uses, const struct http_address *address,
                       struct http_metrics **http, char *error, size_t error_bytes);
/* Closes all connections; `http` may be NULL, here and below. */
void http_metrics_stop(struct http_metrics *http);
/* After the loop has run since. */
void http_metrics_free(struct http_metrics *http);

uint32_t http_metrics_clients(const struct http_metrics *http);

#endif /* MEDIATOR_METRICS_HTTP_METRICS_H */
