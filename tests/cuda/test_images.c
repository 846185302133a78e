/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a process may send as an image: the driver believes its headers, so they are checked. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "cuda/image.h"
#include "tests/cuda/rig.h"

/* A wrapper of nvcc's, of 24 bytes: magic, version, a pointer that the driver would follow. */
static const uint8_t wrapper[24] = {0xb1, 0x43, 0x62, 0x46, 1, 0, 0, 0, 0x10, 0x20, 0x30, 0x40};

static void a_wrapper_never_reaches_the_driver(void **state)
{
    struct rig *rig = test_calloc(1, sizeof(*rig));
    struct rig_channel *c;
    struct rig_record image = {
        .op = CUDA_OP_IMAGE, RIG_ARGS(0), .payload = wrapper, .payload_bytes = sizeof(wrapper)};

    (void)state;
    rig_open(rig, 0);
    c = rig_channel(rig);
    rig_begin(c);
    assert_int_equal(rig_ask(c, image), 0);
    assert_int_equal(
        RIG_CALL(c, MODULE_LOAD, 1, RIG_HANDLE(CUDA_KIND_MODULE, 1), sizeof(wrapper), 0, 0),
        CUDA_ERROR_INVALID_IMAGE);
    assert_int_equal(rig_ask(c, image), 0);
    assert_int_equal(
        RIG_CALL(c, LIBRARY_LOAD, 0, RIG_HANDLE(CUDA_KIND_LIBRARY, 1), sizeof(wrapper), 0, 0),
        CUDA_ERROR_INVALID_IMAGE);
    rig_close(rig);
    test_free(rig);
}

/* ---- ELF ---- */

struct elf {
    Elf64_Ehdr header;
    Elf64_Shdr section;
    Elf64_Phdr segment;
};

static struct elf good_elf(void)
{
    struct elf elf = {
        .header = {.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64},
                   .e_shoff = offsetof(struct elf, section),
                   .e_shnum = 1,
                   .e_shentsize = sizeof(Elf64_Shdr),
                   .e_phoff = offsetof(struct elf, segment),
                   .e_phnum = 1,
                   .e_phentsize = sizeof(Elf64_Phdr)},
        .section = {.sh_type = SHT_PROGBITS, .sh_offset = 0, .sh_size = sizeof(elf)},
        .segment = {.p_offset = 0, .p_filesz = sizeof(elf)},
    };

    return elf;
}

static bool is_whole(const struct elf *elf)
{
    return driver_image_is_whole((const uint8_t *)elf, sizeof(*elf));
}

static void an_elf_lies_in_its_image(void **state)
{
    struct elf elf = good_elf();

    (void)state;
    assert_true(is_whole(&elf));
    assert_false(driver_image_is_whole((const uint8_t *)&elf, sizeof(elf) - 1));
    elf.header.e_shnum = 65535;
    elf.header.e_shentsize = 0;
    assert_false(is_whole(&elf));
    elf = good_elf();
    elf.header.e_phnum = 2;
    elf.header.e_phentsize = 0;
    assert_false(is_whole(&elf));
    elf = good_elf();
    elf.header.e_phnum = PN_XNUM;
    assert_false(is_whole(&elf));
    elf = good_elf();
    elf.segment.p_filesz++;
    assert_false(is_whole(&elf));
    elf = good_elf();
    elf.section.sh_offset = UINT64_MAX;
    assert_false(is_whole(&elf));
    elf = good_elf();
    elf.header.e_ident[EI_CLASS] = ELFCLASS32; /* another layout */
    assert_false(is_whole(&elf));
    elf = good_elf();
    elf.header.e_shnum = 0; /* the first section says how many there are */
    elf.section.sh_size = 2;
    assert_false(is_whole(&elf));
    elf.section.sh_size = 1;
    assert_true(is_whole(&elf));
}

/* ---- fat binaries ---- */

struct fat {
    struct cuda_fatbin_header header;
    uint32_t kind, header_bytes;
    uint64_t bytes;
    struct elf elf;
    uint8_t zeros[8];
};

static struct fat good_fat(void)
{
    struct fat fat = {
        .header = {CUDA_FATBIN_MAGIC, 1, sizeof(fat.header), sizeof(fat) - sizeof(fat.header)},
        .kind = 2,
        .header_bytes = 16,
        .bytes = sizeof(fat.elf),
        .elf = good_elf(),
    };

    return fat;
}

static bool fat_is_whole(const struct fat *fat)
{
    return driver_image_is_whole((const uint8_t *)fat, sizeof(*fat));
}

static void the_parts_of_a_fat_binary_lie_in_it(void **state)
{
    struct fat fat = good_fat();

    (void)state;
    assert_true(fat_is_whole(&fat));
    fat.bytes = sizeof(fat.elf) + 9;
    assert_false(fat_is_whole(&fat));
    fat.bytes = UINT64_MAX - 16;
    assert_false(fat_is_whole(&fat));
    fat = good_fat();
    fat.header_bytes = 0;
    assert_false(fat_is_whole(&fat));
    fat.header_bytes = UINT32_MAX;
    assert_false(fat_is_whole(&fat));
    fat = good_fat();
    fat.elf.segment.p_filesz++;
    assert_false(fat_is_whole(&fat));
    fat = good_fat();
    fat.zeros[7] = 1;
    assert_false(fat_is_whole(&fat));
}

static void text_begins_as_text(void **state)
{
    (void)state;
    assert_true(driver_image_is_whole((const uint8_t *)"\n\t.version 7", 13));
    assert_true(driver_image_is_whole((const uint8_t *)"//", 3));
    assert_false(driver_image_is_whole((const uint8_t *)"//", 2));
    assert_false(driver_image_is_whole((const uint8_t *)"", 1));
    assert_false(driver_image_is_whole((const uint8_t *)"\xb1", 2));
    assert_false(driver_image_is_whole((const uint8_t *)"BC\xc0\xde", 5));
    assert_false(driver_image_is_whole(wrapper, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_wrapper_never_reaches_the_driver),
        cmocka_unit_test(an_elf_lies_in_its_image),
        cmocka_unit_test(the_parts_of_a_fat_binary_lie_in_it),
        cmocka_unit_test(text_begins_as_text),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
