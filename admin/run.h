/* SPDX-License-Identifier: GPL-2.0-or-later */
/* This function is the program, from its command line to its exit status. */
#ifndef ADMIN_RUN_H
#define ADMIN_RUN_H

/* The whole program: what main() gets, and what it returns.  argv is changed. */
int admin_main(int argc, char **argv);

#endif /* ADMIN_RUN_H */
