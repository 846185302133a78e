/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The report says what came of a run, for people and for programs. */
#ifndef LOADGEN_REPORT_H
#define LOADGEN_REPORT_H

#include <stdio.h>

#include "loadgen/engine.h"

void report_table(FILE *out, const struct vm *vms, const struct loadgen_options *options,
                  const struct engine_result *result);
void report_json(FILE *out, const struct vm *vms, const struct loadgen_options *options,
                 const struct engine_result *result);

#endif /* LOADGEN_REPORT_H */
