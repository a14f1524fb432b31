/* test_lowering.c - every case of the operator tests once more, by the kernel the operator lowers to: one node, static and
 * symbolic extents, the kernel as scheduled for a CPU, run by kernel_eval and, with static extents, compiled; compared with the
 * stated result. Prints per operator how many cases were lowered; a case that has no kernel is counted, with the reason.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/op/harness.h"

#include "codegen/loop.h"
#include "codegen/schedule.h"
#include "tests/kernel/jit.h"

typedef struct Count {
  int lowered, refused, failed;
  const char *why;
} Count;
static Count counts[OP_count];
static const char level[] = "x86-64-v3";

static double most(const Tensor *t) {
  double m = 0;
  for (int64_t i = 0, n = tensor_count(t); i < n; i++) {
    double v = fabs(elem_f64(t->dtype, t->data, i));
    m = isfinite(v) && v > m ? v : m;
  }
  return m;
}

/* Kernels compute f32 in f32, in any order: errors are measured against the largest element. */
static bool close_enough(Harness *h, const Tensor *got, const Tensor *want, double tol) {
  bool is_float = dtype_is_float(want->dtype), ok = true;
  double scale = is_float ? most(want) : 0, least = h_tolerance(want->dtype) * 8;
  tol = tol < 0 ? h_tolerance(want->dtype) : tol;
  tol = tol > least ? tol : least;
  size_t bytes = dtype_kind(want->dtype) == DK_COMPLEX ? (size_t)dtype_bits(want->dtype) / 8 : 0;
  for (int64_t i = 0, n = tensor_count(want); ok && i < n; i++) {
    if (bytes) {
      ok = !memcmp((char *)got->data + (size_t)i * bytes, (char *)want->data + (size_t)i * bytes, bytes);
      continue;
    }
    if (!is_float) {
      ok = elem_i64(want->dtype, got->data, i) == elem_i64(want->dtype, want->data, i);
      continue;
    }
    double a = elem_f64(want->dtype, got->data, i), b = elem_f64(want->dtype, want->data, i);
    ok = isnan(a) || isnan(b)   ? isnan(a) && isnan(b)
         : isinf(a) || isinf(b) ? a == b
                                : fabs(a - b) <= tol * fmax(fabs(b), 0.1 * scale);
  }
  if (!ok) {
    h_print(h, "kernel", got);
    h_print(h, "want  ", want);
  }
  return ok;
}

/* Buffer b as a view of t: the kernel may have merged axes. */
static Tensor *as_buffer(Harness *h, const KBuf *b, const Tensor *t, HBind *bind) {
  Tensor *v = arena_copy(h->a, t, sizeof *t);
  v->rank = b->rank;
  for (int i = 0; i < b->rank; i++)
    if (!dim_eval(b->dim[i], h_lookup, bind, &v->dim[i]))
      return NULL;
  return tensor_count(v) == tensor_count(t) && v->dtype == b->dtype ? v : NULL;
}

typedef struct Attempt {
  Harness *h;
  Case *k;
  HMode mode;
  bool consts;     /* inputs behind the first are constants */
  const char *why; /* not lowered */
  bool ok;
} Attempt;

static void print_kernel(const Kernel *k, Arena *a) {
  StrBuf b;
  buf_init(&b, a);
  kernel_print(&b, k);
  print_error("%s\n", b.text);
}

/* The kernel's buffers: inputs of the case, outputs full of rubbish. */
static bool buffers_of(Attempt *t, const Loop *l, Value *const *in, Value *const *out, uint32_t nout, HBind *bind,
                       Tensor **buf, Tensor **got) {
  Harness *h = t->h;
  for (uint32_t i = 0; i < l->nin; i++) {
    int k = 0;
    while (in[k] != l->in[i])
      k++;
    if (!(buf[i] = as_buffer(h, l->kernel->buf[i], t->k->in[k], bind)))
      return false;
  }
  for (uint32_t i = 0; i < nout; i++) {
    const Tensor *want = t->k->out[out[i]->index];
    if (tensor_new(&h->c, h->a, want->dtype, want->rank, want->dim, &got[i]))
      return false;
    if (tensor_bytes(got[i]))
      memset(got[i]->data, 0xa5, tensor_bytes(got[i]));
    if (!(buf[l->nin + i] = as_buffer(h, l->kernel->buf[l->nin + i], got[i], bind)))
      return false;
  }
  return true;
}

static bool as_stated(Attempt *t, Value *const *out, uint32_t nout, Tensor *const *got) {
  for (uint32_t i = 0; i < nout; i++)
    if (!close_enough(t->h, got[i], t->k->out[out[i]->index], t->k->tol))
      return false;
  return true;
}

static bool run_kernel(Attempt *t, const Loop *l, Value *const *in, Value *const *out, uint32_t nout, HBind *bind) {
  Tensor *buf[LOOP_BUFFERS], *got[LOOP_BUFFERS];
  if (!buffers_of(t, l, in, out, nout, bind, buf, got))
    return false;
  if (kernel_eval(&t->h->c, l->kernel, buf, h_lookup, bind)) {
    print_error("%s: %s\n", t->h->where, t->h->c.err.message);
    return false;
  }
  return as_stated(t, out, nout, got);
}

