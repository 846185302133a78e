/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Programs say through these functions, on stderr, what is wrong with their command line. */
#ifndef COMMON_USAGE_H
#define COMMON_USAGE_H

#include <getopt.h>

/* The exit status of every program that does not understand its command line. */
#define USAGE_EXIT 2

/*
 * What follows after getopt_long() has answered '?' and said why: the option that was meant, if
 * one is near, and where the help is.  `argument` is the one that getopt refused.  USAGE_EXIT.
 */
int usage_unknown(const char *program, const struct option *options, const char *argument);
/* The value of `name` ("--depth") is not `want` ("a number from 1 to 16").  USAGE_EXIT. */
int usage_refused(const char *program, const char *name, const char *value, const char *want);

#endif /* COMMON_USAGE_H */
