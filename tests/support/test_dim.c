/* test_dim.c - dim expressions: normal form, ranges, evaluation, text.
 * SPDX-License-Identifier: Apache-2.0 */
#include "support/dim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

typedef struct Fixture {
  Alloc alloc;
  Ctx c;
} Fixture;

static int setup(void **state) {
  static Fixture f;
  alloc_init_system(&f.alloc);
  ctx_open(&f.c, &f.alloc);
  *state = &f;
  return 0;
}

static int teardown(void **state) {
  Fixture *f = *state;
  ctx_close(&f->c);
  assert_int_equal(atomic_load(&f->alloc.used), 0);
  return 0;
}

#define CTX Ctx *c = &((Fixture *)*state)->c
static Dim D(Ctx *c, const char *text) { return dim_parse(c, text, strlen(text)); }
#define SAME(x, y)      assert_string_equal(dim_text(c, D(c, x)), dim_text(c, D(c, y))), assert_ptr_equal(D(c, x), D(c, y))
#define DIFFERENT(x, y) assert_ptr_not_equal(D(c, x), D(c, y))

/* Symbols a, b, c, … by their first letter. */
typedef struct Env {
  int64_t v[26];
} Env;

static bool lookup(void *arg, Dim sym, int64_t *v) {
  Env *e = arg;
  if (sym->name[0] < 'a' || sym->name[0] > 'z' || sym->name[1])
    return false;
  *v = e->v[sym->name[0] - 'a'];
  return true;
}

static int64_t value(Ctx *c, const char *text, int64_t a, int64_t b) {
  Env e = {{a, b}};
  int64_t v = -999999;
  (void)c;
  assert_true(dim_eval(D(c, text), lookup, &e, &v));
  return v;
}

static void test_normal_form(void **state) {
  CTX;
  SAME("past + seq - past", "seq");
  SAME("a + b", "b + a");
  SAME("a*b*c", "c*a*b");
  SAME("2*a + 3*a", "5*a");
  SAME("a - a", "0");
  SAME("(a + 1)*(b + 2)", "a*b + 2*a + b + 2");
  SAME("2*(a + b) - 2*b", "2*a");
  SAME("-(a - b)", "b - a");
  SAME("a*0", "0");
  SAME("a*1", "a");
  SAME("2*a*3", "6*a");
  SAME("-x**2", "-(x*x)");
  SAME("(-x)**2", "x*x");
  SAME("2*tokens**2 + tokens - 1", "tokens*(2*tokens + 1) - 1");
  DIFFERENT("a + b", "a*b");
  DIFFERENT("a//2", "a");
}

static void test_products_of_long_sums(void **state) {
  CTX;
  Dim s = dim_const(c, 0);
  for (int i = 0; i < 20; i++) {
    char name[8];
    snprintf(name, sizeof name, "x%d", i);
    s = dim_add(c, s, dim_sym(c, name));
  }
  Dim k = dim_const(c, 12345), x = dim_sym(c, "y");
  assert_ptr_equal(dim_add(c, dim_mul(c, k, s), s), dim_mul(c, dim_const(c, 12346), s));
  assert_ptr_equal(dim_mul(c, dim_mul(c, k, x), s), dim_mul(c, dim_mul(c, s, x), k));
  assert_ptr_equal(dim_sub(c, dim_mul(c, x, s), dim_mul(c, s, x)), dim_const(c, 0));
}

