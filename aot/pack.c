/* pack.c - making packages. A program is written anew: constants of 1 KiB and more, and all that lie in files, move to the
 * weights, and objects to the code, where they are laid out and relocated once. What is for GPUs stays where it is: the driver takes it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "aot/pack.h"

#include "runtime/object.h"
#include "support/dtype.h"
#include "support/str.h"

#include <string.h>

enum { KEEP_BYTES = 1024 }; /* constants below stay in the program */

typedef struct Packer {
  Ctx *c;
  Arena *a;
  const AotInput *in;
  AotPackage *out;
  StrBuf head, code, functions, spans, ops;
  Map seen; /* weights by hash and size -> AotSpan number + 1 */
  Map op;   /* "domain/name" */
} Packer;

static void pad(StrBuf *b, size_t align) {
  static const char zeros[64];
  while (b->len % align) {
    size_t n = align - b->len % align;
    buf_put(b, zeros, n < sizeof zeros ? n : sizeof zeros);
  }
}

/* --- weights --- */

/* The place of these bytes among the weights: where the same bytes are already, or behind the last. */
static uint64_t place_weight(Packer *p, const uint8_t *data, uint64_t size) {
  const AotSpan *all = (const AotSpan *)(const void *)p->spans.text;
  uint64_t *key = arena_array(p->a, uint64_t, 2);
  key[0] = sum_bytes(data, size, 0), key[1] = size;
  uintptr_t known = (uintptr_t)map_get_n(&p->seen, (const char *)key, 16);
  if (known && !memcmp(all[known - 1].data, data, size))
    return all[known - 1].at;
  AotSpan s = {data, size, (p->out->weights_size + PROG_ALIGN - 1) / PROG_ALIGN * PROG_ALIGN};
  buf_put(&p->spans, (const char *)&s, sizeof s);
  p->out->weights_size = s.at + size;
  map_put_n(&p->seen, (const char *)key, 16, (void *)(uintptr_t)++p->out->nweight);
  return s.at;
}

/* One block of the weights as they will lie, zeros between them. *next: the first span that does not end before it. */
static void gather_block(const Packer *p, uint64_t from, uint64_t end, uint32_t *next, uint8_t *block) {
  const AotSpan *all = (const AotSpan *)(const void *)p->spans.text;
  memset(block, 0, end - from);
  for (uint32_t i = *next; i < p->out->nweight && all[i].at < end; i++) {
    const AotSpan *s = &all[i];
    uint64_t low = s->at > from ? s->at : from, high = s->at + s->size < end ? s->at + s->size : end;
    memcpy(block + (low - from), s->data + (low - s->at), high - low);
    if (s->at + s->size <= end)
      *next = i + 1;
  }
}

/* The sums of all blocks, at the end of the head. */
static void put_sums(Packer *p, PackageHeader *h) {
  uint64_t n = package_blocks(h->weights), *sum = arena_array(p->a, uint64_t, n);
  uint8_t *block = arena_get(p->a, 1, PACKAGE_BLOCK, 64);
  uint32_t next = 0;
  for (uint64_t i = 0; i < n; i++) {
    uint64_t from = i * PACKAGE_BLOCK, left = h->weights - from, size = left < PACKAGE_BLOCK ? left : PACKAGE_BLOCK;
    gather_block(p, from, from + size, &next, block);
    sum[i] = sum_bytes(block, size, i);
  }
  pad(&p->head, 8);
  h->sums = p->head.len, h->weights_sum = sum_bytes(sum, 8 * n, h->weights);
  buf_put(&p->head, (const char *)sum, 8 * n);
}

/* --- a program --- */

static const uint8_t *section(const uint8_t *image, SectionId sec, uint64_t *size) {
  const ProgHeader *h = (const ProgHeader *)(const void *)image;
  *size = h->section[sec].size;
  return image + h->section[sec].offset;
}

/* Constants: large ones to the weights, the others to `data`. */
static Status move_constants(Packer *p, const AotVariant *v, ProgSlot *slot, uint64_t n, StrBuf *data) {
  uint64_t room;
  const uint8_t *inside = section(v->image, SEC_DATA, &room);
  for (uint64_t i = 0; i < n; i++) {
    ProgSlot *s = &slot[i];
    bool in_file = s->file != PROG_NONE;
    if (s->kind != SLOT_CONST)
      continue;
    const uint8_t *base = in_file ? v->file[s->file].base : inside;
    uint64_t have = in_file ? v->file[s->file].size : room;
    if (s->offset > have || s->size > have - s->offset)
      return fail(p->c, ST_INTERNAL, "a constant lies outside of its file");
    if (!s->size) {
      s->file = PROG_NONE, s->offset = 0;
    } else if (s->dtype != DT_str && (in_file || s->size >= KEEP_BYTES)) {
      s->offset = place_weight(p, base + s->offset, s->size), s->file = 0;
    } else {
      pad(data, PROG_ALIGN);
      uint64_t at = data->len;
      buf_put(data, (const char *)base + s->offset, s->size);
      s->offset = at;
    }
  }
  return ST_OK;
}

