/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mediator/workers/turn_page.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

VGPUTurnPage *turn_page_new(int *fd)
{
    const int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
    void *page = MAP_FAILED;

    *fd = memfd_create("vgpu-turn", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (*fd < 0) {
        return NULL;
    }
    if (ftruncate(*fd, VGPU_TURN_PAGE_BYTES) == 0) {
        page = mmap(NULL, VGPU_TURN_PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
    }
    /* Our mapping stays writable; kernels before 5.1 don't know the first form. */
    if (page == MAP_FAILED || (fcntl(*fd, F_ADD_SEALS, seals | F_SEAL_FUTURE_WRITE) < 0 &&
                               fcntl(*fd, F_ADD_SEALS, seals) < 0)) {
        turn_page_free(page == MAP_FAILED ? NULL : page);
        close(*fd);
        return NULL;
    }
    return page;
}

void turn_page_free(VGPUTurnPage *page)
{
    if (page) {
        munmap(page, VGPU_TURN_PAGE_BYTES);
    }
}
