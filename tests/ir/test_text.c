/* test_text.c - the text form of graphs: every dtype and odd value survives printing and parsing; what is wrong is refused
 * with line and column; the verifier finds what is broken.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#undef fail /* ctx.h has a function of that name */

#include "ir/graph.h"
#include "ops/ops.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define die(...) (print_error(__VA_ARGS__), print_error("\n"), _fail(__FILE__, __LINE__))

static void in_ctx(Status (*fn)(Ctx *c, void *arg), void *arg) {
  Alloc alloc;
  Ctx c;
  alloc_init_system(&alloc);
  ctx_open(&c, &alloc);
  Status st = ctx_protect(&c, fn, arg);
  ctx_close(&c);
  assert_int_equal(st, ST_OK);
  assert_int_equal(alloc.used, 0);
}

static const char *text_of(const Graph *g, const PrintOptions *o) {
  StrBuf b;
  buf_init(&b, g->arena);
  graph_print(&b, g, o);
  return b.text;
}

/* --- printing and parsing give back the text --- */

static const char every_type[] = "graph \"types \\\"\\\\ \\x01 \xc3\xa4\" {\n"
                                 "  dim batch = 1..64\n"
                                 "  dim seq = 2..\n"
                                 "  in %x : f32[batch, 2*seq + 1, 'a b', Min(seq, 512), (seq + 3)//2, Mod(seq, 2)]\n"
                                 "  in %any : ?[*]\n"
                                 "  in %rank : f16[*]\n"
                                 "  in %box : seq(optional(f32[3]))\n"
                                 "  in %map : map(i64, seq(?))\n"
                                 "  in %\"a name: with \\\"quotes\\\"\" : bool[]\n"
                                 "  in %/layer.0/self-attn/x : f32[2]\n"
                                 "  const %f32 : f32[9] = {0, -0, 1.5, 0.1, -3.4028235e+38, 1e-45, inf, -inf, nan}\n"
                                 "  const %f64 : f64[2] = {0.1, 1.7976931348623157e+308}\n"
                                 "  const %f16 : f16[3] = {0.1, 65504, -inf}\n"
                                 "  const %bf16 : bf16[2] = {0.1, 3.39e+38}\n"
                                 "  const %f8a : f8e4m3fn[3] = {0.1, 448, nan}\n"
                                 "  const %f8b : f8e5m2[3] = {0.09375, inf, nan}\n"
                                 "  const %f8c : f8e4m3fnuz[2] = {0.5, -240}\n"
                                 "  const %f8d : f8e5m2fnuz[2] = {0.5, 57344}\n"
                                 "  const %f8e : f8e8m0[3] = {0.5, 2, nan}\n"
                                 "  const %f6a : f6e2m3[5] = {0.5, 1, 7.5, -7.5, 0.125}\n"
                                 "  const %f6b : f6e3m2[2] = {28, -0.25}\n"
                                 "  const %f4 : f4e2m1[3] = {0.5, -6, 1.5}\n"
                                 "  const %i64 : i64[2] = {-9223372036854775808, 9223372036854775807}\n"
                                 "  const %u64 : u64[2] = {0, 18446744073709551615}\n"
                                 "  const %i32 : i32[1] = {-2147483648}\n"
                                 "  const %u32 : u32[1] = {4294967295}\n"
                                 "  const %i16 : i16[1] = {-32768}\n"
                                 "  const %u16 : u16[1] = {65535}\n"
                                 "  const %i8 : i8[2] = {-128, 127}\n"
                                 "  const %u8 : u8[1] = {255}\n"
                                 "  const %i4 : i4[3] = {-8, 7, 0}\n"
                                 "  const %u4 : u4[3] = {15, 0, 1}\n"
                                 "  const %i2 : i2[5] = {-2, 1, 0, -1, 1}\n"
                                 "  const %u2 : u2[5] = {3, 0, 1, 2, 3}\n"
                                 "  const %b : bool[2] = {true, false}\n"
                                 "  const %s : str[2] = {\"\", \"a\\x00b\\\"\\\\\"}\n"
                                 "  const %c64 : c64[2] = {(1, -0.1), (inf, nan)}\n"
                                 "  const %c128 : c128[1] = {(0.1, 2)}\n"
                                 "  const %none : f32[0, 3] = {}\n"
                                 "  const %big : f32[100] = #0123456789abcdef\n"
                                 "  %q = SequenceConstruct(%f32, %f64, %f16, %bf16, %f8a, %f8b, %f8c, %f8d, %f8e, "
                                 "%f6a, %f6b, %f4, %i64, %u64, %i32, %u32, "
                                 "%i16, %u16, %i8, %u8, %i4, %u4, %i2, %u2, %b, %s, %c64, %c128, %none, %big)\n"
                                 "  out %q\n"
                                 "}\n";

