/* places.c - the memory of a run on a device, by host address.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/places.h"

#include "runtime/grow.h"
#include "runtime/kernel_abi.h"

#include <string.h>

enum { HERE = 1, THERE = 2, BUCKETS = 256 };

typedef enum { IN_ARENA, OWN, LOOSE, THEIRS } Whose; /* OWN: the slot's; THEIRS: the caller's */

typedef struct Place {
  const void *host;
  uint64_t device;
  size_t room; /* bytes at `device`, but for IN_ARENA */
  Whose whose;
  uint8_t current; /* HERE, THERE */
  struct Place *next;
} Place;

struct Places {
  Workspace *w;
  bool checks;   /* a kernel that can fail has been launched since errors were last read */
  uint64_t *fed; /* by slot: place_feed's addresses */
  Place *bucket[BUCKETS];
  Place *unused;
};

static RtDevice *device_of(const Frame *f) { return f->p->device; }
#define DEVICE(f, call, ...) device_of(f)->ops->call(device_of(f), (f)->c, (f)->places->w->stream, __VA_ARGS__)

/* --- by address --- */

static Place **find(Frame *f, const void *host) {
  uint64_t h = (uint64_t)(uintptr_t)host * 0x9e3779b97f4a7c15u;
  Place **at = &f->places->bucket[h >> 56];
  while (*at && (*at)->host != host)
    at = &(*at)->next;
  return at;
}

static Place *find_or_make(Frame *f, const void *host) {
  Place **at = find(f, host), *x = *at;
  if (x)
    return x;
  x = f->places->unused ? f->places->unused : arena_new(f->run, Place);
  f->places->unused = x == f->places->unused ? x->next : f->places->unused;
  *x = (Place){.host = host, .current = HERE};
  *at = x;
  return x;
}

static bool in_arena(const Frame *f, const void *host, uint64_t *offset) {
  *offset = (uint64_t)((const uint8_t *)host - f->arena);
  return f->arena && (const uint8_t *)host >= f->arena && *offset < f->layout->arena;
}

static void give_back(Frame *f, Place *x) {
  if (x->device && x->whose == LOOSE)
    workspace_put(f->places->w, x->device);
  x->device = 0, x->current = HERE;
}

/* What is to be there at an address of its own in all runs of a kind has room for the largest. */
static size_t room_of(Frame *f, uint32_t slot, size_t bytes) {
  size_t most = f->growth && f->growth->on ? growth_bytes(f->growth, rt_slot(f->p, slot)) : 0;
  return most > bytes ? most : bytes;
}

/* The place of a slot's memory, with room for so many bytes on the device. */
static Status place_of(Frame *f, uint32_t slot, const void *host, size_t bytes, Place **out) {
  Place *x = find_or_make(f, host);
  Workspace *w = f->places->w;
  uint64_t offset;
  WorkMemory m;
  *out = x;
  if (in_arena(f, host, &offset)) {
    x->device = w->arena.at + offset, x->whose = IN_ARENA;
    return ST_OK;
  }
  if (x->device && x->room >= bytes)
    return ST_OK;
  give_back(f, x);
  if (f->in_graph)
    TRY(workspace_grow(f->p, f->c, w, &w->own[slot], room_of(f, slot, bytes)));
  else
    TRY(workspace_get(f->p, f->c, w, bytes, &m));
  m = f->in_graph ? w->own[slot] : m;
  x->device = m.at, x->room = m.bytes, x->whose = f->in_graph ? OWN : LOOSE;
  return ST_OK;
}

/* --- moving --- */

Status place_on_device(Frame *f, uint32_t slot, uint64_t *address) {
  const Tensor *t = &f->cell[slot].t;
  size_t bytes = tensor_bytes(t);
  Place *x;
  *address = f->p->konst[slot] ? f->p->device_const[slot] : f->places->fed[slot];
  if (*address || !bytes)
    return ST_OK;
  TRY(place_of(f, slot, t->data, bytes, &x));
  if (!(x->current & THERE) && f->places->w->recording)
    return fail(f->c, ST_INTERNAL, "a value comes from the host while a graph is recorded");
  if (!(x->current & THERE))
    TRY(DEVICE(f, upload, x->device, t->data, bytes));
  x->current |= THERE;
  *address = x->device;
  return ST_OK;
}

