/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Is an image of a process whole, and nothing else than an image?
 *
 * The driver is given no length and believes what the headers say.  So each place that they name
 * must lie in the image, also in the parts of a fat binary; and a form with a pointer in it, as a
 * fat binary's wrapper is, must never get there.
 */
#include "cuda/image.h"
#include "worker/cuda/channel/driver_internal.h"

#define ENTRY_BYTES_MIN 16u /* of a fat binary's part: what is read here */

struct entry {
    uint16_t kind, version;
    uint32_t header_bytes;
    uint64_t bytes; /* behind the header */
};

/* The counts, where they stand in the first section: there are too many for the header. */
static bool real_counts(const uint8_t *image, uint64_t bytes, const Elf64_Ehdr *header,
                        uint64_t *sections)
{
    Elf64_Shdr first;

    *sections = header->e_shnum;
    if (header->e_phnum == PN_XNUM) {
        return false;
    }
    if (header->e_shnum != 0 || header->e_shoff == 0) {
        return true;
    }
    if (header->e_shoff > bytes || sizeof(first) > bytes - header->e_shoff) {
        return false;
    }
    memcpy(&first, image + header->e_shoff, sizeof(first));
    *sections = first.sh_size;
    return true;
}

static bool table_fits(uint64_t at, uint64_t count, uint64_t entry_bytes, uint64_t is_bytes,
                       uint64_t bytes)
{
    return count == 0 ||
           (entry_bytes == is_bytes && at <= bytes && count <= (bytes - at) / is_bytes);
}

static bool sections_fit(const uint8_t *image, uint64_t bytes, uint64_t at, uint64_t count)
{
    uint64_t end = 0;

    for (uint64_t i = 0; i < count; i++) {
        Elf64_Shdr section;

        memcpy(&section, image + at + i * sizeof(section), sizeof(section));
        if (section.sh_type != SHT_NOBITS && section.sh_type != SHT_NULL &&
            !cuda_image_part(section.sh_offset, section.sh_size, bytes, &end)) {
            return false;
        }
    }
    return true;
}

static bool segments_fit(const uint8_t *image, uint64_t bytes, uint64_t at, uint64_t count)
{
    uint64_t end = 0;

    for (uint64_t i = 0; i < count; i++) {
        Elf64_Phdr segment;

        memcpy(&segment, image + at + i * sizeof(segment), sizeof(segment));
        if (!cuda_image_part(segment.p_offset, segment.p_filesz, bytes, &end)) {
            return false;
        }
    }
    return true;
}

static bool elf_is_whole(const uint8_t *image, uint64_t bytes)
{
    Elf64_Ehdr header;
    uint64_t sections;

    if (bytes < sizeof(header)) {
        return false;
    }
    memcpy(&header, image, sizeof(header));
    return header.e_ident[EI_CLASS] == ELFCLASS64 &&
           real_counts(image, bytes, &header, &sections) &&
           table_fits(header.e_shoff, sections, header.e_shentsize, sizeof(Elf64_Shdr), bytes) &&
           table_fits(header.e_phoff, header.e_phnum, header.e_phentsize, sizeof(Elf64_Phdr),
                      bytes) &&
           sections_fit(image, bytes, header.e_shoff, sections) &&
           segments_fit(image, bytes, header.e_phoff, header.e_phnum);
}

static bool is_zero(const uint8_t *image, uint64_t bytes)
{
    for (uint64_t i = 0; i < bytes; i++) {
        if (image[i]) {
            return false;
        }
    }
    return true;
}

/* The parts of one fat binary, behind its header; zeros may fill it up. */
static bool entries_fit(const uint8_t *image, uint64_t bytes)
{
    for (uint64_t at = 0; at < bytes;) {
        struct entry entry;

        if (bytes - at < ENTRY_BYTES_MIN) {
            return is_zero(image + at, bytes - at);
        }
        memcpy(&entry, image + at, sizeof(entry));
        if (entry.header_bytes == 0) {
            return is_zero(image + at, bytes - at);
        }
        if (entry.header_bytes < ENTRY_BYTES_MIN || entry.header_bytes > bytes - at ||
            entry.bytes > bytes - at - entry.header_bytes) {
            return false;
        }
        at += entry.header_bytes;
        if (cuda_image_begins(image + at, entry.bytes, CUDA_ELF_MAGIC) &&
            !elf_is_whole(image + at, entry.bytes)) {
            return false;
        }
        at += entry.bytes;
    }
    return true;
}

/* Its own headers' lengths fit: cuda_image_bytes() has been asked. */
static bool fatbin_is_whole(const uint8_t *image, uint64_t bytes)
{
    for (uint64_t at = 0; cuda_image_begins(image + at, bytes - at, CUDA_FATBIN_MAGIC);) {
        struct cuda_fatbin_header header;

        memcpy(&header, image + at, sizeof(header));
        at += header.header_bytes;
        if (!entries_fit(image + at, header.body_bytes)) {
            return false;
        }
        at += header.body_bytes;
    }
    return true;
}

/* PTX is text: what begins otherwise is some form that is not known here. */
static bool is_text(const uint8_t *image, uint64_t bytes)
{
    for (uint64_t i = 0; i < 4 && i < bytes && image[i]; i++) {
        if (!(image[i] >= ' ' && image[i] <= '~') && !(image[i] >= '\t' && image[i] <= '\r')) {
            return false;
        }
    }
    return image[0] != 0;
}

bool driver_image_is_whole(const uint8_t *image, uint64_t bytes)
{
    if (bytes == 0 || cuda_image_bytes(image, bytes) > bytes) {
        return false;
    }
    return cuda_image_begins(image, bytes, CUDA_FATBIN_MAGIC) ? fatbin_is_whole(image, bytes)
           : cuda_image_begins(image, bytes, CUDA_ELF_MAGIC)  ? elf_is_whole(image, bytes)
                                                              : is_text(image, bytes);
}
