/* test_upgrade.c - nodes of old opsets, loaded and run: every row of the table of upgrade steps against upgrade.txt; operators of
 * com.microsoft that are imported as others against microsoft.txt and the files beside it.
 *
 * A case is one node; its inputs (`in` given to the run, `init` stored in the model, `in -` absent) and outputs are
 * tensors as in tests/op/harness.h (`out -`: not wanted; `out ?`: not compared). Each case is run with the shapes of its inputs declared, with a symbol for every
 * extent, and with unknown ranks, where a step may also say that it needs to know more.
 * SPDX-License-Identifier: Apache-2.0 */
#include "frontend/upgrade.h"
#include "include/sard.h"
#include "tests/frontend/pb.h"
#include "tests/op/harness.h"

#include <ctype.h>

enum { MOST = 20 };
typedef enum { STATIC, SYMBOLS, UNKNOWN, MODES } Mode;

typedef struct Old {
  char op[64], note[64], attrs[512], error[128];
  int opset, nin, nout, line;
  Tensor *in[MOST], *out[MOST]; /* NULL: absent input; output that is not compared */
  bool init[MOST], gone[MOST];  /* gone: an output that is not wanted */
  bool compiled;                /* may not need the reference */
  double tol;
} Old;

/* --- the model --- */

static void put_list(Pb *a, const char *text) {
  bool f = strchr(text, '.') || strstr(text, "e-"), words = isalpha((unsigned char)text[1]);
  int64_t n = 0;
  for (const char *p = text + 1; *p && *p != ']'; p += *p == ',', n++) {
    char *end;
    if (words) {
      char word[32] = "";
      end = (char *)(uintptr_t)(p + strcspn(p, ",]"));
      memcpy(word, p, (size_t)(end - p) < sizeof word ? (size_t)(end - p) : 0);
      pb_str(a, 9, word);
    } else if (f)
      pb_f32(a, 7, strtof(p, &end));
    else
      pb_int(a, 8, strtoll(p, &end, 10));
    p = end;
  }
  pb_int(a, 20, words ? 8 : f ? 6 : 7);
}

static void put_attr(Pb *node, const char *name, const char *text) {
  Pb a = {0};
  pb_str(&a, 1, name);
  if (*text == '[') {
    put_list(&a, text);
  } else if (strchr("-0123456789", *text) && (strchr(text, '.') || strstr(text, "e-"))) {
    pb_f32(&a, 2, strtof(text, NULL));
    pb_int(&a, 20, 1);
  } else if (strchr("-0123456789", *text)) {
    pb_int(&a, 3, strtoll(text, NULL, 10));
    pb_int(&a, 20, 2);
  } else {
    pb_str(&a, 4, text);
    pb_int(&a, 20, 3);
  }
  pb_msg(node, 5, &a);
}

static void put_io(Pb *graph, int field, const char *name, const Tensor *t, Mode mode) {
  Pb info = {0}, type = {0}, tensor = {0}, shape = {0};
  pb_str(&info, 1, name);
  if (t) {
    pb_int(&tensor, 1, t->dtype);
    for (int i = 0; i < t->rank; i++) {
      Pb dim = {0};
      char sym[16];
      snprintf(sym, sizeof sym, "%s_%d", name, i);
      if (mode == STATIC)
        pb_int(&dim, 1, t->dim[i]);
      else
        pb_str(&dim, 2, sym);
      pb_msg(&shape, 1, &dim);
    }
    if (mode != UNKNOWN)
      pb_msg(&tensor, 2, &shape);
    pb_free(&shape);
    pb_msg(&type, 1, &tensor);
    pb_msg(&info, 2, &type);
  }
  pb_msg(graph, field, &info);
}

static void put_init(Pb *graph, const char *name, const Tensor *t) {
  Pb p = {0};
  for (int i = 0; i < t->rank; i++)
    pb_int(&p, 1, t->dim[i]);
  pb_int(&p, 2, t->dtype);
  pb_str(&p, 8, name);
  pb_bytes(&p, 9, t->data, tensor_bytes(t));
  pb_msg(graph, 5, &p);
}

static void put_attrs(Pb *node, const char *text) {
  char copy[512], *save = NULL;
  snprintf(copy, sizeof copy, "%s", text);
  for (char *w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
    char *eq = strchr(w, '=');
    *eq = 0;
    put_attr(node, w, eq + 1);
  }
}

