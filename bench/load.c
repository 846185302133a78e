/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "bench/load.h"
#include "common/ns.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ARGS_MAX 32
#define CONNECT_TIMEOUT_MS 10000

static void __attribute__((noreturn)) die(const char *what, const char *why)
{
    fprintf(stderr, "bench: %s%s%s\n", what, why ? ": " : "", why ? why : "");
    exit(1);
}

static void connect_all(struct load *load)
{
    uint32_t index = 0;

    load->vms = calloc(load->options.vm_count, sizeof(*load->vms));
    if (!load->vms) {
        die("out of memory", NULL);
    }
    for (uint32_t i = 0; i < load->options.group_count; i++) {
        const struct loadgen_group *group = &load->options.groups[i];

        for (uint32_t j = 0; j < group->count; j++, index++) {
            int ret = vm_init(&load->vms[index], &load->options, group, group->vm_id + j);

            ret = ret == 0 ? vm_connect(&load->vms[index], CONNECT_TIMEOUT_MS) : ret;
            if (ret < 0) {
                die("cannot talk to the mediator", strerror(-ret));
            }
        }
    }
}

void load_run(struct load *load, const char *const *args)
{
    char *argv[ARGS_MAX + 1] = {(char *)"vgpu-loadgen"};
    int argc = 1, ret;

    for (; args[argc - 1] && argc < ARGS_MAX; argc++) {
        argv[argc] = (char *)args[argc - 1];
    }
    optind = 0; /* start afresh */
    if (loadgen_options_parse(&load->options, argc, argv) >= 0) {
        die("wrong load", NULL);
    }
    connect_all(load);
    ret = engine_run(load->vms, &load->options, &load->result);
    if (ret < 0) {
        die("cannot run the load", strerror(-ret));
    }
    for (uint32_t i = 0; i < load->options.vm_count; i++) {
        if (load->vms[i].wrong) {
            die("an answer was wrong", NULL);
        }
    }
    if (load->result.missing) {
        die("answers are missing", NULL);
    }
}

void load_free(struct load *load)
{
    for (uint32_t i = 0; i < load->options.vm_count; i++) {
        vm_destroy(&load->vms[i]);
    }
    free(load->vms);
    load->vms = NULL;
}

double load_jobs_per_s(const struct load *load)
{
    uint64_t jobs = 0;

    for (uint32_t i = 0; i < load->options.vm_count; i++) {
        jobs += load->vms[i].measured.jobs;
    }
    return load->result.measured_ns ? (double)jobs * NS_PER_S / (double)load->result.measured_ns
                                    : 0;
}
