/* memory.c - what a run will need, told before it from the plan: the layout of the arena, and who lives when.
 *
 * A value that owns memory lives from the step that makes it to the one behind which it is freed; views and results in place
 * lengthen the life of the memory they share. Over the steps of a region that is a sum of intervals; a step with bodies adds
 * the largest sum inside of them. Values of a body count once: a trip frees what the one before it made.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/grow.h"

#include "support/checked.h"

#include <string.h>

typedef struct Life {
  uint32_t
      owner; /* the slot whose memory it has, perhaps itself; PROG_NONE: an input's, a constant's, one of a graph around */
  uint32_t region;
  uint32_t first, last; /* steps of that region */
  uint64_t bytes;
  bool output; /* counted among the outputs */
} Life;

typedef struct Forecast {
  RtProgram *p;
  Ctx *c;
  Symbols s;
  const RtRunOptions *o;
  Life *life;                           /* by slot */
  uint32_t impossible, impossible_step; /* a slot whose size is none that a tensor can have; PROG_NONE */
  RtMemory *out;
} Forecast;

/* A region's largest sum, all values and those outside of the arena; where the former is. */
typedef struct Peak {
  uint64_t all, apart;
  uint32_t step;
} Peak;

static void add(uint64_t *sum, uint64_t bytes) { *sum = bytes > INT64_MAX - *sum ? INT64_MAX : *sum + bytes; }

static void unknown_at(Forecast *f, uint32_t step) {
  if (!f->out->unknown++)
    f->out->first_unknown = step;
}

typedef enum { UNKNOWN, KNOWN, IMPOSSIBLE } Size;

/* Capped, so that no sum of them overflows. */
static Size slot_bytes(Forecast *f, uint32_t slot, uint64_t *bytes) {
  const ProgSlot *s = rt_slot(f->p, slot);
  uint64_t most = INT64_MAX / (rt_count(f->p, SEC_SLOTS) + 1u);
  int64_t dim[MAX_RANK], count;
  size_t n;
  *bytes = 0;
  if (s->vkind != VK_TENSOR || !s->dtype || s->dtype == DT_str || !rt_symbols_dims(&f->s, s, dim))
    return UNKNOWN;
  if (!extent_ok(dim, s->rank, &count) || !dtype_bytes((DType)s->dtype, count, &n))
    return IMPOSSIBLE;
  *bytes = n < most ? n : most;
  return KNOWN;
}

/* --- constants and outputs --- */

static void count_constants(Forecast *f) {
  const ProgFile *file = REC(f->p, SEC_FILES, ProgFile);
  RtMemory *m = f->out;
  for (uint32_t i = 0; i < rt_count(f->p, SEC_SLOTS); i++) {
    const ProgSlot *s = rt_slot(f->p, i);
    if (s->kind == SLOT_CONST && (s->file == PROG_NONE || !(file[s->file].flags & FILE_PACKED)))
      add(s->file == PROG_NONE ? &m->own : &m->mapped, s->size);
  }
  for (uint32_t i = 0; i < rt_count(f->p, SEC_FILES); i++)
    if (file[i].flags & FILE_PACKED)
      add(&m->packed, file[i].size);
}

/* What the steps leave, and copies of inputs and constants. */
static void count_outputs(Forecast *f) {
  RtMemory *m = f->out;
  uint32_t nstep = REC(f->p, SEC_REGIONS, ProgRegion)->nstep;
  for (uint32_t i = 0; i < rt_count(f->p, SEC_OUTPUTS); i++) {
    uint32_t slot = rt_output(f->p, i)->slot, owner = f->life[slot].owner;
    uint64_t bytes;
    if (owner != PROG_NONE && f->life[owner].output)
      continue;
    if (slot_bytes(f, slot, &bytes) == KNOWN)
      add(&m->outputs, bytes);
    if (owner != PROG_NONE)
      f->life[owner].output = true;
  }
  m->apart = m->outputs > m->apart ? m->outputs : m->apart;
  if (m->outputs > m->peak)
    m->peak = m->outputs, m->peak_step = nstep ? nstep - 1 : PROG_NONE;
}

/* --- lives --- */

