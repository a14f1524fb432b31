/* image.c - writing the program format.
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/image.h"

#include <string.h>

static uint32_t add_record(Image *im, SectionId sec, const void *r, size_t n) {
  uint32_t i = (uint32_t)(im->sec[sec].len / n);
  buf_put(&im->sec[sec], r, n);
  return i;
}

void image_init(Image *im, Ctx *c, Arena *a) {
  *im = (Image){.c = c, .a = a};
  for (int i = 0; i < SEC_COUNT; i++)
    buf_init(&im->sec[i], a);
  map_init(&im->strings, a);
  map_init(&im->exprs, a);
  map_init(&im->symbols, a);
  map_init(&im->origins, a);
  buf_put(&im->sec[SEC_STRINGS], "", 1);
}

/* The index stored for a key, or PROG_NONE. Indices are kept plus one, as maps hold no NULL. */
static uint32_t known(const Map *m, const void *key, size_t n) {
  uintptr_t v = (uintptr_t)map_get_n(m, key, n);
  return v ? (uint32_t)(v - 1) : PROG_NONE;
}

static void remember(Map *m, const void *key, size_t n, uint32_t i) {
  map_put_n(m, key, n, (void *)(uintptr_t)(i + 1u)); /* the caller's key lives as long as the image */
}

uint32_t image_string(Image *im, const char *s) {
  if (!s || !*s)
    return 0;
  size_t n = strlen(s);
  uint32_t i = known(&im->strings, s, n);
  if (i != PROG_NONE)
    return i;
  i = (uint32_t)im->sec[SEC_STRINGS].len;
  buf_put(&im->sec[SEC_STRINGS], s, n + 1);
  remember(&im->strings, arena_strndup(im->a, s, n), n, i);
  return i;
}

uint32_t image_find_symbol(const Image *im, Dim sym) { return known(&im->symbols, &sym->id, sizeof sym->id); }

uint32_t image_symbol(Image *im, Dim sym) {
  uint32_t i = image_find_symbol(im, sym);
  if (i != PROG_NONE)
    return i;
  ProgSymbol r = {.name = image_string(im, sym->name), .lo = sym->lo, .hi = sym->hi};
  i = add_record(im, SEC_SYMBOLS, &r, sizeof r);
  if (!(i & (i + 1))) { /* 0, 1, 3, 7 …: room doubles */
    Dim *bigger = arena_array(im->a, Dim, 2 * (size_t)i + 2);
    if (i)
      memcpy(bigger, im->symbol, i * sizeof *bigger);
    im->symbol = bigger;
  }
  im->symbol[i] = sym;
  remember(&im->symbols, &sym->id, sizeof sym->id, i);
  return i;
}

Dim image_symbol_dim(Image *im, uint32_t i) { return im->symbol[i]; }

uint32_t image_symbol_count(const Image *im) { return (uint32_t)(im->sec[SEC_SYMBOLS].len / sizeof(ProgSymbol)); }

void image_end_input_symbols(Image *im) {
  ProgSymbol *r = (ProgSymbol *)(void *)im->sec[SEC_SYMBOLS].text;
  for (uint32_t i = 0; i < image_symbol_count(im); i++)
    r[i].of_input = 1;
}

void image_growing(Image *im, Dim sym) {
  uint32_t i = image_symbol(im, sym);
  ((ProgSymbol *)(void *)im->sec[SEC_SYMBOLS].text)[i].grows = 1;
}

uint32_t image_expr(Image *im, Dim d) {
  uint32_t i = known(&im->exprs, &d->id, sizeof d->id);
  if (i != PROG_NONE)
    return i;
  ProgExpr r = {.op = d->kind, .value = d->value};
  if (d->kind == DIM_SYM)
    r.a = image_symbol(im, d);
  if (d->n) {
    r.a = image_expr(im, d->arg[0]);
    for (int k = 1; k < d->n; k++) { /* sums and products of several as a chain */
      r.b = image_expr(im, d->arg[k]);
      if (k + 1 < d->n)
        r.a = add_record(im, SEC_EXPRS, &r, sizeof r);
    }
  }
  i = add_record(im, SEC_EXPRS, &r, sizeof r);
  remember(&im->exprs, &d->id, sizeof d->id, i);
  return i;
}

uint32_t image_origin(Image *im, const Origin *o) {
  const Origin **key = arena_new(im->a, const Origin *);
  *key = o;
  uint32_t i = known(&im->origins, key, sizeof *key);
  if (i != PROG_NONE)
    return i;
  ProgOrigin r = {.node = image_string(im, o->node),
                  .op = image_string(im, o->op),
                  .module = image_string(im, o->module),
                  .klass = image_string(im, o->klass),
                  .source = image_string(im, o->source)};
  List l = image_list(im);
  for (uint32_t k = 0; k < o->nmore; k++)
    list_add(&l, image_string(im, o->more[k]->node));
  r.nmore = l.n, r.more = list_end(&l);
  i = add_record(im, SEC_ORIGINS, &r, sizeof r);
  remember(&im->origins, key, sizeof *key, i);
  return i;
}

void image_type(Image *im, ProgSlot *s, const Type *t) {
  s->vkind = t->kind, s->dtype = t->dtype, s->rank = t->rank;
  List l = image_list(im);
  for (int i = 0; i < t->rank; i++)
    list_add(&l, image_expr(im, t->dim[i]));
  s->dims = list_end(&l);
}

static void pad(StrBuf *b, size_t align) {
  while (b->len % align)
    buf_putc(b, 0);
}

