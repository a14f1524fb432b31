/* places.c - the memory of a run on a device, by host address.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/places.h"

#include "runtime/kernel_abi.h"

#include <string.h>

enum { HERE = 1, THERE = 2, BUCKETS = 256 };

typedef struct Place {
  const void *host;
  uint64_t device;
  size_t room;     /* bytes at `device` when they are the place's own; 0: they lie in the arena */
  uint8_t current; /* HERE, THERE */
  struct Place *next;
} Place;

struct Places {
  void *stream;
  uint64_t arena; /* as large as the layout's */
  uint64_t scratch, errors;
  size_t scratch_bytes;
  bool checks; /* a kernel that can fail has been launched since errors were last read */
  Place *bucket[BUCKETS];
  Place *unused;
};

static RtDevice *device_of(const Frame *f) { return f->p->device; }
#define DEVICE(f, call, ...) device_of(f)->ops->call(device_of(f), (f)->c, __VA_ARGS__)

/* --- by address --- */

static Place **find(Frame *f, const void *host) {
  uint64_t h = (uint64_t)(uintptr_t)host * 0x9e3779b97f4a7c15u;
  Place **at = &f->places->bucket[h >> 56];
  while (*at && (*at)->host != host)
    at = &(*at)->next;
  return at;
}

static bool in_arena(const Frame *f, const void *host, uint64_t *offset) {
  *offset = (uint64_t)((const uint8_t *)host - f->arena);
  return f->arena && (const uint8_t *)host >= f->arena && *offset < f->layout->arena;
}

/* The place of that memory, with room for so many bytes on the device. */
static Status place_of(Frame *f, const void *host, size_t bytes, Place **out) {
  Place **at = find(f, host), *x = *at;
  uint64_t offset;
  if (!x) {
    x = f->places->unused ? f->places->unused : arena_new(f->run, Place);
    f->places->unused = x == f->places->unused ? x->next : f->places->unused;
    *x = (Place){.host = host, .current = HERE};
    *at = x;
  }
  *out = x;
  if (in_arena(f, host, &offset)) {
    x->device = f->places->arena + offset;
    return ST_OK;
  }
  if (x->device && x->room >= bytes)
    return ST_OK;
  if (x->device)
    device_of(f)->ops->put(device_of(f), f->places->stream, x->device);
  x->device = 0, x->current = HERE;
  TRY(DEVICE(f, get, f->places->stream, bytes, &x->device));
  x->room = bytes;
  return ST_OK;
}

/* --- moving --- */

Status place_on_device(Frame *f, uint32_t slot, uint64_t *address) {
  const Tensor *t = &f->cell[slot].t;
  size_t bytes = tensor_bytes(t);
  Place *x;
  *address = f->p->konst[slot] ? f->p->device_const[slot] : 0;
  if (*address || !bytes)
    return ST_OK;
  TRY(place_of(f, t->data, bytes, &x));
  if (!(x->current & THERE))
    TRY(DEVICE(f, upload, f->places->stream, x->device, t->data, bytes));
  x->current |= THERE;
  *address = x->device;
  return ST_OK;
}

Status place_result(Frame *f, uint32_t slot, uint64_t *address) {
  const Tensor *t = &f->cell[slot].t;
  size_t bytes = tensor_bytes(t);
  Place *x;
  *address = 0;
  if (!bytes)
    return ST_OK;
  TRY(place_of(f, t->data, bytes, &x));
  x->current = THERE;
  *address = x->device;
  return ST_OK;
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
  TRY(DEVICE(f, download, f->places->stream, t->data, x->device, tensor_bytes(t)));
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
  if (x->room)
    device_of(f)->ops->put(device_of(f), f->places->stream, x->device);
  *at = x->next;
  x->next = f->places->unused, f->places->unused = x;
}

/* --- a run --- */

Status places_open(Frame *f) {
  size_t errors = rt_count(f->p, SEC_STEPS) * sizeof(GpuError);
  if (!device_of(f))
    return ST_OK;
  f->places = arena_new(f->run, Places);
  TRY(DEVICE(f, open_stream, &f->places->stream));
  if (f->layout->arena)
    TRY(DEVICE(f, get, f->places->stream, f->layout->arena, &f->places->arena));
  TRY(DEVICE(f, get, f->places->stream, errors, &f->places->errors));
  return DEVICE(f, clear, f->places->stream, f->places->errors, errors);
}

void places_close(Frame *f) {
  Places *p = f->places;
  if (!p)
    return;
  f->places = NULL;
  RtDevice *d = device_of(f);
  for (int i = 0; i < BUCKETS; i++)
    for (Place *x = p->bucket[i]; x; x = x->next)
      if (x->room && x->device)
        d->ops->put(d, p->stream, x->device);
  const uint64_t own[] = {p->arena, p->scratch, p->errors};
  for (size_t i = 0; i < countof(own); i++)
    if (own[i])
      d->ops->put(d, p->stream, own[i]);
  if (p->stream)
    d->ops->close_stream(d, p->stream);
}

uint64_t places_error(Frame *f, uint32_t step, bool can_fail) {
  f->places->checks |= can_fail;
  return f->places->errors + step * sizeof(GpuError);
}

Status places_errors(Frame *f) {
  uint32_t n = rt_count(f->p, SEC_STEPS);
  if (!f->places || !f->places->checks)
    return ST_OK;
  Arena *a = arena_create(f->c);
  GpuError *e = arena_array(a, GpuError, n);
  TRY(DEVICE(f, download, f->places->stream, e, f->places->errors, n * sizeof *e));
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
  Places *p = f->places;
  if (bytes > p->scratch_bytes) {
    if (p->scratch)
      device_of(f)->ops->put(device_of(f), p->stream, p->scratch);
    p->scratch = 0, p->scratch_bytes = 0;
    TRY(DEVICE(f, get, p->stream, bytes, &p->scratch));
    p->scratch_bytes = bytes;
  }
  *address = p->scratch;
  return ST_OK;
}

void *places_stream(const Frame *f) { return f->places->stream; }
