/* growing.c - which extents grow from run to run.
 *
 * A model with caches (Value.append) is run with one row more each time. What grows with the cache has symbols of its own, a mask's
 * length among them, which nothing ties to the cache's: so every symbol in the shape of an input counts, but those that the extents of
 * the library's products hang on. These must be known when a graph is recorded, and the batch and the new rows are among them.
 *
 * Code that reads an extent from memory is other code than that which takes it as a parameter: kernels are numbered by both.
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/growing.h"

#include "support/str.h"

#include <string.h>

static bool grows(const Groups *groups, Dim d) {
  for (uint32_t i = 0; i < groups->ngrowing; i++)
    if (dim_uses(d, groups->growing[i]))
      return true;
  return false;
}

/* --- the symbols --- */

static bool in_library(const Groups *groups, Dim sym) {
  for (uint32_t i = 0; i < groups->n; i++) {
    const Unit *u = groups->group[i]->unit;
    const Product *p = &u->product;
    if (u->kind != UNIT_PRODUCT || !(p->forms & FORM_LIBRARY))
      continue;
    if (dim_uses(p->batch, sym) || dim_uses(p->m, sym) || dim_uses(p->n, sym) || dim_uses(p->k, sym))
      return true;
  }
  return false;
}

static void add_symbol(Arena *a, Groups *groups, Dim d) {
  if (d->kind != DIM_SYM || grows(groups, d) || in_library(groups, d))
    return;
  Dim *bigger = arena_array(a, Dim, groups->ngrowing + 1u);
  if (groups->ngrowing)
    memcpy(bigger, groups->growing, groups->ngrowing * sizeof *bigger);
  bigger[groups->ngrowing++] = d;
  groups->growing = bigger;
}

static void find_symbols(Arena *a, const Graph *g, Groups *groups) {
  bool any = false;
  for (uint32_t i = 0; i < g->nin; i++)
    for (int k = 0; k < g->in[i]->type.rank; k++)
      add_symbol(a, groups, g->in[i]->type.dim[k]);
  for (uint32_t i = 0; i < g->nin; i++) {
    const Append *x = g->in[i]->append;
    if (!x || !grows(groups, x->past->type.dim[x->axis]))
      continue;
    any = true;
    add_symbol(a, groups, x->past_room), add_symbol(a, groups, x->present_room), add_symbol(a, groups, x->copied);
  }
  if (!any)
    groups->ngrowing = 0;
}

/* --- the kernels --- */

static void mark(Arena *a, const Groups *groups, Group *x) {
  StrBuf b;
  bool *growing = arena_array(a, bool, x->ndim + 1u);
  buf_init(&b, a);
  for (uint32_t i = 0; i < x->ndim; i++) {
    growing[i] = grows(groups, x->dim[i]);
    if (growing[i])
      buf_printf(&b, "%s d%u", b.len ? "" : "\nfrom memory:", i);
  }
  if (!b.len)
    return;
  x->unit->growing = growing;
  x->signature = arena_printf(a, "%s%s", x->signature, b.text);
}

static void number_kernels(Arena *a, Groups *groups) {
  const Unit **kernel = arena_array(a, const Unit *, groups->n);
  Map seen;
  map_init(&seen, a);
  groups->nkernel = 0;
  for (uint32_t i = 0; i < groups->n; i++) {
    Group *x = groups->group[i];
    uintptr_t k = (uintptr_t)map_get(&seen, x->signature);
    if (!k) {
      kernel[groups->nkernel] = x->unit;
      k = ++groups->nkernel;
      map_put(&seen, x->signature, (void *)k);
    }
    x->kernel = (uint32_t)(k - 1);
  }
  groups->kernel = kernel;
}

void growing_mark(Arena *a, const Graph *g, Groups *groups) {
  find_symbols(a, g, groups);
  if (!groups->ngrowing)
    return;
  for (uint32_t i = 0; i < groups->n; i++)
    mark(a, groups, groups->group[i]);
  number_kernels(a, groups);
}
