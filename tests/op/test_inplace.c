/* test_inplace.c - every element-by-element operator computed into the memory of one of its inputs gives the same bytes as into
 * memory of its own: what the plan's in-place steps rely on.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/eval/eval.h"
#include "ops/ops.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { N = 24, MAX_IN = 3 };

typedef struct Target {
  int alias; /* input whose memory the output takes when it fits; -1: its own */
  bool taken;
  Tensor out;
  uint64_t own[N * 2];
} Target;

static Status alloc_out(Eval *e, int i, DType t, int rank, const int64_t *dim, Tensor **out) {
  Target *x = e->host;
  (void)i;
  x->out = (Tensor){.dtype = t, .rank = (int8_t)rank, .data = x->own};
  memcpy(x->out.dim, dim, (size_t)rank * sizeof *dim);
  if (x->alias >= 0 && tensor_same_shape(e->in[x->alias], &x->out) &&
      dtype_bits(e->in[x->alias]->dtype) == dtype_bits(t)) {
    x->out.data = e->in[x->alias]->data;
    x->taken = true;
  }
  *out = &x->out;
  return ST_OK;
}

typedef struct Job {
  OpId op;
  DType type[MAX_IN];
  int small; /* bits: input i is one element, broadcast */
  int nin;
  Target *target;
} Job;

static void *attributes(Arena *a, OpId op, DType t) {
  void *p = attr_new(a, op_info(op)->attrs);
  if (op == OP_Cast)
    ((CastAttr *)p)->to = dtype_bits(t) == 32 ? (t == DT_f32 ? DT_i32 : DT_f32) : t;
  if (op == OP_BitShift)
    ((BitShiftAttr *)p)->direction = str_of("LEFT");
  return p;
}

static Status evaluate(Ctx *c, void *arg) {
  Job *j = arg;
  Arena *a = arena_create(c);
  Tensor *in[MAX_IN];
  bool wanted = true;
  Tensor *out = NULL;
  for (int i = 0; i < j->nin; i++) {
    int64_t dim[2] = {j->small >> i & 1 ? 1 : 4, 6};
    TRY(tensor_new(c, a, j->type[i], j->small >> i & 1 ? 1 : 2, dim, &in[i]));
    for (int64_t k = 0; k < tensor_count(in[i]); k++)
      elem_set_f64(in[i]->dtype, in[i]->data, k, (double)((k * 5 + i * 3) % 7) + 1);
  }
  Eval e = {.c = c,
            .op = j->op,
            .nin = j->nin,
            .nout = 1,
            .in = (const Tensor *const *)in,
            .out = &out,
            .wanted = &wanted,
            .attr = attributes(a, j->op, j->type[0]),
            .scratch = a,
            .keep = a,
            .alloc = alloc_out,
            .host = j->target};
  TRY(eval_check_types(&e));
  TRY(eval_find(j->op)(&e));
  if (j->target->taken) /* the input goes with its arena */
    memcpy(j->target->own, j->target->out.data, tensor_bytes(&j->target->out));
  arena_destroy(a);
  return ST_OK;
}

static void test_every_operator(void **state) {
  static const DType types[] = {DT_f32, DT_i32, DT_bool, DT_f16, DT_u8, DT_f64, DT_i64};
  int ops = 0;
  Alloc alloc;
  (void)state;
  alloc_init_system(&alloc);
  for (OpId op = 1; op < op_count(); op++) {
    const OpInfo *info = op_info(op);
    int took = 0;
    for (int nin = info->min_in; (info->flags & OPF_ELEMENTWISE) && nin <= MAX_IN && nin <= info->max_in; nin++)
      for (int run = 0; run < 7 * (1 << nin) * (nin + 1); run++) {
        Target own = {.alias = -1}, shared = {.alias = run / (7 << nin) % (nin + 1)};
        Job j = {.op = op, .nin = nin, .small = run / 7 % (1 << nin)};
        if (shared.alias == nin)
          continue;
        for (int i = 0; i < nin; i++)
          j.type[i] = (op == OP_Where || op == OP_Not) && !i ? DT_bool : types[run % 7];
        Ctx c;
        ctx_open(&c, &alloc);
        j.target = &own;
        Status st = ctx_protect(&c, evaluate, &j);
        j.target = &shared;
        if (!st && !ctx_protect(&c, evaluate, &j) && shared.taken) {
          took++;
          if (memcmp(own.own, shared.own, tensor_bytes(&own.out)))
            print_error("%s of %s, %d inputs, into input %d, broadcast %d\n", info->name, dtype_name(j.type[0]), nin,
                        shared.alias, j.small);
          assert_memory_equal(own.own, shared.own, tensor_bytes(&own.out));
        }
        ctx_close(&c);
      }
    if ((info->flags & OPF_ELEMENTWISE) && !took && op != OP_IsNaN && op != OP_IsInf && op != OP_Equal)
      print_message("%s is never computed in place here\n", info->name);
    ops += took > 0;
  }
  assert_true(ops > 40);
  assert_int_equal(atomic_load(&alloc.used), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_operator)};
  return cmocka_run_group_tests_name("inplace", tests, NULL, NULL);
}
