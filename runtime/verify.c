/* verify.c - the structure of a program that the executor relies on, checked once at load.
 *
 * Regions partition the steps; every body has one owner, which comes before it. Every slot but a constant belongs to one
 * region and is defined once: by an input of that region or by one of its steps. A step reads slots of its own region and
 * of those around it, and frees only its own region's. So nothing is overwritten or freed while it is being read.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/internal.h"

enum { MAX_NESTING = 128 };

typedef struct Check {
  const RtProgram *p;
  uint32_t *parent; /* by region; PROG_NONE: not referred to yet */
  uint32_t *depth;  /* by region */
  uint32_t *home;   /* by slot: region; PROG_NONE */
  uint32_t *stamp;  /* by slot: 1 + the step that reads it last */
  bool *defined;    /* by slot */
} Check;

static const ProgRegion *region(const Check *k, uint32_t i) { return REC(k->p, SEC_REGIONS, ProgRegion) + i; }

/* Steps one after the other, bodies behind their owners. */
static bool nesting_ok(Check *k) {
  uint32_t at = 0, n = rt_count(k->p, SEC_REGIONS);
  k->parent[0] = 0;
  for (uint32_t r = 0; r < n; r++) {
    if (region(k, r)->step != at || k->parent[r] == PROG_NONE || k->depth[r] > MAX_NESTING)
      return false;
    at += region(k, r)->nstep;
    for (uint32_t i = region(k, r)->step; i < at; i++)
      for (int b = 0; b < step_bodies(rt_step(k->p, i)); b++) {
        uint32_t body = rt_step(k->p, i)->region[b];
        if (body <= r || k->parent[body] != PROG_NONE)
          return false;
        k->parent[body] = r, k->depth[body] = k->depth[r] + 1;
      }
  }
  return at == rt_count(k->p, SEC_STEPS);
}

static bool is_const(const Check *k, uint32_t slot) { return rt_slot(k->p, slot)->kind == SLOT_CONST; }

static bool own_ok(Check *k, uint32_t r) {
  for (uint32_t i = 0; i < region(k, r)->nown; i++) {
    uint32_t slot = rt_list(k->p, region(k, r)->own + i);
    uint8_t kind = rt_slot(k->p, slot)->kind;
    if (kind == SLOT_CONST || k->home[slot] != PROG_NONE || (r && kind != SLOT_DYNAMIC))
      return false;
    k->home[slot] = r;
  }
  return true;
}

static bool define(Check *k, uint32_t slot, uint32_t r) {
  if (k->home[slot] != r || k->defined[slot])
    return false;
  return k->defined[slot] = true;
}

static bool may_read(const Check *k, uint32_t slot, uint32_t r) {
  if (is_const(k, slot))
    return true;
  for (; r && k->home[slot] != r; r = k->parent[r])
    ;
  return k->home[slot] == r;
}

static bool step_ok(Check *k, uint32_t i, uint32_t r) {
  const ProgStep *s = rt_step(k->p, i);
  for (uint32_t j = 0; j < s->nin; j++) {
    uint32_t slot = rt_list(k->p, s->in + j);
    if (slot == PROG_NONE)
      continue;
    if (!may_read(k, slot, r))
      return false;
    k->stamp[slot] = i + 1;
  }
  for (uint32_t j = 0; j < s->nout; j++) {
    uint32_t slot = rt_list(k->p, s->out + j);
    if (slot == PROG_NONE)
      continue;
    if (k->stamp[slot] == i + 1 || !define(k, slot, r) || rt_slot(k->p, slot)->kind == SLOT_INPUT)
      return false;
  }
  for (uint32_t j = 0; j < s->nfree; j++)
    if (k->home[rt_list(k->p, s->free + j)] != r)
      return false;
  return true;
}

static bool region_ok(Check *k, uint32_t r) {
  const ProgRegion *x = region(k, r);
  for (uint32_t i = 0; i < x->nin; i++)
    if (!define(k, rt_list(k->p, x->in + i), r))
      return false;
  for (uint32_t i = 0; i < x->nstep; i++)
    if (!step_ok(k, x->step + i, r))
      return false;
  for (uint32_t i = 0; i < x->nout; i++)
    if (!may_read(k, rt_list(k->p, x->out + i), r))
      return false;
  return true;
}

bool program_structure_ok(const RtProgram *p, Arena *scratch) {
  uint32_t nregion = rt_count(p, SEC_REGIONS), nslot = rt_count(p, SEC_SLOTS);
  Check k = {.p = p};
  k.parent = arena_array(scratch, uint32_t, nregion);
  k.depth = arena_array(scratch, uint32_t, nregion);
  k.home = arena_array(scratch, uint32_t, nslot);
  k.stamp = arena_array(scratch, uint32_t, nslot);
  k.defined = arena_array(scratch, bool, nslot);
  for (uint32_t i = 0; i < nregion; i++)
    k.parent[i] = PROG_NONE;
  for (uint32_t i = 0; i < nslot; i++)
    k.home[i] = PROG_NONE;
  if (!nesting_ok(&k))
    return false;
  for (uint32_t r = 0; r < nregion; r++)
    if (!own_ok(&k, r))
      return false;
  for (uint32_t r = 0; r < nregion; r++) /* owners first: what they define is known when a body is met */
    if (!region_ok(&k, r))
      return false;
  const ProgRegion *top = region(&k, 0);
  for (uint32_t i = 0; i < top->nin; i++)
    if (rt_input(p, i)->slot != rt_list(p, top->in + i))
      return false;
  for (uint32_t i = 0; i < top->nout; i++)
    if (rt_output(p, i)->slot != rt_list(p, top->out + i))
      return false;
  return true;
}