Status place_feed(Frame *f, uint32_t slot, uint64_t *address) {
  const Tensor *t = &f->cell[slot].t;
  size_t bytes = tensor_bytes(t);
  WorkMemory *own = &f->places->w->own[slot];
  *address = 0;
  if (!bytes)
    return ST_OK;
  Place *x = *find(f, t->data);
  if (x && x->current & THERE && x->whose == THEIRS) {
    *address = f->places->fed[slot] = x->device;
    return ST_OK;
  }
  TRY(workspace_grow(f->p, f->c, f->places->w, own, room_of(f, slot, bytes)));
  TRY(DEVICE(f, upload, own->at, t->data, bytes));
  f->places->fed[slot] = own->at;
  return ST_OK;
}

uint64_t place_of_output(const Frame *f, uint32_t i) {
  const RtOutput *o = &f->out[i];
  return o->device && o->into && !o->apart ? (uint64_t)(uintptr_t)o->into->data : 0;
}

Status place_result(Frame *f, uint32_t slot, uint64_t *address) {
  const Tensor *t = &f->cell[slot].t;
  size_t bytes = tensor_bytes(t);
  uint32_t o = f->out_of[slot];
  uint64_t theirs = o == PROG_NONE ? 0 : place_of_output(f, o), offset;
  Place *x;
  *address = 0;
  if (!bytes)
    return ST_OK;
  if (theirs && output_fits(&f->out[o], t->dtype, t->rank, t->dim) && !in_arena(f, t->data, &offset))
    TRY(place_at(f, t, theirs));
  TRY(place_of(f, slot, t->data, bytes, &x));
  x->current = THERE;
  *address = x->device;
  return ST_OK;
}

Status place_at(Frame *f, const Tensor *t, uint64_t address) {
  if (!tensor_bytes(t))
    return ST_OK;
  Place *x = find_or_make(f, t->data);
  give_back(f, x);
  x->device = address, x->room = SIZE_MAX, x->whose = THEIRS, x->current = THERE;
  return ST_OK;
}

bool place_find(Frame *f, const Tensor *t, uint64_t *address) {
  const Place *x = f->places && t->kind == VK_TENSOR && t->data ? *find(f, t->data) : NULL;
  *address = x ? x->device : 0;
  return x && x->current & THERE;
}

Status place_on_host(Frame *f, const Tensor *t) {
  if (!f->places)
    return ST_OK;
  for (int64_t i = 0; t->kind != VK_TENSOR && i < t->nitem; i++)
    TRY(place_on_host(f, t->item[i]));
  if (t->kind != VK_TENSOR || !t->data || !tensor_bytes(t))
    return ST_OK;
  Place *x = *find(f, t->data);
  if (!x || x->current & HERE)
    return ST_OK;
  TRY(places_errors(f));
  TRY(DEVICE(f, download, t->data, x->device, tensor_bytes(t)));
  x->current |= HERE;
  return ST_OK;
}

void place_written(Frame *f, const Tensor *t) {
  Place *x = f->places && t->kind == VK_TENSOR ? *find(f, t->data) : NULL;
  if (x)
    x->current = HERE;
}

void place_forget(Frame *f, const void *host) {
  if (!f->places || !*find(f, host))
    return;
  Place **at = find(f, host), *x = *at;
  give_back(f, x);
  *at = x->next;
  x->next = f->places->unused, f->places->unused = x;
}

/* --- the caller's memory on the device --- */

