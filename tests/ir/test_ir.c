/* test_ir.c - golden tests of the text form and of the passes: every .ir file of tests/ir.
 *
 *     # anything
 *     bind batch=2 seq=5           values of symbols in the run; others count up from 2
 *     range x=0..9                 what random integers of input x may be (default 0..3), or floats (default -1..1)
 *     rtol 1e-4                    default 1e-5
 *     graph "before" { … }
 *     --- fold algebra             passes by name, or `all`
 *     graph "before" { … }         what comes out
 *
 * The graph is run before and after on random inputs, and the results must agree. SARD_BLESS=1 writes what came out into
 * the files, to be reviewed as a diff.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#undef fail /* ctx.h has a function of that name */

#include "ir/infer.h"
#include "passes/pass.h"
#include "tests/ir/interp.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define die(...) (print_error(__VA_ARGS__), print_error("\n"), _fail(__FILE__, __LINE__))

typedef struct Case {
  Ctx *c;
  Arena *a;
  const char *path;
  char *text;
  size_t n;
  const char *graph, *rule, *after; /* where the parts begin; rule: the `---` line */
  char *bind, *range;
  double rtol;
} Case;

/* --- reading --- */

static char *read_file(const char *path, size_t *n) {
  FILE *f = fopen(path, "rb");
  if (!f)
    return NULL;
  fseek(f, 0, SEEK_END);
  long size = ftell(f);
  rewind(f);
  char *t = malloc((size_t)size + 1);
  *n = fread(t, 1, (size_t)size, f);
  t[*n] = 0;
  fclose(f);
  return t;
}

static char *header_line(Case *k, const char *word) {
  size_t len = strlen(word);
  for (const char *p = k->text; p < k->graph; p = strchr(p, '\n') + 1)
    if (!strncmp(p, word, len) && p[len] == ' ')
      return arena_strndup(k->a, p + len + 1, strcspn(p, "\n") - len - 1);
  return NULL;
}

static bool split(Case *k) {
  k->graph = !strncmp(k->text, "graph ", 6) ? k->text : strstr(k->text, "\ngraph ");
  if (!k->graph || !(k->rule = strstr(k->graph, "\n--- ")))
    return false;
  k->graph += *k->graph == '\n', k->rule++;
  k->after = strchr(k->rule, '\n');
  k->after = k->after ? k->after + 1 : k->text + k->n;
  k->bind = header_line(k, "bind"), k->range = header_line(k, "range");
  char *rtol = header_line(k, "rtol");
  k->rtol = rtol ? strtod(rtol, NULL) : 1e-5;
  return true;
}

/* --- running --- */

/* `name=` in a list of words; NULL: not there. */
static const char *setting(const char *list, const char *name) {
  size_t n = strlen(name);
  for (const char *p = list; p && *p; p += strcspn(p, " "), p += strspn(p, " "))
    if (!strncmp(p, name, n) && p[n] == '=')
      return p + n + 1;
  return NULL;
}

typedef struct Binding {
  Case *k;
  Dim seen[64];
  int n, shift;
} Binding;

static bool extent_of(void *arg, Dim sym, int64_t *v) {
  Binding *b = arg;
  const char *s = setting(b->k->bind, sym->name);
  int i = 0;
  while (i < b->n && b->seen[i] != sym)
    i++;
  if (i == b->n && b->n < 64)
    b->seen[b->n++] = sym;
  *v = (s ? strtoll(s, NULL, 10) : 2 + i) + b->shift;
  return true;
}

static double uniform(uint64_t *seed) {
  *seed = hash_bytes(seed, sizeof *seed, 7);
  return (double)(*seed >> 11) / 9007199254740992.0;
}

static Tensor *random_tensor(Case *k, const Value *v, Binding *b, uint64_t *seed) {
  int64_t d[MAX_RANK];
  Tensor *t;
  for (int i = 0; i < v->type.rank; i++)
    assert_true(dim_eval(v->type.dim[i], extent_of, b, &d[i]));
  assert_int_equal(tensor_new(k->c, k->a, v->type.dtype, v->type.rank, d, &t), ST_OK);
  bool real = dtype_is_float(t->dtype);
  const char *r = setting(k->range, v->name);
  char *end;
  double lo = r ? strtod(r, &end) : real ? -1 : 0, hi = r ? strtod(end + 2, NULL) : real ? 1 : t->dtype == DT_bool ? 1 : 3;
  for (int64_t i = 0, n = tensor_count(t); i < n; i++) {
    double u = uniform(seed);
    if (real)
      elem_set_f64(t->dtype, t->data, i, lo == hi ? lo : lo + u * (hi - lo));
    else
      elem_set_i64(t->dtype, t->data, i, (int64_t)floor(lo + u * (hi - lo + 1)));
  }
  return t;
}

static void compare(Case *k, const char *name, const Tensor *x, const Tensor *y) {
  char a[200], b[200];
  if (x->dtype != y->dtype || !tensor_same_shape(x, y))
    die("%s: %%%s is %s before and %s after", k->path, name, tensor_type_text(x, a, sizeof a), tensor_type_text(y, b, sizeof b));
  double top = 0, off = 0;
  for (int64_t i = 0, n = tensor_count(x); i < n && x->dtype != DT_str; i++) {
    double p = elem_f64(x->dtype, x->data, i), q = elem_f64(y->dtype, y->data, i);
    if (isnan(p) && isnan(q))
      continue;
    top = fmax(top, fabs(p)), off = fmax(off, p == q ? 0 : isnan(p) || isnan(q) ? INFINITY : fabs(p - q));
  }
  if (off > k->rtol * fmax(top, 1e-30))
    die("%s: %%%s differs by %g before and after (largest %g)", k->path, name, off, top);
}

