/* test_group.c - the models of models/fixtures, grouped: every unit is run by itself (loop kernels by kernel_eval, products and
 * attention by plain loops in double) on what the reference executor computed for its inputs, and compared with what that
 * computed for its outputs. Prints how much of each model is in groups, and which operators are left.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#undef fail /* ctx.h has a function of that name */

#include "codegen/loop.h"
#include "codegen/plan.h"
#include "frontend/model.h"
#include "passes/pass.h"
#include "runtime/runtime.h"
#include "tools/cases.c"
#include "tools/files.c"
#include "tools/message.c"
#include "tools/pb.c"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { SYMBOLS = 4096 };

typedef struct Fixture {
  Ctx *c;
  Arena *a;
  Graph *g;
  Groups *groups;
  const Tensor **val; /* by Value.id: what the reference executor computed */
  Dim sym[SYMBOLS];
  int64_t size[SYMBOLS];
  int nsym;
  int groups_run, groups_bad;
} Fixture;

static bool lookup(void *arg, Dim sym, int64_t *v) {
  Fixture *f = arg;
  for (int i = 0; i < f->nsym; i++)
    if (f->sym[i] == sym) {
      *v = f->size[i];
      return true;
    }
  return false;
}

static int64_t eval(Fixture *f, Dim d) {
  int64_t v = -1;
  return dim_eval(d, lookup, f, &v) ? v : -1;
}

static void bind(Fixture *f, const Value *val, const Tensor *x) {
  const Type *t = &val->type;
  int64_t v;
  for (uint32_t i = 0; x && i < val->told && f->nsym < SYMBOLS; i++)
    f->sym[f->nsym] = val->content[i], f->size[f->nsym++] = elem_i64(x->dtype, x->data, i);
  for (int i = 0; x && x->kind == VK_TENSOR && i < t->rank; i++)
    if (t->dim[i]->kind == DIM_SYM && !lookup(f, t->dim[i], &v) && f->nsym < SYMBOLS)
      f->sym[f->nsym] = t->dim[i], f->size[f->nsym++] = x->dim[i];
}

/* Weights may lie unaligned in their file. */
static const Tensor *aligned(Fixture *f, const Tensor *t) {
  if (!t || tensor_aligned(t))
    return t;
  Tensor *v = arena_copy(f->a, t, sizeof *t);
  v->data = arena_get(f->a, tensor_bytes(t), 1, 64);
  memcpy(v->data, t->data, tensor_bytes(t));
  return v;
}

static const Tensor *value(Fixture *f, const Value *v) { return aligned(f, v->konst ? v->konst : f->val[v->id]); }

/* --- comparing --- */

static bool near(Fixture *f, const Group *x, const Tensor *got, const Tensor *want) {
  double scale = 0, worst = 0;
  bool is_float = dtype_is_float(want->dtype), ok = got->dtype == want->dtype;
  int64_t n = tensor_count(want);
  for (int64_t i = 0; is_float && i < n; i++) {
    double v = fabs(elem_f64(want->dtype, want->data, i));
    scale = isfinite(v) && v > scale ? v : scale;
  }
  for (int64_t i = 0; ok && i < n; i++) {
    if (!is_float) {
      ok = elem_i64(want->dtype, got->data, i) == elem_i64(want->dtype, want->data, i);
      continue;
    }
    double a = elem_f64(want->dtype, got->data, i), b = elem_f64(want->dtype, want->data, i);
    if (isnan(a) || isnan(b) || isinf(a) || isinf(b))
      ok = (isnan(a) && isnan(b)) || a == b;
    else if (fabs(a - b) > worst)
      worst = fabs(a - b);
  }
  if (!ok || worst > 2e-5 * scale + 1e-9) {
    StrBuf b;
    buf_init(&b, f->a);
    if (x->unit->kernel)
      kernel_print(&b, x->unit->kernel);
    print_error("%s (%s): error %g of %g\n%s\n", x->unit->name, x->root->origin->node, worst, scale,
                b.len ? b.text : x->signature);
    return false;
  }
  return true;
}

/* --- units --- */

