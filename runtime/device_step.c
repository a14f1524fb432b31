/* device_step.c - kernels on a device: their code and the constants they read at load, their launch in a run.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/grow.h"
#include "runtime/kernel_abi.h"
#include "runtime/places.h"

#include "support/checked.h"
#include "support/gpu.h"

#include <elf.h>
#include <string.h>

/* --- loading --- */

static void unload(void *arg) { device_unload(arg); }

void device_unload(RtProgram *p) {
  RtDevice *d = p->device;
  if (d)
    rt_release(p);
  if (d && p->device_weights)
    d->ops->put(d, NULL, p->device_weights);
  for (uint32_t i = 0; d && p->module && i < rt_count(p, SEC_OBJECTS); i++)
    if (p->module[i])
      d->ops->unload(d, p->module[i]);
  p->device = NULL; /* not a second time */
}

/* The driver reads as far as the image's own headers say. */
static bool image_ok(const uint8_t *code, uint64_t size) {
  enum { CUDA = 190 }; /* EM_CUDA */
  Elf64_Ehdr h;
  if (size < sizeof h)
    return false;
  memcpy(&h, code, sizeof h);
  return !memcmp(h.e_ident, ELFMAG, SELFMAG) && h.e_machine == CUDA && h.e_shoff <= size &&
         (uint64_t)h.e_shnum * h.e_shentsize <= size - h.e_shoff && h.e_phoff <= size &&
         (uint64_t)h.e_phnum * h.e_phentsize <= size - h.e_phoff;
}

/* Machine code where there is some that runs there, or else PTX. */
static Status choose_code(Ctx *c, Arena *scratch, RtProgram *p, const ProgObject *o, const char **out) {
  const uint8_t *code = p->base + p->h->section[SEC_CODE].offset;
  int capability = p->device->capability;
  const char *target = rt_string(p, o->target), *ptx_target = rt_string(p, o->ptx_target);
  bool runs = o->size && gpu_runs(target, capability);
  if (!runs && !(o->ptx_size && gpu_compiles(ptx_target, capability)))
    return fail(c, ST_DEVICE, "the program is for %s, and this GPU has compute capability %d.%d",
                o->size ? target : ptx_target, capability / 10, capability % 10);
  if (runs && !image_ok(code + o->offset, o->size))
    return fail(c, ST_INVALID, "the compiled program is damaged: machine code for %s", target);
  p->by_driver |= !runs;
  *out =
      runs ? (const char *)code + o->offset : arena_strndup(scratch, (const char *)code + o->ptx, (size_t)o->ptx_size);
  return ST_OK;
}

const char *rt_device_code(const RtProgram *p, Arena *a) {
  const ProgObject *o = REC(p, SEC_OBJECTS, ProgObject);
  if (!p->device || !rt_count(p, SEC_OBJECTS))
    return "";
  if (p->by_driver)
    return arena_printf(a, "PTX for %s, which the driver compiles at every start", rt_string(p, o->ptx_target));
  return arena_printf(a, "machine code for %s", rt_string(p, o->target));
}

/* The functions of a kernel. */
static Status find_functions(Ctx *c, Arena *a, RtProgram *p, uint32_t i) {
  const ProgKernel *k = REC(p, SEC_KERNELS, ProgKernel) + i;
  RtDevice *d = p->device;
  const char *symbol = rt_string(p, k->symbol);
  if (k->object == PROG_NONE)
    return ST_OK;
  TRY(d->ops->find(d, c, p->module[k->object], symbol, &p->function[i]));
  p->more[i] = arena_array(a, void *, k->more);
  for (uint32_t n = 0; n < k->more; n++)
    TRY(d->ops->find(d, c, p->module[k->object], arena_printf(a, "%s_then%u", symbol, n + 1), &p->more[i][n]));
  return ST_OK;
}

