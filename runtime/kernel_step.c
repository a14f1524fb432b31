/* kernel_step.c - calling compiled code: evaluates what the shapes say, finds the buffers, decides how many threads the work is
 * worth, and shares its parts among them. Any partition gives the same bits, so the results do not depend on the threads.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/places.h"

#include "support/checked.h"

#include <stdio.h>
#include <string.h>

/* A rough model of one core, per kind of unit: what matters is only whether a step is worth sharing. Handing work to a thread
 * that is awake costs about a microsecond, so every thread gets at least a few, and steps below twice that stay serial
 * (MobileNet v3 with two threads: 1.59 ms with 10 us, 1.51 ms so).
 *
 * Measured on one core of a Zen 5 with 16 lanes (`sard profile --threads 1` of eight models): products reach 215 to 265 flops
 * per ns on tens of rows, attention 150 to 215, normalisations 50, gelu 20 to 47, sums that cross lanes 2 to 6; products of
 * few rows stream their weights at 23 to 31 bytes per ns, transpositions and concatenations move 7 to 25. */
static const struct {
  double flops;                                                /* per ns and lane of 32 bits */
  double bytes;                                                /* per ns */
} speed[] = {[0] = {1.5, 15}, [1] = {15, 25}, [2] = {10, 25}}; /* UNIT_LOOP, UNIT_PRODUCT, UNIT_ATTENTION */
enum { SHARE_NS = 4000, POLL_NS = 10000000 }; /* POLL_NS: between two looks at the clock, when there is a deadline */

/* --- shapes --- */

/* From that axis on, counted from behind; 1 is the last. */
static bool broadcast(const Tensor *a, const Tensor *b, int from) {
  for (int i = from; i <= a->rank && i <= b->rank; i++) {
    int64_t x = a->dim[a->rank - i], y = b->dim[b->rank - i];
    if (x != y && x != 1 && y != 1)
      return false;
  }
  return true;
}

/* Two inputs whose shapes do not broadcast, where the step begins with an operator that needs that of all of them. */
static bool find_unequal(Frame *f, const ProgStep *s, Tensor pair[2]) {
  static const char *const alike[] = {"add",   "sub",   "mul",  "div",     "pow", "where", "max", "min",
                                      "prelu", "equal", "less", "greater", "and", "or",    "xor", "mod"};
  static const char matmul[] = "matmul"; /* its batches */
  const char *name = rt_string(f->p, rt_kernel(f->p, s)->name);
  size_t length = strcspn(name, ".");
  bool batches = length == sizeof matmul - 1 && !strncmp(name, matmul, length), one = batches;
  for (size_t i = 0; i < countof(alike); i++)
    one |= strlen(alike[i]) == length && !strncmp(name, alike[i], length);
  for (uint32_t j = 1; one && j < s->nin; j++)
    for (uint32_t i = 0; i < j; i++) {
      const Cell *a = &f->cell[rt_list(f->p, s->in + i)], *b = &f->cell[rt_list(f->p, s->in + j)];
      if (a->state != CELL_EMPTY && b->state != CELL_EMPTY && !broadcast(&a->t, &b->t, batches ? 3 : 1)) {
        pair[0] = a->t, pair[1] = b->t;
        for (int k = 0; batches && k < 2; k++)
          pair[k].rank = (int8_t)(pair[k].rank - 2);
        return true;
      }
    }
  return false;
}

/* An expression has no value: extents that do not broadcast, a division by zero, an overflow. The shapes tell. */
static Status no_dims(Frame *f, const ProgStep *s, const char *what) {
  char text[480] = "", one[160], other[160];
  Tensor pair[2];
  size_t used = 0;
  for (uint32_t i = 0; i < s->nin && i < 4; i++) {
    const Cell *x = &f->cell[rt_list(f->p, s->in + i)];
    int n = snprintf(text + used, sizeof text - used, "%s%s", i ? ", " : "",
                     x->state == CELL_EMPTY ? "?" : tensor_type_text(&x->t, one, sizeof one));
    used += n > 0 && (size_t)n < sizeof text - used ? (size_t)n : 0;
  }
  if (find_unequal(f, s, pair))
    return fail(f->c, ST_INVALID, "shapes %s and %s do not broadcast (inputs: %s%s)",
                shape_text(pair[0].rank, pair[0].dim, one, sizeof one),
                shape_text(pair[1].rank, pair[1].dim, other, sizeof other), text, s->nin > 4 ? ", ..." : "");
  return fail(f->c, ST_INVALID, "the %s of %s cannot be computed for inputs %s%s", what,
              rt_string(f->p, rt_kernel(f->p, s)->name), text, s->nin > 4 ? ", ..." : "");
}

