/* upgrade.h - nodes of older opsets in the form that ops.def describes.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_FRONTEND_UPGRADE_H
#define SARD_FRONTEND_UPGRADE_H

#include "frontend/decode.h"

/* One node on its way to its newest form. A step changes n in place and may put nodes before and after it; what it adds
 * is in newest form already. */
typedef struct Upgrade {
  Ctx *c;
  Arena *a;    /* raw nodes made here */
  Arena *keep; /* data of constants made here */
  RawNode n;   /* a copy; its lists are not shared once a step has changed them */
  int64_t opset;
  RawNode before[128], after[4];
  uint32_t nbefore, nafter;
  const Type *(*type)(void *arg, const char *name);    /* of a value the node can see; NULL: nothing known */
  const Tensor *(*konst)(void *arg, const char *name); /* a constant the node can see, or NULL */
  const char *(*fresh)(void *arg, const char *base);   /* a name that no value has */
  void *arg;
} Upgrade;

/* False: a node of this operator and opset is in newest form. */
bool upgrade_wanted(const char *op, int64_t opset);
/* Applies the steps between opset and the newest form, in order. ST_UNSUPPORTED: the old form has no equivalent, or
 * what decides it (a rank, a constant) is not known. */
Status upgrade_node(Upgrade *u, int64_t opset);

/* Steps with files of their own. */
Status batched_scan(Upgrade *u);
Status sequence_map(Upgrade *u);

/* A node without attributes in newest form, which has the name of the one that is upgraded. */
RawNode raw_node(Upgrade *u, const char *op, const char *out, uint32_t nin, const char *const *in);
#define RAW_NODE(u, op, out, ...)                                                                                      \
  raw_node(u, op, out, sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *),                              \
           (const char *const[]){__VA_ARGS__})

/* Row i of the table of steps: operator, and the first opset that has the newer form (0: whatever the opset says).
 * False at the end. */
bool upgrade_info(uint32_t i, const char **op, int *opset);

#endif
