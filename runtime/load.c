/* load.c - checks a program and makes it runnable. Nothing in the image is trusted: every offset, index, string and size is
 * checked here once, so that the executor need not.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/places.h"

#include "support/checked.h"
#include "support/cpu.h"
#include "support/dim.h"

#include <string.h>

static const size_t record_size[SEC_COUNT] = {[SEC_STRINGS] = 1,
                                              [SEC_EXPRS] = sizeof(ProgExpr),
                                              [SEC_SYMBOLS] = sizeof(ProgSymbol),
                                              [SEC_SLOTS] = sizeof(ProgSlot),
                                              [SEC_STEPS] = sizeof(ProgStep),
                                              [SEC_REGIONS] = sizeof(ProgRegion),
                                              [SEC_LISTS] = sizeof(uint32_t),
                                              [SEC_ORIGINS] = sizeof(ProgOrigin),
                                              [SEC_INPUTS] = sizeof(ProgPort),
                                              [SEC_OUTPUTS] = sizeof(ProgPort),
                                              [SEC_APPENDS] = sizeof(ProgAppend),
                                              [SEC_META] = sizeof(ProgMeta),
                                              [SEC_FILES] = sizeof(ProgFile),
                                              [SEC_KERNELS] = sizeof(ProgKernel),
                                              [SEC_CALLS] = sizeof(ProgCall),
                                              [SEC_OBJECTS] = sizeof(ProgObject),
                                              [SEC_ATTRS] = 1,
                                              [SEC_CODE] = 1,
                                              [SEC_DATA] = 1};

uint32_t rt_count(const RtProgram *p, SectionId sec) { return (uint32_t)(p->h->section[sec].size / record_size[sec]); }

const char *rt_string(const RtProgram *p, uint32_t offset) { return REC(p, SEC_STRINGS, char) + offset; }
const ProgPort *rt_input(const RtProgram *p, uint32_t i) { return REC(p, SEC_INPUTS, ProgPort) + i; }
const ProgPort *rt_output(const RtProgram *p, uint32_t i) { return REC(p, SEC_OUTPUTS, ProgPort) + i; }
const ProgSlot *rt_slot(const RtProgram *p, uint32_t i) { return REC(p, SEC_SLOTS, ProgSlot) + i; }
const ProgStep *rt_step(const RtProgram *p, uint32_t i) { return REC(p, SEC_STEPS, ProgStep) + i; }
const ProgOrigin *rt_origin(const RtProgram *p, uint32_t i) { return REC(p, SEC_ORIGINS, ProgOrigin) + i; }
const ProgSymbol *rt_symbol(const RtProgram *p, uint32_t i) { return REC(p, SEC_SYMBOLS, ProgSymbol) + i; }
const ProgAppend *rt_append(const RtProgram *p, uint32_t i) { return REC(p, SEC_APPENDS, ProgAppend) + i; }
const char *rt_precision(const RtProgram *p) { return rt_string(p, p->h->precision); }
const ProgMeta *rt_meta(const RtProgram *p, uint32_t i) { return REC(p, SEC_META, ProgMeta) + i; }
const ProgCall *rt_call(const RtProgram *p, const ProgStep *s) {
  return s->kind == STEP_KERNEL ? REC(p, SEC_CALLS, ProgCall) + s->call : NULL;
}
const ProgKernel *rt_kernel(const RtProgram *p, const ProgStep *s) {
  return s->kind == STEP_KERNEL ? REC(p, SEC_KERNELS, ProgKernel) + REC(p, SEC_CALLS, ProgCall)[s->call].kernel : NULL;
}
bool rt_is_product(const RtProgram *p, const ProgStep *s) {
  return s->kind == STEP_KERNEL && REC(p, SEC_CALLS, ProgCall)[s->call].product != PROG_NONE;
}
uint32_t rt_list(const RtProgram *p, uint32_t at) { return REC(p, SEC_LISTS, uint32_t)[at]; }

int64_t rt_const_dim(const RtProgram *p, const ProgSlot *s, int axis) {
  const ProgExpr *e = REC(p, SEC_EXPRS, ProgExpr) + rt_list(p, s->dims + (uint32_t)axis);
  return e->op == DIM_CONST ? e->value : -1;
}

static Status damaged(Ctx *c, const char *what) {
  return fail(c, ST_INVALID, "the compiled program is damaged: %s", what);
}

static Status check_header(Ctx *c, const uint8_t *image, size_t size, uint64_t build) {
  const ProgHeader *h = (const ProgHeader *)(const void *)image;
  size_t head = (sizeof *h + PROG_ALIGN - 1) / PROG_ALIGN * PROG_ALIGN;
  if ((uintptr_t)image % PROG_ALIGN || size < head || memcmp(h->magic, PROG_MAGIC, 8))
    return fail(c, ST_INVALID, "not a compiled program");
  if (h->version != PROG_VERSION || h->sections != SEC_COUNT || h->build != build)
    return fail(c, ST_INVALID, "the compiled program was made by another version of Sard");
  if (h->size != size || h->hash != hash_bytes(image + head, size - head, 0))
    return damaged(c, "its hash does not match");
  for (int i = 0; i < SEC_COUNT; i++) {
    ProgSection s = h->section[i];
    if (s.offset % PROG_ALIGN || s.offset > size || s.size > size - s.offset || s.size % record_size[i] ||
        s.size / record_size[i] >= PROG_NONE)
      return damaged(c, "a section is out of bounds");
  }
  ProgSection s = h->section[SEC_STRINGS];
  if (!s.size || image[s.offset] || image[s.offset + s.size - 1])
    return damaged(c, "strings");
  return ST_OK;
}

/* A string offset, a list, an index of a section or PROG_NONE. */
static bool str_ok(const RtProgram *p, uint32_t s) { return s < p->h->section[SEC_STRINGS].size; }
static bool index_ok(const RtProgram *p, uint32_t i, SectionId sec, bool none) {
  return i < rt_count(p, sec) || (none && i == PROG_NONE);
}
static bool list_ok(const RtProgram *p, uint32_t at, uint64_t n, SectionId of, bool none) {
  uint64_t all = rt_count(p, SEC_LISTS);
  if (at > all || n > all - at)
    return false;
  for (uint64_t i = 0; i < n; i++)
    if (!index_ok(p, rt_list(p, at + (uint32_t)i), of, none))
      return false;
  return true;
}

