/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Names of functions of the CUDA driver interface that are not built, by a number.
 *
 * A guest says a name when a program calls such a function.  What goes on from the worker is the
 * name's hash, and what is shown is a name of this table: no text of a guest's gets into a metric
 * or a terminal, and programs of different versions mean the same function by it.
 */
#ifndef COMMON_CUDA_NAMES_H
#define COMMON_CUDA_NAMES_H

#include <stdint.h>

/* FNV-1a, 32 bits. */
uint32_t cuda_name_hash(const char *name);
/* Its name; "other": no function of the table has this hash.  Static. */
const char *cuda_name_of(uint32_t hash);

/* The table, by ascending hash; made by cuda/generate.py. */
struct cuda_name_row {
    uint32_t hash;
    const char *name;
};
extern const struct cuda_name_row cuda_name_rows[];
extern const unsigned cuda_name_row_count;

#endif /* COMMON_CUDA_NAMES_H */