static void test_division(void **state) {
  CTX;
  SAME("(2*a)//2", "a");
  SAME("(4*a*b + 2*b)//(2*b)", "2*a + 1");
  SAME("(2*a + 3)//2", "a + 1");
  SAME("(6*a)//4", "(6*a)//4");
  DIFFERENT("(6*a)//4", "a");
  SAME("a//a", "1");
  SAME("Mod(2*a + 3, 2)", "1");
  SAME("Mod(a, 1)", "0");
  SAME("(a*b)//b", "a");
  assert_int_equal(value(c, "7//2", 0, 0), 3);
  assert_int_equal(value(c, "(-7)//2", 0, 0), -4);
  assert_int_equal(value(c, "7//(-2)", 0, 0), -4);
  assert_int_equal(value(c, "Mod(-7, 2)", 0, 0), 1);
  assert_int_equal(value(c, "Mod(7, -2)", 0, 0), -1);
  assert_int_equal(value(c, "(a - 7)//2", 0, 0), -4);
  assert_int_equal(value(c, "Mod(a - 7, 3)", 0, 0), 2);
  assert_int_equal(value(c, "Mod(a, b)", 7, -3), -2);
  Dim n = dim_sym(c, "n");
  for (int64_t v = 0; v < 12; v++) { /* ceildiv */
    Env e = {{0}};
    int64_t got;
    e.v['n' - 'a'] = v;
    assert_true(dim_eval(dim_ceildiv(c, n, dim_const(c, 4)), lookup, &e, &got));
    assert_int_equal(got, (v + 3) / 4);
  }
}

/* INT64_MIN / -1 traps on x86 and must not be computed, whatever the file says. */
static void test_overflow(void **state) {
  CTX;
  int64_t v;
  Env e = {{INT64_MAX, -1}};
  e.v[23] = 5; /* x */
  assert_true(dim_is(D(c, "-9223372036854775808"), INT64_MIN));
  const char *text[] = {"(-9223372036854775808)//(-1)", "Mod(-9223372036854775808, -1)", "-9223372036854775808*x//(-1)",
                        "9223372036854775807 + 1",      "9223372036854775807*2",         "9223372036854775807*x + x"};
  for (size_t i = 0; i < countof(text); i++) {
    int64_t k;
    Dim d = D(c, text[i]);
    if (dim_is_const(d, &k))
      assert_int_equal(k, 0); /* the Mod is 0; nothing else may be a number */
    else
      assert_false(dim_eval(d, lookup, &e, &v));
  }
  assert_false(dim_eval(D(c, "a + 1"), lookup, &e, &v));
  assert_false(dim_eval(D(c, "a*2"), lookup, &e, &v));
  assert_false(dim_eval(D(c, "a//(b + 1)"), lookup, &e, &v)); /* by zero */
  e.v[0] = INT64_MIN;
  assert_false(dim_eval(D(c, "a//b"), lookup, &e, &v));
  assert_false(dim_eval(D(c, "unbound_name"), lookup, &e, &v));
  assert_false(dim_eval(D(c, "3//0"), lookup, &e, &v));
}

static void test_min_max(void **state) {
  CTX;
  Dim s = dim_sym(c, "seq"), big = dim_const(c, INT64_MAX), k512 = dim_const(c, 512);
  dim_narrow(c, s, 1, 100);
  assert_ptr_equal(dim_min(c, s, k512), s);
  assert_ptr_equal(dim_max(c, s, k512), k512);
  assert_ptr_equal(dim_max(c, s, dim_const(c, 1)), s);
  assert_ptr_equal(dim_min(c, s, dim_add(c, s, dim_const(c, 3))), s);
  /* the end of a slice is often INT64_MAX; the difference overflows and proves nothing */
  Dim less = dim_sub(c, s, dim_const(c, 200));
  assert_ptr_equal(dim_min(c, less, big), less);
  assert_ptr_equal(dim_min(c, big, less), less);
  assert_ptr_equal(dim_max(c, big, less), big);
  assert_true(dim_is(dim_min(c, dim_const(c, -2), big), -2));
  assert_true(dim_is(dim_max(c, dim_const(c, INT64_MIN), big), INT64_MAX));
  assert_true(dim_is(dim_min(c, dim_const(c, INT64_MIN), big), INT64_MIN));
  assert_false(dim_at_least(c, less, big));
  assert_true(dim_at_least(c, big, less));
  SAME("Min(a, b, 3)", "Min(Min(b, a), 3)");
  assert_int_equal(value(c, "Min(512, a)", 700, 0), 512);
  assert_int_equal(value(c, "Max(1, a, b)", -3, 7), 7);
}