static void fail_case(Case *k, const char *what) {
  die("%s: %s: %s (%s %s)", k->path, what, k->c->err.message, k->c->err.op, k->c->err.node);
}

static Graph *parse(Case *k, const char *what, const char *text, size_t n) {
  Graph *g = NULL;
  if (graph_parse(k->c, text, n, k->path, &g))
    fail_case(k, what);
  if (graph_verify(k->c, g))
    fail_case(k, "verifying what was parsed");
  return g;
}

static char *print(Case *k, const Graph *g) {
  StrBuf b;
  buf_init(&b, k->a);
  graph_print(&b, g, NULL);
  return b.text;
}

/* Both graphs on the same random inputs, twice with other extents of the symbols. */
static void check_meaning(Case *k, Graph *before, Graph *after) {
  for (int round = 0; round < 2; round++) {
    uint64_t seed = 11 + (uint64_t)round;
    Binding b = {.k = k, .shift = round && !k->bind ? 1 : 0};
    Tensor **in = arena_array(k->a, Tensor *, before->nin);
    const Tensor **x = arena_array(k->a, const Tensor *, before->nout), **y = arena_array(k->a, const Tensor *, before->nout);
    for (uint32_t i = 0; i < before->nin; i++)
      in[i] = random_tensor(k, before->in[i], &b, &seed);
    if (interp_run(k->c, k->a, before, in, x))
      fail_case(k, "running the graph before");
    if (interp_run(k->c, k->a, after, in, y))
      fail_case(k, "running the graph after");
    assert_int_equal(before->nout, after->nout);
    for (uint32_t i = 0; i < before->nout; i++) {
      assert_string_equal(before->out[i]->name, after->out[i]->name);
      compare(k, before->out[i]->name, x[i], y[i]);
    }
  }
}

static void run_passes(Case *k, Graph *g) {
  char *names = arena_strndup(k->a, k->rule + 4, strcspn(k->rule + 4, "\n"));
  for (char *p = strtok(names, " "); p; p = strtok(NULL, " ")) {
    static const PassOptions all = {.verify = true};
    if (strcmp(p, "all") ? pass_run(k->c, g, p) : passes_run(k->c, g, &all))
      fail_case(k, p);
    if (graph_verify(k->c, g))
      fail_case(k, "verifying after the pass");
  }
}

static void bless(Case *k, const char *got) {
  FILE *f = fopen(k->path, "wb");
  assert_non_null(f);
  fwrite(k->text, 1, (size_t)(k->after - k->text), f);
  fputs(got, f);
  fclose(f);
}

static void log_rule(void *arg, int level, const char *text) {
  (void)arg, (void)level;
  fprintf(stderr, "  %s\n", text);
}

static Status run_case(Ctx *c, void *arg) {
  Case *k = arg;
  k->a = arena_create(c);
  if (!split(k))
    die("%s: a graph, a line `--- pass`, and a graph are expected", k->path);
  size_t n = (size_t)(k->rule - k->graph);
  Graph *before = parse(k, "the graph before", k->graph, n), *g = parse(k, "the graph before", k->graph, n);
  char *text = print(k, before);
  assert_string_equal(print(k, parse(k, "what was printed", text, strlen(text))), text);
  if (graph_infer(c, before) || graph_infer(c, g))
    fail_case(k, "inference");
  run_passes(k, g);
  char *got = print(k, g);
  check_meaning(k, before, g);
  assert_string_equal(print(k, parse(k, "what came out", got, strlen(got))), got);
  if (getenv("SARD_BLESS"))
    bless(k, got);
  else if (strcmp(k->after, got))
    die("%s: not what was expected, but\n%s", k->path, got);
  return ST_OK;
}

static void test_file(void **state) {
  Case k = {.path = *state};
  Alloc alloc;
  Ctx c;
  alloc_init_system(&alloc);
  ctx_open(&c, &alloc);
  k.c = &c;
  if (getenv("SARD_LOG"))
    c.log = log_rule;
  k.text = read_file(k.path, &k.n);
  assert_non_null(k.text);
  Status st = ctx_protect(&c, run_case, &k);
  free(k.text);
  ctx_close(&c);
  assert_int_equal(st, ST_OK);
  assert_int_equal(alloc.used, 0);
}

static int by_name(const void *a, const void *b) {
  return strcmp(((const struct CMUnitTest *)a)->name, ((const struct CMUnitTest *)b)->name);
}

int main(int argc, char **argv) {
  static struct CMUnitTest tests[1024];
  size_t n = 0;
  const char *dir = TEST_DIR "/ir";
  DIR *d = opendir(dir);
  for (struct dirent *e; d && (e = readdir(d)) && n < countof(tests);) {
    size_t len = strlen(e->d_name);
    if (len < 4 || strcmp(e->d_name + len - 3, ".ir") || (argc > 1 && !strstr(e->d_name, argv[1])))
      continue;
    char *path = malloc(strlen(dir) + len + 2);
    sprintf(path, "%s/%s", dir, e->d_name);
    tests[n++] = (struct CMUnitTest){.name = path + strlen(dir) + 1, .test_func = test_file, .initial_state = path};
  }
  if (d)
    closedir(d);
  qsort(tests, n, sizeof tests[0], by_name);
  int failed = _cmocka_run_group_tests("ir", tests, n, NULL, NULL);
  for (size_t i = 0; i < n; i++)
    free(tests[i].initial_state);
  return failed;
}