static Status load_modules(Ctx *c, Arena *a, RtProgram *p) {
  RtDevice *d = p->device;
  uint32_t n = rt_count(p, SEC_OBJECTS), nkernel = rt_count(p, SEC_KERNELS);
  p->module = arena_array(a, void *, n);
  p->function = arena_array(a, void *, nkernel);
  p->more = arena_array(a, void **, nkernel);
  Arena *scratch = arena_create(c);
  for (uint32_t i = 0; i < n; i++) {
    const char *code;
    TRY(choose_code(c, scratch, p, REC(p, SEC_OBJECTS, ProgObject) + i, &code));
    TRY(d->ops->load(d, c, code, &p->module[i]));
  }
  arena_destroy(scratch);
  for (uint32_t i = 0; i < nkernel; i++)
    TRY(find_functions(c, a, p, i));
  return ST_OK;
}

/* Constants that kernels read lie on the device as long as the program, all in one block. */
static Status upload_constants(Ctx *c, Arena *a, RtProgram *p, void *stream) {
  enum { ALIGN = 256 };
  RtDevice *d = p->device;
  uint32_t *list = arena_array(a, uint32_t, rt_count(p, SEC_SLOTS)), n = 0;
  size_t all = 0;
  for (uint32_t i = 0; i < rt_count(p, SEC_STEPS); i++) {
    const ProgStep *s = rt_step(p, i);
    for (uint32_t k = 0; s->kind == STEP_KERNEL && k < s->nin; k++) {
      uint32_t slot = rt_list(p, s->in + k);
      size_t bytes = p->konst[slot] ? tensor_bytes(p->konst[slot]) : 0;
      if (!bytes || p->device_const[slot])
        continue;
      p->device_const[slot] = all + 1; /* marks it: the offset, which becomes an address */
      list[n++] = slot;
      if (!size_add_ok(all, bytes + ALIGN - 1, &all))
        return fail(c, ST_MEMORY, "the weights are more than there can be memory for");
      all = all / ALIGN * ALIGN;
    }
  }
  uint64_t base = 0;
  Status st = all ? d->ops->get(d, c, stream, all, &base) : ST_OK;
  p->device_weights = base;
  for (uint32_t i = 0; i < n; i++)
    p->device_const[list[i]] = base ? p->device_const[list[i]] - 1 + base : 0;
  for (uint32_t i = 0; i < n && !st; i++)
    st = d->ops->upload(d, c, stream, p->device_const[list[i]], p->konst[list[i]]->data,
                        tensor_bytes(p->konst[list[i]]));
  return st;
}

static bool has_products(const RtProgram *p) {
  for (uint32_t i = 0; i < rt_count(p, SEC_CALLS); i++)
    if (REC(p, SEC_CALLS, ProgCall)[i].product != PROG_NONE)
      return true;
  return false;
}

Status device_load(Ctx *c, Arena *a, RtProgram *p) {
  Cleanup *cleanup = arena_new(a, Cleanup);
  void *stream = NULL;
  p->device_const = arena_array(a, uint64_t, rt_count(p, SEC_SLOTS));
  ctx_on_failure(c, cleanup, unload, p);
  TRY(graph_plan(c, a, p));
  TRY(load_modules(c, a, p));
  TRY(p->device->ops->open_stream(p->device, c, &stream));
  Status st = upload_constants(c, a, p, stream);
  if (!st && has_products(p))
    st = p->device->ops->open_products(p->device, c);
  p->device->ops->close_stream(p->device, stream);
  if (!st)
    ctx_forget(c, cleanup);
  return st;
}

/* --- running --- */

static Status parameters(Frame *f, const ProgStep *s, const int64_t *dim, uint64_t *param) {
  uint32_t n = 0;
  for (uint32_t i = 0; i < s->nin; i++)
    TRY(place_on_device(f, rt_list(f->p, s->in + i), &param[n++]));
  for (uint32_t i = 0; i < s->nout; i++)
    TRY(place_result(f, rt_list(f->p, s->out + i), &param[n++]));
  for (uint32_t i = 0; i < s->nexprs; i++)
    param[n++] = (uint64_t)dim[i];
  return ST_OK;
}

