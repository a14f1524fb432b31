/* run.c - the public API's tensors and runs: the caller's memory in, results out. No compiler is behind it: ahead-of-time output
 * carries this file too.
 * SPDX-License-Identifier: Apache-2.0 */
#include "api/internal.h"

#include "runtime/device.h"
#include "support/checked.h"

#include <stdatomic.h>
#include <string.h>

enum { DEVICE_ALIGN = 16 }; /* of the caller's memory on a device: kernels read so much at once */

/* --- tensors --- */

const char *sard_dtype_name(sard_dtype t) { return dtype_name((DType)t); }

int sard_dtype_bits(sard_dtype t) { return dtype_bits((DType)t); }

int64_t sard_tensor_count(const sard_tensor *t) {
  int64_t n;
  return t && t->rank >= 0 && t->rank <= MAX_RANK && extent_ok(t->dim, t->rank, &n) ? n : -1;
}

int64_t sard_tensor_bytes(const sard_tensor *t) {
  size_t bytes;
  int64_t n = sard_tensor_count(t);
  return n >= 0 && dtype_bytes((DType)t->dtype, n, &bytes) && bytes <= INT64_MAX ? (int64_t)bytes : -1;
}

/* Row-major strides, the ones that matter: an axis of extent 1 may have any. */
static bool is_dense(const sard_tensor *t) {
  int64_t want = 1;
  if (!t->strided || !sard_tensor_count(t))
    return true;
  for (int k = t->rank - 1; k >= 0; k--) {
    if (t->dim[k] != 1 && t->stride[k] != want)
      return false;
    if (t->dim[k] && !mul_ok(want, t->dim[k], &want))
      return false;
  }
  return true;
}

/* Copies between a strided view and dense memory, element by element along the last axis. */
static void copy_strided(char *dense, const sard_tensor *t, size_t elem, bool to_dense) {
  int64_t idx[MAX_RANK] = {0}, n = sard_tensor_count(t);
  for (int64_t i = 0; i < n; i++) {
    int64_t at = 0;
    for (int k = 0; k < t->rank; k++)
      at += idx[k] * t->stride[k];
    char *p = (char *)t->data + at * (int64_t)elem;
    memcpy(to_dense ? dense + (size_t)i * elem : p, to_dense ? p : dense + (size_t)i * elem, elem);
    for (int k = t->rank - 1; k >= 0 && ++idx[k] == t->dim[k]; k--)
      idx[k] = 0;
  }
}

/* No element lies further away than a size can say. */
static bool strides_ok(const sard_tensor *t) {
  int64_t far = dtype_bits((DType)t->dtype) / 8, d;
  for (int k = 0; k < t->rank; k++)
    if (t->dim[k] > 1 &&
        (t->stride[k] == INT64_MIN || !mul_ok(t->dim[k] - 1, t->stride[k] < 0 ? -t->stride[k] : t->stride[k], &d) ||
         !mul_ok(d, dtype_bits((DType)t->dtype) / 8, &d) || !add_ok(far, d, &far)))
      return false;
  return true;
}

/* A tensor of the device's memory; strides: those that are not dense are looked at later. */
static Status check_device(Ctx *c, const sard_model *m, const sard_tensor *t, const char *what, size_t i) {
  if (!m->gpu)
    return fail(c, ST_USAGE, "%s %zu is in the memory of a GPU, and the model runs on '%s'", what, i, m->device);
  if (t->dtype == SARD_STRING)
    return fail(c, ST_USAGE, "%s %zu: strings are not kept on a device", what, i);
  if ((uintptr_t)t->data % DEVICE_ALIGN)
    return err_hint(c,
                    fail(c, ST_UNSUPPORTED, "%s %zu is not aligned to %d bytes on the device", what, i, DEVICE_ALIGN),
                    "pass a copy of it");
  return ST_OK;
}

static Status strided_device(Ctx *c, const char *what, size_t i) {
  return err_hint(c, fail(c, ST_UNSUPPORTED, "%s %zu is not dense; on a device it has to be", what, i),
                  "pass a copy of it: x.contiguous() in PyTorch");
}

