/* SPDX-License-Identifier: GPL-2.0-or-later */
/* "Did you mean": the nearest of some words to one that was not found. */
#ifndef ADMIN_BASE_SUGGEST_H
#define ADMIN_BASE_SUGGEST_H

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

#endif /* ADMIN_BASE_SUGGEST_H */