static void test_broadcast_and_difference(void **state) {
  CTX;
  Dim a = D(c, "a"), b = D(c, "b"), one = dim_const(c, 1), four = dim_const(c, 4);
  int64_t v;
  assert_ptr_equal(dim_bcast(c, a, one), a);
  assert_ptr_equal(dim_bcast(c, one, a), a);
  assert_ptr_equal(dim_bcast(c, a, a), a);
  assert_ptr_equal(dim_bcast(c, a, four), four);
  assert_ptr_equal(dim_bcast(c, a, b), dim_bcast(c, b, a));
  assert_ptr_equal(dim_bcast(c, dim_bcast(c, a, b), b), dim_bcast(c, a, b));
  Dim ab = dim_bcast(c, a, b);
  Env e = {{5, 1}}, bad = {{5, 4}}, zero = {{0, 1}};
  assert_true(dim_eval(ab, lookup, &e, &v) && v == 5);
  assert_true(dim_eval(ab, lookup, &zero, &v) && v == 0);
  assert_false(dim_eval(ab, lookup, &bad, &v));
  assert_true(dim_differ(c, a, D(c, "a + 1")));
  assert_false(dim_differ(c, a, b));
  assert_true(dim_differ(c, four, dim_const(c, 5)));
  assert_true(dim_at_least(c, D(c, "a + b"), a));
  assert_false(dim_at_least(c, a, D(c, "a + b")));
  assert_true(dim_uses(D(c, "2*a + Min(b, 7)"), b));
  assert_false(dim_uses(D(c, "2*a"), b));
}

static Dim replace(void *arg, Dim sym) { return sym->name[0] == 'a' ? arg : NULL; }

/* A number from data may be negative, an extent may not; what is made of one remembers it. */
static void test_data(void **state) {
  CTX;
  Dim d = dim_data(c, "data", INT64_MIN, INT64_MAX), i = dim_data(c, "data", INT32_MIN, INT32_MAX);
  Dim zero = dim_const(c, 0), n = D(c, "n");
  assert_ptr_not_equal(d, i);
  assert_true(d->data && dim_add(c, d, n)->data && dim_max(c, zero, dim_mul(c, n, i))->data);
  assert_false(n->data || dim_add(c, n, zero)->data || dim_sub(c, dim_add(c, d, n), d)->data);
  assert_false(dim_at_least(c, d, zero));
  assert_true(dim_at_least(c, n, zero));
  assert_true(dim_at_least(c, dim_max(c, zero, d), zero));
  assert_int_equal(dim_add(c, i, dim_const(c, 1))->hi, (int64_t)INT32_MAX + 1);
}

static void test_substitute(void **state) {
  CTX;
  assert_ptr_equal(dim_substitute(c, D(c, "a*(b + 1)//2"), replace, (void *)(uintptr_t)dim_const(c, 4)),
                   D(c, "2*b + 2"));
  assert_ptr_equal(dim_substitute(c, D(c, "Min(a, b)"), replace, (void *)(uintptr_t)D(c, "b")), D(c, "b"));
}

static void test_exporter_texts(void **state) {
  CTX;
  SAME("Min(512, s)", "Min(s, 512)");
  SAME("floor(a/b)", "a//b");
  SAME("floor(a/2 + 1/2)", "(a + 1)//2");
  SAME("floor(a/2 - 1/2) + 1", "(a - 1)//2 + 1");
  SAME("CeilToInt(FloatTrueDiv(x, 2))", "(x + 1)//2");
  SAME("CeilToInt(IntTrueDiv(x, 2))", "ceiling(x/2)");
  SAME("FloorDiv(x + 1, 2)", "(x+1)//2");
  SAME("PythonMod(s0, 8)", "s0 % 8");
  SAME("2*s0", "s0*2");
  SAME("(s0*s1)/s1", "s0");
  SAME("8*(s77//8)", "(s77//8)*8");
  assert_int_equal(value(c, "floor(a/2 + 1/2)", 7, 0), 4);
  assert_int_equal(value(c, "a - 2*floor(a/2)", 7, 0), 1);
  assert_int_equal(value(c, "2*a**3", 3, 0), 54);
}

