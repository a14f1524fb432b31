/* constants.c - small constants, moved out of the model's files.
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/constants.h"

#include <string.h>

enum { SMALL = 1 << 16 };

static bool is_in_file(const Tensor *t, const PlanFile *file, uint32_t n) {
  for (uint32_t i = 0; i < n; i++)
    if ((uintptr_t)t->data >= (uintptr_t)file[i].base && (uintptr_t)t->data < (uintptr_t)file[i].base + file[i].size)
      return true;
  return false;
}

static void move(Arena *a, Value *v, const PlanFile *file, uint32_t n) {
  if (!v || !v->konst || v->konst->dtype == DT_str || tensor_bytes(v->konst) >= SMALL || !is_in_file(v->konst, file, n))
    return;
  size_t size = tensor_bytes(v->konst);
  Tensor *t = arena_new(a, Tensor);
  *t = *v->konst;
  t->data = memcpy(arena_get(a, size, 1, 64), v->konst->data, size);
  v->konst = t;
}

void constants_copy(Graph *g, const PlanFile *file, uint32_t n) {
  for (uint32_t i = 0; i < g->nout; i++)
    move(g->arena, g->out[i], file, n);
  for (Node *x = g->first; x; x = x->next) {
    for (int i = 0; i < x->nin; i++)
      move(g->arena, x->in[i], file, n);
    for (int b = 0; b < 2; b++)
      if (x->body[b])
        constants_copy(x->body[b], file, n);
  }
}