static Status no_size(Frame *f, const ProgSlot *x, const int64_t *dim) {
  char text[160];
  Tensor t = {.kind = VK_TENSOR, .dtype = (DType)x->dtype, .rank = (int8_t)x->rank};
  memcpy(t.dim, dim, (size_t)x->rank * sizeof *dim);
  return fail(f->c, ST_INVALID, "the output would be %s, which is no size a tensor can have",
              tensor_type_text(&t, text, sizeof text));
}

/* A non-negative number of the call: parts, bytes, operations. */
static bool amount(Symbols *s, uint32_t expr, int64_t *v) { return rt_symbols_eval(s, expr, v) && *v >= 0; }

/* A number that a run tells is y, and x is needed. */
static Status unequal(Frame *f, const char *what, int64_t x, int64_t y) {
  char text[320], a[24], b[24];
  snprintf(a, sizeof a, "%lld", (long long)x);
  if (y <= -INT64_MAX) /* what stands for a NaN, too (passes/types.c) */
    snprintf(b, sizeof b, "nan or far below 0");
  else
    snprintf(b, sizeof b, "%lld", (long long)y);
  if (pair_text(text, sizeof text, what, a, b))
    return fail(f->c, ST_INVALID, "%s", text);
  return fail(f->c, ST_INVALID, "%s: %s, where %s is needed", what, b, a);
}

Status kernel_needs(Frame *f, const ProgStep *s) {
  const ProgCall *call = REC(f->p, SEC_CALLS, ProgCall) + s->call;
  for (uint32_t i = 0; i < call->nneed; i++) {
    uint32_t at = call->need + 4 * i;
    int64_t x, y;
    if (!rt_symbols_eval(&f->sym, rt_list(f->p, at), &x) || !rt_symbols_eval(&f->sym, rt_list(f->p, at + 1), &y))
      return no_dims(f, s, rt_string(f->p, rt_list(f->p, at + 2)));
    if (x == y)
      continue;
    *f->blame = rt_list(f->p, at + 3);
    return unequal(f, rt_string(f->p, rt_list(f->p, at + 2)), x, y);
  }
  return ST_OK;
}

/* What the compiled code takes for granted about an input. */
static Status check_input(Frame *f, uint32_t slot, const Tensor *t) {
  const ProgSlot *s = rt_slot(f->p, slot);
  char text[200];
  int64_t want;
  bool ok = t->kind == VK_TENSOR && t->dtype == s->dtype && t->rank == s->rank;
  for (int k = 0; ok && k < s->rank; k++)
    ok = rt_symbols_eval(&f->sym, rt_list(f->p, s->dims + (uint32_t)k), &want) && want == t->dim[k];
  return ok ? ST_OK
            : fail(f->c, ST_INTERNAL, "'%s' is %s, which is not what was inferred", rt_string(f->p, s->name),
                   tensor_type_text(t, text, sizeof text));
}

static Status find_buffers(Frame *f, const ProgStep *s, Arena *scratch, void **buf) {
  for (uint32_t i = 0; i < s->nin; i++) {
    uint32_t slot = rt_list(f->p, s->in + i);
    if (f->cell[slot].state == CELL_EMPTY)
      return no_value(f, slot);
    TRY(check_input(f, slot, &f->cell[slot].t));
    buf[i] = f->places ? NULL : aligned(scratch, &f->cell[slot].t)->data;
  }
  for (uint32_t i = 0; i < s->nout; i++) {
    uint32_t slot = rt_list(f->p, s->out + i);
    const ProgSlot *x = rt_slot(f->p, slot);
    int64_t dim[MAX_RANK], count;
    Tensor *t;
    if (!rt_symbols_dims(&f->sym, x, dim))
      return no_dims(f, s, "output shape");
    if (!extent_ok(dim, x->rank, &count))
      return no_size(f, x, dim);
    TRY(slot_alloc(f, slot, (DType)x->dtype, x->rank, dim, &t));
    buf[s->nin + i] = t->data;
  }
  return ST_OK;
}

