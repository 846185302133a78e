/* SPDX-License-Identifier: GPL-2.0-or-later */
/* This module removes a folder whose content somebody else has made. */
#ifndef KEEPER_REMOVE_TREE_H
#define KEEPER_REMOVE_TREE_H

#define REMOVE_TREE_DEPTH_MAX 32u

/*
 * `name` in the folder `parent`, with all that is below it.  No link is followed, and no other
 * file system entered.  -1 and errno: ELOOP is a tree deeper than REMOVE_TREE_DEPTH_MAX.  Nobody
 * may be able to change `parent` itself meanwhile.
 */
int remove_tree(int parent, const char *name);

#endif /* KEEPER_REMOVE_TREE_H */