static Pb make_model(Arena *a, const Old *k, Mode mode) {
  Pb model = {0}, graph = {0}, node = {0}, opset = {0};
  char name[16];
  const char *dot = strrchr(k->op, '.'), *op = dot ? dot + 1 : k->op;
  const char *domain = dot                            ? arena_printf(a, "%.*s", (int)(dot - k->op), k->op)
                       : op_find("ai.onnx.ml", k->op) ? "ai.onnx.ml"
                                                      : "";
  for (int i = 0; i < k->nin; i++) {
    snprintf(name, sizeof name, "x%d", i);
    pb_str(&node, 1, k->in[i] ? name : "");
  }
  for (int i = 0; i < k->nout; i++) {
    snprintf(name, sizeof name, "y%d", i);
    pb_str(&node, 2, k->gone[i] ? "" : name);
  }
  pb_str(&node, 3, "old");
  pb_str(&node, 4, op);
  pb_str(&node, 7, domain);
  put_attrs(&node, k->attrs);
  pb_msg(&graph, 1, &node);
  pb_str(&graph, 2, "g");
  for (int i = 0; i < k->nin; i++) {
    snprintf(name, sizeof name, "x%d", i);
    if (k->in[i] && k->init[i])
      put_init(&graph, name, k->in[i]);
    else if (k->in[i])
      put_io(&graph, 11, name, k->in[i], mode);
  }
  for (int i = 0; i < k->nout; i++) {
    snprintf(name, sizeof name, "y%d", i);
    if (!k->gone[i])
      put_io(&graph, 12, name, NULL, mode);
  }
  pb_int(&model, 1, 8);
  pb_str(&opset, 1, domain);
  pb_int(&opset, 2, k->opset);
  pb_msg(&model, 7, &graph);
  pb_msg(&model, 8, &opset);
  return model;
}

/* --- running --- */

static bool compare(Harness *h, const Old *k, const sard_result *r) {
  bool ok = true;
  size_t at = 0;
  for (int i = 0; i < k->nout; i++) {
    sard_tensor t;
    size_t here = at;
    at += !k->gone[i];
    if (!k->out[i])
      continue;
    assert_int_equal(sard_result_tensor(r, here, &t), SARD_OK);
    Tensor got = {.dtype = (DType)t.dtype, .rank = (int8_t)t.rank, .data = t.data};
    memcpy(got.dim, t.dim, sizeof got.dim);
    ok = h_equal(h, &got, k->out[i], k->tol ? k->tol : h_tolerance(got.dtype)) && ok;
  }
  return ok;
}

/* "": passed. */
static const char *run(Harness *h, const Old *k, Mode mode, bool *right) {
  Pb model = make_model(h->a, k, mode);
  sard_model *m = NULL;
  sard_result *r = NULL;
  sard_error *e = NULL;
  sard_tensor in[MOST] = {0};
  sard_options o = SARD_OPTIONS_INIT;
  size_t n = 0;
  for (int i = 0; i < k->nin; i++)
    if (k->in[i] && !k->init[i]) {
      in[n] = (sard_tensor){.data = k->in[i]->data, .dtype = (sard_dtype)k->in[i]->dtype, .rank = k->in[i]->rank};
      memcpy(in[n++].dim, k->in[i]->dim, sizeof in[0].dim);
    }
  const char *text = "";
  *right = true;
  o.allow_reference = mode != STATIC || !k->compiled; /* extents of all axes are not known together in models */
  if (sard_load_bytes(NULL, model.b, model.n, NULL, &o, &m, &e) || sard_run(m, in, n, NULL, &r, &e))
    text = arena_strdup(h->a, sard_error_text(e));
  else
    *right = compare(h, k, r);
  sard_result_free(r);
  sard_model_free(m);
  sard_error_free(e);
  pb_free(&model);
  return text;
}

static bool run_case(Harness *h, const Old *k) {
  bool ok = true, right;
  char where[192];
  for (Mode mode = 0; mode < MODES; mode++) {
    static const char *const name[] = {"static", "symbols", "unknown ranks"};
    snprintf(where, sizeof where, "line %d: %s %d%s (%s)", k->line, k->op, k->opset, k->note, name[mode]);
    h->where = where;
    const char *error = run(h, k, mode, &right);
    bool needs_more = mode == UNKNOWN && (strstr(error, "unknown rank") || strstr(error, "not constant"));
    bool good = *k->error ? *error && (strstr(error, k->error) || mode == UNKNOWN) : (!*error && right) || needs_more;
    if (!good)
      print_error("%s: %s\n", where, *error ? error : right ? "no error" : "other values");
    ok = ok && good;
  }
  return ok;
}

