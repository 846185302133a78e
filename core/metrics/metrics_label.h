/* SPDX-License-Identifier: GPL-2.0-or-later */
/* This module writes the names of VMs as they appear in exports.  A name may hold any bytes. */
#ifndef CORE_METRICS_METRICS_LABEL_H
#define CORE_METRICS_METRICS_LABEL_H

#include <stdint.h>

#include "core/metrics/metrics.h"

/*
 * Writes the attempt-th choice of a label: the name itself, then with the
 * vm_id, then with a number too.  Valid UTF-8 without control characters
 * (U+FFFD in their place), cut between characters, NUL-terminated.
 * Two attempts never give the same label.
 */
void metrics_label(char label[METRICS_LABEL_BYTES], const char *name, uint32_t vm_id,
                   uint32_t attempt);

#endif /* CORE_METRICS_METRICS_LABEL_H */
