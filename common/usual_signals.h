/* SPDX-License-Identifier: GPL-2.0-or-later */
/* This module undoes what a process made of its signals, for a child that becomes a program. */
#ifndef COMMON_USUAL_SIGNALS_H
#define COMMON_USUAL_SIGNALS_H

#include <signal.h>
#include <stddef.h>
#include <string.h>

/* None is ignored or blocked any more, which a program would inherit. */
static inline void usual_signals(void)
{
    struct sigaction usual;
    sigset_t none;

    memset(&usual, 0, sizeof(usual));
    usual.sa_handler = SIG_DFL;
    for (int number = 1; number < NSIG; number++) {
        sigaction(number, &usual, NULL);
    }
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

#endif /* COMMON_USUAL_SIGNALS_H */
