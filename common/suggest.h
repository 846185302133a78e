/* SPDX-License-Identifier: GPL-2.0-or-later */
/* This module finds the nearest of some words to one that was not found, for "did you mean". */
#ifndef COMMON_SUGGEST_H
#define COMMON_SUGGEST_H

#include <getopt.h>
#include <stddef.h>

/* Feed it the candidates, one after the other. */
struct suggest {
    const char *word;
    const char *best; /* NULL if nothing is near enough */
    size_t distance;
};

void suggest_init(struct suggest *suggest, const char *word);
/* The candidate must live as long as the struct is used. */
void suggest_offer(struct suggest *suggest, const char *candidate);
/* Number of letters to change, ignoring case; swapped neighbours count as one. */
size_t suggest_distance(const char *a, const char *b);
/*
 * The name among `options` that is nearest to the unknown option `argument` ("--polcy",
 * "--polcy=wfq"); NULL: none is near enough, or it is no long option.
 */
const char *suggest_option(const struct option *options, const char *argument);

#endif /* COMMON_SUGGEST_H */
