/* SPDX-License-Identifier: GPL-2.0-or-later */
/* These are the words for numbers of the protocol, as commands, files and events have them. */
#ifndef COMMON_NAMES_H
#define COMMON_NAMES_H

#include <stdint.h>

/* "low", "medium", "high" by enum vgpu_priority, and NULL behind them. */
extern const char *const priority_names[];

/* "?" for a number that is none.  Static storage. */
const char *priority_name(uint32_t priority);

/* The enum vgpu_priority of a word, or -1. */
int priority_from_name(const char *name);

/* The policies by enum wfq_policy_id, the default first; `...` stands between two. */
#define POLICY_NAMES(...)                                                                          \
    "wfq" __VA_ARGS__ "urgency" __VA_ARGS__ "priority" __VA_ARGS__ "fifo" __VA_ARGS__              \
    "wf2q" __VA_ARGS__ "priority-all"
#define POLICY_WORDS POLICY_NAMES(", ")
#define POLICY_CHOICES POLICY_NAMES("|")

/* The same, and NULL behind them. */
extern const char *const policy_names[];

#endif /* COMMON_NAMES_H */
