/* graph.c - whole runs as graphs of the device.
 *
 * Steps of a program fall in three: those of the host that need nothing from the device (shape arithmetic, mostly) come first;
 * then all kernels, which may be recorded; behind them what the host does with their results. A program in which a step of the
 * host stands between kernels, and one with bodies, runs step by step.
 *
 *   before:    run here; what kernels read of it, and the inputs, go to places of their own: their addresses are the slots'
 *   recorded:  first time: put on the stream one by one; second time: recorded, replayed; from then on replayed
 *   after:     what they read was kept: host memory is made for it anew in each run
 *
 * A graph holds for one binding of the symbols, or for all runs of a kind where something grows (grow.h): that is all that launches
 * hang on, but for addresses. The workspace's change when
 * it grows, the caller's when the caller likes; the graph is recorded anew then, which updates the driver's. A workspace keeps
 * a few graphs, the last used ones.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/graph.h"

#include "runtime/grow.h"

#include <stdlib.h>
#include <string.h>

enum { LEAST_KERNELS = 2, USUAL_GRAPHS = 16 };

/* --- at load: which steps are which --- */

typedef struct Sorting {
  const RtProgram *p;
  GraphPlan *g;
  uint8_t *there; /* by slot: made by a step that is recorded */
  uint32_t last;  /* the last recorded step */
} Sorting;

static bool reads_device(const Sorting *s, const ProgStep *x) {
  for (uint32_t i = 0; i < x->nin; i++)
    if (rt_list(s->p, x->in + i) != PROG_NONE && s->there[rt_list(s->p, x->in + i)])
      return true;
  return false;
}

bool graph_stated(const RtProgram *p, uint32_t how) {
  return how == PROG_NONE || p->konst[how] || (p->graphs && p->graphs->dims[how]);
}

static bool stated(const Sorting *s, const ProgStep *x) {
  return x->nin < 2 || graph_stated(s->p, rt_list(s->p, x->in + 1));
}

static bool records(const Sorting *s, const ProgStep *x) {
  return x->kind == STEP_KERNEL || (x->kind == STEP_VIEW && reads_device(s, x) && stated(s, x));
}

static void refuse(GraphPlan *g, uint32_t step, const char *why) { g->step = step, g->why = why; }

/* A result in place of something that the host has made would find it elsewhere. */
static bool in_place_of_host(const Sorting *s, const ProgStep *x) {
  for (uint32_t i = 0; i < x->nout; i++) {
    const ProgSlot *slot = rt_slot(s->p, rt_list(s->p, x->out + i));
    if (slot->kind == SLOT_ARENA && slot->base != PROG_NONE && !s->there[slot->base])
      return true;
  }
  return false;
}

static void sort_step(Sorting *s, uint32_t i) {
  const ProgStep *x = rt_step(s->p, i);
  bool recorded = i <= s->last && records(s, x);
  if (x->kind == STEP_IF || x->kind == STEP_LOOP || x->kind == STEP_SCAN)
    refuse(s->g, i, "it has a body");
  else if (recorded && x->nbinds)
    refuse(s->g, i, "shapes hang on what it computes");
  else if (recorded && x->kind == STEP_KERNEL && in_place_of_host(s, x))
    refuse(s->g, i, "its result takes the place of what the host has made");
  else if (!recorded && i < s->last && reads_device(s, x))
    refuse(s->g, i, "a step of the host between kernels");
  for (uint32_t k = 0; recorded && k < x->nout; k++)
    s->there[rt_list(s->p, x->out + k)] = 1;
  s->g->recorded[i] = recorded;
  s->g->kernels += recorded && x->kind == STEP_KERNEL;
}

/* What recorded steps read that none of them has made. */
static void list_feeds(const Sorting *s, uint32_t n, uint8_t *seen) {
  for (uint32_t i = 0; i < n; i++) {
    const ProgStep *x = rt_step(s->p, i);
    for (uint32_t k = 0; s->g->recorded[i] && k < x->nin; k++) {
      uint32_t slot = rt_list(s->p, x->in + k);
      if (slot == PROG_NONE || s->p->konst[slot] || s->there[slot] || seen[slot])
        continue;
      seen[slot] = 1;
      s->g->feed[s->g->nfeed++] = slot;
    }
  }
}

static void keep_slot(const Sorting *s, uint32_t slot, uint8_t *seen) {
  if (slot == PROG_NONE || !s->there[slot] || seen[slot])
    return;
  seen[slot] = 1;
  s->g->keep[s->g->nkeep++] = slot;
}

static void list_keeps(const Sorting *s, uint32_t n, uint8_t *seen) {
  for (uint32_t i = s->last + 1; i < n; i++)
    for (uint32_t k = 0; k < rt_step(s->p, i)->nin; k++)
      keep_slot(s, rt_list(s->p, rt_step(s->p, i)->in + k), seen);
  for (uint32_t i = 0; i < rt_count(s->p, SEC_OUTPUTS); i++)
    keep_slot(s, rt_output(s->p, i)->slot, seen);
}

