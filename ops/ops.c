/* ops.c - the operator table, made from ops.def.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/ops.h"

#include "ir/infer.h"
#include "ops/eval/eval.h"

#include <string.h>

#define PURE        OPF_PURE
#define ELEMENTWISE OPF_ELEMENTWISE
#define COMMUTATIVE OPF_COMMUTATIVE
#define VIEW        OPF_VIEW
#define SHAPE_ONLY  OPF_SHAPE_ONLY
#define CONTROL     OPF_CONTROL
#define NONDET      OPF_NONDET
#define HOST        OPF_HOST
#define REWRITTEN   OPF_REWRITTEN
#define VARIADIC    OP_VARIADIC

#define OP(name, domain, since, imin, imax, omin, omax, flags, attrs, infer, eval, lower, sig) Status infer(Infer *x);
#include "ops/ops.def"
#undef OP

static const OpInfo table[] = {
    [OP_none] = {.name = "none", .domain = "", .attrs = &No_attrs, .sig = ">"},
#define OP(name, domain, since, imin, imax, omin, omax, flags, attrs, infer, eval, lower, sig)                         \
  [OP_##name] = {#name, domain, since, imin, imax, omin, omax, flags, &attrs##_attrs, infer, true, sig},
#include "ops/ops.def"
#undef OP
};

const OpInfo *op_info(OpId id) { return &table[id < OP_count ? id : OP_none]; }

OpId op_count(void) { return OP_count; }

OpId op_find(const char *domain, const char *name) {
  if (!strcmp(domain, "ai.onnx"))
    domain = "";
  for (OpId i = 1; i < OP_count; i++)
    if (!strcmp(table[i].name, name) && !strcmp(table[i].domain, domain))
      return i;
  return OP_none;
}