static Tensor *as_buffer(Fixture *f, const KBuf *b, const Tensor *t) {
  Tensor *v = arena_copy(f->a, t, sizeof *t);
  v->rank = b->rank;
  for (int i = 0; i < b->rank; i++)
    v->dim[i] = eval(f, b->dim[i]);
  if (tensor_count(v) != tensor_count(t) || v->dtype != b->dtype) {
    char one[200], two[200];
    print_error("buffer %s is %s, the value %s\n", b->name, tensor_type_text(v, one, sizeof one),
                tensor_type_text(t, two, sizeof two));
    return NULL;
  }
  return v;
}

static bool run_kernel(Fixture *f, const Kernel *k, const Tensor *const *in, Tensor *const *out) {
  Tensor **buf = arena_array(f->a, Tensor *, k->nio);
  for (uint32_t i = 0; i < k->nio; i++)
    if (!(buf[i] = as_buffer(f, k->buf[i], i < k->nin ? in[i] : out[i - k->nin])))
      return false;
  if (!kernel_eval(f->c, k, buf, lookup, f))
    return true;
  print_error("%s: %s\n", k->name, f->c->err.message);
  return false;
}

static Tensor *like(Fixture *f, const Tensor *t) {
  Tensor *r = NULL;
  if (tensor_new(f->c, f->a, t->dtype, t->rank, t->dim, &r))
    abort();
  return r;
}

static double f32(const Tensor *t, int64_t i) { return elem_f64(DT_f32, t->data, i); }

/* Element (l, j) of matrix q of B, as ProductWindow says. */
static double window_elem(Fixture *f, const Product *p, const Tensor *b, int64_t q, int64_t l, int64_t j) {
  const ProductWindow *w = p->window;
  int64_t at = 0, tap = l % w->taps, y[WINDOW_AXES], in[WINDOW_AXES];
  for (int i = WINDOW_AXES; i-- > 0;) {
    int64_t out = eval(f, w->out[i]);
    in[i] = eval(f, w->in[i]);
    y[i] = j % out * w->stride[i] + tap % w->kernel[i] * w->dilation[i] - eval(f, w->begin[i]);
    j /= out, tap /= w->kernel[i];
  }
  for (int i = 0; i < WINDOW_AXES; i++) {
    if (y[i] < 0 || y[i] >= in[i])
      return 0;
    at = at * in[i] + y[i];
  }
  return f32(b, (q * (eval(f, p->k) / w->taps) + l / w->taps) * in[0] * in[1] * in[2] + at);
}

static bool run_product(Fixture *f, const Group *x, Tensor *out) {
  const Product *p = &x->unit->product;
  int64_t batch = eval(f, p->batch), m = eval(f, p->m), n = eval(f, p->n), k = eval(f, p->k), dim[3] = {batch, m, n};
  const Tensor *a = value(f, x->in[0]), *b = value(f, x->in[1]), *in[LOOP_BUFFERS];
  Tensor *acc;
  int64_t matrices = p->group > 1 ? p->group : p->batch_a ? batch : 1;
  if (tensor_new(f->c, f->a, DT_f32, 3, dim, &acc) || tensor_count(a) != matrices * m * k ||
      (!p->window && tensor_count(b) != (p->batch_b ? batch : 1) * k * n))
    return false;
  for (int64_t q = 0; q < batch; q++)
    for (int64_t i = 0; i < m; i++)
      for (int64_t j = 0; j < n; j++) {
        double s = 0;
        int64_t a0 = q % matrices * m * k, b0 = p->batch_b ? q * k * n : 0;
        for (int64_t l = 0; l < k; l++)
          s += f32(a, a0 + (p->trans_a ? l * m + i : i * k + l)) *
               (p->window ? window_elem(f, p, b, q, l, j) : f32(b, b0 + (p->trans_b ? j * k + l : l * n + j)));
        ((float *)acc->data)[(q * m + i) * n + j] = (float)s;
      }
  if (!p->epilogue) {
    memcpy(out->data, acc->data, tensor_bytes(acc));
    return tensor_count(acc) == tensor_count(out);
  }
  in[0] = acc;
  for (uint32_t i = 2; i < x->nin; i++)
    in[i - 1] = value(f, x->in[i]);
  return run_kernel(f, p->epilogue, in, &out);
}