/* The types of outputs are printed too; inference is not run here. */
static char *with_types(const char *text) {
  const char *at = strstr(text, "%q = ");
  size_t n = strlen(text) + 16;
  char *r = malloc(n);
  snprintf(r, n, "%.*s%%q : ?[*] = %s", (int)(at - text), text, at + 5);
  return r;
}

static Status round_trip(Ctx *c, void *arg) {
  const char *text = arg;
  Graph *g;
  if (graph_parse(c, text, strlen(text), "text", &g) || graph_verify(c, g))
    die("%s", c->err.message);
  assert_string_equal(text_of(g, NULL), text);
  return ST_OK;
}

static void test_every_type(void **state) {
  (void)state;
  char *text = with_types(every_type);
  in_ctx(round_trip, text);
  free(text);
}

static void test_bodies(void **state) {
  (void)state;
  static char text[] = "graph \"g\" {\n"
                       "  in %x : f32[4]\n"
                       "  in %c : bool[]\n"
                       "  in %n : i64[]\n"
                       "  const %zero : f32[] = {0}\n" /* the If needs it, in a body */
                       "  %y, _ : f32[4], _ = If(%c) body \"then\" {\n"
                       "    %a : f32[4] = LeakyRelu(%x) {alpha = inf}\n"
                       "    %b : f32[4] = Loop(%n, _, %a) body \"loop\" {\n"
                       "      in %i : i64[]\n"
                       "      in %more : bool[]\n"
                       "      in %v : f32[4]\n"
                       "      %w : f32[4] = Add(%v, %zero)\n"
                       "      out %more, %w\n"
                       "    }\n"
                       "    out %b, %a\n"
                       "  } body \"else\" {\n"
                       "    out %x, %x\n"
                       "  }\n"
                       "  const %z : i64[2] = {2, 2}\n"
                       "  %t : f32[2, 2] = ConstantOfShape(%z) {value = f32[1] {2.5}}\n"
                       "  out %y, %t\n"
                       "}\n";
  in_ctx(round_trip, text);
}

static Status options(Ctx *c, void *arg) {
  static const char text[] =
      "graph \"g\" {\n"
      "  in %x : f32[4]\n"
      "  const %k : f32[4] = {1, 2, 3, 4}\n"
      "  %y : f32[4] = Add(%x, %k) @ \"node 1\" \"layer.0\" \"model.py:88, in forward\" + \"node 2\" _ _\n"
      "  %z : f32[4] = Neg(%y)\n"
      "  out %z\n"
      "}\n";
  Graph *g;
  (void)arg;
  assert_int_equal(graph_parse(c, text, strlen(text), NULL, &g), ST_OK);
  assert_string_equal(
      text_of(g, &(PrintOptions){.origins = true}),
      "graph \"g\" {\n"
      "  in %x : f32[4]\n"
      "  const %k : f32[4] = {1, 2, 3, 4}\n"
      "  %y : f32[4] = Add(%x, %k) @ \"node 1\" \"layer.0\" \"model.py:88, in forward\" + \"node 2\" _ _\n"
      "  %z : f32[4] = Neg(%y) @ \"#1\" _ _\n"
      "  out %z\n"
      "}\n");
  const char *hashed = text_of(g, &(PrintOptions){.no_names = true, .no_types = true, .const_limit = 3});
  assert_non_null(strstr(hashed, "in %0\n"));
  assert_non_null(strstr(hashed, "const %1 : f32[4] = #"));
  assert_non_null(strstr(hashed, "%2 = Add(%0, %1)\n"));
  Graph *h;
  assert_int_equal(graph_parse(c, hashed, strlen(hashed), NULL, &h), ST_OK);
  assert_string_equal(text_of(h, &(PrintOptions){.no_names = true, .no_types = true, .const_limit = 3}), hashed);
  /* The pattern of a hash is the same every time, and of ordinary size. */
  const float *f = h->first->in[1]->konst->data;
  for (int i = 0; i < 4; i++)
    assert_true(fabsf(f[i]) <= 1);
  return ST_OK;
}

static void test_options(void **state) {
  (void)state;
  in_ctx(options, NULL);
}

/* New names do not collide with `_` and a number in the text. */
static Status made_up(Ctx *c, void *arg) {
  static const char text[] = "graph \"g\" {\n  in %_7 : f32[4]\n  %_9 : f32[4] = Neg(%_7)\n  out %_9\n}\n";
  Graph *g;
  (void)arg;
  assert_int_equal(graph_parse(c, text, strlen(text), NULL, &g), ST_OK);
  for (int i = 0; i < 10; i++)
    graph_emit(g, NULL, OP_Exp, NULL, NULL, 1, g->in);
  assert_int_equal(graph_verify(c, g), ST_OK);
  return ST_OK;
}

