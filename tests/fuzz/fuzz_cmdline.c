/* SPDX-License-Identifier: GPL-2.0-or-later */
/* /proc/PID/cmdline of whatever process connects: the result is well-formed. */
#include <string.h>

#include "fuzz.h"
#include "mediator/identity/qemu_cmdline.h"

static void check_string(const char *text, size_t capacity)
{
    CHECK(memchr(text, '\0', capacity) != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct qemu_cmdline cmdline;

    memset(&cmdline, 0xA5, sizeof(cmdline));
    qemu_cmdline_parse(&cmdline, (const char *)data, size);
    CHECK(cmdline.stub_count <= QEMU_STUBS_MAX);
    check_string(cmdline.name, sizeof(cmdline.name));
    for (uint32_t i = 0; i < cmdline.stub_count; i++) {
        check_string(cmdline.stubs[i].chardev, sizeof(cmdline.stubs[i].chardev));
        check_string(cmdline.stubs[i].path, sizeof(cmdline.stubs[i].path));
    }
    return 0;
}
