/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vgpu-loadgen: many virtual machines' devices, played by one thread.
 *
 * One round of the loop: epoll says which connections have answers; all that
 * are there are read at once, each is found by its request_id and checked, and
 * as many new requests leave in one write.  So the cost of a job falls as the
 * load rises, and one core drives more jobs than a mediator takes.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "loadgen/engine.h"
#include "loadgen/report.h"

#define EXIT_WRONG 1
#define EXIT_NO_MEDIATOR 3
#define CONNECT_TIMEOUT_MS 5000

static void raise_file_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static int explain_connect(const struct loadgen_options *options, uint32_t vm_id, int error)
{
    char buffer[LOADGEN_PATH_BYTES];
    const char *path = loadgen_socket_path(options, vm_id, buffer);
    const char *advice = "";

    switch (error) {
    case ENOENT:
    case ECONNREFUSED: advice = ". Is vgpu-mediator running, and with this --socket-path?"; break;
    case ECONNRESET:
        advice = ". The mediator refused it: its log says why (--trust-claims? another "
                 "connection with this vm_id?)";
        break;
    case EACCES:
    case EPERM: advice = ". Run as root, or see vgpu-mediator's --socket-group"; break;
    case ETIMEDOUT: advice = ". It takes the connection and says nothing: is it a mediator?"; break;
    default: break;
    }
    fprintf(stderr, "vgpu-loadgen: VM %u: cannot talk to the mediator at %s: %s%s\n", vm_id,
            path ? path : options->socket_path, strerror(error), advice);
    return EXIT_NO_MEDIATOR;
}

static int connect_all(struct vm *vms, const struct loadgen_options *options)
{
    uint32_t index = 0;

    for (uint32_t i = 0; i < options->group_count; i++) {
        const struct loadgen_group *group = &options->groups[i];

        for (uint32_t j = 0; j < group->count; j++, index++) {
            int ret = vm_init(&vms[index], options, group, group->vm_id + j);

            if (ret == 0) {
                ret = vm_connect(&vms[index], CONNECT_TIMEOUT_MS);
            }
            if (ret < 0) {
                return explain_connect(options, group->vm_id + j, -ret);
            }
        }
    }
    return 0;
}

static int write_json(const struct vm *vms, const struct loadgen_options *options,
                      const struct engine_result *result)
{
    FILE *out = strcmp(options->json_path, "-") == 0 ? stdout : fopen(options->json_path, "w");
    int failed;

    if (!out) {
        fprintf(stderr, "vgpu-loadgen: --json %s: %s\n", options->json_path, strerror(errno));
        return EXIT_WRONG;
    }
    report_json(out, vms, options, result);
    failed = out == stdout ? fflush(out) : fclose(out);
    if (failed) {
        fprintf(stderr, "vgpu-loadgen: --json %s: %s\n", options->json_path, strerror(errno));
    }
    return failed ? EXIT_WRONG : 0;
}

static int finish(const struct vm *vms, const struct loadgen_options *options,
                  const struct engine_result *result)
{
    bool table = !options->quiet && (!options->json_path || strcmp(options->json_path, "-") != 0);
    int status = 0;

    if (table) {
        report_table(stdout, vms, options, result);
    }
    if (options->json_path) {
        status = write_json(vms, options, result);
    }
    for (uint32_t i = 0; i < options->vm_count; i++) {
        if (vms[i].wrong) {
            status = EXIT_WRONG;
        }
    }
    if (result->missing) {
        fprintf(stderr, "vgpu-loadgen: %llu requests were never answered.\n",
                (unsigned long long)result->missing);
        status = EXIT_WRONG;
    }
    return status;
}

int main(int argc, char **argv)
{
    static struct loadgen_options options;
    struct engine_result result;
    struct vm *vms;
    int status = loadgen_options_parse(&options, argc, argv);
    int ret;

    if (status >= 0) {
        return status;
    }
    vms = calloc(options.vm_count, sizeof(*vms));
    if (!vms) {
        fprintf(stderr, "vgpu-loadgen: no memory for %u VMs.\n", options.vm_count);
        return EXIT_NO_MEDIATOR;
    }
    raise_file_limit();
    status = connect_all(vms, &options);
    if (status == 0) {
        ret = engine_run(vms, &options, &result);
        if (ret < 0) {
            fprintf(stderr, "vgpu-loadgen: cannot wait for events: %s\n", strerror(-ret));
            status = EXIT_NO_MEDIATOR;
        } else {
            status = finish(vms, &options, &result);
        }
    }
    for (uint32_t i = 0; i < options.vm_count; i++) {
        if (vms[i].options) {
            vm_destroy(&vms[i]);
        }
    }
    free(vms);
    return status;
}