static void extend(Forecast *f, uint32_t slot, uint32_t last) {
  uint32_t owner = f->life[slot].owner;
  if (owner != PROG_NONE && f->life[owner].last < last)
    f->life[owner].last = last;
}

/* Step i of the region makes the slot, or memory for it. */
static void begin(Forecast *f, uint32_t slot, uint32_t region, uint32_t i) {
  const ProgRegion *r = REC(f->p, SEC_REGIONS, ProgRegion) + region;
  const ProgSlot *s = rt_slot(f->p, slot);
  uint32_t last = s->kind == SLOT_ARENA && s->last < r->nstep ? s->last : i;
  Life *x = &f->life[slot];
  *x = (Life){.owner = slot, .region = region, .first = i, .last = last};
  switch (slot_bytes(f, slot, &x->bytes)) {
  case KNOWN: break;
  case UNKNOWN: unknown_at(f, r->step + i); break;
  case IMPOSSIBLE: f->impossible = slot, f->impossible_step = r->step + i; break;
  }
}

/* The slot has the memory of another, if that is of the same region: a graph around counts its own. */
static void share(Forecast *f, uint32_t slot, uint32_t from, uint32_t region) {
  const Life *x = &f->life[from];
  f->life[slot].owner = x->owner != PROG_NONE && x->region == region ? x->owner : PROG_NONE;
  f->life[slot].region = region;
}

static void begin_outputs(Forecast *f, const ProgStep *s, uint32_t region, uint32_t i) {
  for (uint32_t k = 0; k < s->nout; k++) {
    uint32_t slot = rt_list(f->p, s->out + k);
    if (slot == PROG_NONE)
      continue;
    uint32_t from = s->kind == STEP_VIEW && !k ? rt_list(f->p, s->in) : rt_slot(f->p, slot)->base;
    if (from == PROG_NONE)
      begin(f, slot, region, i);
    else
      share(f, slot, from, region);
  }
}

static void find_lives(Forecast *f, uint32_t region) {
  const ProgRegion *r = REC(f->p, SEC_REGIONS, ProgRegion) + region;
  for (uint32_t i = 0; region && i < r->nin; i++)
    begin(f, rt_list(f->p, r->in + i), region, 0);
  for (uint32_t i = 0; i < r->nstep; i++) {
    const ProgStep *s = rt_step(f->p, r->step + i);
    begin_outputs(f, s, region, i);
    for (uint32_t k = 0; k < s->nfree; k++)
      extend(f, rt_list(f->p, s->free + k), i);
  }
  for (uint32_t i = 0; i < r->nout && r->nstep; i++)
    if (f->life[rt_list(f->p, r->out + i)].region == region)
      extend(f, rt_list(f->p, r->out + i), r->nstep - 1);
}

/* --- sums --- */

static Peak region_peak(Forecast *f, uint32_t region);

/* What the bodies of a step hold at most; of an If, one of them runs. */
static Peak bodies_peak(Forecast *f, const ProgStep *s) {
  Peak most = {0};
  for (int b = 0; b < step_bodies(s); b++) {
    Peak x = region_peak(f, s->region[b]);
    most.all = x.all > most.all ? x.all : most.all;
    most.apart = x.apart > most.apart ? x.apart : most.apart;
  }
  return most;
}

static void kernel_scratch(Forecast *f, const ProgStep *s, uint32_t step) {
  KernelWork w;
  if (!kernel_work(&f->s, s, f->o, &w))
    unknown_at(f, step);
  else if (w.scratch > f->out->scratch)
    f->out->scratch = w.scratch;
}

/* Bytes that begin with step i less those that end behind step i - 1. */
static void add_lives(const Forecast *f, const ProgRegion *r, uint64_t *all, uint64_t *apart) {
  for (uint32_t k = 0; k < r->nown; k++) {
    uint32_t slot = rt_list(f->p, r->own + k);
    const Life *x = &f->life[slot];
    if (x->owner != slot)
      continue;
    all[x->first] += x->bytes, all[x->last + 1] -= x->bytes; /* unsigned: the sums come out right */
    if (rt_slot(f->p, slot)->kind != SLOT_ARENA)
      apart[x->first] += x->bytes, apart[x->last + 1] -= x->bytes;
  }
}

