/* memory.c - the operators that memory bounds: one node each, which a pass may make two of, lowered, scheduled and compiled as in a program, on 64 MB
 * tensors, by one thread and by two that share the parts, against a copy of as many bytes by as many threads. What must be moved is
 * counted: every input that is read and every output once.
 * SPDX-License-Identifier: Apache-2.0 */
#include "bench/memory.h"

#include "bench/machine.h"
#include "codegen/group.h"
#include "ir/infer.h"
#include "passes/pass.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct Case {
  const char *name;
  const char *text; /* inputs, constants and nodes of a graph with the output %y */
  int64_t below;    /* integer inputs hold indices below this */
} Case;

#define M16 "16777216"

static const Case rows[] = {
    {"copy", "in %x : f32[" M16 "]\n %y = Relu(%x)", 0},
    {"add", "in %x : f32[" M16 "]\n in %z : f32[" M16 "]\n %y = Add(%x, %z)", 0},
    {"add a row", "in %x : f32[4096, 4096]\n in %z : f32[4096]\n %y = Add(%x, %z)", 0},
    {"add a column", "in %x : f32[4096, 4096]\n in %z : f32[4096, 1]\n %y = Add(%x, %z)", 0},
    {"exp", "in %x : f32[" M16 "]\n %y = Exp(%x)", 0},
    {"sum of rows", "in %x : f32[4096, 4096]\n const %a : i64[1] = {1}\n %y = ReduceSum(%x, %a)", 0},
    {"sum of columns", "in %x : f32[4096, 4096]\n const %a : i64[1] = {0}\n %y = ReduceSum(%x, %a)", 0},
    {"max of all", "in %x : f32[" M16 "]\n %y = ReduceMax(%x)", 0},
    {"softmax", "in %x : f32[4096, 4096]\n %y = Softmax(%x)", 0},
    {"softmax of columns", "in %x : f32[16, 64, 16384]\n %y = Softmax(%x) {axis = 1}", 0},
    {"layer norm", "in %x : f32[4096, 4096]\n in %s : f32[4096]\n %y = LayerNormalization(%x, %s, %s)", 0},
    {"transpose", "in %x : f32[4096, 4096]\n %y = Transpose(%x)", 0},
    {"transpose to NHWC", "in %x : f32[16, 64, 128, 128]\n %y = Transpose(%x) {perm = [0, 2, 3, 1]}", 0},
    {"transpose to NCHW", "in %x : f32[16, 128, 128, 64]\n %y = Transpose(%x) {perm = [0, 3, 1, 2]}", 0},
    {"transpose heads", "in %x : f32[32, 512, 16, 64]\n %y = Transpose(%x) {perm = [0, 2, 1, 3]}", 0},
    {"concat", "in %x : f32[16, 524288]\n in %z : f32[16, 524288]\n %y = Concat(%x, %z) {axis = 1}", 0},
    {"gather rows", "in %x : f32[65536, 256]\n in %i : i64[65536]\n %y = Gather(%x, %i)", 65536},
    {"gather elements", "in %x : f32[4096, 4096]\n in %i : i64[4096, 4096]\n %y = GatherElements(%x, %i) {axis = 1}",
     4096},
    {"scatter rows",
     "in %x : f32[65536, 256]\n in %i : i64[16384, 1]\n in %u : f32[16384, 256]\n %y = ScatterND(%x, %i, %u)", 65536},
    {"scatter elements",
     "in %x : f32[4096, 4096]\n in %i : i64[4096, 1024]\n in %u : f32[4096, 1024]\n %y = ScatterElements(%x, %i, %u) "
     "{axis = 1}",
     4096},
    {"max pool 2x2", "in %x : f32[16, 64, 128, 128]\n %y = MaxPool(%x) {kernel_shape = [2, 2], strides = [2, 2]}", 0},
    {"max pool 3x3",
     "in %x : f32[16, 64, 128, 128]\n %y = MaxPool(%x) {kernel_shape = [3, 3], pads = [1, 1, 1, 1], strides = [2, 2]}",
     0},
    {"average pool 3x3",
     "in %x : f32[16, 64, 128, 128]\n %y = AveragePool(%x) {kernel_shape = [3, 3], pads = [1, 1, 1, 1]}", 0},
    {"global pool", "in %x : f32[256, 64, 32, 32]\n %y = GlobalAveragePool(%x)", 0},
    {"resize nearest",
     "in %x : f32[4, 64, 128, 128]\n const %s : f32[4] = {1, 1, 2, 2}\n %y = Resize(%x, _, %s) {mode = \"nearest\", "
     "coordinate_transformation_mode = \"asymmetric\", nearest_mode = \"floor\"}",
     0},
    {"resize linear",
     "in %x : f32[4, 64, 128, 128]\n const %s : f32[4] = {1, 1, 2, 2}\n %y = Resize(%x, _, %s) {mode = \"linear\"}", 0},
    {"resize cubic",
     "in %x : f32[4, 64, 128, 128]\n const %s : f32[4] = {1, 1, 2, 2}\n %y = Resize(%x, _, %s) {mode = \"cubic\"}", 0},
    {"pad", "in %x : f32[64, 64, 64, 64]\n const %p : i64[8] = {0, 0, 1, 1, 0, 0, 1, 1}\n %y = Pad(%x, %p)", 0},
    {"cumsum rows", "in %x : f32[4096, 4096]\n const %a : i64[] = {1}\n %y = CumSum(%x, %a)", 0},
    {"cumsum columns", "in %x : f32[4096, 4096]\n const %a : i64[] = {0}\n %y = CumSum(%x, %a)", 0},
    {"top 8", "in %x : f32[64, 262144]\n const %k : i64[1] = {8}\n %y, %i = TopK(%x, %k)", 0},
    {"argmax", "in %x : f32[4096, 4096]\n %y = ArgMax(%x) {axis = 1}", 0},
    {"argmax of columns", "in %x : f32[4096, 4096]\n %y = ArgMax(%x) {axis = 0}", 0},
};