static bool run_attention(Fixture *f, const Group *x, Tensor *out) {
  const Attention *t = &x->unit->attention;
  const Tensor *q = value(f, x->in[0]), *k = value(f, x->in[1]), *v = value(f, x->in[2]),
               *m = t->mask ? value(f, x->in[3]) : NULL;
  int64_t B = eval(f, t->batch), S = eval(f, t->q_len), L = eval(f, t->kv_len), H = t->heads, G = t->kv_heads;
  double *w = arena_array(f->a, double, (size_t)L);
  for (int64_t b = 0; b < B; b++)
    for (int64_t h = 0; h < H; h++)
      for (int64_t i = 0; i < S; i++) {
        int64_t g = h / (H / G);
        double top = -INFINITY, sum = 0;
        for (int64_t j = 0; j < L; j++) {
          double s = 0;
          for (int64_t d = 0; d < t->dk; d++)
            s += f32(q, t->q_split ? ((b * H + h) * S + i) * t->dk + d : ((b * S + i) * H + h) * t->dk + d) *
                 f32(k, t->kv_split ? ((b * G + g) * L + j) * t->dk + d : ((b * L + j) * G + g) * t->dk + d);
          w[j] = s * t->scale;
          if (m) {
            int64_t at[4] = {b, h, i, j}, pos = 0;
            for (int r = 0; r < t->mask_rank; r++)
              pos = pos * m->dim[r] + (m->dim[r] == 1 ? 0 : at[4 - t->mask_rank + r]);
            w[j] = t->mask == DT_bool ? elem_i64(DT_bool, m->data, pos) ? w[j] : -INFINITY : w[j] + f32(m, pos);
          }
          if (t->causal && j > i + L - S)
            w[j] = -INFINITY;
          top = w[j] > top ? w[j] : top;
        }
        for (int64_t j = 0; j < L; j++)
          sum += w[j] = top == -INFINITY ? 0 : exp(w[j] - top);
        for (int64_t d = 0; d < t->dv; d++) {
          double s = 0;
          for (int64_t j = 0; j < L; j++)
            s += w[j] * f32(v, t->kv_split ? ((b * G + g) * L + j) * t->dv + d : ((b * L + j) * G + g) * t->dv + d);
          s = sum == 0 ? t->zero_rows ? 0 : NAN : s / sum;
          ((float *)out->data)[t->out_split ? ((b * H + h) * S + i) * t->dv + d : ((b * S + i) * H + h) * t->dv + d] =
              (float)s;
        }
      }
  return true;
}

static void run_group(Fixture *f, const Group *x) {
  const Tensor *in[LOOP_BUFFERS];
  Tensor *out[LOOP_BUFFERS];
  bool ok = true;
  for (uint32_t i = 0; i < x->nin; i++)
    if (!(in[i] = value(f, x->in[i])))
      return; /* of a body that did not run */
  for (uint32_t i = 0; i < x->nout; i++) {
    if (!value(f, x->out[i]))
      return;
    out[i] = like(f, value(f, x->out[i]));
  }
  ok = x->unit->kind == UNIT_LOOP      ? run_kernel(f, x->unit->kernel, in, out)
       : x->unit->kind == UNIT_PRODUCT ? run_product(f, x, out[0])
                                       : run_attention(f, x, out[0]);
  for (uint32_t i = 0; ok && i < x->nout; i++)
    ok = near(f, x, out[i], value(f, x->out[i]));
  f->groups_run++, f->groups_bad += !ok;
}

/* --- the reference --- */

static void want_value(Fixture *f, Value *v, Value **list, uint32_t *n, bool *seen) {
  if (v->konst || seen[v->id] || v->type.kind != VK_TENSOR)
    return;
  seen[v->id] = true;
  list[(*n)++] = v;
  (void)f;
}