/* Asked for its workspace first: how much that is hangs on the algorithm that the library takes. */
static Status multiply(Frame *f, RtProduct *x) {
  RtDevice *d = f->p->device;
  const Workspace *w = places_workspace(f);
  size_t needed = 0;
  x->workspace = w->scratch.at, x->workspace_bytes = w->scratch.bytes;
  TRY(d->ops->product(d, f->c, w->stream, x, &needed));
  if (needed <= x->workspace_bytes)
    return ST_OK;
  TRY(places_scratch(f, needed, &x->workspace));
  x->workspace_bytes = w->scratch.bytes;
  return d->ops->product(d, f->c, w->stream, x, &needed);
}

static uint32_t product_number(const Frame *f, const ProgCall *call, uint32_t i) {
  return rt_list(f->p, call->product + i);
}

/* What the library is told; *few: the kernel's code takes it. */
static Status product_of(Frame *f, const ProgStep *s, const ProgCall *call, const uint64_t *param, RtProduct *x,
                         bool *few) {
  uint32_t flags = product_number(f, call, PN_FLAGS), bias = product_number(f, call, PN_BIAS);
  uint32_t addend = product_number(f, call, PN_ADDEND), factor = product_number(f, call, PN_FACTOR);
  *x = (RtProduct){.a = param[0], .b = param[1], .c = param[s->nin]};
  int64_t *number[] = {&x->batch, &x->m, &x->n, &x->k};
  for (uint32_t i = 0; i < countof(number); i++)
    if (!rt_symbols_eval(&f->sym, product_number(f, call, i), number[i]) || *number[i] < 0)
      return fail(f->c, ST_INVALID, "the extents of %s cannot be computed for these input shapes",
                  rt_string(f->p, rt_kernel(f->p, s)->name));
  x->trans_a = flags & PRODUCT_TRANS_A, x->trans_b = flags & PRODUCT_TRANS_B;
  x->batch_a = flags & PRODUCT_BATCH_A, x->batch_b = flags & PRODUCT_BATCH_B;
  x->type = (uint8_t)product_number(f, call, PN_TYPE), x->after = (uint8_t)product_number(f, call, PN_AFTER);
  x->bias = bias ? param[bias] : 0, x->addend = addend ? param[addend] : 0;
  memcpy(&x->factor, &factor, sizeof factor);
  *few = (flags & PRODUCT_FEW) && x->m <= PRODUCT_FEW_ROWS;
  return ST_OK;
}

static Status product(Frame *f, const ProgStep *s, RtProduct *x) {
  RtDevice *d = f->p->device;
  if (!x->k) /* a sum of nothing, and nothing is added to it (codegen/gpu_anchors.c) */
    return d->ops->clear(d, f->c, places_stream(f), x->c, tensor_bytes(&f->cell[rt_list(f->p, s->out)].t));
  return multiply(f, x);
}

/* A number of the call: in a graph for all runs of a kind, the largest there. */
static bool amount(Frame *f, uint32_t expr, int64_t *v) {
  bool ok = f->growth && f->growth->on ? growth_most(f->growth, expr, v) : rt_symbols_eval(&f->sym, expr, v);
  return ok && *v >= 0;
}

/* A launch of one of its functions. */
typedef struct Stage {
  void *function;
  int64_t parts;
  uint32_t blocks, threads;
} Stage;

static Status find_stage(Frame *f, const ProgStep *s, uint32_t threads, Stage *x) {
  int64_t wanted;
  if (!amount(f, threads, &wanted))
    return fail(f->c, ST_INVALID, "the threads of %s cannot be computed for these input shapes",
                rt_string(f->p, rt_kernel(f->p, s)->name));
  if (x->parts)
    gpu_geometry(x->parts, wanted, f->p->device->most_blocks, &x->blocks, &x->threads);
  return ST_OK;
}