/* The same by machine code, in one range of parts. */
static bool run_code(Attempt *t, const Unit *u, const Loop *l, Value *const *in, Value *const *out, uint32_t nout,
                     HBind *bind) {
  Tensor *buf[LOOP_BUFFERS], *got[LOOP_BUFFERS];
  void *data[LOOP_BUFFERS];
  const Dim *dim;
  uint32_t ndim;
  int64_t parts, scratch;
  Jit jit;
  unit_signature(t->h->a, u, &dim, &ndim);
  int64_t *value = arena_array(t->h->a, int64_t, ndim + 1u);
  bool ok = buffers_of(t, l, in, out, nout, bind, buf, got) && dim_eval(u->parts, h_lookup, bind, &parts) &&
            dim_eval(u->scratch, h_lookup, bind, &scratch);
  for (uint32_t i = 0; ok && i < ndim; i++)
    ok = dim_eval(dim[i], h_lookup, bind, &value[i]);
  for (uint32_t i = 0; ok && i < l->kernel->nin + nout; i++)
    data[i] = buf[i]->data;
  ok = ok && jit_open(&jit, level);
  if (!ok)
    return false;
  KernelFn fn = jit_compile(&jit, u);
  if (!fn)
    print_error("%s: %s\n", t->h->where, jit.ctx.err.message);
  KernelArgs args = {.buf = data, .dim = value, .end = parts};
  args.scratch = arena_get(t->h->a, 1, (size_t)scratch + 1, 64);
  int rc = fn ? fn(&args) : -1;
  if (rc)
    print_error("%s: the code returns %d\n", t->h->where, rc);
  ok = !rc && as_stated(t, out, nout, got);
  jit_close(&jit);
  return ok;
}

static Status attempt(Ctx *c, void *arg) {
  Attempt *t = arg;
  Case *k = t->k;
  Graph *g = graph_create(c, "test");
  Value *in[H_MAX] = {0}, *out[H_MAX];
  HBind bind = {.n = 0};
  uint32_t nout = 0;
  for (int i = 0; i < k->nin; i++)
    in[i] = k->in[i] ? h_input(t->h, g, k, i, t->consts && i ? H_CONST : t->mode, &bind) : NULL;
  Node *n = graph_add_node(g, NULL, k->op, k->nin, k->nout, k->attr, NULL);
  node_set_inputs(n, k->nin, in);
  for (int i = 0; i < k->nout; i++)
    if (!k->out[i])
      node_drop_output(n, i);
    else
      out[nout++] = n->out[i];
  TRY(node_infer(c, n));
  Node *set[1] = {n};
  LoopSpec s = {.name = "test", .node = set, .nnode = 1, .out = out, .nout = nout};
  LowerKind kind = node_lowering(c, n, &t->why);
  if (kind == LOWER_NONE)
    return ST_OK;
  for (uint32_t i = 0; i < nout; i++) /* extents that nothing tells before the run */
    for (int d = 0; d < out[i]->type.rank; d++) {
      int64_t v;
      if (!dim_eval(out[i]->type.dim[d], h_lookup, &bind, &v)) {
        t->why = "its extents are known only when it has run";
        return ST_OK;
      }
    }
  s.core = kind == LOWER_ROW ? n : NULL;
  t->why = NULL;
  Loop l;
  TRY(loop_build(c, t->h->a, &s, &l));
  Unit u = {.kind = UNIT_LOOP, .name = "test", .kernel = l.kernel};
  t->ok = run_kernel(t, &l, in, out, nout, &bind);
  if (t->ok) {
    const char *missing = kernel_unsupported(l.kernel);
    unit_schedule(c, &u, level);
    TRY(kernel_verify(c, l.kernel));
    t->ok = run_kernel(t, &l, in, out, nout, &bind);
    if (t->ok && !missing && t->mode == H_STATIC && cpu_runs(level) && backend_present())
      t->ok = run_code(t, &u, &l, in, out, nout, &bind);
  }
  if (!t->ok)
    print_kernel(l.kernel, t->h->a);
  return ST_OK;
}

static bool lowered(Harness *h, Case *k) {
  bool ok = true;
  if (k->error || !k->nout || !k->out[0] || strstr(h->where, "accumulates in double")) /* kernels do not */
    return true;
  for (HMode mode = H_STATIC; mode <= H_SYMBOLIC; mode++) {
    Attempt t = {.h = h, .k = k, .mode = mode, .ok = true, .why = NULL};
    Status st = ctx_protect(&h->c, attempt, &t);
    if (!st && t.why) {
      t.consts = true;
      st = ctx_protect(&h->c, attempt, &t);
    }
    if (st) {
      print_error("%s: %s\n", h->where, h->c.err.message);
      t.ok = false;
    }
    Count *n = &counts[k->op];
    n->lowered += !t.why && t.ok && !st;
    n->refused += !st && t.why != NULL;
    n->failed += !t.ok;
    n->why = !st && t.why ? t.why : n->why;
    if (!t.ok)
      print_error("%s: the kernel is wrong, mode %d\n", h->where, (int)mode);
    ok &= t.ok;
  }
  return ok;
}

static void every_case(void **state) {
  (void)state;
  int total = 0, refused = 0, ops = 0;
  h_runner = lowered;
  h_run_file("op/math.txt");
  h_run_file("op/movement.txt");
  h_run_file("op/nn.txt");
  h_run_file("op/types.txt");
  h_run_file("op/special.txt");
  h_run_file("op/trees.txt");
  h_run_file("op/suppress.txt");
  h_run_file("op/order.txt");
  h_run_file("op/microsoft.txt");
  for (OpId i = 1; i < op_count(); i++) {
    Count n = counts[i];
    if (op_lowering(i)->kind == LOWER_NONE)
      continue;
    ops++, total += n.lowered, refused += n.refused;
    print_message("%-28s %4d lowered %4d not%s%s\n", op_info(i)->name, n.lowered, n.refused, n.refused ? ": " : "",
                  n.refused ? n.why : "");
  }
  print_message("%d operators with a lowering: %d runs lowered, %d not\n", ops, total, refused);
  assert_true(total > 1000);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_case),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