static bool exprs_ok(const RtProgram *p) {
  for (uint32_t i = 0; i < rt_count(p, SEC_EXPRS); i++) {
    const ProgExpr *e = REC(p, SEC_EXPRS, ProgExpr) + i;
    if (e->op > DIM_BCAST)
      return false;
    if (e->op == DIM_SYM ? e->a >= rt_count(p, SEC_SYMBOLS) : e->op != DIM_CONST && (e->a >= i || e->b >= i))
      return false;
  }
  return true;
}

static bool slot_ok(const RtProgram *p, uint32_t i, uint32_t nfile) {
  const ProgSlot *s = rt_slot(p, i);
  if (s->kind > SLOT_VIEW || s->vkind > VK_MAP || (s->dtype && !dtype_valid(s->dtype)) || s->rank < -1 ||
      s->rank > MAX_RANK || !str_ok(p, s->name) ||
      (s->rank > 0 && !list_ok(p, s->dims, (uint64_t)s->rank, SEC_EXPRS, false)))
    return false;
  if (s->base != PROG_NONE && (s->base >= i || (s->kind != SLOT_VIEW && rt_slot(p, s->base)->kind != SLOT_ARENA)))
    return false;
  if (s->kind == SLOT_VIEW && s->base == PROG_NONE)
    return false;
  if (s->kind == SLOT_ARENA &&
      (s->vkind != VK_TENSOR || !s->dtype || s->dtype == DT_str || s->rank < 0 || s->first > s->last))
    return false;
  return s->kind != SLOT_CONST || s->file == PROG_NONE || s->file < nfile;
}

/* What a kernel computes on is dense memory of a known type: the code was made for it. */
static bool kernel_slots_ok(const RtProgram *p, uint32_t at, uint32_t n) {
  for (uint32_t i = 0; i < n; i++) {
    if (rt_list(p, at + i) == PROG_NONE)
      return false;
    const ProgSlot *s = rt_slot(p, rt_list(p, at + i));
    if (s->vkind != VK_TENSOR || !s->dtype || s->dtype == DT_str || s->rank < 0)
      return false;
  }
  return true;
}

