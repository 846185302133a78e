/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <string.h>

#include "admin/base/render.h"
#include "admin/help.h"
#include "admin/options.h"

static void print_options(const struct admin_option *options)
{
    for (const struct admin_option *o = options; o && o->name; o++) {
        char left[64];
        if (o->metavar && o->metavar[0] == '[') {
            snprintf(left, sizeof(left), "--%s[=%s", o->name, o->metavar + 1);
        } else {
            snprintf(left, sizeof(left), "--%s%s%s", o->name, o->metavar ? "=" : "",
                     o->metavar ? o->metavar : "");
        }
        printf("  %-26s %s%s\n", left, o->help, o->required ? " (required)" : "");
    }
}

void help_overview(const struct admin_option *globals)
{
    const char *group = "";

    printf("usage: vgpu-admin [options] COMMAND [options of the command]\n\n"
           "Manages which virtual machines share the GPUs of this host, and how.\n");
    for (size_t f = 0; admin_command_families[f]; f++) {
        for (const struct admin_command *c = admin_command_families[f]; c->name; c++) {
            if (strcmp(group, c->group) != 0) {
                group = c->group;
                putchar('\n');
                render_heading("%s", group);
            }
            printf("  %-18s %s\n", c->name, c->summary);
        }
    }
    putchar('\n');
    render_heading("Options of every command");
    print_options(globals);
    printf(
        "\nA change is written to the database first and works with the mediator down; a running\n"
        "mediator takes it over at once.\n\n");
    render_heading("Exit status");
    printf("  0  done\n  1  failed\n  2  wrong usage\n"
           "  3  the mediator cannot be reached by a command that needs it\n\n");
    render_heading("Example");
    printf("  vgpu-admin register-vm --vm-name=\"web 1\" --pool=A --priority=high\n"
           "  vgpu-admin set-weight --vm-name=\"web 1\" --weight=80\n"
           "  vgpu-admin status\n\n"
           "vgpu-admin COMMAND --help shows more about a command; see also vgpu-admin(8).\n");
}

void help_command(const struct admin_command *c, const struct admin_option *globals)
{
    printf("usage: vgpu-admin %s%s%s\n\n%s.\n", c->name, c->usage ? " " : "",
           c->usage ? c->usage : "", c->summary);
    if (c->details) {
        printf("\n%s\n", c->details);
    }
    if (c->options && c->options[0].name) {
        putchar('\n');
        render_heading("Options");
        print_options(c->options);
    }
    putchar('\n');
    render_heading("Options of every command");
    print_options(globals);
    putchar('\n');
    render_heading("Example");
    for (const char *p = c->example; *p;) {
        size_t length = strcspn(p, "\n");
        printf("  %.*s\n", (int)length, p);
        p += length + (p[length] == '\n');
    }
}

/* An option's values if its metavar lists them: "low|medium|high". */
static void complete_values(const struct admin_option *options, const char *name)
{
    for (const struct admin_option *o = options; o && o->name; o++) {
        if (strcmp(o->name, name) == 0 && o->metavar && strchr(o->metavar, '|')) {
            for (const char *p = o->metavar; *p;) {
                size_t length = strcspn(p, "|");
                printf("%.*s\n", (int)length, p);
                p += length + (p[length] == '|');
            }
        }
    }
}

static void complete_options(const struct admin_option *options)
{
    for (const struct admin_option *o = options; o && o->name; o++) {
        printf("--%s%s\n", o->name, o->metavar && o->metavar[0] != '[' ? "=" : "");
    }
}

int help_complete(int argc, char **argv, const struct admin_option *globals)
{
    const struct admin_command *c = argc > 1 ? admin_find_command(argv[1]) : NULL;

    if (argc > 0 && strcmp(argv[0], "commands") == 0) {
        for (size_t f = 0; admin_command_families[f]; f++) {
            for (c = admin_command_families[f]; c->name; c++) {
                printf("%s\n", c->name);
            }
        }
    } else if (argc > 0 && strcmp(argv[0], "options") == 0) {
        complete_options(c ? c->options : NULL);
        complete_options(globals);
    } else if (argc > 2 && strcmp(argv[0], "values") == 0) {
        complete_values(c ? c->options : NULL, argv[2]);
        complete_values(globals, argv[2]);
    } else {
        return ADMIN_USAGE;
    }
    return ADMIN_OK;
}