static Status reference(Fixture *f, const char *set) {
  Graph *g = f->g;
  Value **list = arena_array(f->a, Value *, *g->next_id);
  bool *seen = arena_array(f->a, bool, *g->next_id);
  uint32_t n = 0, nin = g->nin, first = g->nout;
  Tensor *in = arena_array(f->a, Tensor, nin);
  for (uint32_t i = 0; i < nin; i++) {
    Mapped *map;
    Tensor *t;
    const char *name;
    TRY(map_open(f->c, f->a, arena_printf(f->a, "%s/input_%u.pb", set, i), &map));
    TRY(pb_read(f->c, f->a, VK_TENSOR, map->base, map->size, &t, &name));
    in[i] = *t;
    in[i].data = arena_get(f->a, tensor_bytes(t), 1, 64);
    memcpy(in[i].data, t->data, tensor_bytes(t));
    f->val[g->in[i]->id] = &in[i];
    bind(f, g->in[i], &in[i]);
    map_close(f->c, map);
  }
  for (uint32_t i = 0; i < f->groups->n; i++) {
    const Group *x = f->groups->group[i];
    for (uint32_t k = 0; !x->root->graph->up && k < x->nin + x->nout; k++)
      want_value(f, k < x->nin ? x->in[k] : x->out[k - x->nin], list, &n, seen);
  }
  for (const Node *d = g->first; d; d = d->next) /* whose elements may be extents */
    for (int k = 0; k < d->nout; k++)
      if (d->out[k] && d->out[k]->told)
        want_value(f, d->out[k], list, &n, seen);
  for (uint32_t i = 0; i < n; i++)
    graph_add_output(g, list[i]);
  PlanInput none = {0};
  const uint8_t *image;
  size_t size;
  RtProgram *p;
  TRY(plan_build(f->c, f->a, g, &none, &image, &size));
  TRY(rt_load(f->c, f->a, image, size, plan_build_id(), NULL, 0, &p));
  RtOutput *out = arena_array(f->a, RtOutput, first + n);
  for (uint32_t i = 0; i < first + n; i++)
    out[i].wanted = true;
  TRY(rt_run(p, f->c, NULL, in, nin, out, first + n));
  for (uint32_t i = 0; i < n; i++) {
    f->val[list[i]->id] = &out[first + i].t;
    bind(f, list[i], &out[first + i].t);
  }
  rt_unload(p);
  return ST_OK;
}

/* --- fixtures --- */

typedef struct Job {
  const TestCase *k;
  int run, bad;
  int grouped, views, left; /* numeric nodes */
  bool missing;
  char ops[400];
} Job;

static void count_nodes(Fixture *f, Job *j) {
  for (const Node *n = f->g->first; n; n = n->next) {
    const NodeFate *x = &f->groups->fate[n->id];
    if (x->host || x->gone)
      continue;
    bool view = (op_info(n->op)->flags & OPF_VIEW) && !x->group;
    j->grouped += x->group != NULL, j->views += view, j->left += !x->group && !view;
    const char *name = op_info(n->op)->name;
    if (!x->group && !view && !strstr(j->ops, name) && strlen(j->ops) + strlen(name) + 2 < sizeof j->ops)
      strcat(strcat(j->ops, " "), name);
    if (!x->group && !view && getenv("SARD_SHOW"))
      print_message("    %s %s: %s\n", name, n->origin->node, x->why);
  }
}

static void show_groups(const Groups *g, Arena *a) {
  for (uint32_t i = 0; i < g->n; i++) {
    StrBuf b;
    buf_init(&b, a);
    if (g->group[i]->unit->kernel)
      kernel_print(&b, g->group[i]->unit->kernel);
    else if (g->group[i]->unit->product.epilogue)
      kernel_print(&b, g->group[i]->unit->product.epilogue);
    print_message("-- %s [%u nodes, in place %x]\n%s", g->group[i]->unit->name, g->group[i]->nnode,
                  g->group[i]->in_place, b.len ? b.text : "");
  }
}

static Status one_fixture(Ctx *c, void *arg) {
  Job *j = arg;
  Fixture *f = calloc(1, sizeof *f);
  Model *m;
  f->c = c;
  TRY(model_load_file(c, arena_printf(arena_create(c), "%s/model.onnx", j->k->dir), NULL, &m));
  TRY(passes_run(c, m->graph, &(PassOptions){.verify = true}));
  f->a = arena_create(c);
  f->g = m->graph;
  GroupOptions o = {.cpu_level = "x86-64-v3"};
  TRY(group_graph(c, f->a, f->g, &o, &f->groups));
  if (getenv("SARD_SHOW"))
    show_groups(f->groups, f->a);
  count_nodes(f, j);
  PlanInput in = {.groups = f->groups};
  const uint8_t *image;
  size_t size;
  TRY(plan_build(c, f->a, f->g, &in, &image, &size));
  f->val = arena_array(f->a, const Tensor *, *f->g->next_id);
  if (j->k->nset) {
    TRY(reference(f, j->k->set[0]));
    for (uint32_t i = 0; i < f->groups->n; i++)
      if (!f->groups->group[i]->root->graph->up) /* what a body computes, nobody sees */
        run_group(f, f->groups->group[i]);
  }
  j->run = f->groups_run, j->bad = f->groups_bad;
  free(f);
  return ST_OK;
}