/* Its lists are checked already. */
static bool kernel_step_ok(const RtProgram *p, const ProgStep *s) {
  if (!index_ok(p, s->call, SEC_CALLS, false))
    return false;
  const ProgCall *call = REC(p, SEC_CALLS, ProgCall) + s->call;
  if (!index_ok(p, call->kernel, SEC_KERNELS, false))
    return false;
  const ProgKernel *k = REC(p, SEC_KERNELS, ProgKernel) + call->kernel;
  return k->nin == s->nin && k->nout == s->nout && k->ndim == s->nexprs && kernel_slots_ok(p, s->in, s->nin) &&
         kernel_slots_ok(p, s->out, s->nout);
}

static bool kernel_ok(const RtProgram *p, const ProgKernel *k) {
  uint64_t all = rt_count(p, SEC_LISTS);
  if (!str_ok(p, k->name) || !str_ok(p, k->signature) || !str_ok(p, k->symbol) || !str_ok(p, k->tile) ||
      !index_ok(p, k->object, SEC_OBJECTS, true) || (uint64_t)k->checks + k->nchecks > all)
    return false;
  for (uint32_t i = 0; i < k->nchecks; i++)
    if (!str_ok(p, rt_list(p, k->checks + i)))
      return false;
  if ((uint64_t)k->growing + k->ngrowing > all || k->ngrowing > k->ndim)
    return false;
  for (uint32_t i = 0; i < k->ngrowing; i++)
    if (rt_list(p, k->growing + i) >= k->ndim)
      return false;
  return true;
}

static bool needs_ok(const RtProgram *p, const ProgCall *x) {
  if ((uint64_t)x->need + 4ull * x->nneed > rt_count(p, SEC_LISTS))
    return false;
  for (uint32_t i = x->need; i < x->need + 4 * x->nneed; i += 4)
    if (!index_ok(p, rt_list(p, i), SEC_EXPRS, false) || !index_ok(p, rt_list(p, i + 1), SEC_EXPRS, false) ||
        !str_ok(p, rt_list(p, i + 2)) || !index_ok(p, rt_list(p, i + 3), SEC_ORIGINS, false))
      return false;
  return true;
}

/* Its kernel is one. */
static bool owners_ok(const RtProgram *p, const ProgCall *x) {
  uint32_t n = (REC(p, SEC_KERNELS, ProgKernel) + x->kernel)->nchecks;
  if ((uint64_t)x->whose + 2ull * n > rt_count(p, SEC_LISTS))
    return false;
  for (uint32_t i = x->whose; i < x->whose + 2 * n; i += 2)
    if (!index_ok(p, rt_list(p, i), SEC_ORIGINS, false) || !index_ok(p, rt_list(p, i + 1), SEC_EXPRS, true))
      return false;
  return true;
}

static bool product_ok(const RtProgram *p, const ProgCall *x) {
  if (x->product == PROG_NONE)
    return true;
  if ((uint64_t)x->product + PRODUCT_NUMBERS > rt_count(p, SEC_LISTS))
    return false;
  for (uint32_t i = PN_BATCH; i <= PN_K; i++)
    if (!index_ok(p, rt_list(p, x->product + i), SEC_EXPRS, false))
      return false;
  const ProgKernel *k = REC(p, SEC_KERNELS, ProgKernel) + x->kernel;
  uint32_t type = rt_list(p, x->product + PN_TYPE);
  return k->nin >= 2 && k->nout == 1 && (type == DT_f32 || type == DT_f16 || type == DT_bf16) &&
         rt_list(p, x->product + PN_BIAS) < k->nin && rt_list(p, x->product + PN_ADDEND) < k->nin &&
         rt_list(p, x->product + PN_AFTER) <= PRODUCT_GELU;
}

static bool stages_ok(const RtProgram *p, const ProgCall *x) {
  uint64_t n = 2ull * (REC(p, SEC_KERNELS, ProgKernel) + x->kernel)->more;
  if (x->more + n > rt_count(p, SEC_LISTS))
    return false;
  for (uint32_t i = 0; i < n; i++)
    if (!index_ok(p, rt_list(p, x->more + i), SEC_EXPRS, false))
      return false;
  return true;
}

