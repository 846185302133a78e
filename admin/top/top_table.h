/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This module makes the tables of VMs and of GPUs: it knows which columns there are, which of
 * them fit the width, and what stands in them.
 */
#ifndef ADMIN_TOP_TOP_TABLE_H
#define ADMIN_TOP_TOP_TABLE_H

#include "admin/top/top_layout.h"

void top_vm_title(struct top_line *line, const struct top_view *view);
void top_vm_line(struct top_line *line, const struct top_view *view, const struct top_row *row);

void top_gpu_title(struct top_line *line, unsigned width);
void top_gpu_line(struct top_line *line, unsigned width, const struct top_gpu_row *row);

/* "######|...": what it had, and a mark where its due part ends. */
void top_bar(double share, double due, unsigned width, char *out);

#endif /* ADMIN_TOP_TOP_TABLE_H */