static void collect_ops(Packer *p, const uint8_t *image) {
  uint64_t size, nstrings;
  const ProgStep *step = (const ProgStep *)(const void *)section(image, SEC_STEPS, &size);
  const char *strings = (const char *)section(image, SEC_STRINGS, &nstrings);
  for (uint64_t i = 0; i < size / sizeof *step; i++) {
    const char *pair[2] = {strings + step[i].domain, strings + step[i].op};
    const char *key = arena_printf(p->a, "%s/%s", pair[0], pair[1]);
    if (step[i].kind == STEP_KERNEL || map_put(&p->op, key, (void *)(uintptr_t)1))
      continue;
    buf_put(&p->ops, (const char *)pair, sizeof pair);
    p->out->nop++;
  }
}

/* The program again, in the head: sections as they were, but for those that `with` replaces. */
static void put_image(Packer *p, const uint8_t *image, const Str *const with[SEC_COUNT], PackageVariant *v) {
  ProgHeader h;
  memcpy(&h, image, sizeof h);
  pad(&p->head, PROG_ALIGN);
  size_t base = p->head.len, head = (sizeof h + PROG_ALIGN - 1) / PROG_ALIGN * PROG_ALIGN;
  buf_put(&p->head, (const char *)&h, sizeof h);
  pad(&p->head, PROG_ALIGN);
  for (int i = 0; i < SEC_COUNT; i++) {
    uint64_t size;
    const char *bytes = (const char *)section(image, (SectionId)i, &size);
    h.section[i].offset = p->head.len - base;
    if (with[i])
      bytes = with[i]->ptr, size = with[i]->len;
    h.section[i].size = size;
    buf_put(&p->head, bytes, size);
    pad(&p->head, PROG_ALIGN);
  }
  h.size = p->head.len - base;
  h.hash = hash_bytes(p->head.text + base + head, h.size - head, 0);
  memcpy(p->head.text + base, &h, sizeof h);
  v->image = base, v->image_size = h.size;
}

/* --- code --- */

/* The offset of the kernel's function in the code; UINT64_MAX: it is not compiled. */
static uint64_t kernel_offset(const CodeImage *code, const ProgKernel *k, const char *strings) {
  for (uint32_t i = 0; k->object != PROG_NONE && i < code->nfn; i++)
    if (code->fn[i].object == k->object && !strcmp(code->fn[i].name, strings + k->symbol))
      return code->fn[i].offset;
  return UINT64_MAX;
}

static void put_functions(Packer *p, const CodeImage *code, uint64_t at) {
  for (uint32_t i = 0; i < code->nfn; i++) {
    AotFunction f = {arena_strdup(p->a, code->fn[i].name), at + code->fn[i].offset, code->fn[i].size};
    buf_put(&p->functions, (const char *)&f, sizeof f);
  }
  p->out->nfunction += code->nfn;
}

static Status put_code(Packer *p, const AotVariant *in, PackageVariant *v) {
  uint64_t nobject, nkernel, size, nstrings;
  const ProgObject *o = (const ProgObject *)(const void *)section(in->image, SEC_OBJECTS, &nobject);
  const ProgKernel *k = (const ProgKernel *)(const void *)section(in->image, SEC_KERNELS, &nkernel);
  const uint8_t *bytes = section(in->image, SEC_CODE, &size);
  const char *strings = (const char *)section(in->image, SEC_STRINGS, &nstrings);
  nobject /= sizeof *o, nkernel /= sizeof *k;
  CodeObject *object = arena_array(p->a, CodeObject, nobject);
  CodeImage code;
  for (uint64_t i = 0; i < nobject; i++)
    object[i] = (CodeObject){bytes + o[i].offset, o[i].size};
  TRY(object_link(p->c, p->a, object, (uint32_t)nobject, (uint16_t)p->in->machine, &code));
  v->code = p->code.len, v->code_size = nobject ? code.size : 0, v->code_exec = nobject ? code.code : 0;
  v->code_hash = sum_bytes(code.bytes, v->code_size, 0);
  put_functions(p, &code, v->code);
  buf_put(&p->code, (const char *)code.bytes, v->code_size);
  pad(&p->head, 8);
  v->kernels = p->head.len, v->nkernel = (uint32_t)nkernel;
  for (uint64_t i = 0; i < nkernel; i++) {
    uint64_t at = kernel_offset(&code, &k[i], strings);
    buf_put(&p->head, (const char *)&at, sizeof at);
  }
  return ST_OK;
}