static bool call_ok(const RtProgram *p, const ProgCall *x) {
  return index_ok(p, x->kernel, SEC_KERNELS, false) && index_ok(p, x->parts, SEC_EXPRS, false) &&
         index_ok(p, x->threads, SEC_EXPRS, false) && index_ok(p, x->scratch, SEC_EXPRS, false) &&
         index_ok(p, x->flops, SEC_EXPRS, false) && index_ok(p, x->bytes, SEC_EXPRS, false) && product_ok(p, x) &&
         needs_ok(p, x) && owners_ok(p, x) && stages_ok(p, x);
}

static bool object_ok(const RtProgram *p, const ProgObject *o) {
  uint64_t room = p->h->section[SEC_CODE].size;
  return o->offset % PROG_ALIGN == 0 && o->offset <= room && o->size <= room - o->offset && str_ok(p, o->target) &&
         o->ptx <= room && o->ptx_size <= room - o->ptx && str_ok(p, o->ptx_target);
}

/* Kernels, their calls and their code. */
static bool code_ok(const RtProgram *p) {
  for (uint32_t i = 0; i < rt_count(p, SEC_KERNELS); i++)
    if (!kernel_ok(p, REC(p, SEC_KERNELS, ProgKernel) + i))
      return false;
  for (uint32_t i = 0; i < rt_count(p, SEC_CALLS); i++)
    if (!call_ok(p, REC(p, SEC_CALLS, ProgCall) + i))
      return false;
  for (uint32_t i = 0; i < rt_count(p, SEC_OBJECTS); i++)
    if (!object_ok(p, REC(p, SEC_OBJECTS, ProgObject) + i))
      return false;
  return true;
}

/* Triples (symbol, one of n values, place). */
static bool binds_ok(const RtProgram *p, uint32_t list, uint32_t nbinds, uint32_t n) {
  if ((uint64_t)list + 3ull * nbinds > rt_count(p, SEC_LISTS))
    return false;
  for (uint32_t i = list; i < list + 3 * nbinds; i += 3) {
    uint32_t place = rt_list(p, i + 2);
    if (rt_list(p, i) >= rt_count(p, SEC_SYMBOLS) || rt_list(p, i + 1) >= n ||
        (place >= MAX_RANK && place - BIND_ELEMENT >= BIND_ELEMENTS))
      return false;
  }
  return true;
}

static bool step_ok(const RtProgram *p, const ProgStep *s, uint32_t region) {
  if (s->kind > STEP_KERNEL || !str_ok(p, s->domain) || !str_ok(p, s->op) || !str_ok(p, s->why) ||
      !index_ok(p, s->origin, SEC_ORIGINS, false) || !list_ok(p, s->in, s->nin, SEC_SLOTS, true) ||
      !list_ok(p, s->out, s->nout, SEC_SLOTS, true) || !list_ok(p, s->free, s->nfree, SEC_SLOTS, false) ||
      !list_ok(p, s->exprs, s->nexprs, SEC_EXPRS, false) || s->attr > p->h->section[SEC_ATTRS].size ||
      s->nattr > p->h->section[SEC_ATTRS].size - s->attr || !binds_ok(p, s->binds, s->nbinds, s->nout))
    return false;
  int bodies = s->kind == STEP_IF ? 2 : s->kind == STEP_LOOP || s->kind == STEP_SCAN ? 1 : 0;
  for (int b = 0; b < bodies; b++) /* bodies come behind their owner, so there is no cycle */
    if (s->region[b] <= region || s->region[b] >= rt_count(p, SEC_REGIONS))
      return false;
  if (s->kind == STEP_KERNEL)
    return kernel_step_ok(p, s);
  if (s->kind == STEP_VIEW || s->kind == STEP_DIMS)
    return s->nout == 1 && rt_list(p, s->out) != PROG_NONE &&
           (s->kind == STEP_DIMS || (s->nin && rt_list(p, s->in) != PROG_NONE));
  return true;
}