static Status check_tensor(Ctx *c, const sard_model *m, const sard_tensor *t, const char *what, size_t i) {
  if (!dtype_valid((int)t->dtype))
    return fail(c, ST_USAGE, "%s %zu: %d is no element type", what, i, (int)t->dtype);
  int64_t bytes = sard_tensor_bytes(t);
  if (bytes < 0)
    return fail(c, ST_USAGE, "%s %zu: its rank or dimensions are not valid", what, i);
  if (!t->data && bytes)
    return fail(c, ST_USAGE, "%s %zu: data is NULL", what, i);
  if (t->strided && !is_dense(t) && (dtype_bits((DType)t->dtype) < 8))
    return fail(c, ST_UNSUPPORTED, "%s %zu: strides on a type below 8 bits", what, i);
  if (t->strided && bytes && !strides_ok(t))
    return fail(c, ST_USAGE, "%s %zu: its strides reach further than memory does", what, i);
  return t->device ? check_device(c, m, t, what, i) : ST_OK;
}

Tensor tensor_of(const sard_tensor *t) {
  Tensor r = {.kind = VK_TENSOR, .dtype = (DType)t->dtype, .rank = (int8_t)t->rank, .data = t->data};
  for (int k = 0; k < t->rank; k++)
    r.dim[k] = t->dim[k];
  return r;
}

static void from_tensor(const Tensor *t, sard_tensor *r) {
  *r = (sard_tensor){.data = t->data, .dtype = (sard_dtype)t->dtype, .rank = t->rank};
  for (int k = 0; k < t->rank; k++)
    r->dim[k] = t->dim[k];
}

/* --- running --- */

struct sard_result {
  sard_env *env;
  atomic_int users; /* the caller, and those of sard_result_dlpack */
  RtDevice *device; /* held: outputs are there; or NULL */
  Ctx c;            /* owns the outputs */
  size_t n;
  RtOutput *out;      /* n of them, behind this struct */
  sard_tensor **item; /* by output: the items of a container; in c */
  sard_run_options o;
};

static sard_status result_new(const sard_model *m, const sard_run_options *o, sard_result **out, sard_error **err) {
  sard_run_options opt = SARD_RUN_OPTIONS_INIT;
  if (o && o->size < sizeof(size_t))
    return error_new(SARD_ERROR_USAGE, err, "sard_run: options without SARD_RUN_OPTIONS_INIT");
  if (o)
    memcpy(&opt, o, o->size < sizeof opt ? o->size : sizeof opt);
  size_t n = sard_output_count(m), bytes = sizeof(sard_result) + n * sizeof(RtOutput);
  sard_result *r = records_get(&m->env->recycler.records, &m->env->alloc, bytes, _Alignof(RtOutput));
  if (!r)
    return error_new(SARD_ERROR_MEMORY, err, "out of memory");
  memset(r, 0, bytes);
  r->env = env_share(m->env), r->n = n, r->out = (RtOutput *)(r + 1);
  r->o = opt, r->users = 1;
  env_prepare(m->env, &r->c, opt.timeout, opt.cancel);
  r->c.records = &m->env->recycler.records;
  *out = r;
  return SARD_OK;
}

sard_result *result_share(sard_result *r) {
  atomic_fetch_add(&r->users, 1);
  return r;
}

Alloc *result_alloc(const sard_result *r) { return &r->env->alloc; }

void sard_result_free(sard_result *r) {
  if (!r || atomic_fetch_sub(&r->users, 1) > 1)
    return;
  for (size_t i = 0; i < r->n; i++)
    if (r->out[i].at)
      r->device->ops->put(r->device, NULL, r->out[i].at);
  if (r->device)
    r->device->ops->drop(r->device);
  ctx_close(&r->c);
  sard_env *env = r->env;
  records_put(&env->recycler.records, &env->alloc, r, sizeof *r + r->n * sizeof(RtOutput));
  env_drop(env);
}

enum { MAX_NESTED = 8 }; /* sequences in sequences */

typedef struct FeedArgs {
  const sard_model *m;
  const sard_tensor *in, *out; /* out: NULL, or the memory for the outputs: */
  size_t nin;
  sard_result *r;
  const Tensor *into; /* the same */
  Tensor *dense;
  bool *there; /* by input: dense is on the device */
  RtRoom *room;
} FeedArgs;