static Status no_work(Frame *f, const ProgStep *s) {
  return fail(f->c, ST_INVALID, "the work of %s cannot be computed for these input shapes",
              rt_string(f->p, rt_kernel(f->p, s)->name));
}

/* All functions of the kernel; *n: how many launches. */
static Status find_stages(Frame *f, const ProgStep *s, const ProgCall *call, Arena *scratch, Stage **out, uint32_t *n) {
  const ProgKernel *k = rt_kernel(f->p, s);
  Stage *x = *out = arena_array(scratch, Stage, k->more + 1u);
  *n = k->more + 1u;
  x[0] = (Stage){.function = f->p->function[call->kernel]};
  if (!amount(f, call->parts, &x[0].parts))
    return no_work(f, s);
  TRY(find_stage(f, s, call->threads, &x[0]));
  for (uint32_t i = 0; i < k->more; i++) {
    Stage *next = &x[i + 1];
    next->function = f->p->more[call->kernel][i];
    if (!amount(f, rt_list(f->p, call->more + 2 * i), &next->parts))
      return no_work(f, s);
    TRY(find_stage(f, s, rt_list(f->p, call->more + 2 * i + 1), next));
  }
  return ST_OK;
}

/* Scratch of a kernel of one function is per block. */
static Status scratch_of(Frame *f, const ProgStep *s, const ProgCall *call, const Stage *x, uint32_t n,
                         uint64_t *address) {
  int64_t each;
  if (!amount(f, call->scratch, &each))
    return no_work(f, s);
  size_t stride = (size_t)each, bytes;
  bool work = false;
  if (!size_add_ok(stride, PROG_ALIGN - 1, &stride))
    return fail(f->c, ST_MEMORY, "a kernel needs more working memory than there can be");
  stride = bytes = stride / PROG_ALIGN * PROG_ALIGN;
  for (uint32_t i = 0; i < n; i++)
    work |= x[i].parts > 0;
  if (!work)
    return ST_OK;
  if (!rt_kernel(f->p, s)->more && !size_mul_ok(stride, x[0].blocks, &bytes))
    return fail(f->c, ST_MEMORY, "a kernel needs more working memory than there can be");
  return places_scratch(f, bytes, address);
}

Status device_step(Frame *f, const ProgStep *s, Arena *scratch, const int64_t *dim, const KernelWork *w) {
  const ProgCall *call = REC(f->p, SEC_CALLS, ProgCall) + s->call;
  RtDevice *d = f->p->device;
  size_t n = (size_t)s->nin + s->nout + s->nexprs + 2;
  const ProgKernel *k = rt_kernel(f->p, s);
  uint64_t *param = arena_array(scratch, uint64_t, n + 1);
  uint32_t stages;
  Stage *x;
  TRY(parameters(f, s, dim, param));
  if (call->product != PROG_NONE) {
    RtProduct library;
    bool few;
    if (!w->parts)
      return ST_OK;
    TRY(product_of(f, s, call, param, &library, &few));
    if (!few)
      return product(f, s, &library);
  }
  TRY(find_stages(f, s, call, scratch, &x, &stages));
  TRY(scratch_of(f, s, call, x, stages, &param[n - 2]));
  param[n - 1] = places_error(f, (uint32_t)(s - rt_step(f->p, 0)), k->nchecks);
  if (k->ngrowing)
    param[n++] = growth_table(f->growth, (uint32_t)(s - rt_step(f->p, 0)));
  for (uint32_t i = 0; i < stages; i++)
    if (x[i].parts)
      TRY(d->ops->launch(d, f->c, places_stream(f), x[i].function, x[i].blocks, x[i].threads, param, n));
  return ST_OK;
}
