/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mediator/identity/process.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mediator/base/host_help.h"
#include "mediator/identity/xen_identity.h"

static bool is_ours(const struct process *process, bool connected)
{
    if (process->program == PROCESS_PROGRAM_OTHER) {
        return false;
    }
    return process->cmdline.stub_count > 0 ||
           (connected && process->program == PROCESS_PROGRAM_QEMU);
}

int process_read(const char *proc_path, pid_t pid, bool connected, struct process *process)
{
    struct process_stamp after;
    char *cmdline;
    ssize_t n;
    int ret;

    memset(process, 0, sizeof(*process));
    process->pid = pid;
    ret = process_read_stamp(proc_path, pid, &process->stamp);
    if (ret < 0) {
        return ret;
    }
    cmdline = malloc(PROCESS_CMDLINE_MAX);
    if (!cmdline) {
        return -ENOMEM;
    }
    n = process_read_file(proc_path, pid, "cmdline", cmdline, PROCESS_CMDLINE_MAX);
    if (n >= 0) {
        qemu_cmdline_parse(&process->cmdline, cmdline, (size_t)n);
    }
    free(cmdline);
    if (n < 0) {
        return (int)n;
    }
    ret = process_read_owner(proc_path, pid, &process->owner);
    if (ret < 0) {
        return ret;
    }
    if (process->cmdline.stub_count > 0 || connected) { /* nobody else is asked about */
        host_help_look(proc_path, pid, &process->program, &process->foreign);
    }
    process->foreign |= process->owner.contained;
    process->ours = is_ours(process, connected);
    ret = xen_identity_apply(process);
    if (ret < 0) {
        return ret;
    }
    ret = process_read_stamp(proc_path, pid, &after);
    if (ret < 0) {
        return ret;
    }
    return memcmp(&after, &process->stamp, sizeof(after)) == 0 ? 0 : -EAGAIN;
}
