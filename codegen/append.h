/* append.h - caches that grow in place: graph outputs that are a graph input and new rows behind it or in it.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_CODEGEN_APPEND_H
#define SARD_CODEGEN_APPEND_H

#include "codegen/group.h"

/* As group_graph, of a graph whose caches were found first: their values have Value.append where every step that reads or
 * writes them is code that steps through their memory by its own extents; NULL where one is not. */
Status append_group(Ctx *c, Arena *a, Graph *g, const GroupOptions *o, Groups **out);

/* Is n a TensorScatter that writes rows of a cache, in a loop nest of its own? And is `pad` what makes that cache longer, and part of it? */
bool append_scatters(const Node *n);
bool append_pads(const Node *n, const Node *pad);

/* An expression for the bytes of a kernel's buffers in terms of the rows it reads and writes, not of those there is room for. */
Dim append_bytes(Ctx *c, Dim bytes, Value *const *in, uint32_t nin, Value *const *out, uint32_t nout);

#endif
