/* sig.c - the signatures of ops.def, checked against actual tensors.
 *
 * Inference has checked them where types were known before the run; elements of sequences and damaged programs are met
 * here, so that an evaluator may rely on arity and on inputs of one type variable having one dtype.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/eval/eval.h"

#include <ctype.h>
#include <string.h>

typedef struct Row {
  uint16_t min_in;
  const char *sig;
} Row;

static const Row rows[OP_count] = {
#define OP(name, domain, since, imin, imax, omin, omax, flags, attrs, infer, eval, lower, sig)                         \
  [OP_##name] = {imin, sig},
#include "ops/ops.def"
#undef OP
};

static bool in_class(const Tensor *t, const char *cls, size_t n) {
  DKind k = dtype_kind(t->dtype);
  if (n == 5 && !memcmp(cls, "value", 5))
    return true;
  if (t->kind != VK_TENSOR)
    return false;
  if (n == 3 && !memcmp(cls, "any", 3))
    return true;
  if (n == 3 && !memcmp(cls, "num", 3))
    return k == DK_FLOAT || k == DK_SINT || k == DK_UINT;
  if (n == 3 && !memcmp(cls, "int", 3))
    return k == DK_SINT || k == DK_UINT;
  if (n == 5 && !memcmp(cls, "float", 5))
    return k == DK_FLOAT;
  return dtype_parse(cls, n) == t->dtype;
}

/* Is t among what the signature says of variable v (`; T=num, U=i32|i64`)? A variable it does not mention is any tensor. */
static bool allowed(const char *sig, char v, const Tensor *t) {
  const char *p = strchr(sig, ';');
  while (p && *p) {
    p += 1 + strspn(p + 1, " ");
    size_t n = strcspn(p, ",");
    if (*p == v && p[1] == '=') {
      for (const char *q = p + 2, *end = p + n; q < end;) {
        size_t k = strcspn(q, "|,");
        if (in_class(t, q, k))
          return true;
        q += k + 1;
      }
      return false;
    }
    p += n;
  }
  return t->kind == VK_TENSOR;
}

Status eval_check_types(Eval *e) {
  const char *sig = rows[e->op].sig, *p = sig, *token = p;
  size_t n = 0;
  char suffix = 0;
  DType var[26] = {0};
  for (int i = 0; i < e->nin || i < rows[e->op].min_in; i++) {
    if (suffix != '*' && suffix != '+') { /* those stand for all that follow */
      token = p + strspn(p, " ");
      for (n = 0; isalnum((unsigned char)token[n]); n++)
        ;
      if (!n)
        return eval_fail(e, "%d inputs are too many", e->nin);
      suffix = token[n];
      p = token + n + (suffix == '?' || suffix == '*' || suffix == '+');
    }
    const Tensor *t = i < e->nin ? e->in[i] : NULL;
    if (!t && suffix != '?' && i < rows[e->op].min_in)
      return eval_fail(e, "input %d is missing", i);
    if (!t)
      continue;
    if (n > 1 ? !in_class(t, token, n) : !allowed(sig, *token, t))
      return eval_fail(e, "input %d has an element type that the operator does not take", i);
    if (n > 1 || suffix == '+' || t->kind != VK_TENSOR)
      continue;
    DType *known = &var[*token - 'A'];
    if (*known && *known != t->dtype)
      return eval_fail(e, "input %d is %s where %s is needed, as in the inputs before it", i, dtype_name(t->dtype),
                       dtype_name(*known));
    *known = t->dtype;
  }
  return ST_OK;
}
