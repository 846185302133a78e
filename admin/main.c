/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vgpu-admin: the administrator's side of the mediator; run.c has what it does. */
#include "admin/run.h"

int main(int argc, char **argv)
{
    return admin_main(argc, argv);
}