enum { MOST_STEPS = 2 };

/* One thread's share of every step. */
typedef struct Call {
  KernelFn fn[MOST_STEPS];
  KernelArgs args[MOST_STEPS];
  uint32_t n;
  atomic_int *ends; /* steps that either of two threads has ended; NULL: there is one thread */
  int waits;
} Call;

static void run(void *arg) {
  Call *c = arg;
  for (uint32_t i = 0; i < c->n; i++) {
    c->fn[i](&c->args[i]);
    if (!c->ends || i + 1 == c->n)
      continue;
    atomic_fetch_add(c->ends, 1);
    for (c->waits += 2; atomic_load(c->ends) < c->waits;)
      ;
  }
}

typedef struct Copy {
  void *to;
  const void *from;
  size_t n;
} Copy;

static void copy(void *arg) {
  const Copy *c = arg;
  memcpy(c->to, c->from, c->n);
}

static void fill(const Type *t, void *data, int64_t n, int64_t below) {
  uint32_t s = 1;
  for (int64_t i = 0; i < n; i++) {
    s = s * 1664525 + 1013904223;
    if (t->dtype == DT_f32)
      ((float *)data)[i] = (float)(int32_t)s * 0x1p-31f;
    else
      ((int64_t *)data)[i] = (int64_t)(((uint64_t)s * (uint64_t)below) >> 32);
  }
}

static bool no_symbol(void *arg, Dim sym, int64_t *v) {
  (void)arg, (void)sym, (void)v;
  return false;
}

static int64_t number(Dim d) {
  int64_t v;
  return dim_eval(d, no_symbol, NULL, &v) ? v : 0;
}

/* The value's memory, filled; its size is added to *bytes. */
static void *memory(Jit *j, const Value *v, int64_t below, int64_t *bytes) {
  int64_t n = number(type_count(&j->ctx, &v->type)), size = n * dtype_bits(v->type.dtype) / 8;
  void *p = aligned_alloc(64, ((size_t)size + 127) & ~(size_t)63);
  if (!p)
    abort();
  *bytes += size;
  if (v->konst)
    memcpy(p, v->konst->data, (size_t)size);
  else
    fill(&v->type, p, n, below);
  return p;
}

/* GB/s of a copy of 64 MB by one thread and by two: memcpy, which reads as much as it writes. That a store may make the machine
 * read the line first is not counted; at this size the C library's copy avoids it. */
static void copy_rates(double rate[2]) {
  size_t n = (size_t)64 << 20, half = n / 2;
  char *to = aligned_alloc(64, n), *from = aligned_alloc(64, n);
  if (!to || !from)
    abort();
  memset(from, 1, n), memset(to, 2, n);
  rate[0] = 2e-9 * (double)n / machine_best_seconds(copy, &(Copy){to, from, n});
  rate[1] = 2e-9 * (double)n / machine_best_pair(copy, &(Copy){to, from, half}, &(Copy){to + half, from + half, half});
  free(to), free(from);
}