static bool region_ok(const RtProgram *p, uint32_t i) {
  const ProgRegion *r = REC(p, SEC_REGIONS, ProgRegion) + i;
  if (r->step > rt_count(p, SEC_STEPS) || r->nstep > rt_count(p, SEC_STEPS) - r->step ||
      !list_ok(p, r->in, r->nin, SEC_SLOTS, false) || !list_ok(p, r->out, r->nout, SEC_SLOTS, false) ||
      !list_ok(p, r->own, r->nown, SEC_SLOTS, false) || !binds_ok(p, r->binds, r->nbinds, r->nin))
    return false;
  for (uint32_t k = 0; k < r->nstep; k++)
    if (!step_ok(p, rt_step(p, r->step + k), i))
      return false;
  return true;
}

/* Bodies have the inputs and outputs their owner feeds and reads. */
static bool control_ok(const RtProgram *p, const ProgStep *s) {
  const ProgRegion *r = REC(p, SEC_REGIONS, ProgRegion), *a, *b;
  switch (s->kind) {
  case STEP_IF:
    a = r + s->region[0], b = r + s->region[1];
    return s->nin == 1 && rt_list(p, s->in) != PROG_NONE && !a->nin && !b->nin && a->nout == s->nout &&
           b->nout == s->nout;
  case STEP_LOOP:
    a = r + s->region[0];
    return s->nin >= 2 && a->nin == s->nin && a->nout >= 1 && a->nout - 1 == s->nout && s->nout >= s->nin - 2;
  case STEP_SCAN: return true; /* run_scan checks against its attributes */
  default: return true;
  }
}

static bool port_ok(const RtProgram *p, const ProgPort *x, bool input) {
  if (!str_ok(p, x->name) || x->slot >= rt_count(p, SEC_SLOTS) || !index_ok(p, x->deflt, SEC_SLOTS, true))
    return false;
  const ProgSlot *s = rt_slot(p, x->slot);
  if (input && s->kind != SLOT_INPUT)
    return false;
  if (x->deflt != PROG_NONE && rt_slot(p, x->deflt)->kind != SLOT_CONST)
    return false;
  for (int k = 0; k < s->rank; k++)
    if (x->dim_text + (uint64_t)k >= rt_count(p, SEC_LISTS) || !str_ok(p, rt_list(p, x->dim_text + (uint32_t)k)))
      return false;
  return true;
}

/* The output is computed straight into the memory given for it: it is no other output's, and none of the arena. */
static bool append_ok(const RtProgram *p, const ProgAppend *x) {
  uint32_t n = rt_count(p, SEC_SYMBOLS);
  if (x->input >= rt_count(p, SEC_INPUTS) || x->output >= rt_count(p, SEC_OUTPUTS) || x->past_room >= n ||
      x->present_room >= n || x->copied >= n)
    return false;
  for (uint32_t i = 0; i < rt_count(p, SEC_OUTPUTS); i++)
    if (i != x->output && rt_output(p, i)->slot == rt_output(p, x->output)->slot)
      return false;
  const ProgSlot *past = rt_slot(p, rt_input(p, x->input)->slot), *present = rt_slot(p, rt_output(p, x->output)->slot);
  return present->kind == SLOT_DYNAMIC && past->vkind == VK_TENSOR && present->vkind == VK_TENSOR &&
         present->dtype == past->dtype && present->rank == past->rank && (int64_t)x->axis < present->rank &&
         dtype_valid(present->dtype) && dtype_bits(present->dtype) % 8 == 0 && present->dtype != DT_str;
}

