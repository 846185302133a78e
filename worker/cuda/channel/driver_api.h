/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This module finds the functions of the driver that channels of profile CUDA use.
 *
 * Unlike cuda_api.h it takes them by their symbols, which is what the table in cuda/ names, and
 * misses none: one that an old driver lacks answers CUDA_ERROR_NOT_SUPPORTED.
 */
#ifndef WORKER_CUDA_CHANNEL_DRIVER_API_H
#define WORKER_CUDA_CHANNEL_DRIVER_API_H

#include <stdbool.h>

#include "driver_table.h"

/* Is there a driver for the worker's GPU at all?  A CPU worker has none. */
bool driver_api_expected(const char *gpu_uuid);

/* 0, or -errno after saying on the log what is wrong.  Opens and initialises it once. */
int driver_api_open(const struct driver_api **api);

/* The driver's number of this GPU ("GPU-..."); -1: it has none of this UUID. */
int driver_api_device(const struct driver_api *api, const char *gpu_uuid);

#endif
