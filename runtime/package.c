/* package.c - reading packages without trusting them: what a start from compiled code needs.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/package.h"

#include "runtime/device.h"
#include "runtime/object.h"
#include "support/cpu.h"
#include "support/gpu.h"
#include "support/str.h"

#include <elf.h>
#include <stdio.h>
#include <string.h>

static Status damaged(Ctx *c, const char *what) {
  return fail(c, ST_INVALID, "the compiled model is damaged: %s", what);
}

const char *package_string(const Package *p, uint32_t offset) { return (const char *)p->h + offset; }

static bool inside(uint64_t room, uint64_t at, uint64_t n) { return at <= room && n <= room - at; }

/* A string that ends inside the part. */
static bool string_ok(const PackageHeader *h, uint32_t at) {
  return at < h->size && memchr((const char *)h + at, 0, h->size - at);
}

static bool variant_ok(const PackageHeader *h, const PackageVariant *v) {
  if (!string_ok(h, v->level) || v->image % PROG_ALIGN || !inside(h->size, v->image, v->image_size) ||
      v->code % OBJECT_PAGE || !inside(h->code, v->code, v->code_size) || v->code_exec > v->code_size ||
      v->kernels % 8 || !inside(h->size, v->kernels, 8ull * v->nkernel))
    return false;
  const uint64_t *k = (const uint64_t *)(const void *)((const uint8_t *)h + v->kernels);
  for (uint32_t i = 0; i < v->nkernel; i++)
    if (k[i] != UINT64_MAX && k[i] >= v->code_exec)
      return false;
  return true;
}

uint64_t package_hash(const PackageHeader *h) {
  PackageHeader zero = *h;
  zero.hash = 0;
  return sum_bytes(h + 1, h->size - sizeof *h, sum_bytes(&zero, sizeof zero, 0));
}

Status package_check(Ctx *c, const uint8_t *head, size_t size, Package *out) {
  const PackageHeader *h = (const PackageHeader *)(const void *)head;
  *out = (Package){.h = h, .variant = (const PackageVariant *)(h + 1)};
  if (size < sizeof *h || memcmp(h->magic, PACKAGE_MAGIC, 8))
    return fail(c, ST_INVALID, "not a model that Sard has compiled");
  if (h->version != PACKAGE_VERSION)
    return fail(c, ST_INVALID, "the compiled model has format %u, and this Sard reads format %d: compile it again",
                h->version, PACKAGE_VERSION);
  if (h->size > size || h->size < sizeof *h)
    return damaged(c, "it is cut short");
  if (h->hash != package_hash(h))
    return damaged(c, "its hash does not match");
  if (!h->nvariant || h->nvariant > (h->size - sizeof *h) / sizeof(PackageVariant) || !string_ok(h, h->name) ||
      !string_ok(h, h->about) || !string_ok(h, h->weights_name))
    return damaged(c, "its head");
  if (h->sums % 8 || !inside(h->size, h->sums, 8 * package_blocks(h->weights)))
    return damaged(c, "its sums");
  for (uint32_t i = 0; i < h->nvariant; i++)
    if (!variant_ok(h, &out->variant[i]))
      return damaged(c, "its variants");
  return ST_OK;
}

static const char *machine_name(uint32_t machine) {
  return machine == EM_X86_64    ? "x86-64"
         : machine == EM_AARCH64 ? "AArch64"
         : machine == EM_RISCV   ? "RISC-V"
                                 : "another";
}

static Status check_code(Ctx *c, const Package *p, const PackageVariant *v) {
  if (!p->code && v->code_size)
    return damaged(c, "it has no machine code");
  if (v->code_hash != sum_bytes(p->code ? p->code + v->code : NULL, v->code_size, 0))
    return damaged(c, "its machine code");
  return ST_OK;
}

static Status choose_for_cpu(Ctx *c, const Package *p, const PackageVariant **out) {
  const PackageVariant *v = NULL;
  for (uint32_t i = 0; i < p->h->nvariant; i++)
    if (cpu_runs(package_string(p, p->variant[i].level)))
      v = &p->variant[i];
  *out = v;
  if (v)
    return ST_OK;
  return err_hint(c,
                  fail(c, ST_UNSUPPORTED, "the model was compiled for %s, which this CPU (%s) does not have",
                       package_string(p, p->variant[0].level), cpu_level()),
                  "compile it with --cpu %s", cpu_level());
}

/* "sm_80, sm_90a" */
static const char *levels_text(const Package *p, char *text, size_t room) {
  size_t n = 0;
  *text = 0;
  for (uint32_t i = 0; i < p->h->nvariant && n < room; i++)
    n += (size_t)snprintf(text + n, room - n, "%s%s", i ? ", " : "", package_string(p, p->variant[i].level));
  return text;
}

