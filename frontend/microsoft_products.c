/* microsoft_products.c - products of com.microsoft with what they do before and behind: transpositions, a factor, an activation.
 * SPDX-License-Identifier: Apache-2.0 */
#include "frontend/microsoft.h"
#include "frontend/nodes.h"

#include <string.h>

/* --- activations --- */

/* Behind a product by name; those that are not listed are refused. */
static const struct {
  const char *name;
  uint32_t nattr; /* alpha, beta */
} known[] = {{"Elu", 1},     {"HardSigmoid", 2}, {"HardSwish", 0}, {"LeakyRelu", 1}, {"Relu", 0},
             {"Sigmoid", 0}, {"Softplus", 0},    {"Softsign", 0},  {"Tanh", 0},      {"ThresholdedRelu", 1}};

static const char *clipped(Upgrade *u, const char *x, float low, float high) {
  const char *lo = raw_two(u, "CastLike", raw_real(u, low), x), *hi = raw_two(u, "CastLike", raw_real(u, high), x);
  return raw_put(u, "Clip", NULL, NAMES(x, lo, hi), 0, NULL);
}

/* Its numbers are in one list, or alpha and beta. */
Status microsoft_activated(Upgrade *u, const char **x) {
  const RawAttr *which = raw_find(u, "activation", RA_STRING), *list = raw_find(u, "activation_params", RA_FLOATS);
  bool given = list || raw_find(u, "activation_alpha", RA_FLOAT);
  float alpha = list && list->n > 0 ? list->floats[0] : raw_float(u, "activation_alpha", 0);
  float beta = list && list->n > 1 ? list->floats[1] : raw_float(u, "activation_beta", 0);
  RawAttr attr[] = {raw_float_attr("alpha", alpha), raw_float_attr("beta", beta)};
  if (!which || !which->s.len)
    return ST_OK;
  if (str_is(which->s, "Clip") && list && list->n == 2) {
    *x = clipped(u, *x, alpha, beta);
    return ST_OK;
  }
  for (size_t i = 0; i < countof(known); i++)
    if (str_is(which->s, known[i].name)) {
      if (list && list->n != known[i].nattr && list->n)
        return raw_unsupported(u, "has an activation with another number of parameters");
      *x = raw_put(u, known[i].name, NULL, NAMES(*x), given ? known[i].nattr : 0, attr);
      return ST_OK;
    }
  return raw_unsupported(u, "has an activation of another name");
}

/* --- FusedMatMul, TransposeMatMul, FusedMatMulActivation: alpha * A' B' --- */

/* x with its last two axes exchanged, and its first axis put before the last (`batch`), behind which the others are the batch. */
static Status turned(Upgrade *u, const char **x, bool exchange, bool batch) {
  const Type *t = raw_type(u, *x);
  int64_t perm[MAX_RANK];
  if (!exchange && !batch)
    return ST_OK;
  if (!t)
    return raw_unsupported(u, "transposes an operand of unknown rank");
  int r = t->rank;
  if (r < 2)
    return ST_OK;
  for (int i = 0; i < r; i++)
    perm[i] = !batch || i == r - 1 ? i : i == r - 2 ? 0 : i + 1;
  if (exchange) {
    int64_t last = perm[r - 1];
    perm[r - 1] = perm[r - 2], perm[r - 2] = last;
  }
  *x = raw_transpose(u, *x, (uint32_t)r, perm);
  return ST_OK;
}

Status microsoft_matmul(Upgrade *u) {
  const char *a = raw_in(u, 0), *b = raw_in(u, 1), *y;
  TRY(turned(u, &a, raw_int(u, "transA", 0), raw_int(u, "transBatchA", 0)));
  TRY(turned(u, &b, raw_int(u, "transB", 0), raw_int(u, "transBatchB", 0)));
  float alpha = raw_float(u, "alpha", 1);
  y = raw_two(u, "MatMul", a, b);
  if (alpha != 1)
    y = raw_two(u, "Mul", y, raw_two(u, "CastLike", raw_real(u, alpha), y));
  if (!strcmp(u->n.op, "FusedMatMulActivation"))
    TRY(microsoft_activated(u, &y));
  return raw_become_last(u);
}

/* --- FusedGemm: an activation of alpha A' B' + beta C --- */

Status microsoft_gemm(Upgrade *u) {
  static const char *const same[] = {"transA", "transB", "alpha", "beta"};
  RawAttr attr[countof(same)];
  uint32_t n = raw_kept(u, countof(same), same, attr);
  const char *y = raw_put(u, "Gemm", NULL, u->n.nin, u->n.in, n, attr);
  TRY(microsoft_activated(u, &y));
  return raw_become_last(u);
}

/* GemmFastGelu: X, W, bias. */
Status microsoft_gemm_gelu(Upgrade *u) {
  RawAttr tanh = {.name = "approximate", .ref = "", .doc = "", .type = RA_STRING, .s = str_of("tanh")};
  const char *y = raw_two(u, "MatMul", raw_in(u, 0), raw_in(u, 1));
  if (raw_has(u, 2))
    y = raw_two(u, "Add", y, raw_in(u, 2));
  return raw_become(u, "Gelu", NAMES(y), 1, &tanh);
}
