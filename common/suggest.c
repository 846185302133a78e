/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <ctype.h>
#include <string.h>

#include "common/suggest.h"

#define LENGTH_MAX 64 /* longer words are compared by their beginning */

static size_t min3(size_t a, size_t b, size_t c)
{
    size_t ab = a < b ? a : b;

    return ab < c ? ab : c;
}

/* Optimal string alignment, three rows at a time. */
size_t suggest_distance(const char *a, const char *b)
{
    size_t rows[3][LENGTH_MAX + 1];
    size_t a_length = strnlen(a, LENGTH_MAX);
    size_t b_length = strnlen(b, LENGTH_MAX);

    for (size_t j = 0; j <= b_length; j++) {
        rows[0][j] = j;
    }
    for (size_t i = 1; i <= a_length; i++) {
        size_t *row = rows[i % 3];
        const size_t *above = rows[(i + 2) % 3];
        const size_t *above2 = rows[(i + 1) % 3];
        int ca = tolower((unsigned char)a[i - 1]);

        row[0] = i;
        for (size_t j = 1; j <= b_length; j++) {
            int cb = tolower((unsigned char)b[j - 1]);
            row[j] = min3(above[j] + 1, row[j - 1] + 1, above[j - 1] + (ca != cb));
            if (i > 1 && j > 1 && ca == tolower((unsigned char)b[j - 2]) &&
                cb == tolower((unsigned char)a[i - 2]) && above2[j - 2] + 1 < row[j]) {
                row[j] = above2[j - 2] + 1;
            }
        }
    }
    return rows[a_length % 3][b_length];
}

void suggest_init(struct suggest *suggest, const char *word)
{
    size_t length = strlen(word);

    suggest->word = word;
    suggest->best = NULL;
    /* A third of the letters may be wrong, one in a short word. */
    suggest->distance = (length < 3 ? 1 : length / 3 < 4 ? length / 3 : 4) + 1;
}

void suggest_offer(struct suggest *suggest, const char *candidate)
{
    size_t distance = suggest_distance(suggest->word, candidate);
    size_t length = strlen(suggest->word);

    /* The beginning of a longer word is as good as one wrong letter. */
    if (length >= 3 && strncasecmp(suggest->word, candidate, length) == 0 && distance > 1) {
        distance = 1;
    }
    if (distance < suggest->distance) {
        suggest->distance = distance;
        suggest->best = candidate;
    }
}

const char *suggest_option(const struct option *options, const char *argument)
{
    struct suggest suggest;
    char name[LENGTH_MAX];
    size_t length;

    if (strncmp(argument, "--", 2) != 0) {
        return NULL;
    }
    length = strcspn(argument + 2, "=");
    if (length >= sizeof(name)) {
        length = sizeof(name) - 1;
    }
    memcpy(name, argument + 2, length);
    name[length] = '\0';
    suggest_init(&suggest, name);
    for (; options->name; options++) {
        suggest_offer(&suggest, options->name);
    }
    return suggest.best;
}