static Status check_tables(Ctx *c, const RtProgram *p, uint32_t nfile) {
  if (rt_count(p, SEC_FILES) != nfile)
    return damaged(c, "weight files");
  if (!exprs_ok(p))
    return damaged(c, "dim expressions");
  for (uint32_t i = 0; i < rt_count(p, SEC_SYMBOLS); i++)
    if (!str_ok(p, rt_symbol(p, i)->name))
      return damaged(c, "symbols");
  for (uint32_t i = 0; i < rt_count(p, SEC_SLOTS); i++)
    if (!slot_ok(p, i, nfile))
      return damaged(c, "slots");
  for (uint32_t i = 0; i < nfile; i++)
    if (!str_ok(p, REC(p, SEC_FILES, ProgFile)[i].name))
      return damaged(c, "weight files");
  if (!code_ok(p))
    return damaged(c, "kernels");
  if (!rt_count(p, SEC_REGIONS))
    return damaged(c, "regions");
  for (uint32_t i = 0; i < rt_count(p, SEC_REGIONS); i++)
    if (!region_ok(p, i))
      return damaged(c, "regions");
  for (uint32_t r = 0; r < rt_count(p, SEC_REGIONS); r++) { /* steps of no region are refused by verify.c */
    const ProgRegion *x = REC(p, SEC_REGIONS, ProgRegion) + r;
    for (uint32_t i = 0; i < x->nstep; i++)
      if (!control_ok(p, rt_step(p, x->step + i)))
        return damaged(c, "control flow");
  }
  for (uint32_t i = 0; i < rt_count(p, SEC_ORIGINS); i++) {
    const ProgOrigin *o = rt_origin(p, i);
    if (!str_ok(p, o->node) || !str_ok(p, o->op) || !str_ok(p, o->module) || !str_ok(p, o->klass) ||
        !str_ok(p, o->source) || (uint64_t)o->more + o->nmore > rt_count(p, SEC_LISTS))
      return damaged(c, "origins");
    for (uint32_t k = 0; k < o->nmore; k++)
      if (!str_ok(p, rt_list(p, o->more + k)))
        return damaged(c, "origins");
  }
  const ProgRegion *top = REC(p, SEC_REGIONS, ProgRegion);
  if (top->nin != rt_count(p, SEC_INPUTS) || top->nout != rt_count(p, SEC_OUTPUTS))
    return damaged(c, "inputs and outputs");
  for (uint32_t i = 0; i < rt_count(p, SEC_INPUTS); i++)
    if (!port_ok(p, rt_input(p, i), true))
      return damaged(c, "inputs");
  for (uint32_t i = 0; i < rt_count(p, SEC_OUTPUTS); i++)
    if (!port_ok(p, rt_output(p, i), false))
      return damaged(c, "outputs");
  for (uint32_t i = 0; i < rt_count(p, SEC_APPENDS); i++)
    if (!append_ok(p, rt_append(p, i)))
      return damaged(c, "caches");
  for (uint32_t i = 0; i < rt_count(p, SEC_META); i++)
    if (!str_ok(p, rt_meta(p, i)->key) || !str_ok(p, rt_meta(p, i)->value))
      return damaged(c, "metadata");
  if (!str_ok(p, p->h->precision))
    return damaged(c, "its precision");
  return ST_OK;
}

static Status load_strings(Ctx *c, Arena *a, Tensor *t, int64_t n, const uint8_t *at, size_t size) {
  if ((uint64_t)n > size / 8)
    return damaged(c, "string constants");
  Str *s = arena_array(a, Str, (size_t)n);
  for (int64_t i = 0; i < n; i++) {
    uint64_t len;
    if (size < 8)
      return damaged(c, "string constants");
    memcpy(&len, at, 8);
    at += 8, size -= 8;
    if (len > size)
      return damaged(c, "string constants");
    s[i] = (Str){(const char *)at, len};
    at += len, size -= len;
  }
  t->data = s;
  return size ? damaged(c, "string constants") : ST_OK;
}

static Status load_const(Ctx *c, Arena *a, RtProgram *p, uint32_t i, const RtFile *file) {
  const ProgSlot *s = rt_slot(p, i);
  const uint8_t *base = p->base + p->h->section[SEC_DATA].offset;
  uint64_t room = p->h->section[SEC_DATA].size;
  if (s->file != PROG_NONE)
    base = file[s->file].base, room = file[s->file].size;
  if (s->offset > room || s->size > room - s->offset)
    return damaged(c, "a constant lies outside of its file");
  Tensor *t = arena_new(a, Tensor);
  t->kind = s->vkind, t->dtype = s->dtype, t->rank = s->rank;
  if (s->vkind != VK_TENSOR || s->rank < 0 || !s->dtype)
    return damaged(c, "constants");
  for (int k = 0; k < s->rank; k++)
    if ((t->dim[k] = rt_const_dim(p, s, k)) < 0)
      return damaged(c, "constants");
  int64_t count;
  size_t bytes;
  if (!extent_ok(t->dim, t->rank, &count) || !dtype_bytes(t->dtype, count, &bytes))
    return damaged(c, "constants");
  if (t->dtype == DT_str)
    TRY(load_strings(c, a, t, count, base + s->offset, s->size));
  else if (bytes != s->size)
    return damaged(c, "constants");
  else
    t->data = (void *)(uintptr_t)(base + s->offset); /* read-only; no step writes to a constant */
  p->konst[i] = t;
  return ST_OK;
}