void image_const(Image *im, ProgSlot *s, const Tensor *t) {
  StrBuf *b = &im->sec[SEC_DATA];
  pad(b, PROG_ALIGN);
  s->offset = b->len;
  if (t->dtype == DT_str) { /* length and bytes of each */
    for (int64_t i = 0, n = tensor_count(t); i < n; i++) {
      Str x = ((const Str *)t->data)[i];
      uint64_t len = x.len;
      buf_put(b, (const char *)&len, sizeof len);
      buf_put(b, x.ptr, x.len);
    }
  } else {
    buf_put(b, t->data, tensor_bytes(t));
  }
  s->size = b->len - s->offset;
}

void image_attr(Image *im, ProgStep *s, const AttrInfo *info, const void *attr) {
  s->attr = (uint32_t)im->sec[SEC_ATTRS].len;
  attr_encode(&im->sec[SEC_ATTRS], info, attr);
  s->nattr = (uint32_t)im->sec[SEC_ATTRS].len - s->attr;
}

uint32_t image_slot(Image *im, const ProgSlot *s) { return add_record(im, SEC_SLOTS, s, sizeof *s); }

const ProgSlot *image_slot_at(const Image *im, uint32_t i) {
  return (const ProgSlot *)(const void *)im->sec[SEC_SLOTS].text + i;
}

void image_step(Image *im, const ProgStep *s) { add_record(im, SEC_STEPS, s, sizeof *s); }

uint32_t image_step_count(const Image *im) { return (uint32_t)(im->sec[SEC_STEPS].len / sizeof(ProgStep)); }

void image_region(Image *im, const ProgRegion *r) { add_record(im, SEC_REGIONS, r, sizeof *r); }

void image_port(Image *im, SectionId sec, const ProgPort *p) { add_record(im, sec, p, sizeof *p); }

void image_append(Image *im, const ProgAppend *x) { add_record(im, SEC_APPENDS, x, sizeof *x); }

void image_meta(Image *im, const char *key, const char *value) {
  ProgMeta m = {image_string(im, key), image_string(im, value)};
  add_record(im, SEC_META, &m, sizeof m);
}

void image_kernel(Image *im, const ProgKernel *k) { add_record(im, SEC_KERNELS, k, sizeof *k); }

uint32_t image_call(Image *im, const ProgCall *c) { return add_record(im, SEC_CALLS, c, sizeof *c); }

static uint64_t put_code(Image *im, Str code) {
  if (!code.len)
    return 0;
  pad(&im->sec[SEC_CODE], PROG_ALIGN);
  uint64_t at = im->sec[SEC_CODE].len;
  buf_put(&im->sec[SEC_CODE], code.ptr, code.len);
  return at;
}

void image_object(Image *im, Str code, const char *target, Str ptx, const char *ptx_target) {
  ProgObject o = {.size = code.len, .ptx_size = ptx.len};
  o.target = image_string(im, target), o.ptx_target = image_string(im, ptx_target);
  o.offset = put_code(im, code), o.ptx = put_code(im, ptx);
  add_record(im, SEC_OBJECTS, &o, sizeof o);
}

void image_file(Image *im, const char *name, size_t size, uint32_t flags) {
  ProgFile f = {.name = image_string(im, name), .flags = flags, .size = size};
  add_record(im, SEC_FILES, &f, sizeof f);
}

List image_list(Image *im) { return (List){.im = im}; }

void list_add(List *l, uint32_t v) {
  if (l->n == l->cap) {
    l->cap = l->cap ? 2 * l->cap : 8;
    uint32_t *bigger = arena_array(l->im->a, uint32_t, l->cap);
    if (l->n)
      memcpy(bigger, l->v, l->n * sizeof *bigger);
    l->v = bigger;
  }
  l->v[l->n++] = v;
}

uint32_t list_end(List *l) {
  uint32_t at = (uint32_t)(l->im->sec[SEC_LISTS].len / sizeof(uint32_t));
  if (l->n)
    buf_put(&l->im->sec[SEC_LISTS], (const char *)l->v, l->n * sizeof *l->v);
  return at;
}

Status image_finish(Image *im, uint64_t build, const char *precision, const uint8_t **bytes, size_t *size) {
  ProgHeader h = {.magic = PROG_MAGIC, .version = PROG_VERSION, .sections = SEC_COUNT, .build = build};
  h.precision = image_string(im, precision);
  uint64_t at = (sizeof h + PROG_ALIGN - 1) / PROG_ALIGN * PROG_ALIGN;
  for (int i = 0; i < SEC_COUNT; i++) {
    h.section[i] = (ProgSection){at, im->sec[i].len};
    at = (at + im->sec[i].len + PROG_ALIGN - 1) / PROG_ALIGN * PROG_ALIGN;
  }
  if (im->sec[SEC_STRINGS].len > UINT32_MAX || im->sec[SEC_ATTRS].len > UINT32_MAX)
    return fail(im->c, ST_UNSUPPORTED, "the model's names or attributes exceed 4 GiB");
  h.size = at;
  uint8_t *p = arena_get(im->a, at, 1, PROG_ALIGN);
  for (int i = 0; i < SEC_COUNT; i++)
    memcpy(p + h.section[i].offset, im->sec[i].text, im->sec[i].len);
  size_t head = (sizeof h + PROG_ALIGN - 1) / PROG_ALIGN * PROG_ALIGN;
  h.hash = hash_bytes(p + head, at - head, 0);
  memcpy(p, &h, sizeof h);
  *bytes = p, *size = at;
  return ST_OK;
}