static void is_symbol(Ctx *c, const char *name) {
  Dim d = D(c, name);
  assert_int_equal(d->kind, DIM_SYM);
  assert_string_equal(d->name, name);
}

static void test_weird_names(void **state) {
  CTX;
  static const char *const name[] = {"batch_size",
                                     "unk__0",
                                     "batch-size",
                                     "past_sequence_length-x",
                                     "?",
                                     "N.A.",
                                     "",
                                     " ",
                                     "None",
                                     "a b",
                                     "a,b",
                                     "3d",
                                     "Foo(a)",
                                     "a**b",
                                     "a**9",
                                     "floor(a",
                                     "((a)",
                                     "a+",
                                     "*",
                                     "-",
                                     "--",
                                     "'",
                                     "'a",
                                     "\xe6\x89\xb9",
                                     "a\nb",
                                     "it's",
                                     "back\\slash",
                                     "99999999999999999999",
                                     "Min()",
                                     "Mod(a)",
                                     "floor(a, b)",
                                     "x y z",
                                     "FloatPow(a, 2)",
                                     "1.5*a"};
  for (size_t i = 0; i < countof(name); i++)
    is_symbol(c, name[i]);
}

static void test_garbage(void **state) {
  CTX;
  static char text[200001];
  const char *rest;
  static const char chars[] = "()()-+*/%,'\\ aMinx09";
  uint32_t seed = 7;
  for (int round = 0; round < 300; round++) {
    size_t n = round < 290 ? 40 : 4000;
    for (size_t i = 0; i < n; i++)
      text[i] = chars[((seed = seed * 1664525 + 1013904223) >> 16) % (sizeof chars - 1)];
    assert_non_null(dim_parse(c, text, n));
  }
  const char *fill[] = {"(", "-", "'", "Min(", "floor(", "((((-", "a*", "-(", "**"};
  for (size_t k = 0; k < countof(fill); k++) {
    size_t n = 0, step = strlen(fill[k]);
    for (; n + step < sizeof text; n += step)
      memcpy(text + n, fill[k], step);
    assert_non_null(dim_parse(c, text, 4000));
    assert_non_null(dim_parse(c, text, n));
    dim_parse_prefix(c, text, text + n, &rest);
    assert_true(rest >= text && rest <= text + n);
  }
  const char *closed = "a + b]";
  assert_non_null(dim_parse_prefix(c, closed, closed + 6, &rest));
}

/* Shared parts make an expression 2^60 large when written out; it becomes a symbol long before. */
static void test_sharing_is_bounded(void **state) {
  CTX;
  Dim x = D(c, "a"), y = D(c, "b");
  for (int i = 0; i < 60; i++) {
    Dim z = dim_max(c, dim_div(c, x, dim_add(c, y, dim_const(c, 1))), dim_mod(c, y, dim_add(c, x, dim_const(c, 3))));
    x = y, y = z;
    assert_true(y->size <= 2000);
  }
  assert_true(strlen(dim_text(c, y)) < 20000);
}

static Status use_and_fail(Ctx *c, void *arg) {
  (void)arg;
  dim_sym(c, "inner");
  return ST_INVALID;
}

static void test_table_goes_with_its_arena(void **state) {
  CTX;
  assert_null(c->dims);
  assert_int_equal(ctx_protect(c, use_and_fail, NULL), ST_INVALID);
  Dim d = dim_sym(c, "outer"); /* the first table was freed with what the protected function made */
  assert_string_equal(d->name, "outer");
  dim_release(c);
  assert_null(c->dims);
  assert_string_equal(dim_sym(c, "again")->name, "again");
}