/* SARD_CUDA_GRAPHS: how many are kept for each run that goes on; 0 or "off": none are made. */
static uint32_t most_graphs(void) {
  const char *said = secure_getenv("SARD_CUDA_GRAPHS");
  long n = !said || !*said ? USUAL_GRAPHS : strtol(said, NULL, 10); /* "off" is 0 */
  return n < 0 ? 0 : n > MOST_GRAPHS ? MOST_GRAPHS : (uint32_t)n;
}

Status graph_plan(Ctx *c, Arena *a, RtProgram *p) {
  uint32_t n = REC(p, SEC_REGIONS, ProgRegion)->nstep, nslot = rt_count(p, SEC_SLOTS);
  GraphPlan *g = p->graphs = arena_new(a, GraphPlan);
  Arena *scratch = arena_create(c);
  Sorting s = {.p = p, .g = g, .there = arena_array(scratch, uint8_t, nslot)};
  g->step = PROG_NONE, g->most = most_graphs();
  g->recorded = arena_array(a, uint8_t, n), g->dims = arena_array(a, uint8_t, nslot);
  g->feed = arena_array(a, uint32_t, nslot), g->keep = arena_array(a, uint32_t, nslot);
  for (uint32_t i = 0; i < n; i++)
    s.last = rt_step(p, i)->kind == STEP_KERNEL ? i : s.last;
  for (uint32_t i = 0; i < rt_count(p, SEC_STEPS); i++)
    if (rt_step(p, i)->kind == STEP_DIMS && rt_list(p, rt_step(p, i)->out) != PROG_NONE)
      g->dims[rt_list(p, rt_step(p, i)->out)] = 1;
  for (uint32_t i = 0; i < n && !g->why; i++)
    sort_step(&s, i);
  g->after = s.last + 1;
  if (!g->why && g->kernels < LEAST_KERNELS)
    g->why = "it has fewer than two kernels";
  if (!g->why && !g->most)
    g->why = "SARD_CUDA_GRAPHS turns graphs off";
  list_feeds(&s, n, arena_array(scratch, uint8_t, nslot));
  list_keeps(&s, n, arena_array(scratch, uint8_t, nslot));
  if (!g->why)
    grow_plan(a, p, g->recorded, n);
  arena_destroy(scratch);
  return ST_OK;
}

/* --- the graphs of a workspace --- */

static void drop(RtProgram *p, DeviceGraph **at) {
  DeviceGraph *x = *at;
  *at = NULL;
  if (x && x->graph)
    p->device->ops->drop_graph(p->device, x->graph);
  if (x)
    alloc_put(p->alloc, x, x->bytes);
}

void graph_drop(RtProgram *p, Workspace *w) {
  if (w->recording)
    p->device->ops->record_end(p->device, NULL, w->stream, false, NULL);
  w->recording = false;
  for (int i = 0; i < MOST_GRAPHS; i++)
    drop(p, &w->graph[i]);
}

static bool grows(const Frame *f) { return f->growth && f->growth->on; }

/* What a graph of the run is for. */
static const int64_t *key_of(const Frame *f) { return grows(f) ? f->growth->key : f->sym.value; }

static DeviceGraph *find(const Frame *f, const Workspace *w) {
  size_t n = rt_count(f->p, SEC_SYMBOLS) * sizeof(int64_t);
  for (uint32_t i = 0; i < f->p->graphs->most; i++) {
    DeviceGraph *x = w->graph[i];
    if (x && x->grows == grows(f) && (!n || !memcmp(x->symbol, key_of(f), n)))
      return x;
  }
  return NULL;
}

/* In a free place, or in that of the one that was used longest ago. */
static DeviceGraph *make(Frame *f, Workspace *w) {
  RtProgram *p = f->p;
  const GraphPlan *g = p->graphs;
  uint32_t nsym = rt_count(p, SEC_SYMBOLS), naddress = g->nfeed + rt_count(p, SEC_OUTPUTS);
  size_t bytes = sizeof(DeviceGraph) + ((size_t)nsym + naddress + g->nkeep) * sizeof(uint64_t);
  DeviceGraph **at = &w->graph[0];
  for (uint32_t i = 0; i < g->most && *at; i++)
    if (!w->graph[i] || w->graph[i]->used < (*at)->used)
      at = &w->graph[i];
  drop(p, at);
  DeviceGraph *x = alloc_get(p->alloc, bytes, _Alignof(DeviceGraph));
  if (!x)
    ctx_out_of_memory(f->c, bytes);
  *x = (DeviceGraph){.bytes = bytes, .grows = grows(f), .symbol = (int64_t *)(x + 1)};
  x->address = (uint64_t *)(x->symbol + nsym), x->kept = x->address + naddress;
  if (nsym)
    memcpy(x->symbol, key_of(f), nsym * sizeof *x->symbol);
  return *at = x;
}

/* --- a run --- */

static Status run_some(Frame *f, uint32_t begin, uint32_t end, bool recorded) {
  for (uint32_t i = begin; i < end; i++)
    if (f->p->graphs->recorded[i] == recorded)
      TRY(run_step(f, i));
  return ST_OK;
}

