/* import.h - the parts of the importer: from raw structs (decode.h) to the graph (ir/graph.h).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_FRONTEND_IMPORT_H
#define SARD_FRONTEND_IMPORT_H

#include "frontend/decode.h"
#include "frontend/weights.h"

#include <string.h>

enum {
  NEWEST_OPSET =
      28, /* of ai.onnx, the one ops.def is written to; newer ones are accepted where every node still fits */
  MAX_OPSETS = 256,
  MAX_NESTING = 64, /* bodies inside bodies, and functions calling functions */
  DEFAULT_MAX_NODES = 2000000,
};

/* The graph of raw, in m->graph (which is empty). Borrows nothing from raw but tensor data. a: scratch. o may be NULL.
 */
Status import_model(Ctx *c, Arena *a, const RawModel *raw, Weights *w, const LoadOptions *o, Model *m);

/* --- order.c --- */
/* Nodes of one graph in an order in which every value is made before it is used: the file's order if it is one, else a
 * stable topological sort. *order is NULL for the file's order. given: names of inputs and constants. ST_INVALID: two
 * nodes make the same name, a node makes a given name, or there is a cycle; both nodes are named. */
Status order_nodes(Ctx *c, Arena *a, const RawNode *node, uint32_t n, const Map *given, uint32_t **order);

/* The number of graphs in an attribute; a reference to an attribute of a function holds none. */
static inline uint32_t raw_bodies(const RawAttr *t) {
  return *t->ref ? 0 : t->type == RA_GRAPH ? 1 : t->type == RA_GRAPHS ? t->n : 0;
}

/* A node whose attributes xs, zs and y name tensors of its graph. */
static inline bool raw_is_gradient(const RawNode *n) {
  return !strcmp(n->op, "Gradient") && !strcmp(n->domain, "ai.onnx.preview.training");
}

/* --- functions.c --- */
typedef struct Functions Functions;
/* Checks the functions of a model before anything is expanded: duplicates, recursion, nesting, and that the main graph
 * has at most max_nodes nodes when all calls are inlined. */
Status functions_open(Ctx *c, Arena *a, const RawModel *raw, uint32_t max_nodes, Functions **out);
/* The function that n calls, or NULL: n is an operator. */
const RawFunction *functions_find(const Functions *fs, const RawNode *n);
/* n, a node of fn's body, with references to attributes replaced by the values that call gives, or fn's defaults;
 * references to what neither gives are dropped. */
Status function_attrs(Ctx *c, Arena *a, const RawFunction *fn, const RawNode *call, const RawNode *n, RawNode *out);

/* --- origin.c --- */
/* Where a node comes from, from its name and the exporter's metadata. prefix: put before the name (inlined functions);
 * from: the origin of the call, which gives what the node does not say; both may be NULL. */
const Origin *import_origin(Graph *g, Arena *a, const RawNode *n, uint32_t index, const char *prefix,
                            const Origin *from);
/* Narrows the symbols that the exporter states ranges for. */
void import_ranges(Ctx *c, Arena *a, const RawGraph *g);

/* --- attrs.c --- */
/* Newest-form attributes of n as op's struct (in a), checked against its table; bodies (of If, Loop, Scan) in body[].
 */
Status import_attrs(Ctx *c, Arena *a, Weights *w, const RawNode *n, OpId op, void **attr, const RawGraph *body[2]);
/* The tensor that a Constant node holds. */
Status import_constant(Ctx *c, Arena *a, Weights *w, const RawNode *n, Arena *keep, const Tensor **out);

#endif