Status place_output(Frame *f, uint32_t i, const Tensor *t) {
  RtOutput *o = &f->out[i];
  size_t bytes = tensor_bytes(t);
  uint64_t to = o->into ? (uint64_t)(uintptr_t)o->into->data : 0, at;
  if (t->kind != VK_TENSOR || t->dtype == DT_str)
    return fail(f->c, ST_UNSUPPORTED, "output '%s' is no tensor of numbers: it cannot be left on the device",
                rt_string(f->p, rt_output(f->p, i)->name));
  o->t = *t, o->t.data = NULL;
  if (!bytes)
    return ST_OK;
  if (!to) {
    TRY(device_of(f)->ops->get(device_of(f), f->c, f->places->w->stream, bytes, &o->at));
    to = o->at;
  }
  o->t.data = (void *)(uintptr_t)to;
  if (!place_find(f, t, &at))
    return DEVICE(f, upload, to, t->data, bytes);
  return at == to ? ST_OK : DEVICE(f, copy, to, at, bytes);
}

Status place_fetch(RtProgram *p, Ctx *c, Arena *a, const RtRunOptions *o, Tensor *t) {
  RtDevice *d = p->device;
  void *stream, *to = arena_get(a, tensor_bytes(t), 1, PROG_ALIGN);
  TRY(d->ops->open_stream(d, c, &stream));
  Status st = o->stream ? d->ops->order(d, c, o->stream, stream) : ST_OK;
  if (!st)
    st = d->ops->download(d, c, stream, to, (uint64_t)(uintptr_t)t->data, tensor_bytes(t));
  d->ops->close_stream(d, stream);
  t->data = to;
  return st;
}

/* --- a run --- */

Status places_open(Frame *f) {
  size_t errors = rt_count(f->p, SEC_STEPS) * sizeof(GpuError);
  if (!device_of(f))
    return ST_OK;
  Places *p = arena_new(f->run, Places);
  p->fed = arena_array(f->run, uint64_t, rt_count(f->p, SEC_SLOTS));
  TRY(workspace_take(f->p, f->c, &p->w));
  f->places = p;
  if (f->o->stream)
    TRY(device_of(f)->ops->order(device_of(f), f->c, f->o->stream, p->w->stream));
  if (f->layout->arena)
    TRY(workspace_grow(f->p, f->c, p->w, &p->w->arena, f->layout->arena));
  TRY(workspace_grow(f->p, f->c, p->w, &p->w->errors, errors));
  return errors ? DEVICE(f, clear, p->w->errors.at, errors) : ST_OK;
}

/* After a failure nobody knows what is on the stream. */
void places_close(Frame *f) {
  Places *p = f->places;
  if (!p)
    return;
  for (int i = 0; i < BUCKETS; i++)
    for (Place *x = p->bucket[i]; x; x = x->next)
      give_back(f, x);
  f->places = NULL;
  if (f->done)
    workspace_give(f->p, p->w);
  else
    workspace_drop(f->p, p->w);
}

uint64_t places_error(Frame *f, uint32_t step, bool can_fail) {
  f->places->checks |= can_fail;
  return f->places->w->errors.at + step * sizeof(GpuError);
}

bool *places_checks(Frame *f) { return &f->places->checks; }

Status places_errors(Frame *f) {
  uint32_t n = rt_count(f->p, SEC_STEPS);
  if (!f->places || !f->places->checks)
    return ST_OK;
  Arena *a = arena_create(f->c);
  GpuError *e = arena_array(a, GpuError, n);
  TRY(DEVICE(f, download, e, f->places->w->errors.at, n * sizeof *e));
  f->places->checks = false;
  for (uint32_t i = 0; i < n; i++)
    if (e[i].code) {
      *f->at = rt_step(f->p, i);
      return kernel_check_failed(f, *f->at, (uint32_t)e[i].code - 2, e[i].number);
    }
  arena_destroy(a);
  return ST_OK;
}

Status places_scratch(Frame *f, size_t bytes, uint64_t *address) {
  Workspace *w = f->places->w;
  *address = 0;
  if (bytes)
    TRY(workspace_grow(f->p, f->c, w, &w->scratch, bytes));
  *address = w->scratch.at;
  return ST_OK;
}

void *places_stream(const Frame *f) { return f->places->w->stream; }
Workspace *places_workspace(const Frame *f) { return f->places->w; }