/* Memory that does not fit the result is not written to, but refused when the run is over. */
static uint64_t output_address(Frame *f, uint32_t i) {
  const ProgSlot *s = rt_slot(f->p, rt_output(f->p, i)->slot);
  int64_t dim[MAX_RANK];
  uint64_t at = place_of_output(f, i);
  return at && rt_symbols_dims(&f->sym, s, dim) && output_fits(&f->out[i], (DType)s->dtype, s->rank, dim) ? at : 0;
}

static Status feed(Frame *f, uint64_t *address) {
  const GraphPlan *g = f->p->graphs;
  for (uint32_t i = 0; i < g->nfeed; i++) {
    if (!f->cell[g->feed[i]].state)
      return no_value(f, g->feed[i]);
    TRY(place_feed(f, g->feed[i], &address[i]));
  }
  for (uint32_t i = 0; i < rt_count(f->p, SEC_OUTPUTS); i++)
    address[g->nfeed + i] = output_address(f, i);
  return ST_OK;
}

static Status record(Frame *f, Workspace *w, DeviceGraph *x) {
  const GraphPlan *g = f->p->graphs;
  RtDevice *d = f->p->device;
  TRY(d->ops->record(d, f->c, w->stream));
  w->recording = true;
  TRY(run_some(f, 0, g->after, true));
  w->recording = false;
  TRY(d->ops->record_end(d, f->c, w->stream, true, &x->graph));
  for (uint32_t i = 0; i < g->nkeep; i++)
    if (!place_find(f, &f->cell[g->keep[i]].t, &x->kept[i]))
      x->kept[i] = 0; /* nothing in it */
  x->checks = *places_checks(f), x->moves = w->moves;
  atomic_fetch_add(&f->p->graphs->made, 1);
  return ST_OK;
}

/* Memory here for a value that a replayed graph has left on the device. */
static Status revive(Frame *f, uint32_t slot, uint64_t at) {
  const ProgSlot *s = rt_slot(f->p, slot);
  int64_t dim[MAX_RANK];
  Tensor *t = &f->cell[slot].t;
  if (!rt_symbols_dims(&f->sym, s, dim))
    return fail(f->c, ST_INTERNAL, "a graph left a value of no known shape");
  if (s->kind == SLOT_VIEW)
    TRY(cell_alloc(f, &f->cell[slot], (DType)s->dtype, s->rank, dim));
  else
    TRY(slot_alloc(f, slot, (DType)s->dtype, s->rank, dim, &t));
  return at ? place_at(f, t, at) : ST_OK;
}

static Status replay(Frame *f, Workspace *w, const DeviceGraph *x, bool fresh) {
  const GraphPlan *g = f->p->graphs;
  RtDevice *d = f->p->device;
  TRY(d->ops->replay(d, f->c, w->stream, x->graph));
  atomic_fetch_add(&f->p->graphs->replayed, 1);
  *places_checks(f) |= x->checks;
  for (uint32_t i = 0; i < g->nkeep && !fresh; i++)
    TRY(revive(f, g->keep[i], x->kept[i]));
  return ST_OK;
}

static Status run_recorded(Frame *f) {
  Workspace *w = places_workspace(f);
  const GraphPlan *g = f->p->graphs;
  uint32_t n = g->nfeed + rt_count(f->p, SEC_OUTPUTS);
  uint64_t *address = arena_array(f->run, uint64_t, n);
  if (f->growth)
    growth_update(f->growth, &f->sym);
  TRY(feed(f, address));
  DeviceGraph *x = find(f, w);
  bool seen = x != NULL;
  x = seen ? x : make(f, w);
  x->used = ++w->clock;
  if (!seen)
    return run_some(f, 0, g->after, true);
  if (x->grows)
    TRY(growth_fill(f));
  bool fresh = !x->graph || x->moves != w->moves || (n && memcmp(x->address, address, n * sizeof *address));
  if (fresh) {
    TRY(record(f, w, x));
    memcpy(x->address, address, n * sizeof *address);
  } else if (x->grows)
    TRY(growth_needs(f));
  return replay(f, w, x, fresh);
}

Status graph_run(Frame *f) {
  const GraphPlan *g = f->p->graphs;
  if (g->why || f->o->profile)
    return run_region(f, 0);
  f->in_graph = true;
  f->ahead = true;
  TRY(run_some(f, 0, g->after, false));
  f->ahead = false;
  TRY(run_recorded(f));
  return run_some(f, g->after, REC(f->p, SEC_REGIONS, ProgRegion)->nstep, false);
}

bool rt_graphs(const RtProgram *p, RtGraphs *out) {
  const GraphPlan *g = p->graphs;
  *out = (RtGraphs){.step = PROG_NONE};
  if (!g)
    return false;
  *out = (RtGraphs){
      g->why, g->step, g->kernels, p->grows ? GROW_STEP : 0, atomic_load(&g->made), atomic_load(&g->replayed)};
  return true;
}