static void fixtures(void **state) {
  (void)state;
  Alloc alloc;
  Ctx c;
  TestCase *k;
  size_t n;
  int bad = 0;
  alloc_init_system(&alloc);
  ctx_open(&c, &alloc);
  Arena *a = arena_create(&c);
  const char *dir = getenv("SARD_FIXTURE") ? getenv("SARD_FIXTURE") : SOURCE_DIR "/models/fixtures";
  assert_int_equal(cases_find(&c, a, dir, &k, &n), ST_OK);
  for (size_t i = 0; i < n; i++) {
    Job j = {.k = &k[i]};
    Ctx one;
    ctx_open(&one, &alloc);
    if (ctx_protect(&one, one_fixture, &j)) {
      print_error("%s: %s (%s %s)\n", k[i].name, one.err.message, one.err.op, one.err.node);
      bad++;
    }
    ctx_close(&one);
    print_message("%-28s %4d units, %d wrong; nodes: %4d in groups, %3d views, %3d left:%s\n", k[i].name, j.run, j.bad,
                  j.grouped, j.views, j.left, j.ops);
    bad += j.bad;
  }
  ctx_close(&c);
  assert_int_equal(bad, 0);
}

/* The kernels of bert_qa as text: SARD_BLESS=1 writes them. */
static Status golden_text(Ctx *c, void *arg) {
  Model *m;
  Groups *g;
  StrBuf b;
  Arena *a = arena_create(c);
  GroupOptions o = {.cpu_level = "x86-64-v3"};
  buf_init(&b, a);
  TRY(model_load_file(c, SOURCE_DIR "/models/fixtures/bert_qa/dynamo/model.onnx", NULL, &m));
  TRY(passes_run(c, m->graph, &(PassOptions){.verify = true}));
  TRY(group_graph(c, a, m->graph, &o, &g));
  for (uint32_t i = 0; i < g->nkernel; i++) {
    const Unit *u = g->kernel[i];
    buf_printf(&b, "unit \"%s\"\n", u->name);
    if (u->kernel || u->product.epilogue)
      kernel_print(&b, u->kernel ? u->kernel : u->product.epilogue);
  }
  *(char **)arg = strdup(b.text);
  return ST_OK;
}

static void golden(void **state) {
  (void)state;
  Alloc alloc;
  Ctx c;
  Str want;
  char *got = NULL;
  const char *path = TEST_DIR "/kernel/golden/bert_qa.txt";
  alloc_init_system(&alloc);
  ctx_open(&c, &alloc);
  assert_int_equal(ctx_protect(&c, golden_text, &got), ST_OK);
  if (getenv("SARD_BLESS")) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    fputs(got, f);
    fclose(f);
  }
  assert_int_equal(file_read(&c, arena_create(&c), path, &want), ST_OK);
  assert_int_equal(strlen(got), want.len);
  assert_memory_equal(got, want.ptr, want.len);
  free(got);
  ctx_close(&c);
}

/* Packed operands lie one behind the other in the order in which the program reads them. */
static Status packed_in_order(Ctx *c, void *arg) {
  Model *m;
  Groups *g;
  Arena *a = arena_create(c);
  GroupOptions o = {.cpu_level = "x86-64-v3", .pack = true};
  uint64_t end = 0;
  TRY(model_load_file(c, SOURCE_DIR "/models/fixtures/bert_qa/dynamo/model.onnx", NULL, &m));
  TRY(passes_run(c, m->graph, &(PassOptions){.verify = true}));
  TRY(group_graph(c, a, m->graph, &o, &g));
  for (uint32_t i = 0; i < g->n; i++) {
    if (g->group[i]->packed == UINT32_MAX)
      continue;
    const Packed *x = &g->packed[g->group[i]->packed];
    assert_int_equal(x->offset, end);
    end = x->offset + (x->size + 63) / 64 * 64, ++*(int *)arg;
  }
  assert_int_equal(end, g->packed_size);
  return ST_OK;
}

static void packed(void **state) {
  (void)state;
  Alloc alloc;
  Ctx c;
  int n = 0;
  alloc_init_system(&alloc);
  ctx_open(&c, &alloc);
  assert_int_equal(ctx_protect(&c, packed_in_order, &n), ST_OK);
  assert_true(n > 1);
  ctx_close(&c);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(fixtures),
      cmocka_unit_test(golden),
      cmocka_unit_test(packed),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
