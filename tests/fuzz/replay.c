/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Gives each file of the named folders to a fuzz target, so that any compiler can test it. */
#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "fuzz.h"

#define INPUT_BYTES_MAX (1024u * 1024u)

/* The target gets memory of exactly the input's size, so that a sanitizer sees a byte too far. */
static int replay_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    uint8_t *whole = malloc(INPUT_BYTES_MAX), *exact;
    size_t size;

    if (!file || !whole) {
        fprintf(stderr, "replay: %s: %s\n", path, strerror(errno));
        exit(2);
    }
    size = fread(whole, 1, INPUT_BYTES_MAX, file);
    fclose(file);
    exact = malloc(size ? size : 1);
    if (!exact) {
        exit(2);
    }
    memcpy(exact, whole, size);
    free(whole);
    LLVMFuzzerTestOneInput(exact, size);
    free(exact);
    return 1;
}

static int replay_path(const char *path)
{
    struct stat status;
    struct dirent *entry;
    DIR *folder;
    int count = 0;

    if (stat(path, &status) < 0) {
        fprintf(stderr, "replay: %s: %s\n", path, strerror(errno));
        exit(2);
    }
    if (!S_ISDIR(status.st_mode)) {
        return replay_file(path);
    }
    folder = opendir(path);
    while (folder && (entry = readdir(folder))) {
        char inside[4096];

        if (entry->d_name[0] != '.') {
            snprintf(inside, sizeof(inside), "%s/%s", path, entry->d_name);
            count += replay_path(inside);
        }
    }
    if (folder) {
        closedir(folder);
    }
    return count;
}

int main(int argc, char **argv)
{
    int count = 0;

    for (int i = 1; i < argc; i++) {
        count += replay_path(argv[i]);
    }
    if (count == 0) {
        fprintf(stderr, "usage: %s FOLDER-OR-FILE...  (found no input)\n", argv[0]);
        return 2;
    }
    printf("%d inputs\n", count);
    return 0;
}
