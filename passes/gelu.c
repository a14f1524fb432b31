/* gelu.c - 0.5 x (1 + erf(x / sqrt 2)) -> Gelu, and 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) -> Gelu with
 * approximate = "tanh" (opset 20 form), in every order of the factors.
 * SPDX-License-Identifier: Apache-2.0 */
#include "passes/rewrite.h"

#define ONE_PLUS_ERF                                                                                                   \
  P1(Add, P1(Erf, ALT(P1(Div, V(0), K(1.4142135623730951)), P1(Mul, V(0), K(0.70710678118654752)))), K(1))

#define CUBE         ALT(P1(Pow, V(0), K(3)), P1(Mul, V(0), P1(Mul, V(0), V(0))), P1(Mul, V(0), P1(Pow, V(0), K(2))))
#define SMALL_SQUARE /* 0.044715 x^2 */                                                                                \
  ALT(P1(Mul, P1(Mul, V(0), V(0)), K(0.044715)), P1(Mul, P1(Mul, V(0), K(0.044715)), V(0)),                            \
      P1(Mul, P1(Pow, V(0), K(2)), K(0.044715)))
#define ROOT_2_PI K(0.79788456080286536)
#define ARGUMENT                                                                                                       \
  ALT(P1(Mul, P1(Add, V(0), P1(Mul, CUBE, K(0.044715))), ROOT_2_PI),                                                   \
      P1(Mul, P1(Mul, V(0), P1(Add, SMALL_SQUARE, K(1))), ROOT_2_PI),                                                  \
      P1(Mul, P1(Mul, V(0), ROOT_2_PI), P1(Add, SMALL_SQUARE, K(1))))
#define ONE_PLUS_TANH P1(Add, P1(Tanh, ARGUMENT), K(1))

static Value *make(Match *m, const char *approximate) {
  GeluAttr a = {.approximate = str_of(approximate)};
  if (!same_type(m->v[0], m->root->out[0]) || !dtype_is_float(m->v[0]->type.dtype))
    return NULL;
  return EMIT(m, Gelu, &a, m->v[0]);
}

static Value *erf_form(Match *m) { return make(m, "none"); }
static Value *tanh_form(Match *m) { return make(m, "tanh"); }

#define FORMS(name, part, fn)                                                                                          \
  {name, P(Mul, P1(Mul, V(0), part), K(0.5)), fn}, {name, P(Mul, P1(Mul, V(0), K(0.5)), part), fn},                    \
      {name, P(Mul, P1(Div, V(0), K(2)), part), fn}, {                                                                 \
    name, P(Mul, V(0), P1(Mul, part, K(0.5))), fn                                                                      \
  }

static const Rule rules[] = {FORMS("gelu by erf", ONE_PLUS_ERF, erf_form),
                             FORMS("gelu by tanh", ONE_PLUS_TANH, tanh_form)};

Status pass_gelu(Ctx *c, Graph *g) { return rewrite(c, g, rules, countof(rules)); }
