/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * This header says how long a program for the GPU is, by its own headers.  The driver interface
 * passes no length: an image is a fat binary, a cubin (ELF), or PTX as text with its NUL.
 *
 * The library asks how much to send.  The worker asks whether what came is as long, and looks
 * further (driver_image.c).
 */
#ifndef CUDA_IMAGE_H
#define CUDA_IMAGE_H

#include <elf.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define CUDA_WRAPPER_MAGIC 0x466243B1u
#define CUDA_FATBIN_MAGIC 0xBA55ED50u
#define CUDA_ELF_MAGIC 0x464C457Fu
#define CUDA_IMAGE_CUT UINT64_MAX /* its headers say that it goes on past `most` */

struct cuda_fatbin_header {
    uint32_t magic;
    uint16_t version, header_bytes;
    uint64_t body_bytes;
};

/* Looks no further than the first byte that differs: a text may be shorter. */
static inline bool cuda_image_begins(const uint8_t *image, uint64_t most, uint32_t magic)
{
    for (unsigned i = 0; i < sizeof(magic); i++) {
        if (i >= most || image[i] != (uint8_t)(magic >> (8 * i))) {
            return false;
        }
    }
    return true;
}

static inline bool cuda_image_part(uint64_t offset, uint64_t bytes, uint64_t most, uint64_t *end)
{
    if (offset > most || bytes > most - offset) {
        return false;
    }
    *end = offset + bytes > *end ? offset + bytes : *end;
    return true;
}

static inline uint64_t cuda_image_elf_bytes(const uint8_t *image, uint64_t most)
{
    Elf64_Ehdr header;
    uint64_t end = sizeof(header);

    if (most < sizeof(header)) {
        return CUDA_IMAGE_CUT;
    }
    memcpy(&header, image, sizeof(header));
    if (!cuda_image_part(header.e_shoff, (uint64_t)header.e_shnum * header.e_shentsize, most,
                         &end) ||
        !cuda_image_part(header.e_phoff, (uint64_t)header.e_phnum * header.e_phentsize, most,
                         &end)) {
        return CUDA_IMAGE_CUT;
    }
    for (unsigned i = 0; i < header.e_shnum && header.e_shentsize == sizeof(Elf64_Shdr); i++) {
        Elf64_Shdr section;

        memcpy(&section, image + header.e_shoff + i * sizeof(section), sizeof(section));
        if (section.sh_type != SHT_NOBITS &&
            !cuda_image_part(section.sh_offset, section.sh_size, most, &end)) {
            return CUDA_IMAGE_CUT;
        }
    }
    return end;
}

/* Several may follow each other: all of them belong to it. */
static inline uint64_t cuda_image_fatbin_bytes(const uint8_t *image, uint64_t most)
{
    struct cuda_fatbin_header header;
    uint64_t end = 0;

    while (cuda_image_begins(image + end, most - end, CUDA_FATBIN_MAGIC)) {
        if (most - end < sizeof(header)) {
            return CUDA_IMAGE_CUT;
        }
        memcpy(&header, image + end, sizeof(header));
        if (header.header_bytes < sizeof(header) || header.header_bytes > most - end ||
            header.body_bytes > most - end - header.header_bytes) {
            return CUDA_IMAGE_CUT;
        }
        end += header.header_bytes + header.body_bytes;
    }
    return end;
}

/* At most `most` bytes are looked at. */
static inline uint64_t cuda_image_bytes(const uint8_t *image, uint64_t most)
{
    uint64_t text;

    if (cuda_image_begins(image, most, CUDA_FATBIN_MAGIC)) {
        return cuda_image_fatbin_bytes(image, most);
    }
    if (cuda_image_begins(image, most, CUDA_ELF_MAGIC)) {
        return cuda_image_elf_bytes(image, most);
    }
    text = strnlen((const char *)image, most);
    return text < most ? text + 1 : CUDA_IMAGE_CUT;
}

#endif /* CUDA_IMAGE_H */