/* Keys are integers or strings, and as many as the values. */
static bool is_map(const Tensor *t) {
  const Tensor *k = t->nitem == 2 ? t->item[0] : NULL, *v = k ? t->item[1] : NULL;
  return v && k->kind == VK_TENSOR && v->kind == VK_TENSOR && k->rank == 1 && v->rank == 1 && k->dim[0] == v->dim[0] &&
         (k->dtype == DT_str || dtype_is_int(k->dtype));
}

/* A container, with copies of what is in it: outputs may be made of its items and outlive the caller's. */
static Status feed_items(Ctx *c, Arena *mem, const sard_model *m, const sard_tensor *t, size_t i, int depth,
                         Tensor *out) {
  if (depth > MAX_NESTED || t->kind > SARD_KIND_MAP || t->nitem < 0 || (t->nitem && !t->item) ||
      (t->kind == SARD_KIND_OPTIONAL && t->nitem > 1))
    return fail(c, ST_USAGE, "input %zu: no valid container", i);
  *out = (Tensor){.kind = (uint8_t)t->kind, .nitem = t->nitem, .item = arena_array(mem, Tensor *, (size_t)t->nitem)};
  for (int64_t k = 0; k < t->nitem; k++) {
    const sard_tensor *x = &t->item[k];
    Tensor *y = out->item[k] = arena_new(mem, Tensor);
    if (x->kind != SARD_KIND_TENSOR) {
      TRY(feed_items(c, mem, m, x, i, depth + 1, y));
      continue;
    }
    TRY(check_tensor(c, m, x, "an item of input", i));
    if (x->device)
      return fail(c, ST_UNSUPPORTED, "input %zu: items of containers cannot be on a device", i);
    *y = tensor_of(x);
    if (is_dense(x)) {
      y->data = tensor_bytes(y) ? arena_copy(mem, x->data, tensor_bytes(y)) : arena_get(mem, 0, 1, 64);
    } else {
      size_t elem = (size_t)dtype_bits((DType)x->dtype) / 8;
      y->data = arena_get(mem, (size_t)sard_tensor_count(x), elem, 64);
      copy_strided(y->data, x, elem, true);
    }
  }
  return t->kind != SARD_KIND_MAP || is_map(out) ? ST_OK : fail(c, ST_USAGE, "input %zu: no valid map", i);
}

static bool is_given(const sard_tensor *t) { return t->dtype != SARD_NONE || t->data; }

/* What the caller's memory can be used as it is for. copied: by input. */
static Status find_rooms(Ctx *c, Arena *mem, FeedArgs *a, bool *copied) {
  for (size_t i = 0; i < a->nin; i++) {
    const sard_tensor *t = &a->in[i];
    if (t->kind != SARD_KIND_TENSOR || !is_given(t))
      continue;
    TRY(check_tensor(c, a->m, t, "input", i));
    copied[i] = !is_dense(t);
  }
  a->room = arena_array(mem, RtRoom, rt_count(a->m->program, SEC_APPENDS));
  return call_rooms(c, &(CallTensors){.program = a->m->program,
                                      .in = a->in,
                                      .out = a->out,
                                      .nin = a->nin,
                                      .copied = copied,
                                      .o = a->r->out,
                                      .into = a->into,
                                      .room = a->room,
                                      .gpu = a->m->gpu});
}

/* The inputs as dense tensors; strided ones are copied, but for caches (RtRoom). */
static Status feed(Ctx *c, void *arg) {
  FeedArgs *a = arg;
  Arena *mem = arena_create(c);
  bool *copied = arena_array(mem, bool, a->nin);
  a->dense = arena_array(mem, Tensor, a->nin), a->there = arena_array(mem, bool, a->nin);
  for (uint32_t i = 0; i < a->m->nfile; i++)
    TRY(map_check(c, a->m->file[i]));
  TRY(find_rooms(c, mem, a, copied));
  for (size_t i = 0; a->out && i < a->r->n; i++)
    if (a->r->out[i].device && !a->r->out[i].into)
      return strided_device(c, "output", i);
  for (size_t i = 0; i < a->nin; i++) {
    const sard_tensor *t = &a->in[i];
    if (t->kind != SARD_KIND_TENSOR) {
      TRY(feed_items(c, mem, a->m, t, i, 0, &a->dense[i]));
      continue;
    }
    if (!is_given(t))
      continue;
    a->dense[i] = tensor_of(t);
    a->there[i] = t->device && t->data;
    if (t->device && copied[i])
      return strided_device(c, "input", i);
    if (!copied[i])
      continue;
    size_t elem = (size_t)dtype_bits((DType)t->dtype) / 8;
    a->dense[i].data = arena_get(mem, (size_t)sard_tensor_count(t), elem, 64);
    copy_strided(a->dense[i].data, t, elem, true);
  }
  return ST_OK;
}