/* Steps of a special kind interpret the attributes of one operator. */
static bool kind_ok(const ProgStep *s, OpId op) {
  switch (s->kind) {
  case STEP_DIMS: return op == OP_Dims;
  case STEP_IF: return op == OP_If;
  case STEP_LOOP: return op == OP_Loop;
  case STEP_SCAN: return op == OP_Scan;
  default: return eval_find(op);
  }
}

/* Code reads whole elements, and a weight file may hold them at any address. Packed weights are loaded 64 bytes at a time. */
static void align_const(Arena *a, const RtProgram *p, uint32_t slot) {
  Tensor *t = p->konst[slot];
  uint32_t file = rt_slot(p, slot)->file;
  bool packed = file != PROG_NONE && (REC(p, SEC_FILES, ProgFile)[file].flags & FILE_PACKED);
  if (packed ? (uintptr_t)t->data % PROG_ALIGN == 0 : tensor_aligned(t))
    return;
  size_t n = tensor_bytes(t);
  void *copy = arena_get(a, n, 1, PROG_ALIGN);
  if (n)
    memcpy(copy, t->data, n);
  t->data = copy;
}

static Status load_kernel_step(Ctx *c, Arena *a, RtProgram *p, const ProgStep *s) {
  const ProgCall *call = REC(p, SEC_CALLS, ProgCall) + s->call;
  uint32_t kernel = call->kernel;
  bool library = p->device && call->product != PROG_NONE && !(rt_list(p, call->product + PN_FLAGS) & PRODUCT_FEW);
  if (!library && (p->device ? !p->function[kernel] : !p->fn[kernel]))
    return fail(c, ST_UNSUPPORTED, "the kernel '%s' is not compiled", rt_string(p, rt_kernel(p, s)->name));
  for (uint32_t i = 0; i < s->nin; i++)
    if (p->konst[rt_list(p, s->in + i)])
      align_const(a, p, rt_list(p, s->in + i));
  return ST_OK;
}

/* Code that is mapped already. */
static Status link_code(Ctx *c, RtProgram *p, const RtLinked *code) {
  if (code->n != rt_count(p, SEC_KERNELS))
    return damaged(c, "kernels");
  for (uint32_t i = 0; i < code->n; i++)
    if (REC(p, SEC_KERNELS, ProgKernel)[i].object != PROG_NONE)
      p->fn[i] = object_at(code->base, code->offset[i]);
  return ST_OK;
}

/* Maps the machine code and finds the function of every kernel. */
static Status load_code(Ctx *c, Arena *a, RtProgram *p, const RtLinked *linked) {
  uint32_t nobject = rt_count(p, SEC_OBJECTS), nkernel = rt_count(p, SEC_KERNELS);
  p->code = arena_array(a, RtCode *, nobject);
  p->fn = arena_array(a, KernelFn, nkernel);
  p->lanes = 1;
  for (uint32_t i = 0; i < nobject; i++) {
    const ProgObject *o = REC(p, SEC_OBJECTS, ProgObject) + i;
    const char *level = rt_string(p, o->target);
    if (!cpu_runs(level))
      return fail(c, ST_UNSUPPORTED, "the program was compiled for %s, which this CPU does not have", level);
    p->lanes = cpu_vector_bits(level) / 32;
    if (!linked)
      TRY(object_load(c, a, p->base + p->h->section[SEC_CODE].offset + o->offset, (size_t)o->size, &p->code[i]));
  }
  if (linked)
    return link_code(c, p, linked);
  for (uint32_t i = 0; i < nkernel; i++) {
    const ProgKernel *k = REC(p, SEC_KERNELS, ProgKernel) + i;
    if (k->object != PROG_NONE && !(p->fn[i] = object_symbol(p->code[k->object], rt_string(p, k->symbol))))
      return damaged(c, "a kernel has no code");
  }
  return ST_OK;
}