typedef struct Job {
  Jit *jit;
  const Case *row;
  double copy[2];
} Job;

/* By one thread, then by two with a half of the parts each; steps: the kernels in order. */
static void time_call(Job *job, const Groups *steps, Call all, int64_t bytes) {
  atomic_int ends = 0;
  Call half[2] = {all, all};
  for (uint32_t i = 0; i < all.n; i++) {
    const Unit *u = steps->group[i]->unit;
    size_t scratch = ((size_t)number(u->scratch) + 64) & ~(size_t)63;
    int64_t parts = number(u->parts);
    for (int t = 0; t < 2; t++) {
      half[t].args[i].scratch = aligned_alloc(64, scratch);
      half[t].args[i].begin = t ? parts / 2 : 0, half[t].args[i].end = t ? parts : parts / 2;
    }
    all.args[i] = half[0].args[i], all.args[i].end = parts;
  }
  half[0].ends = half[1].ends = &ends;
  double t[2] = {machine_best_seconds(run, &all), machine_best_pair(run, &half[0], &half[1])};
  printf("%-20s %8.1f", job->row->name, (double)bytes / 0x1p20);
  for (int i = 0; i < 2; i++) {
    double rate = (double)bytes * 1e-9 / t[i];
    printf("  %8.2f %6.1f %5.0f %%", t[i] * 1e3, rate, 100 * rate / job->copy[i]);
  }
  printf("  %7lld\n", (long long)number(steps->group[0]->unit->parts));
  fflush(stdout);
  for (uint32_t i = 0; i < 2 * all.n; i++)
    free(half[i % 2].args[i / 2].scratch);
}

/* Where a value is: another form of one that is there already, or in memory of its own. */
static void *place(Job *job, void **at, const Value *v, int64_t below, int64_t *bytes) {
  while (v->def && v->def->op == OP_Reshape)
    v = v->def->in[0];
  if (!at[v->id])
    at[v->id] = memory(job->jit, v, below, bytes);
  return at[v->id];
}

static Status bench_row(Ctx *c, void *arg) {
  Job *job = arg;
  Jit *j = job->jit;
  char *text = arena_printf(j->arena, "graph \"g\" {\n %s\n out %%y\n}\n", job->row->text);
  Graph *g;
  Groups *steps;
  Call call = {0};
  int64_t bytes = 0;
  TRY(graph_parse(c, text, strlen(text), job->row->name, &g));
  for (Node *n = g->first; n; n = n->next)
    TRY(node_infer(c, n));
  TRY(pass_run(c, g, "reductions"));
  TRY(group_graph(c, j->arena, g, &(GroupOptions){.cpu_level = j->level}, &steps));
  if (!steps->n || steps->n > MOST_STEPS)
    return fail(c, ST_INTERNAL, "%s is %u kernels", job->row->name, steps->n);
  void **at = arena_array(j->arena, void *, *g->next_id);
  for (uint32_t s = 0; s < steps->n; s++) {
    const Group *x = steps->group[s];
    call.fn[call.n] = jit_compile(j, x->unit);
    if (!call.fn[call.n])
      return ST_INTERNAL;
    void **buf = arena_array(j->arena, void *, x->nin + x->nout);
    for (uint32_t i = 0; i < x->nin; i++)
      buf[i] = place(job, at, x->in[i], job->row->below, &bytes);
    for (uint32_t i = 0; i < x->nout; i++)
      buf[x->nin + i] = place(job, at, x->out[i], 1, &bytes);
    call.args[call.n++] = (KernelArgs){.buf = buf};
  }
  time_call(job, steps, call, bytes);
  for (uint32_t i = 0; i < *g->next_id; i++)
    free(at[i]);
  return ST_OK;
}

void bench_memory(Jit *jit, const char *only) {
  Job job = {.jit = jit};
  copy_rates(job.copy);
  printf("a copy of 64 MB, read and written: %.1f GB/s by one thread, %.1f by two\n"
         "%-20s %8s  %8s %6s %7s  %8s %6s %7s  %7s\n",
         job.copy[0], job.copy[1], "", "MB", "1: ms", "GB/s", "of copy", "2: ms", "GB/s", "of copy", "parts");
  for (size_t i = 0; i < countof(rows); i++) {
    job.row = &rows[i];
    if ((!only || strstr(rows[i].name, only)) && ctx_protect(&jit->ctx, bench_row, &job))
      printf("%-18s %s\n", rows[i].name, jit->ctx.err.message);
  }
}