static void give_time(void *arg, const RtStepTime *t) {
  const sard_run_options *o = arg;
  o->profile(o->profile_arg, &(sard_step_time){.step = t->step,
                                               .depth = (int)t->depth,
                                               .threads = t->threads,
                                               .start_ns = t->start_ns,
                                               .end_ns = t->end_ns,
                                               .flops = t->flops,
                                               .bytes = t->bytes});
}

/* Which outputs stay on the device. What has no place there is found out when it is made. */
static Status leave_there(Ctx *c, const sard_model *m, sard_result *r) {
  if (!r->o.outputs_on_device)
    return ST_OK;
  if (!m->gpu)
    return fail(c, ST_USAGE, "outputs_on_device: the model runs on '%s'", m->device);
  r->device = m->gpu;
  r->device->ops->hold(r->device);
  for (size_t i = 0; i < r->n; i++) {
    const ProgSlot *s = rt_slot(m->program, rt_output(m->program, (uint32_t)i)->slot);
    r->out[i].device = s->vkind == VK_TENSOR && s->dtype != DT_str;
  }
  return ST_OK;
}

/* out and into: NULL, or the memory for the outputs. */
static sard_status run(const sard_model *m, const sard_tensor *in, size_t nin, const sard_tensor *out,
                       const Tensor *into, sard_result *r, sard_error **err) {
  FeedArgs a = {.m = m, .in = in, .out = out, .nin = nin, .r = r, .into = into};
  RtRunOptions ro = {.pool = m->pool,
                     .recycler = &m->env->recycler,
                     .threads = m->threads,
                     .eager = m->eager,
                     .profile = r->o.profile ? give_time : NULL,
                     .profile_arg = &r->o};
  Status st = nin && !in ? fail(&r->c, ST_USAGE, "sard_run: inputs is NULL") : ctx_protect(&r->c, feed, &a);
  ro.room = a.room, ro.there = a.there, ro.stream = r->o.stream;
  if (!st)
    st = rt_run(m->program, &r->c, &ro, a.dense, (uint32_t)nin, r->out, (uint32_t)r->n);
  if (!st) {
    if (m->after_run)
      m->after_run(m);
    return SARD_OK;
  }
  err_file(&r->c, st, m->path);
  return error_from(&r->c, err);
}

/* Containers as the caller sees them, items of items included. */
static void box(Arena *a, const Tensor *t, sard_tensor *out) {
  if (t->kind == VK_TENSOR) {
    from_tensor(t, out);
    return;
  }
  sard_tensor *item = arena_array(a, sard_tensor, (size_t)t->nitem);
  for (int64_t i = 0; i < t->nitem; i++)
    box(a, t->item[i], &item[i]);
  static const sard_kind kind[] = {
      [VK_SEQUENCE] = SARD_KIND_SEQUENCE, [VK_OPTIONAL] = SARD_KIND_OPTIONAL, [VK_MAP] = SARD_KIND_MAP};
  *out = (sard_tensor){.kind = kind[t->kind], .item = item, .nitem = t->nitem};
}

static Status box_outputs(Ctx *c, void *arg) {
  sard_result *r = arg;
  Arena *a = NULL;
  for (size_t i = 0; i < r->n; i++) {
    const Tensor *t = &r->out[i].t;
    if (t->kind == VK_TENSOR)
      continue;
    a = a ? a : arena_create(c);
    r->item = r->item ? r->item : arena_array(a, sard_tensor *, r->n);
    r->item[i] = arena_array(a, sard_tensor, (size_t)t->nitem);
    for (int64_t k = 0; k < t->nitem; k++)
      box(a, t->item[k], &r->item[i][k]);
  }
  return ST_OK;
}

