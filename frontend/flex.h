/* flex.h - FlexAttention (ai.onnx.preview 1) as the operators it is defined by.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_FRONTEND_FLEX_H
#define SARD_FRONTEND_FLEX_H

#include "frontend/decode.h"

/* What the importer does for the expansion. */
typedef struct FlexSink {
  const Type *(*type)(void *arg, const char *name);  /* of a value the node can see */
  const char *(*fresh)(void *arg, const char *base); /* a name that no value has */
  Status (*node)(void *arg, const RawNode *n);       /* adds a node in newest form */
  /* The nodes of a graph of one input and one output in place: the input is the value `in`, the output gets the name out. */
  Status (*graph)(void *arg, const RawGraph *g, const char *in, const char *out);
  void *arg;
} FlexSink;

bool flex_is(const RawNode *n);
/* a: scratch. ST_UNSUPPORTED: heads or head size are not known. */
Status flex_expand(Ctx *c, Arena *a, const RawNode *n, const FlexSink *to);

#endif