/* --- the call --- */

typedef struct Run {
  KernelFn fn;
  KernelArgs args; /* what all threads share */
  uint8_t *scratch;
  size_t stride;          /* bytes of scratch per thread */
  int64_t deadline, step; /* parts between two looks at the clock */
  int *result;            /* by thread: of the first of its ranges that failed */
  int64_t *number, *at;   /* what the check says; the part where that range begins */
} Run;

enum { RESULT_LATE = -1 };

/* A range behind one that failed cannot have the first failure. One before it can, and is done. */
static void work(void *arg, int thread, int64_t begin, int64_t end) {
  Run *r = arg;
  KernelArgs a = r->args;
  int64_t number = 0;
  int result = 0;
  if (r->result[thread] && begin > r->at[thread])
    return;
  a.scratch = r->scratch ? r->scratch + (size_t)thread * r->stride : NULL;
  a.number = &number;
  for (a.begin = begin; a.begin < end && !result; a.begin = a.end) {
    a.end = end - a.begin < r->step ? end : a.begin + r->step;
    bool late = r->deadline && a.begin > 0 && now_ns() > r->deadline; /* the step began in time */
    result = late ? RESULT_LATE : r->fn(&a);
  }
  if (result)
    r->result[thread] = result, r->number[thread] = number, r->at[thread] = begin;
}

/* `text` with its "%lld" replaced by numbers, one after the other, and "%.9g" by one that is the bits of an f64. */
static void fill_in(char *to, size_t cap, const char *text, const int64_t *number, int n) {
  size_t used = 0;
  to[0] = 0;
  for (int i = 0; *text && used + 32 < cap;)
    if (i < n && (!strncmp(text, "%lld", 4) || !strncmp(text, "%.9g", 4))) {
      double f;
      memcpy(&f, &number[i], sizeof f);
      if (text[1] == '.')
        used += (size_t)snprintf(to + used, cap - used, "%.9g", f);
      else
        used += (size_t)snprintf(to + used, cap - used, "%lld", (long long)number[i]);
      i++, text += 4;
    } else {
      to[used++] = *text++, to[used] = 0;
    }
}

/* Check n of the kernel failed for this number. */
Status kernel_check_failed(Frame *f, const ProgStep *s, uint32_t n, int64_t number) {
  const ProgKernel *k = rt_kernel(f->p, s);
  int64_t said[2] = {number, 0};
  char text[400];
  int numbers = 1;
  if (n >= k->nchecks)
    return fail(f->c, ST_INTERNAL, "a kernel reports check %u of %u", n, k->nchecks);
  uint32_t whose = (REC(f->p, SEC_CALLS, ProgCall) + s->call)->whose + 2 * n, bound = rt_list(f->p, whose + 1);
  *f->blame = rt_list(f->p, whose);
  if (bound != PROG_NONE)
    numbers += rt_symbols_eval(&f->sym, bound, &said[1]);
  fill_in(text, sizeof text, rt_string(f->p, rt_list(f->p, k->checks + n)), said, numbers);
  return fail(f->c, ST_INVALID, "%s", text);
}

/* The failure that a serial run meets: that of the first range. */
static Status outcome(Frame *f, const ProgStep *s, const Run *r, int threads) {
  int first = -1;
  for (int i = 0; i < threads; i++)
    if (r->result[i] && (first < 0 || r->at[i] < r->at[first]))
      first = i;
  if (first < 0)
    return ST_OK;
  if (r->result[first] >= 2)
    return kernel_check_failed(f, s, (uint32_t)r->result[first] - 2, r->number[first]);
  TRY(ctx_poll(f->c));
  return fail(f->c, ST_CANCELLED, "cancelled");
}

static double estimate_ns(const RtProgram *p, uint8_t kind, int64_t flops, int64_t bytes) {
  size_t i = kind < countof(speed) ? kind : 0;
  double x = (double)flops / (speed[i].flops * p->lanes), y = (double)bytes / speed[i].bytes;
  return x > y ? x : y;
}