sard_status sard_run(const sard_model *m, const sard_tensor *in, size_t nin, const sard_run_options *o,
                     sard_result **out, sard_error **err) {
  sard_result *r;
  if (!m || !out)
    return error_new(SARD_ERROR_USAGE, err, "sard_run: NULL argument");
  sard_status st = result_new(m, o, &r, err);
  if (st)
    return st;
  for (size_t i = 0; i < r->n; i++)
    r->out[i].wanted = true;
  st = leave_there(&r->c, m, r) ? error_from(&r->c, err) : run(m, in, nin, NULL, NULL, r, err);
  if (!st && ctx_protect(&r->c, box_outputs, r))
    st = error_from(&r->c, err);
  if (st)
    sard_result_free(r);
  else
    *out = r;
  return st;
}

/* Where output i goes: straight into the caller's memory when that is dense (or a cache), else through a result. */
static Status want_output(Ctx *c, const sard_model *m, const sard_tensor *t, size_t i, RtOutput *o, Tensor *into) {
  if (!t->data && !(t->dtype && sard_tensor_bytes(t) == 0))
    return ST_OK;
  TRY(check_tensor(c, m, t, "output", i));
  o->wanted = true, o->device = t->device;
  *into = tensor_of(t);
  if (is_dense(t))
    o->into = into;
  return ST_OK;
}

static Status give_output(Ctx *c, const sard_model *m, const sard_tensor *t, size_t i, const RtOutput *o) {
  if (!o->wanted || o->into || o->device)
    return ST_OK;
  Tensor want = tensor_of(t);
  char a[200], b[200];
  if (want.dtype != o->t.dtype || !tensor_same_shape(&want, &o->t))
    return fail(c, ST_USAGE, "output '%s' is %s but the memory given for it is %s",
                rt_string(m->program, rt_output(m->program, (uint32_t)i)->name), tensor_type_text(&o->t, a, sizeof a),
                tensor_type_text(&want, b, sizeof b));
  if (o->t.dtype == DT_str)
    return fail(c, ST_UNSUPPORTED, "output %zu holds strings: take it from sard_run's result", i);
  size_t n = tensor_bytes(&want);
  if (!is_dense(t))
    copy_strided(o->t.data, t, (size_t)dtype_bits(want.dtype) / 8, false);
  else if (n) /* it overlaps an input */
    memcpy(t->data, o->t.data, n);
  return ST_OK;
}

sard_status sard_run_into(const sard_model *m, const sard_tensor *in, size_t nin, const sard_tensor *out, size_t nout,
                          const sard_run_options *o, sard_error **err) {
  sard_result *r;
  if (!m || (nout && !out))
    return error_new(SARD_ERROR_USAGE, err, "sard_run_into: NULL argument");
  if (nout != sard_output_count(m))
    return error_new(SARD_ERROR_USAGE, err, "%zu outputs given, the model has %zu", nout, sard_output_count(m));
  sard_status st = result_new(m, o, &r, err);
  if (st)
    return st;
  Records *records = &m->env->recycler.records;
  Tensor *into = records_get(records, &m->env->alloc, nout * sizeof *into, _Alignof(Tensor));
  Status e = into ? ST_OK : fail(&r->c, ST_MEMORY, "out of memory");
  for (size_t i = 0; i < nout && !e; i++)
    e = want_output(&r->c, m, &out[i], i, &r->out[i], &into[i]);
  st = e ? error_from(&r->c, err) : run(m, in, nin, out, into, r, err);
  for (size_t i = 0; i < nout && !st && !e; i++) {
    e = give_output(&r->c, m, &out[i], i, &r->out[i]);
    if (e)
      st = error_from(&r->c, err);
  }
  records_put(records, &m->env->alloc, into, nout * sizeof *into);
  sard_result_free(r);
  return st;
}

size_t sard_result_count(const sard_result *r) { return r ? r->n : 0; }

sard_status sard_result_tensor(const sard_result *r, size_t i, sard_tensor *t) {
  if (!r || i >= r->n || !t)
    return SARD_ERROR_USAGE;
  if (r->out[i].t.kind != VK_TENSOR)
    return SARD_ERROR_UNSUPPORTED;
  from_tensor(&r->out[i].t, t);
  t->device = r->out[i].device;
  return SARD_OK;
}

int64_t sard_result_items(const sard_result *r, size_t i) {
  return r && i < r->n && r->out[i].t.kind != VK_TENSOR ? r->out[i].t.nitem : -1;
}

