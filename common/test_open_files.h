/* SPDX-License-Identifier: GPL-2.0-or-later */
/* This module counts the test's open files, for tests of what must leave none behind. */
#ifndef COMMON_TEST_OPEN_FILES_H
#define COMMON_TEST_OPEN_FILES_H

#include <dirent.h>

/* One more than there are: the listing itself. */
static inline unsigned open_files(void)
{
    DIR *listing = opendir("/proc/self/fd");
    unsigned count = 0;

    while (readdir(listing)) {
        count++;
    }
    closedir(listing);
    return count;
}

#endif /* COMMON_TEST_OPEN_FILES_H */