static void test_made_up_names(void **state) {
  (void)state;
  in_ctx(made_up, NULL);
}

/* --- what is wrong --- */

typedef struct Wrong {
  const char *text, *message;
} Wrong;

static Status refused(Ctx *c, void *arg) {
  const Wrong *w = arg;
  Graph *g;
  if (graph_parse(c, w->text, strlen(w->text), "file.ir", &g) != ST_INVALID)
    die("accepted: %s", w->text);
  if (strcmp(c->err.message, w->message))
    die("'%s' instead of '%s'", c->err.message, w->message);
  assert_string_equal(c->err.file, "file.ir");
  return ST_OK;
}

static void test_wrong(void **state) {
  (void)state;
  static const Wrong wrong[] = {
      {"", "1:1: 'graph' is missing here"},
      {"graph", "1:6: '\"' is missing here"},
      {"graph \"g", "1:7: the string does not end"},
      {"graph \"g\" {\n  in %x : f32[2]\n", "3:1: '}' is missing"},
      {"graph \"g\" {} x", "1:14: nothing may follow the graph"},
      {"graph \"g\" {\n  in %x : f33[2]\n}", "2:11: no such element type: f33"},
      {"graph \"g\" {\n  in %x : f32[2\n}", "3:1: ',' is missing here"},
      {"graph \"g\" {\n  in %x : f32[+]\n}", "2:15: a dimension is missing here, or its expression is wrong"},
      {"graph \"g\" {\n  in %x : f32[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]\n}", "2:47: more than 16 dimensions"},
      {"graph \"g\" {\n  in %x : seq(seq(seq(seq(seq(seq(seq(seq(seq(seq(f32[1]))))))))))\n}",
       "2:47: the type is nested too deep"},
      {"graph \"g\" {\n  in %x : f32[2]\n  in %x : f32[2]\n}", "3:6: %x is defined twice"},
      {"graph \"g\" {\n  %y = Neg(%x)\n}", "2:12: %x is not defined before this"},
      {"graph \"g\" {\n  in %x : f32[2]\n  %y = Nog(%x)\n}", "3:8: no such operator: Nog"},
      {"graph \"g\" {\n  in %x : f32[2]\n  %y = Neg(%x, %x)\n}", "3:8: Neg takes 1 to 1 inputs, not 2"},
      {"graph \"g\" {\n  in %x : f32[2]\n  %y, %z = Neg(%x)\n}", "3:12: Neg gives 1 to 1 outputs, not 2"},
      {"graph \"g\" {\n  in %x : f32[2]\n  %y = Elu(%x) {beta = 1}\n}", "3:17: Elu has no attribute 'beta'"},
      {"graph \"g\" {\n  in %x : f32[2]\n  %y = Elu(%x) {alpha = x}\n}", "3:25: not a number: x"},
      {"graph \"g\" {\n  in %x : f32[2]\n  %y = Concat(%x)\n}", "4:1: Concat needs the attribute 'axis'"},
      {"graph \"g\" {\n  in %x : f32[2]\n  %y = If(%x) body \"a\" {}\n}",
       "3:26: If has 2 bodies; 'body' is missing here"},
      {"graph \"g\" {\n  const %k : f32[2] = {1}\n}", "2:25: ',' is missing here"},
      {"graph \"g\" {\n  const %k : f32[2] = {1, 2, 3}\n}", "2:28: '}' is missing here"},
      {"graph \"g\" {\n  const %k : f32[n] = {1}\n}", "2:9: a constant has no symbolic dimensions"},
      {"graph \"g\" {\n  const %k : f32[*] = {1}\n}", "2:9: a constant has a known element type and shape"},
      {"graph \"g\" {\n  const %k : f32[-1] = {}\n}", "2:9: the constant is too large"},
      {"graph \"g\" {\n  const %k : f32[4294967296, 4294967296] = {}\n}", "2:9: the constant is too large"},
      {"graph \"g\" {\n  const %k : f32[100000] = {1, 2}\n}", "2:9: the constant is too large"},
      {"graph \"g\" {\n  const %k : f32[1000000000] = #1\n}", "2:9: the constant is too large"},
      {"graph \"g\" {\n  const %k : f32[2] = #0\n}", "2:25: a hash in hexadecimal, not 0, is missing here"},
      {"graph \"g\" {\n  const %k : i8[1] = {128}\n}", "2:23: 128 is no i8"},
      {"graph \"g\" {\n  const %k : i64[1] = {9223372036854775808}\n}",
       "2:24: not a 64-bit integer: 9223372036854775808"},
      {"graph \"g\" {\n  const %k : bool[1] = {1}\n}", "2:25: true or false is missing here"},
      {"graph \"g\" {\n  const %k : str[1] = {\"\\n\"}\n}", "2:25: no such escape: only \\\\, \\\" and \\xNN"},
      {"graph \"g\" {\n  in %\"\" : f32[2]\n}", "2:7: a name is not empty and holds no NUL"},
      {"graph \"g\" {\n  in %\"a\\x00\" : f32[2]\n}", "2:7: a name is not empty and holds no NUL"},
      {"graph \"g\" {\n  dim 3 = 1..2\n}", "2:7: a symbol is missing here"},
      {"graph \"g\" {\n  dim n = 5..2\n}", "2:7: an empty range"},
      {"graph \"g\" {\n  out %y\n}", "2:7: %y is not defined before this"},
      {"graph \"g\" {\n  out x\n}", "2:7: '%' is missing here"},
  };
  for (size_t i = 0; i < countof(wrong); i++)
    in_ctx(refused, (void *)(uintptr_t)&wrong[i]);
}

