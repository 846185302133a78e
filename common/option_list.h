/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A program has its options in one list.  The list makes both their numbers,
 * beyond all letters, and the table that getopt_long() takes:
 *
 *     #define OPTIONS(X) X(DEPTH, "depth", required_argument) ...
 *     enum option_id { OPT_BEFORE_FIRST = 255, OPTIONS(OPTION_ID) };
 *     static const struct option long_options[] = {OPTIONS(OPTION_ROW){0}};
 */
#ifndef COMMON_OPTION_LIST_H
#define COMMON_OPTION_LIST_H

#include <getopt.h>

#define OPTION_ID(id, name, argument) OPT_##id,
#define OPTION_ROW(id, name, argument) {name, argument, NULL, OPT_##id},

#endif /* COMMON_OPTION_LIST_H */