/* --- random expressions --- */

static uint32_t seed = 12345;
static uint32_t rnd(uint32_t n) {
  seed = seed * 1664525 + 1013904223;
  return (seed >> 8) % n;
}

typedef struct Tree {
  int kind; /* DimKind */
  int64_t value;
  struct Tree *x, *y;
} Tree;

static Tree pool[64];
static int npool;

static Tree *random_tree(int depth) {
  Tree *t = &pool[npool++];
  if (!depth || !rnd(4)) {
    *t = rnd(2) ? (Tree){DIM_CONST, (int64_t)rnd(9) - 3, NULL, NULL} : (Tree){DIM_SYM, rnd(3), NULL, NULL};
    return t;
  }
  int kind = DIM_ADD + (int)rnd(7);
  Tree *x = random_tree(depth - 1), *y = random_tree(depth - 1);
  *t = (Tree){kind, 0, x, y};
  return t;
}

static Dim build(Ctx *c, const Tree *t) {
  static const char *const name[] = {"a", "b", "c"};
  if (t->kind == DIM_CONST)
    return dim_const(c, t->value);
  if (t->kind == DIM_SYM)
    return dim_sym(c, name[t->value]);
  Dim x = build(c, t->x), y = build(c, t->y);
  Dim (*const fn[])(Ctx *, Dim,
                    Dim) = {[DIM_ADD] = dim_add, [DIM_MUL] = dim_mul, [DIM_DIV] = dim_div,    [DIM_MOD] = dim_mod,
                            [DIM_MIN] = dim_min, [DIM_MAX] = dim_max, [DIM_BCAST] = dim_bcast};
  return fn[t->kind](c, x, y);
}

/* What the tree means, computed directly; false: it has no value. */
static bool direct(const Tree *t, const Env *e, int64_t *v) {
  int64_t x, y;
  if (t->kind == DIM_CONST)
    return *v = t->value, true;
  if (t->kind == DIM_SYM)
    return *v = e->v[t->value], true;
  if (!direct(t->x, e, &x) || !direct(t->y, e, &y))
    return false;
  int64_t q = 0;
  if (t->kind == DIM_DIV || t->kind == DIM_MOD) {
    if (!y)
      return false;
    q = x / y - (x % y && (x < 0) != (y < 0));
  }
  switch (t->kind) {
  case DIM_ADD: *v = x + y; break;
  case DIM_MUL: *v = x * y; break;
  case DIM_DIV: *v = q; break;
  case DIM_MOD: *v = x - q * y; break;
  case DIM_MIN: *v = x < y ? x : y; break;
  case DIM_MAX: *v = x > y ? x : y; break;
  default:
    if (x != y && x != 1 && y != 1)
      return false;
    *v = x == 1 ? y : x;
  }
  return true;
}

static void test_random_expressions(void **state) {
  CTX;
  int compared = 0, unknown = 0;
  for (int round = 0; round < 4000; round++) {
    npool = 0;
    Tree *t = random_tree(4);
    Dim d = build(c, t);
    const char *text = dim_text(c, d);
    assert_ptr_equal(dim_parse(c, text, strlen(text)), d);
    for (int k = 0; k < 8; k++) {
      Env e = {{rnd(7), rnd(7), rnd(30)}};
      int64_t want, got;
      if (!direct(t, &e, &want))
        continue;
      if (!dim_eval(d, lookup, &e, &got)) {
        unknown++;
        continue;
      }
      compared++;
      if (got != want)
        print_error("%s at a=%d b=%d c=%d\n", text, (int)e.v[0], (int)e.v[1], (int)e.v[2]);
      assert_int_equal(got, want);
      assert_true(d->lo <= got && got <= d->hi);
    }
  }
  assert_true(compared > 8000);
  if (unknown * 50 > compared)
    print_error("%d of %d have no value any more\n", unknown, compared);
  assert_true(unknown * 50 <= compared);
}