static Status choose_for_gpu(Ctx *c, const Package *p, const RtDevice *d, const PackageVariant **out) {
  const PackageVariant *compiled = NULL, *ptx = NULL;
  bool code = p->h->flags & PACKAGE_GPU_CODE;
  char text[200];
  for (uint32_t i = 0; i < p->h->nvariant; i++) {
    const char *level = package_string(p, p->variant[i].level);
    compiled = code && gpu_runs(level, d->capability) ? &p->variant[i] : compiled;
    ptx = gpu_compiles(level, d->capability) ? &p->variant[i] : ptx;
  }
  *out = compiled ? compiled : ptx;
  if (*out)
    return ST_OK;
  return err_hint(c,
                  fail(c, ST_DEVICE, "the model was compiled for %s, and this GPU has compute capability %d.%d",
                       levels_text(p, text, sizeof text), d->capability / 10, d->capability % 10),
                  "compile it with --gpu sm_80, which all GPUs from 8.0 on run");
}

Status package_choose(Ctx *c, const Package *p, const RtDevice *d, const PackageVariant **out) {
  bool gpu = p->h->flags & PACKAGE_GPU;
  if (p->h->machine != object_machine())
    return fail(c, ST_UNSUPPORTED, "the model was compiled for %s, and this machine is %s", machine_name(p->h->machine),
                machine_name(object_machine()));
  if (gpu != (d != NULL))
    return damaged(c, "its device");
  TRY(gpu ? choose_for_gpu(c, p, d, out) : choose_for_cpu(c, p, out));
  return check_code(c, p, *out);
}

static Status check_weights(Ctx *c, const Package *p, const Mapped *m) {
  const WeightsHeader *w = (const WeightsHeader *)(const void *)m->base;
  if (m->size < PACKAGE_PAGE || memcmp(w->magic, WEIGHTS_MAGIC, 8) || w->version != PACKAGE_VERSION)
    return fail(c, ST_INVALID, "not a file with weights of a compiled model");
  if (w->sum != p->h->weights_sum || w->size != p->h->weights)
    return fail(c, ST_INVALID, "the weights belong to another compiled model");
  return m->size - PACKAGE_PAGE >= w->size ? ST_OK : fail(c, ST_INVALID, "the weights are cut short");
}

Status package_weights(Ctx *c, Arena *a, const Package *p, const char *path, const char *weights, Mapped **map,
                       RtFile *out) {
  *map = NULL;
  *out = (RtFile){p->weights, p->h->weights};
  if (!(p->h->flags & PACKAGE_EXTERNAL))
    return p->weights || !p->h->weights ? ST_OK : damaged(c, "it has no weights");
  const char *slash = strrchr(path, '/'), *beside = package_string(p, p->h->weights_name);
  const char *name = weights ? weights : arena_printf(a, "%.*s%s", slash ? (int)(slash + 1 - path) : 0, path, beside);
  Status st = map_open(c, a, name, map);
  st = st ? st : check_weights(c, p, *map);
  if (st)
    return err_file(c, st, name);
  *out = (RtFile){(*map)->base + PACKAGE_PAGE, p->h->weights};
  return ST_OK;
}

Status package_verify(Ctx *c, const Package *p, const RtFile *weights) {
  const uint64_t *sum = (const uint64_t *)(const void *)((const uint8_t *)p->h + p->h->sums);
  for (uint32_t i = 0; i < p->h->nvariant; i++)
    TRY(check_code(c, p, &p->variant[i]));
  for (uint64_t i = 0; i < package_blocks(p->h->weights); i++) {
    uint64_t at = i * PACKAGE_BLOCK, left = p->h->weights - at;
    TRY(ctx_poll(c));
    if (sum[i] != sum_bytes(weights->base + at, left < PACKAGE_BLOCK ? left : PACKAGE_BLOCK, i))
      return fail(c, ST_INVALID, "the compiled model is damaged: its weights, at byte %llu of them or behind",
                  (unsigned long long)at);
  }
  return ST_OK;
}

Status package_load(Ctx *c, Arena *a, const Package *p, const PackageVariant *v, const RtFile *weights,
                    const uint8_t *code, RtDevice *device, RtProgram **out) {
  const uint8_t *head = (const uint8_t *)p->h;
  RtLinked linked = {code, (const uint64_t *)(const void *)(head + v->kernels), v->nkernel};
  if (device)
    return rt_load_on(c, a, head + v->image, v->image_size, p->h->build, weights, 1, device, out);
  return rt_load_linked(c, a, head + v->image, v->image_size, p->h->build, weights, 1, &linked, out);
}
