/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What images the stand-in takes: its own text, PTX, and fat binaries with PTX in them.
 *
 * All of them become its own text.  Of PTX it reads no more than the names of kernels and variables
 * and the parameters' sizes: what a kernel does is known by its name (stand_in_gpu.c).
 */
#include "tests/cuda/stand_in.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cuda/image.h"

#define NAME_BYTES 64
#define TEXT_BYTES 8192
#define ENTRY_PTX 1u
#define ENTRY_COMPRESSED 0xA000ull /* either way of compressing, in the flags */

struct entry { /* of a fat binary */
    uint16_t kind, version;
    uint32_t header_bytes;
    uint64_t bytes;
    uint32_t unused[6];
    uint64_t flags;
};

/* ---- PTX ---- */

static unsigned type_bytes(const char *type)
{
    const char *digits = type + strcspn(type, "0123456789");

    return (unsigned)strtoul(digits, NULL, 10) / 8;
}

/* ".param .align 16 .b8 name[48]" and the like; also of variables. */
static void parse_declaration(char *line, char name[NAME_BYTES], unsigned *bytes)
{
    char *rest = NULL, *bracket;
    unsigned unit = 1;

    name[0] = 0;
    for (char *word = strtok_r(line, " \t,;)", &rest); word;
         word = strtok_r(NULL, " \t,;)", &rest)) {
        if (strcmp(word, ".align") == 0) {
            strtok_r(NULL, " \t", &rest);
        } else if (word[0] == '.' && strpbrk(word, "0123456789")) {
            unit = type_bytes(word);
        } else if (word[0] != '.') {
            snprintf(name, NAME_BYTES, "%s", word);
            break;
        }
    }
    bracket = strchr(name, '[');
    *bytes = bracket ? unit * (unsigned)strtoul(bracket + 1, NULL, 10) : unit;
    name[strcspn(name, "[")] = 0;
}

static char *text_of_ptx(char *ptx)
{
    char *text = calloc(1, TEXT_BYTES), *rest = NULL, *entry, name[NAME_BYTES];
    FILE *to = fmemopen(text, TEXT_BYTES, "w");
    bool in_entry = false;
    unsigned bytes;

    fprintf(to, "vgpu-test");
    for (char *line = strtok_r(ptx, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        char *word = line + strspn(line, " \t");

        entry = strstr(word, ".entry ");
        if (entry) {
            entry += 7;
            entry[strcspn(entry, "( \t")] = 0;
            fprintf(to, "\nkernel %s", entry);
            in_entry = true;
        } else if (in_entry && strncmp(word, ".param ", 7) == 0) {
            parse_declaration(word + 7, name, &bytes);
            fprintf(to, " %u", bytes);
        } else if (word[0] == '{') {
            in_entry = false;
        } else if (strstr(word, ".global .") == word || strstr(word, ".const .") == word ||
                   strncmp(word, ".visible .global .", 18) == 0 ||
                   strncmp(word, ".visible .const .", 17) == 0) {
            parse_declaration(word, name, &bytes);
            fprintf(to, "\nglobal %s %u", name, bytes);
        }
    }
    fprintf(to, "\n");
    fclose(to);
    return text;
}

/* ---- fat binaries ---- */

/* A copy of the first PTX in it, as text; NULL: none for this GPU. */
static char *ptx_of(const uint8_t *image)
{
    struct cuda_fatbin_header header;
    uint64_t at;

    memcpy(&header, image, sizeof(header));
    at = header.header_bytes;
    while (at + sizeof(struct entry) <= header.header_bytes + header.body_bytes) {
        struct entry entry;

        memcpy(&entry, image + at, sizeof(entry));
        if (entry.kind == ENTRY_PTX && !(entry.flags & ENTRY_COMPRESSED)) {
            return strndup((const char *)image + at + entry.header_bytes, entry.bytes);
        }
        at += entry.header_bytes + entry.bytes;
    }
    return NULL;
}

char *stand_in_text(const void *image, CUresult *result)
{
    bool fat = cuda_image_begins(image, 4, CUDA_FATBIN_MAGIC);
    char *text, *own = NULL;

    if (cuda_image_begins(image, 4, CUDA_WRAPPER_MAGIC)) {
        stand_in_abort(__func__, "a wrapper's pointer comes from a guest");
    }
    text = fat ? ptx_of(image) : strdup(image);
    *result = text ? CUDA_ERROR_INVALID_IMAGE : NO_IMAGE_FOR_DEVICE;
    if (text && !fat && strncmp(text, "vgpu-test\n", 10) == 0) {
        *result = CUDA_SUCCESS;
        return text;
    }
    if (text && (fat || strstr(text, ".version "))) {
        own = text_of_ptx(text);
        *result = CUDA_SUCCESS;
    }
    free(text);
    return own;
}