/* What is too large to be written out is no extent: it may be negative. Min(0, v) * v is so for a long sum v, and then v is not
 * known to be above 0. */
static void test_too_large_may_be_negative(void **state) {
  CTX;
  Dim v = dim_const(c, 0), zero = v, none;
  for (int i = 0; i < 30; i++)
    v = dim_add(c, v, dim_data(c, "data", INT64_MIN, INT64_MAX));
  none = dim_mul(c, v, dim_max(c, dim_const(c, -1), dim_min(c, zero, v)));
  assert_true(none->lo < 0);
  assert_false(dim_at_least(c, zero, dim_sub(c, v, none)));
  assert_false(dim_is(dim_max(c, zero, dim_sub(c, v, none)), 0));
  assert_true(dim_div(c, v, zero)->lo < 0);
}

/* The larger of several is at least each of them, whatever lies in data. */
static void test_at_least_of_several(void **state) {
  CTX;
  Dim s = dim_sym(c, "s"), d = dim_data(c, "data", INT32_MIN, INT32_MAX), one = dim_const(c, 1);
  assert_true(dim_at_least(c, dim_max(c, s, d), s) && dim_at_least(c, dim_max(c, s, d), d));
  assert_true(dim_at_least(c, dim_max(c, dim_add(c, s, one), d), s));
  assert_true(dim_at_least(c, s, dim_min(c, s, d)) && dim_at_least(c, d, dim_min(c, s, d)));
  assert_false(dim_at_least(c, dim_min(c, s, d), s) || dim_at_least(c, s, dim_max(c, s, d)));
}

static void test_print(void **state) {
  CTX;
  static const char *const text[][2] = {{"1+a", "a + 1"},
                                        {"a-1", "a - 1"},
                                        {"-a", "-a"},
                                        {"a//2*3", "3*(a//2)"},
                                        {"2*(a//3)*b", "2*b*(a//3)"},
                                        {"Min(a,b)", "Min(a, b)"},
                                        {"'odd name' + 1", "'odd name' + 1"},
                                        {"(a*b)//(c+1)", "(a*b)//(c + 1)"}};
  for (size_t i = 0; i < countof(text); i++) {
    dim_release(c);
    dim_sym(c, "a"), dim_sym(c, "b"), dim_sym(c, "c");
    assert_string_equal(dim_text(c, D(c, text[i][0])), text[i][1]);
  }
}

static void test_text_round_trip_of_names(void **state) {
  CTX;
  char longest[3000];
  memset(longest, 'n', sizeof longest - 1);
  longest[sizeof longest - 1] = 0;
  longest[300] = '#';
  const char *name[] = {"a b", "it's",       "back\\slash", "\\x41",   "tab\there", "\xc3\xa9t\xc3\xa9",
                        "",    "batch-size", "2x",          "a'b\\'c", longest};
  for (size_t i = 0; i < countof(name); i++) {
    Dim d = dim_add(c, dim_mul(c, dim_const(c, 2), dim_sym(c, name[i])), dim_const(c, INT64_MIN));
    const char *text = dim_text(c, d);
    assert_ptr_equal(dim_parse(c, text, strlen(text)), d);
  }
}

int main(void) {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
  const struct CMUnitTest tests[] = {T(test_normal_form),
                                     T(test_products_of_long_sums),
                                     T(test_division),
                                     T(test_overflow),
                                     T(test_min_max),
                                     T(test_broadcast_and_difference),
                                     T(test_data),
                                     T(test_substitute),
                                     T(test_exporter_texts),
                                     T(test_weird_names),
                                     T(test_garbage),
                                     T(test_sharing_is_bounded),
                                     T(test_table_goes_with_its_arena),
                                     T(test_random_expressions),
                                     T(test_too_large_may_be_negative),
                                     T(test_at_least_of_several),
                                     T(test_print),
                                     T(test_text_round_trip_of_names)};
  return cmocka_run_group_tests_name("dim", tests, NULL, NULL);
}
