/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vgpu-client: the guest's tool.  See docs/man/vgpu-client.1. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "client.h"

static int run(const struct client_options *options)
{
    struct vgpu *v;
    int status, result;

    if (options->mode == MODE_LIST) {
        return client_list_devices(options);
    }
    result = vgpu_open(options->spec, &options->device, &v);
    if (result != VGPU_OK) {
        return client_report_error(options, vgpu_error_code(NULL), vgpu_last_error(NULL),
                                   client_exit_status(NULL, result));
    }
    if (options->mode == MODE_REGISTERS) {
        status = client_show_registers(v, options);
    } else if (options->mode == MODE_CHANNEL) {
        status = client_show_channel(v, options);
    } else if (options->mode == MODE_BULK) {
        status = client_run_bulk(v, options);
    } else if (options->stream) {
        status = client_run_stream(v, options);
    } else {
        status = client_run_single(v, options);
    }
    vgpu_close(v);
    return status;
}

int main(int argc, char **argv)
{
    struct client_options options;
    int status = options_parse(&options, argc, argv);

    if (status < 0) {
        status = run(&options);
    }
    /* A result that nobody could read is no success. */
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "vgpu-client: can't write the output: %s\n", strerror(errno));
        return status ? status : EXIT_FAILED;
    }
    return status;
}