/* --- the file --- */

static void read_line(Harness *h, Old *k, char *line) {
  if (!strncmp(line, "op ", 3)) {
    if (sscanf(line + 3, "%63s %d%63[^\n]", k->op, &k->opset, k->note) < 2)
      fail_msg("bad line: %s", line);
  } else if (!strncmp(line, "attr ", 5)) {
    snprintf(k->attrs, sizeof k->attrs, "%.500s", line + 5);
  } else if (!strncmp(line, "in ", 3) || !strncmp(line, "init ", 5)) {
    const char *text = strchr(line, ' ') + 1;
    k->init[k->nin] = line[2] == 'i';
    k->in[k->nin++] = *text == '-' ? NULL : h_tensor(h, text);
  } else if (!strncmp(line, "out ", 4)) {
    k->gone[k->nout] = line[4] == '-' && !line[5];
    bool none = line[4] == '?' || k->gone[k->nout];
    k->out[k->nout++] = none ? NULL : h_tensor(h, line + 4);
  } else if (!strncmp(line, "tol ", 4)) {
    k->tol = strtod(line + 4, NULL);
  } else if (!strncmp(line, "error ", 6)) {
    snprintf(k->error, sizeof k->error, "%.120s", line + 6);
  } else {
    fail_msg("bad line: %s", line);
  }
}

static void mark_rows(const Old *k, bool *seen) {
  const char *op;
  int opset;
  for (uint32_t i = 0; upgrade_info(i, &op, &opset); i++)
    if (!strcmp(op, k->op) && (k->opset < opset || !opset))
      seen[i] = true;
}

/* Bodies and containers: test_import.c, tests/runtime/test_dynamic.py. */
static bool tested_elsewhere(const char *op) {
  return !strcmp(op, "Scan") || !strcmp(op, "SequenceMap") || !strcmp(op, "Optional");
}

/* How many cases a file has; all must pass, and `compiled` without a step of the reference, where extents are known. */
static int run_file(const char *path, bool compiled, bool *seen) {
  static char line[32768];
  FILE *f = fopen(path, "r");
  assert_non_null(f);
  Harness h;
  h_open(&h);
  Old k = {0};
  int failed = 0, count = 0, number = 0;
  for (bool more = true; more;) {
    more = fgets(line, sizeof line, f) != NULL;
    number++;
    if (more && *line == '#')
      continue;
    if (more && *line != '\n') {
      line[strcspn(line, "\n")] = 0;
      if (!*k.op)
        k.line = number;
      read_line(&h, &k, line);
      continue;
    }
    if (*k.op) {
      mark_rows(&k, seen);
      k.compiled = compiled;
      failed += !run_case(&h, &k), count++;
    }
    k = (Old){0};
  }
  fclose(f);
  h_close(&h);
  assert_int_equal(failed, 0);
  return count;
}

static void test_microsoft(void **state) {
  static const char *const files[] = {"microsoft.txt", "microsoft_quantised.txt", "microsoft_others.txt",
                                      "microsoft_attentions.txt"};
  static bool seen[512];
  (void)state;
  for (size_t i = 0; i < countof(files); i++) {
    char path[256];
    snprintf(path, sizeof path, "%s/frontend/%s", TEST_DIR, files[i]);
    assert_true(run_file(path, true, seen) > 10);
  }
}

static void test_cases(void **state) {
  static bool seen[512];
  (void)state;
  assert_true(run_file(TEST_DIR "/frontend/upgrade.txt", false, seen) > 100);
  const char *op;
  int opset;
  for (uint32_t i = 0; upgrade_info(i, &op, &opset); i++)
    if (!seen[i] && !tested_elsewhere(op))
      fail_msg("no case for %s before opset %d", op, opset);
}

/* The table is searched by halving. */
static void test_order(void **state) {
  (void)state;
  const char *op, *last = "";
  int opset, before = 0;
  for (uint32_t i = 0; upgrade_info(i, &op, &opset); i++) {
    int d = strcmp(last, op);
    assert_true(d < 0 || (!d && (before <= opset || !opset)));
    last = op, before = opset;
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_order), cmocka_unit_test(test_cases),
                                     cmocka_unit_test(test_microsoft)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