static int threads_for(const RtRunOptions *o, double ns, int64_t parts) {
  int most = o->threads < pool_threads(o->pool) ? o->threads : pool_threads(o->pool);
  double worth = o->eager ? most : ns / SHARE_NS;
  int n = worth < 2 ? 1 : worth < most ? (int)worth : most;
  return n > parts ? (int)parts : n < 1 ? 1 : n;
}

bool kernel_work(Symbols *s, const ProgStep *step, const RtRunOptions *o, KernelWork *w) {
  const ProgCall *call = REC(s->p, SEC_CALLS, ProgCall) + step->call;
  int64_t bytes;
  *w = (KernelWork){.cost.threads = 1};
  if (!amount(s, call->parts, &w->parts) || !amount(s, call->scratch, &bytes))
    return false;
  if (!amount(s, call->flops, &w->cost.flops))
    w->cost.flops = 0; /* an estimate may overflow */
  if (!amount(s, call->bytes, &w->cost.bytes))
    w->cost.bytes = 0;
  w->stride = bytes > PTRDIFF_MAX - PROG_ALIGN ? SIZE_MAX : ((size_t)bytes + PROG_ALIGN - 1) / PROG_ALIGN * PROG_ALIGN;
  if (!w->parts)
    return true;
  w->ns = estimate_ns(s->p, rt_kernel(s->p, step)->kind, w->cost.flops, w->cost.bytes);
  w->cost.threads = threads_for(o, w->ns, w->parts);
  if (!size_mul_ok(w->stride, (size_t)w->cost.threads, &w->scratch))
    w->scratch = SIZE_MAX;
  return true;
}

/* Beside other runs a step makes do with fewer threads: those would take the cores that they compute on. */
static int threads_now(const RtRunOptions *o, int wanted) {
  int share = o->eager ? wanted : pool_share(o->pool, o->threads);
  return wanted < share ? wanted : share;
}

/* Scratch for all threads; kept for the later steps of the run, not zeroed. */
static Status get_scratch(Frame *f, size_t all) {
  if (all > PTRDIFF_MAX)
    return fail(f->c, ST_MEMORY, "a kernel needs more working memory than there can be");
  f->scratch_needed = all > f->scratch_needed ? all : f->scratch_needed;
  if (all <= f->scratch_bytes)
    return ST_OK;
  alloc_put(f->p->alloc, f->scratch, f->scratch_bytes);
  f->scratch = NULL, f->scratch_bytes = 0;
  f->scratch = spare_get(f->p, f->c, SPARE_SCRATCH, all, &f->scratch_bytes);
  return ST_OK;
}

Status kernel_step(Frame *f, const ProgStep *s, Arena *scratch) {
  const ProgCall *call = REC(f->p, SEC_CALLS, ProgCall) + s->call;
  void **buf = arena_array(scratch, void *, (size_t)s->nin + s->nout);
  int64_t *dim = arena_array(scratch, int64_t, s->nexprs);
  KernelWork w;
  TRY(kernel_needs(f, s));
  for (uint32_t i = 0; i < s->nexprs; i++)
    if (!rt_symbols_eval(&f->sym, rt_list(f->p, s->exprs + i), &dim[i]))
      return no_dims(f, s, "extents");
  TRY(find_buffers(f, s, scratch, buf));
  if (!kernel_work(&f->sym, s, f->o, &w))
    return no_dims(f, s, "work");
  f->cost = w.cost;
  if (f->places)
    return device_step(f, s, scratch, dim, &w);
  if (!w.parts)
    return ST_OK;
  int threads = f->cost.threads = threads_now(f->o, w.cost.threads);
  Run r = {.fn = f->p->fn[call->kernel], .deadline = f->c->deadline_ns, .step = w.parts, .stride = w.stride};
  TRY(get_scratch(f, w.scratch));
  if (r.deadline && w.ns > POLL_NS)
    r.step = (int64_t)((double)w.parts * POLL_NS / w.ns) + 1;
  r.args = (KernelArgs){.buf = buf, .dim = dim, .cancel = (const int *)(const void *)f->c->cancel};
  r.scratch = f->scratch;
  r.result = arena_array(scratch, int, (size_t)threads);
  r.number = arena_array(scratch, int64_t, (size_t)threads);
  r.at = arena_array(scratch, int64_t, (size_t)threads);
  pool_run(f->o->pool, threads, w.parts, work, &r);
  return outcome(f, s, &r, threads);
}
