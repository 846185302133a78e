/* SPDX-License-Identifier: GPL-2.0-or-later */
/* This module reads one GPU through NVML.  These calls may block for as long as NVML likes. */
#ifndef MEDIATOR_GPU_NVML_READING_H
#define MEDIATOR_GPU_NVML_READING_H

#include <stdbool.h>

#include "mediator/gpu/nvml_api.h"
#include "mediator/gpu/nvml_health.h"

/*
 * Did a call work?  If not, notes in *health what its failure says about the GPU.
 * `reading` is a literal, for "NVML can't read ...".
 */
bool nvml_call_worked(const struct nvml_api *api, nvml_health_t *health, const char *reading,
                      nvml_result result);

/* Fills in what the GPU and the driver have; the rest, and the Xids, stay as they are. */
void nvml_read_device(const struct nvml_api *api, nvml_device device, nvml_health_t *health);

#endif /* MEDIATOR_GPU_NVML_READING_H */