static Peak region_peak(Forecast *f, uint32_t region) {
  const ProgRegion *r = REC(f->p, SEC_REGIONS, ProgRegion) + region;
  Arena *a = arena_create(f->c);
  uint64_t *all = arena_array(a, uint64_t, r->nstep + 2u), *apart = arena_array(a, uint64_t, r->nstep + 2u);
  uint64_t now = 0, outside = 0;
  Peak most = {.step = PROG_NONE};
  find_lives(f, region);
  add_lives(f, r, all, apart);
  for (uint32_t i = 0; i < r->nstep || !i; i++) { /* a body without steps hands its inputs on */
    Peak in = {0};
    now += all[i], outside += apart[i];
    if (i < r->nstep) {
      const ProgStep *s = rt_step(f->p, r->step + i);
      in = bodies_peak(f, s);
      if (s->kind == STEP_KERNEL)
        kernel_scratch(f, s, r->step + i);
    }
    uint64_t here = now, here_apart = outside;
    add(&here, in.all), add(&here_apart, in.apart);
    if (here > most.all)
      most.all = here, most.step = r->step + i;
    most.apart = here_apart > most.apart ? here_apart : most.apart;
  }
  arena_destroy(a);
  return most;
}

/* The largest value that lives at step `at` of the program. */
static void find_largest(Forecast *f, uint32_t at) {
  const ProgRegion *r = REC(f->p, SEC_REGIONS, ProgRegion);
  for (uint32_t k = 0; k < r->nown && at != PROG_NONE; k++) {
    uint32_t slot = rt_list(f->p, r->own + k);
    const Life *x = &f->life[slot];
    if (x->owner == slot && x->first <= at && at <= x->last && x->bytes > f->out->largest_bytes)
      f->out->largest = slot, f->out->largest_bytes = x->bytes;
  }
}

static Status impossible(Forecast *f) {
  const ProgSlot *s = rt_slot(f->p, f->impossible);
  int64_t dim[MAX_RANK];
  char text[256];
  rt_symbols_dims(&f->s, s, dim);
  Status st = fail(f->c, ST_INVALID, "'%s' would be %s%s, which is no size a tensor can have", rt_string(f->p, s->name),
                   dtype_name((DType)s->dtype), shape_text(s->rank, dim, text, sizeof text));
  if (f->impossible_step >= rt_count(f->p, SEC_STEPS))
    return st;
  const ProgOrigin *o = rt_origin(f->p, rt_step(f->p, f->impossible_step)->origin);
  return err_node(f->c, st, rt_string(f->p, o->node), rt_string(f->p, o->op), rt_string(f->p, o->module),
                  rt_string(f->p, o->source));
}

typedef struct Args {
  Forecast f;
  const Tensor *in;
  uint32_t nin;
} Args;

static Status forecast(Ctx *c, void *arg) {
  Args *x = arg;
  Forecast *f = &x->f;
  Arena *a = arena_create(c);
  const Tensor **in;
  Layout *layout;
  TRY(run_bind(f->p, c, a, x->in, x->nin, &f->s, &in));
  TRY(appends_bind(&f->s, c, NULL, in, NULL));
  f->life = arena_array(a, Life, rt_count(f->p, SEC_SLOTS));
  for (uint32_t i = 0; i < rt_count(f->p, SEC_SLOTS); i++)
    f->life[i].owner = PROG_NONE;
  TRY(layout_get(f->p, c, &f->s, growth_begin(f->p, a, &f->s), &layout));
  f->out->arena = layout->arena;
  layout_put(f->p, layout);
  Peak most = region_peak(f, 0);
  if (f->impossible != PROG_NONE)
    return impossible(f);
  f->out->peak = most.all, f->out->peak_step = most.step, f->out->apart = most.apart;
  count_constants(f);
  count_outputs(f);
  find_largest(f, f->out->peak_step);
  arena_destroy(a);
  return ST_OK;
}

Status rt_memory(RtProgram *p, Ctx *c, const RtRunOptions *o, const Tensor *in, uint32_t nin, RtMemory *out) {
  *out = (RtMemory){.peak_step = PROG_NONE, .largest = PROG_NONE, .first_unknown = PROG_NONE};
  return ctx_protect(c, forecast, &(Args){{.p = p, .c = c, .o = o, .impossible = PROG_NONE, .out = out}, in, nin});
}
