/* pb.h - values as protobuf files: TensorProto, SequenceProto and OptionalProto, as ONNX test data uses them.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_TOOLS_PB_H
#define SARD_TOOLS_PB_H

#include "support/tensor.h"

/* Reads a value of the given kind (VK_TENSOR, VK_SEQUENCE, VK_OPTIONAL). An optional without an element has nitem 0.
 * Tensors with external data are refused. name (may be NULL): the value's name, "" when it has none. */
Status pb_read(Ctx *c, Arena *a, ValueKind kind, const void *bytes, size_t n, Tensor **out, const char **name);
/* The bytes of a value, in arena a. */
Status pb_write(Ctx *c, Arena *a, const char *name, const Tensor *t, Str *out);

#endif