static Status refuse_any(Ctx *c, void *arg) {
  Graph *g;
  assert_int_equal(graph_parse(c, arg, strlen(arg), NULL, &g), ST_INVALID);
  return ST_OK;
}

static void test_nesting(void **state) {
  (void)state;
  static char text[64 * 10000];
  char *p = text + sprintf(text, "graph \"g\" { in %%c : bool[] ");
  for (int i = 0; i < 9000; i++)
    p += sprintf(p, "%%y%d = If(%%c) body \"\" { ", i);
  in_ctx(refuse_any, text);
  p = text + sprintf(text, "graph \"g\" { in %%c : f32[");
  memset(p, '(', sizeof text - 100);
  in_ctx(refuse_any, text);
}

/* Every prefix of a good text, and every text with one byte changed, is read or refused, never worse. */
static Status damaged(Ctx *c, void *arg) {
  const char *good = arg;
  size_t n = strlen(good);
  char *text = malloc(n + 1);
  uint64_t seed = 3;
  for (size_t i = 0; i < n + 3000; i++) {
    Graph *g = NULL;
    size_t len = i < n ? i : n;
    memcpy(text, good, n + 1);
    if (i >= n) {
      seed = hash_bytes(&seed, sizeof seed, 1);
      text[seed % n] = (char)(seed >> 32);
    }
    if (!graph_parse(c, text, len, NULL, &g)) {
      if (graph_verify(c, g))
        die("%s\n%s", c->err.message, text);
      graph_destroy(g);
    }
  }
  free(text);
  return ST_OK;
}

static void test_damaged(void **state) {
  (void)state;
  char *text = with_types(every_type);
  in_ctx(damaged, text);
  free(text);
}

/* --- the verifier --- */

static Graph *small(Ctx *c) {
  static const char text[] =
      "graph \"g\" {\n  in %x : f32[4]\n  %y : f32[4] = Neg(%x)\n  %z : f32[4] = Exp(%y)\n  out %z\n}\n";
  Graph *g;
  assert_int_equal(graph_parse(c, text, strlen(text), NULL, &g), ST_OK);
  assert_int_equal(graph_verify(c, g), ST_OK);
  return g;
}

static void break_order(Graph *g) { node_move_before(g->last, g->first); }
static void break_name(Graph *g) { value_rename(g->first->out[0], "x"); }
static void break_uses(Graph *g) { g->last->in[0] = g->in[0]; }
static void break_list(Graph *g) { g->last->prev = NULL; }
static void break_def(Graph *g) { g->last->out[0]->def = g->first; }
static void break_type(Graph *g) { g->first->out[0]->type.dim[0] = NULL; }
static void break_origin(Graph *g) { g->first->origin = NULL; }

static Status broken(Ctx *c, void *arg) {
  void (*const *fn)(Graph *) = arg;
  Graph *g = small(c);
  (*fn)(g);
  assert_int_equal(graph_verify(c, g), ST_INTERNAL);
  return ST_OK;
}

static void test_verify(void **state) {
  (void)state;
  static void (*fns[])(Graph *) = {break_order, break_name, break_uses,  break_list,
                                   break_def,   break_type, break_origin};
  for (size_t i = 0; i < countof(fns); i++)
    in_ctx(broken, &fns[i]);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_type), cmocka_unit_test(test_bodies),
                                     cmocka_unit_test(test_options),    cmocka_unit_test(test_made_up_names),
                                     cmocka_unit_test(test_wrong),      cmocka_unit_test(test_nesting),
                                     cmocka_unit_test(test_damaged),    cmocka_unit_test(test_verify)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
