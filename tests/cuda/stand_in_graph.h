/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of the stand-in's graphs share. */
#ifndef TESTS_CUDA_STAND_IN_GRAPH_H
#define TESTS_CUDA_STAND_IN_GRAPH_H

#include "tests/cuda/stand_in.h"

#define NODE_ATTRIBUTES 18u

struct node {
    struct object object;
    int type;
    struct graph *graph;
    struct node *original; /* of a clone's or an instance's */
    struct work *work;     /* of a kernel, a copy or a memset; else NULL */
    struct graph *child;
    struct event *event;
    bool disabled, passed; /* passed: the launch under way has come to it */
    uint8_t attributes[NODE_ATTRIBUTES][64];
    void *pointers[PARAMS_MAX]; /* to its parameters, for whoever asks */
    struct node *next;
    struct node *older; /* of all that ever lived: else a dead one would be taken for a leak */
};

struct edge {
    struct node *from, *to;
    CUgraphEdgeData data;
    struct edge *next;
};

struct graph {
    struct object object;
    struct node *first, **last;
    struct edge *edges, **last_edge;
    size_t count;
    struct node *owner;   /* in which it is */
    struct graph *source; /* of an instance */
    unsigned fills;       /* captures that go on in it */
};

struct graph *stand_in_graph_new(enum kind kind);
struct node *stand_in_node_new(struct graph *graph, int type);
void stand_in_edge_new(struct graph *graph, struct node *from, struct node *to,
                       const CUgraphEdgeData *data);
/* Nodes and edges of the one in the other. */
void stand_in_graph_copy(struct graph *to, const struct graph *from);
void stand_in_graph_empty(struct graph *graph);
/* The instance's or clone's node that stands for this one; NULL: none. */
struct node *stand_in_node_in(struct graph *graph, const struct node *original);
/* A graph that is to change, and so many of its nodes; ends the process if they are none of it. */
struct graph *stand_in_graph_to_change(const char *caller, CUgraph handle, const CUgraphNode *nodes,
                                       size_t count);
/* Ends the process if the work uses what is gone. */
void stand_in_check_work(const char *function, const struct work *work);
/* Rows and slices as work, all of it checked. */
struct work *stand_in_rows(const char *function, const CUmemcpy3D *copy, struct stream *stream);

#endif