static Status put_variant(Packer *p, const AotVariant *in, PackageVariant *v) {
  uint64_t nslot, nobject;
  const uint8_t *slots = section(in->image, SEC_SLOTS, &nslot), *objects = section(in->image, SEC_OBJECTS, &nobject);
  ProgSlot *slot = arena_copy(p->a, slots, nslot);
  ProgObject *object = arena_copy(p->a, objects, nobject);
  StrBuf data;
  buf_init(&data, p->a);
  TRY(move_constants(p, in, slot, nslot / sizeof *slot, &data));
  for (uint64_t i = 0; i < nobject / sizeof *object && !p->in->gpu; i++)
    object[i].offset = object[i].size = 0; /* the target stays */
  ProgFile *file = arena_new(p->a, ProgFile);
  file->flags = FILE_PACKED; /* aligned to 64, all of it */
  Str s = {(char *)slot, nslot}, o = {(char *)object, nobject}, f = {(char *)file, sizeof *file}, none = {"", 0},
      d = {data.text, data.len};
  const Str *const with[SEC_COUNT] = {
      [SEC_SLOTS] = &s, [SEC_OBJECTS] = &o, [SEC_FILES] = &f, [SEC_CODE] = p->in->gpu ? NULL : &none, [SEC_DATA] = &d};
  if (p->in->gpu)
    v->code = p->code.len, v->code_hash = sum_bytes(NULL, 0, 0);
  else
    TRY(put_code(p, in, v));
  put_image(p, in->image, with, v);
  collect_ops(p, in->image);
  return ST_OK;
}

static uint32_t put_string(Packer *p, const char *s) {
  uint32_t at = (uint32_t)p->head.len;
  buf_put(&p->head, s, strlen(s) + 1);
  return at;
}

Status aot_pack(Ctx *c, Arena *a, const AotInput *in, AotPackage *out) {
  Packer p = {.c = c, .a = a, .in = in, .out = out};
  PackageHeader h = {
      .magic = PACKAGE_MAGIC, .version = PACKAGE_VERSION, .machine = in->machine, .nvariant = in->nvariant};
  PackageVariant *v = arena_array(a, PackageVariant, in->nvariant);
  StrBuf *all[] = {&p.head, &p.code, &p.functions, &p.spans, &p.ops};
  *out = (AotPackage){0};
  for (size_t i = 0; i < countof(all); i++)
    buf_init(all[i], a);
  map_init(&p.seen, a);
  map_init(&p.op, a);
  buf_put(&p.head, (const char *)&h, sizeof h);
  buf_put(&p.head, (const char *)v, in->nvariant * sizeof *v);
  h.name = put_string(&p, in->name);
  h.about = put_string(&p, "");
  h.weights_name = put_string(&p, in->weights_name ? in->weights_name : "");
  for (uint32_t i = 0; i < in->nvariant; i++) {
    v[i].level = put_string(&p, in->variant[i].level);
    TRY(put_variant(&p, &in->variant[i], &v[i]));
  }
  h.weights = out->weights_size;
  put_sums(&p, &h);
  pad(&p.head, PROG_ALIGN);
  h.build = ((const ProgHeader *)(const void *)in->variant[0].image)->build;
  h.size = p.head.len, h.code = p.code.len;
  h.flags =
      (in->weights_name ? PACKAGE_EXTERNAL : 0) | (in->gpu ? PACKAGE_GPU : 0) | (in->gpu_code ? PACKAGE_GPU_CODE : 0);
  memcpy(p.head.text, &h, sizeof h);
  memcpy(p.head.text + sizeof h, v, in->nvariant * sizeof *v);
  uint8_t *head = arena_get(a, p.head.len, 1, PROG_ALIGN);
  memcpy(head, p.head.text, p.head.len);
  PackageHeader *sealed = (PackageHeader *)(void *)head;
  sealed->hash = package_hash(sealed);
  out->head = head, out->head_size = p.head.len;
  out->code = (const uint8_t *)p.code.text, out->code_size = p.code.len;
  out->function = (const AotFunction *)(const void *)p.functions.text;
  out->weight = (const AotSpan *)(const void *)p.spans.text;
  out->op = (const char *const(*)[2])(const void *)p.ops.text;
  return ST_OK;
}
