/* compiled.c - `sard inspect` of a compiled model: its machine, device and levels, sizes, inputs and outputs, steps by kind.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tools/compiled.h"

#include "aot/header.h"
#include "runtime/object.h"
#include "runtime/package.h"
#include "tools/json.h"

#include <elf.h>

typedef struct Compiled {
  const char *path;
  Mapped *file;
  Package p;
  const uint8_t *image; /* of the first variant */
} Compiled;

static const void *records(const Compiled *x, SectionId sec, size_t size, uint32_t *n) {
  const ProgHeader *h = (const ProgHeader *)(const void *)x->image;
  *n = (uint32_t)(h->section[sec].size / size);
  return x->image + h->section[sec].offset;
}

static const char *machine(const Compiled *x) {
  uint32_t m = x->p.h->machine;
  return m == EM_X86_64 ? "x86_64" : m == EM_AARCH64 ? "aarch64" : m == EM_RISCV ? "riscv64" : "another";
}

/* The program is looked at without being loaded, which only its own machine can: its sections must be inside. */
static Status check_program(Ctx *c, const Compiled *x) {
  const ProgHeader *h = (const ProgHeader *)(const void *)x->image;
  uint64_t size = x->p.variant[0].image_size;
  bool ok = size >= sizeof *h && h->version == PROG_VERSION && h->sections == SEC_COUNT && h->size == size;
  for (int i = 0; ok && i < SEC_COUNT; i++)
    ok = h->section[i].offset <= size && h->section[i].size <= size - h->section[i].offset;
  return ok ? ST_OK : fail(c, ST_INVALID, "the program in it was made by another version of Sard");
}

static void ports(const Compiled *x, SectionId sec, StrBuf *b, bool json) {
  uint32_t n, nstrings;
  const ProgPort *p = records(x, sec, sizeof *p, &n);
  const char *strings = records(x, SEC_STRINGS, 1, &nstrings);
  for (uint32_t i = 0; i < n; i++) {
    StrBuf type;
    buf_init(&type, b->arena);
    aot_port_type(&type, x->image, &p[i]);
    buf_puts(b, json ? i ? ", {\"name\": " : "{\"name\": " : "  ");
    if (json)
      json_str(b, strings + p[i].name);
    else
      buf_escaped(b, strings + p[i].name);
    buf_puts(b, json ? ", \"type\": " : "  ");
    if (json)
      json_str(b, type.text);
    else
      buf_escaped(b, type.text);
    buf_puts(b, json ? "}" : "\n");
  }
}

static void levels(const Compiled *x, StrBuf *b, bool json) {
  for (uint32_t i = 0; i < x->p.h->nvariant; i++) {
    const char *level = package_string(&x->p, x->p.variant[i].level);
    buf_puts(b, i ? ", " : "");
    if (json)
      json_str(b, level);
    else
      buf_escaped(b, level);
  }
}

static void count_steps(const Compiled *x, uint32_t *compiled, uint32_t *others) {
  uint32_t n;
  const ProgStep *s = records(x, SEC_STEPS, sizeof *s, &n);
  *compiled = *others = 0;
  for (uint32_t i = 0; i < n; i++)
    ++*(s[i].kind == STEP_KERNEL ? compiled : others);
}

static void text_all(const Compiled *x, StrBuf *b) {
  const PackageHeader *h = x->p.h;
  Arena *a = b->arena;
  uint32_t compiled, others;
  count_steps(x, &compiled, &others);
  buf_puts(b, "model       ");
  buf_escaped(b, x->path);
  buf_printf(b, ", compiled\nmachine     %s%s: ", machine(x), h->flags & PACKAGE_GPU ? " with a GPU" : "");
  levels(x, b, false);
  if (h->flags & PACKAGE_GPU)
    buf_puts(b, h->flags & PACKAGE_GPU_CODE ? ", and PTX" : ", as PTX alone");
  buf_printf(b, "\nsize        %s: code %s, programs %s, weights %s", bytes_text(a, (int64_t)x->file->size),
             bytes_text(a, (int64_t)h->code), bytes_text(a, (int64_t)h->size), bytes_text(a, (int64_t)h->weights));
  if (h->flags & PACKAGE_EXTERNAL) {
    buf_puts(b, " in the file ");
    buf_escaped(b, package_string(&x->p, h->weights_name));
  }
  buf_printf(b, "\nsteps       %u compiled, %u others\n\ninputs\n", compiled, others);
  ports(x, SEC_INPUTS, b, false);
  buf_puts(b, "\noutputs\n");
  ports(x, SEC_OUTPUTS, b, false);
}

static void json_all(const Compiled *x, StrBuf *b) {
  const PackageHeader *h = x->p.h;
  uint32_t compiled, others;
  count_steps(x, &compiled, &others);
  buf_puts(b, "{\"model\": ");
  json_str(b, x->path);
  buf_printf(b, ", \"compiled\": {\"machine\": \"%s\", \"device\": \"%s\", \"levels\": [", machine(x),
             h->flags & PACKAGE_GPU ? "cuda" : "cpu");
  levels(x, b, true);
  buf_printf(b, "], \"bytes\": %zu, \"code\": %llu, \"programs\": %llu, \"weights\": %llu, \"weights_file\": ",
             x->file->size, (unsigned long long)h->code, (unsigned long long)h->size, (unsigned long long)h->weights);
  if (h->flags & PACKAGE_EXTERNAL)
    json_str(b, package_string(&x->p, h->weights_name));
  else
    buf_puts(b, "null");
  buf_printf(b, ", \"steps\": {\"compiled\": %u, \"others\": %u}}, \"inputs\": [", compiled, others);
  ports(x, SEC_INPUTS, b, true);
  buf_puts(b, "], \"outputs\": [");
  ports(x, SEC_OUTPUTS, b, true);
  buf_puts(b, "]}\n");
}

Status inspect_compiled(Tool *t, const char *path, bool *is) {
  Compiled x = {.path = path};
  StrBuf b;
  TRY(map_open(t->c, t->arena, path, &x.file));
  *is = package_is(x.file);
  if (!*is) {
    map_close(t->c, x.file);
    return ST_OK;
  }
  Status st = package_find(t->c, x.file, &x.p);
  if (!st) {
    x.image = (const uint8_t *)x.p.h + x.p.variant[0].image;
    st = check_program(t->c, &x);
  }
  if (st)
    return err_file(t->c, st, path);
  buf_init(&b, t->arena);
  (opt_set(t->o, OPT_json) ? json_all : text_all)(&x, &b);
  st = tool_print(t, &b);
  map_close(t->c, x.file);
  return st;
}