sard_status sard_result_item(const sard_result *r, size_t i, int64_t k, sard_tensor *t) {
  if (k < 0 || k >= sard_result_items(r, i) || !t)
    return SARD_ERROR_USAGE;
  *t = r->item[i][k];
  return SARD_OK;
}

typedef struct ShapeCall {
  const sard_tensor *in;
  size_t nin;
  Tensor *t;
} ShapeCall;

static Status shapes_of(Ctx *c, void *arg) {
  ShapeCall *a = arg;
  Arena *mem = arena_create(c);
  a->t = arena_array(mem, Tensor, a->nin);
  for (size_t i = 0; i < a->nin; i++) {
    if (a->in[i].kind != SARD_KIND_TENSOR)
      a->t[i].kind = (uint8_t)a->in[i].kind;
    if (a->in[i].kind != SARD_KIND_TENSOR || a->in[i].dtype == SARD_NONE)
      continue;
    if (!dtype_valid((int)a->in[i].dtype) || sard_tensor_count(&a->in[i]) < 0)
      return fail(c, ST_USAGE, "input %zu: its type or dimensions are not valid", i);
    a->t[i] = tensor_of(&a->in[i]);
    if (!is_dense(&a->in[i])) /* elements are read where they are */
      a->t[i].data = NULL;
  }
  return ST_OK;
}

static sard_memory from_memory(const sard_model *m, const RtMemory *x) {
  return (sard_memory){.weights_mapped = (int64_t)x->mapped,
                       .weights_packed = (int64_t)x->packed,
                       .weights_own = (int64_t)x->own,
                       .arena = (int64_t)x->arena,
                       .apart = (int64_t)x->apart,
                       .scratch = (int64_t)(x->scratch < INT64_MAX ? x->scratch : INT64_MAX),
                       .outputs = (int64_t)x->outputs,
                       .peak = (int64_t)x->peak,
                       .peak_step = x->peak_step == PROG_NONE ? -1 : (int64_t)x->peak_step,
                       .largest =
                           x->largest == PROG_NONE ? "" : rt_string(m->program, rt_slot(m->program, x->largest)->name),
                       .largest_bytes = (int64_t)x->largest_bytes,
                       .unknown = x->unknown,
                       .unknown_step = x->first_unknown == PROG_NONE ? -1 : (int64_t)x->first_unknown};
}

sard_status sard_plan(const sard_model *m, const sard_tensor *in, size_t nin, sard_memory *out, sard_error **err) {
  if (!m || (nin && !in) || !out || out->size < sizeof(size_t))
    return error_new(SARD_ERROR_USAGE, err, "sard_plan: NULL argument, or no SARD_MEMORY_INIT");
  Ctx c;
  RtMemory x;
  env_prepare(m->env, &c, 0, NULL);
  ShapeCall a = {in, nin, NULL};
  RtRunOptions ro = {.pool = m->pool, .threads = m->threads, .eager = m->eager};
  Status st = ctx_protect(&c, shapes_of, &a);
  if (!st)
    st = rt_memory(m->program, &c, &ro, a.t, (uint32_t)nin, &x);
  sard_status result = st ? error_from(&c, err) : SARD_OK;
  if (!st) {
    sard_memory y = from_memory(m, &x);
    give_struct(out, out->size, &y, sizeof y);
  }
  ctx_close(&c);
  return result;
}

sard_status sard_output_shape(const sard_model *m, size_t o, const sard_tensor *in, size_t nin, int64_t *dim,
                              int32_t *rank, sard_error **err) {
  if (!m || (nin && !in) || !dim || !rank)
    return error_new(SARD_ERROR_USAGE, err, "sard_output_shape: NULL argument");
  Ctx c;
  int r = 0;
  env_prepare(m->env, &c, 0, NULL);
  ShapeCall a = {in, nin, NULL};
  Status st = ctx_protect(&c, shapes_of, &a);
  if (!st)
    st = rt_output_shape(m->program, &c, a.t, (uint32_t)nin, o < UINT32_MAX ? (uint32_t)o : UINT32_MAX, dim, &r);
  sard_status result = st ? error_from(&c, err) : SARD_OK;
  if (!st)
    *rank = r;
  ctx_close(&c);
  return result;
}