static Status load_step(Ctx *c, Arena *a, RtProgram *p, uint32_t i) {
  const ProgStep *s = rt_step(p, i);
  if (s->kind == STEP_KERNEL)
    return load_kernel_step(c, a, p, s);
  p->op[i] = eval_op_by_name(rt_string(p, s->domain), rt_string(p, s->op));
  if (!p->op[i] || !kind_ok(s, p->op[i]))
    return fail(c, ST_UNSUPPORTED, "no evaluator for operator %s", rt_string(p, s->op));
  return attr_decode(c, a, eval_attrs(p->op[i]), REC(p, SEC_ATTRS, uint8_t) + s->attr, s->nattr, &p->attr[i]);
}

static Status load(Ctx *c, Arena *a, const uint8_t *image, size_t size, uint64_t build, const RtFile *file,
                   uint32_t nfile, const RtLinked *code, RtDevice *device, RtProgram **out) {
  TRY(check_header(c, image, size, build));
  RtProgram *p = arena_new(a, RtProgram);
  p->h = (const ProgHeader *)(const void *)image, p->base = image;
  p->alloc = c->alloc;
  pthread_mutex_init(&p->lock, NULL);
  TRY(check_tables(c, p, nfile));
  Arena *scratch = arena_create(c);
  bool ok = program_structure_ok(p, scratch);
  arena_destroy(scratch);
  if (!ok)
    return damaged(c, "its structure");
  p->konst = arena_array(a, Tensor *, rt_count(p, SEC_SLOTS));
  for (uint32_t i = 0; i < rt_count(p, SEC_SLOTS); i++)
    if (rt_slot(p, i)->kind == SLOT_CONST)
      TRY(load_const(c, a, p, i, file));
  p->device = device, p->lanes = 1;
  if (device)
    device->tf32 = !strcmp(rt_precision(p), "tf32");
  TRY(device ? device_load(c, a, p) : load_code(c, a, p, code));
  p->op = arena_array(a, OpId, rt_count(p, SEC_STEPS));
  p->attr = arena_array(a, void *, rt_count(p, SEC_STEPS));
  for (uint32_t i = 0; i < rt_count(p, SEC_STEPS); i++)
    TRY(load_step(c, a, p, i));
  *out = p;
  return ST_OK;
}

Status rt_load_linked(Ctx *c, Arena *a, const uint8_t *image, size_t size, uint64_t build, const RtFile *file,
                      uint32_t nfile, const RtLinked *code, RtProgram **out) {
  return load(c, a, image, size, build, file, nfile, code, NULL, out);
}

Status rt_load_on(Ctx *c, Arena *a, const uint8_t *image, size_t size, uint64_t build, const RtFile *file,
                  uint32_t nfile, RtDevice *device, RtProgram **out) {
  return load(c, a, image, size, build, file, nfile, NULL, device, out);
}

Status rt_load(Ctx *c, Arena *a, const uint8_t *image, size_t size, uint64_t build, const RtFile *file, uint32_t nfile,
               RtProgram **out) {
  return rt_load_linked(c, a, image, size, build, file, nfile, NULL, out);
}

Status rt_perf_map(const RtProgram *p, Ctx *c, const char *dir) {
  for (uint32_t i = 0; p->code && i < rt_count(p, SEC_OBJECTS); i++)
    if (p->code[i])
      TRY(object_perf_map(c, p->code[i], dir));
  return ST_OK;
}

void rt_unload(RtProgram *p) {
  for (uint32_t i = 0; p->code && i < rt_count(p, SEC_OBJECTS); i++)
    object_unload(p->code[i]);
  device_unload(p);
  spare_drop(p);
  for (Layout *l = p->layouts, *next; l; l = next) {
    next = l->next;
    alloc_put(p->alloc, l, l->bytes);
  }
  pthread_mutex_destroy(&p->lock);
}
