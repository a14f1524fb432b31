/* workspace.c - the memory of runs on a device, kept with the program from one run to the next: one block for the arena, one for
 * the kernels' working memory, and few others. Blocks are replaced by larger ones only, so that runs of many shapes end up
 * allocating nothing; rt_release gives everything back.
 *
 * Each run that goes on has one; there are as many as runs went on at once.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/places.h"

#include <string.h>

static void put(RtProgram *p, const Workspace *w, WorkMemory *m) {
  if (m->at)
    p->device->ops->put(p->device, w->stream, m->at);
  *m = (WorkMemory){0};
}

/* Rounded up by an eighth at most, so that shapes that grow step by step do not ask for new memory each time. */
static size_t rounded(size_t bytes) {
  size_t step = 256;
  while (step < bytes / 16)
    step *= 2;
  return (bytes + step - 1) / step * step;
}

/* --- one --- */

/* If the device has none left, what other runs have left there goes first. */
static Status get(RtProgram *p, Ctx *c, Workspace *w, size_t bytes, uint64_t *at) {
  if (w->recording)
    return fail(c, ST_INTERNAL, "memory of the device is asked for while a graph is recorded");
  Status st = p->device->ops->get(p->device, c, w->stream, bytes, at);
  if (st != ST_MEMORY)
    return st;
  rt_release(p);
  return p->device->ops->get(p->device, c, w->stream, bytes, at);
}

Status workspace_grow(RtProgram *p, Ctx *c, Workspace *w, WorkMemory *m, size_t bytes) {
  if (m->at && m->bytes >= bytes)
    return ST_OK;
  w->moves++;
  put(p, w, m);
  bytes = rounded(bytes ? bytes : 1);
  TRY(get(p, c, w, bytes, &m->at));
  m->bytes = bytes;
  return ST_OK;
}

Status workspace_get(RtProgram *p, Ctx *c, Workspace *w, size_t bytes, WorkMemory *out) {
  LooseMemory *best = NULL;
  bytes = rounded(bytes);
  for (uint32_t i = 0; i < w->nloose; i++) {
    LooseMemory *x = &w->loose[i];
    if (!x->used && x->m.bytes >= bytes && x->m.bytes / 2 <= bytes && (!best || x->m.bytes < best->m.bytes))
      best = x;
  }
  if (!best && w->nloose == w->room) {
    uint32_t room = w->room ? 2 * w->room : 16;
    LooseMemory *more = alloc_get(p->alloc, room * sizeof *more, _Alignof(LooseMemory));
    if (!more)
      ctx_out_of_memory(c, room * sizeof *more);
    if (w->nloose)
      memcpy(more, w->loose, w->nloose * sizeof *more);
    alloc_put(p->alloc, w->loose, w->room * sizeof *more);
    w->loose = more, w->room = room;
  }
  if (!best) {
    WorkMemory m = {.bytes = bytes};
    TRY(get(p, c, w, bytes, &m.at));
    best = &w->loose[w->nloose++];
    best->m = m;
  }
  best->used = true;
  *out = best->m;
  return ST_OK;
}

void workspace_put(Workspace *w, uint64_t at) {
  for (uint32_t i = 0; i < w->nloose; i++)
    if (w->loose[i].m.at == at)
      w->loose[i].used = false;
}

void workspace_drop(RtProgram *p, Workspace *w) {
  uint32_t nslot = rt_count(p, SEC_SLOTS);
  WorkMemory *const single[] = {&w->arena, &w->scratch, &w->errors, &w->table};
  graph_drop(p, w);
  for (size_t i = 0; i < countof(single); i++)
    put(p, w, single[i]);
  for (uint32_t i = 0; i < nslot; i++)
    put(p, w, &w->own[i]);
  for (uint32_t i = 0; i < w->nloose; i++)
    put(p, w, &w->loose[i].m);
  if (w->stream)
    p->device->ops->close_stream(p->device, w->stream);
  alloc_put(p->alloc, w->loose, w->room * sizeof *w->loose);
  alloc_put(p->alloc, w, sizeof *w + nslot * sizeof *w->own);
}

/* --- all of a program --- */

static Workspace *take(RtProgram *p) {
  pthread_mutex_lock(&p->lock);
  Workspace *w = p->workspaces;
  if (w)
    p->workspaces = w->next;
  pthread_mutex_unlock(&p->lock);
  return w;
}

Status workspace_take(RtProgram *p, Ctx *c, Workspace **out) {
  size_t bytes = sizeof(Workspace) + rt_count(p, SEC_SLOTS) * sizeof(WorkMemory);
  Workspace *w = take(p);
  *out = w;
  if (w)
    return ST_OK;
  w = alloc_get(p->alloc, bytes, _Alignof(Workspace));
  if (!w)
    ctx_out_of_memory(c, bytes);
  memset(w, 0, bytes);
  w->own = (WorkMemory *)(w + 1);
  Status st = p->device->ops->open_stream(p->device, c, &w->stream);
  if (st)
    workspace_drop(p, w);
  else
    *out = w;
  return st;
}

void workspace_give(RtProgram *p, Workspace *w) {
  pthread_mutex_lock(&p->lock);
  w->next = p->workspaces, p->workspaces = w;
  pthread_mutex_unlock(&p->lock);
}

void rt_release(RtProgram *p) {
  spare_drop(p);
  if (!p->device)
    return;
  for (Workspace *w = take(p); w; w = take(p))
    workspace_drop(p, w);
  p->device->ops->trim(p->device);
}
