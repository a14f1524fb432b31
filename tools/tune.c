/* tune.c - `sard tune`: measures other cuts of a model's products in runs of the whole model, and keeps the better ones.
 *
 * Cuts are tried one at a time, on all products at once; then each product gets what was best for it in each respect, together. What has
 * won is measured again, in turn with what it replaces, since the least of many measurements is always a lucky one.
 * SPDX-License-Identifier: Apache-2.0 */
#include "api/tune.h"
#include "codegen/product.h"
#include "runtime/cache.h"
#include "support/cpu.h"
#include "tools/inputs.h"
#include "tools/json.h"

#include <stdlib.h>
#include <string.h>

/* WORTH: the share of the time that a cut has to save, LEAST_RUNS: in which that is seen. */
static const double WORTH = 0.03;
enum { LEAST_RUNS = 5, RESPECTS = 4 };

/* All steps with products of one key. */
typedef struct Kind {
  uint64_t key;
  const char *name; /* of the first one's kernel */
  uint32_t steps;
  double ns[RESPECTS + 1]; /* the least of a run, by the best cut in this respect; the last: of what was best of all */
  ProductCut cut[RESPECTS + 1];
  double before, after; /* the least of a run */
} Kind;

typedef struct Tune {
  Tool *t;
  Kind *kind;
  uint32_t n;
  int trials;
  double before, after;
} Tune;

/* A model loaded with some cuts, and what its runs take. */
typedef struct Trial {
  Tune *u;
  Session *s;
  const sard_tensor *in;
  uint32_t *kind; /* by step; n: none */
  double *now;    /* by kind: of the run at hand, ns */
  double *least;  /* by kind: of all runs */
  double ms;      /* of the fastest run */
  int runs;
} Trial;

static void on_step(void *arg, const sard_step_time *x) {
  Trial *r = arg;
  if (r->kind[x->step] < r->u->n)
    r->now[r->kind[x->step]] += (double)(x->end_ns - x->start_ns);
}

static uint32_t kind_of(const Tune *u, uint64_t key) {
  uint32_t i = 0;
  while (i < u->n && u->kind[i].key != key)
    i++;
  return i;
}

/* The kinds of products that a model has. */
static void find_kinds(Tune *u, const Session *s) {
  size_t steps = sard_step_count(s->model);
  sard_step info = SARD_STEP_INIT;
  u->kind = arena_array(u->t->arena, Kind, steps);
  for (size_t i = 0; i < steps; i++) {
    uint64_t key = tune_key(s->model, i);
    uint32_t k = kind_of(u, key);
    if (!key || sard_step_info(s->model, i, &info))
      continue;
    if (k == u->n)
      u->kind[u->n++] = (Kind){.key = key, .name = arena_strdup(u->t->arena, info.kernel)};
    u->kind[k].steps++;
  }
}

static Status trial_open(Tune *u, const Tuning *tuning, Trial *r) {
  SessionOptions so = session_options(u->t->o);
  const Tensor **in;
  so.tuning = tuning;
  *r = (Trial){.u = u};
  TRY(session_open(u->t, u->t->o->arg[0], &so, &r->s));
  if (!u->kind)
    find_kinds(u, r->s);
  TRY(inputs_gather(u->t, r->s, &in));
  r->in = session_feed(u->t, r->s, in);
  size_t steps = sard_step_count(r->s->model);
  r->kind = arena_array(u->t->arena, uint32_t, steps);
  for (size_t i = 0; i < steps; i++)
    r->kind[i] = kind_of(u, tune_key(r->s->model, i));
  r->now = arena_array(u->t->arena, double, u->n), r->least = arena_array(u->t->arena, double, u->n);
  return ST_OK;
}

static Status trial_run(Trial *r, bool counted) {
  sard_run_options ro = SARD_RUN_OPTIONS_INIT;
  sard_result *result;
  double ms;
  ro.timeout = opt_float(r->u->t->o, OPT_timeout, 0), ro.cancel = r->u->t->cancel;
  ro.profile = on_step, ro.profile_arg = r;
  memset(r->now, 0, r->u->n * sizeof *r->now);
  TRY(session_call(r->u->t, r->s, r->in, &ro, &result, &ms));
  sard_result_free(result);
  if (!counted)
    return ST_OK;
  for (uint32_t i = 0; i < r->u->n; i++)
    r->least[i] = r->runs && r->least[i] < r->now[i] ? r->least[i] : r->now[i];
  r->ms = r->runs && r->ms < ms ? r->ms : ms;
  r->runs++;
  return ST_OK;
}

/* Runs the trials in turn, for as long and as often as asked. */
static Status trials_run(Trial *r, int n) {
  const Options *o = r->u->t->o;
  double seconds = opt_float(o, OPT_seconds, 0.3) * n;
  int64_t runs = opt_int(o, OPT_runs, 0);
  for (int i = 0; i < n; i++)
    TRY(trial_run(&r[i], false));
  int64_t end = now_ns() + (int64_t)((seconds < 1e9 ? seconds : 1e9) * 1e9);
  while (runs ? r->runs < runs : r->runs < LEAST_RUNS || now_ns() < end)
    for (int i = 0; i < n; i++)
      TRY(trial_run(&r[i], true));
  return ST_OK;
}

/* One trial by itself: *least by kind. */
static Status measure(Tune *u, const Tuning *tuning, const double **least) {
  Trial r;
  tool_progress(u->t, "trial %d ...", ++u->trials);
  TRY(trial_open(u, tuning, &r));
  TRY(trials_run(&r, 1));
  session_close(r.s);
  *least = r.least;
  return ST_OK;
}

/* --- choosing --- */

static int respect_of(const ProductCut *c) { return c->tile ? 0 : c->depth ? 1 : c->rows ? 2 : 3; }

static void take_if_better(Kind *k, int respect, const ProductCut *cut, double ns) {
  if (ns < k->ns[respect])
    k->ns[respect] = ns, k->cut[respect] = *cut;
  if (ns < k->ns[RESPECTS])
    k->ns[RESPECTS] = ns, k->cut[RESPECTS] = *cut;
}

static Status try_each(Tune *u) {
  ProductCut cut[TUNING_TRIALS];
  const double *least;
  TRY(measure(u, &(Tuning){0}, &least));
  for (uint32_t i = 0; i < u->n; i++)
    for (int k = 0; k <= RESPECTS; k++)
      u->kind[i].ns[k] = least[i] * (1 - WORTH);
  int n = u->n ? tuning_trials(cpu_level(), cut) : 0;
  for (int c = 0; c < n; c++) {
    TRY(measure(u, &(Tuning){.all = &cut[c]}, &least));
    for (uint32_t i = 0; i < u->n; i++)
      take_if_better(&u->kind[i], respect_of(&cut[c]), &cut[c], least[i]);
  }
  return ST_OK;
}

static int by_key(const void *a, const void *b) {
  uint64_t x = ((const TuningRow *)a)->key, y = ((const TuningRow *)b)->key;
  return (x > y) - (x < y);
}

static Tuning table(const Tune *u, ProductCut (*of)(const Kind *k)) {
  TuningRow *row = arena_array(u->t->arena, TuningRow, u->n);
  for (uint32_t i = 0; i < u->n; i++)
    row[i] = (TuningRow){.key = u->kind[i].key, .cut = of(&u->kind[i])};
  if (u->n)
    qsort(row, u->n, sizeof *row, by_key);
  return (Tuning){.row = row, .n = u->n};
}

static ProductCut together(const Kind *k) {
  return (ProductCut){k->cut[0].tile, k->cut[1].depth, k->cut[2].rows, k->cut[3].cols};
}

static ProductCut best(const Kind *k) { return k->cut[RESPECTS]; }

static bool is_cut(const ProductCut *c) { return c->tile || c->depth || c->rows || c->cols; }

static Status try_together(Tune *u) {
  const double *least;
  Tuning t = table(u, together);
  TRY(measure(u, &t, &least));
  for (uint32_t i = 0; i < u->n; i++) {
    ProductCut cut = together(&u->kind[i]);
    take_if_better(&u->kind[i], 0, &cut, least[i]);
  }
  return ST_OK;
}

static uint32_t kept(const Tune *u) {
  uint32_t n = 0;
  for (uint32_t i = 0; i < u->n; i++)
    n += is_cut(&u->kind[i].cut[RESPECTS]);
  return n;
}

/* What has not kept its promise goes. */
static Status compare(Tune *u) {
  Trial r[2];
  Tuning t = table(u, best);
  tool_progress(u->t, "%u in turn with what they replace ...", kept(u));
  TRY(trial_open(u, &(Tuning){0}, &r[0]));
  TRY(trial_open(u, &t, &r[1]));
  TRY(trials_run(r, 2));
  for (uint32_t i = 0; i < u->n; i++) {
    Kind *k = &u->kind[i];
    k->before = r[0].least[i], k->after = r[1].least[i];
    if (!is_cut(&k->cut[RESPECTS]) || k->after > k->before * (1 - WORTH))
      k->cut[RESPECTS] = (ProductCut){0}, k->after = k->before;
  }
  u->before = r[0].ms, u->after = r[1].ms;
  session_close(r[0].s);
  session_close(r[1].s);
  return ST_OK;
}

/* The last comparison is of what is kept, all of it. */
static Status confirm(Tune *u) {
  uint32_t n;
  do {
    n = kept(u);
    TRY(compare(u));
  } while (kept(u) && kept(u) < n);
  u->after = kept(u) ? u->after : u->before;
  return ST_OK;
}

/* --- output --- */

static void put_scale(StrBuf *b, const char *what, int power) {
  if (power)
    buf_printf(b, ", %s %s%d", what, power < 0 ? "/ " : "x ", 1 << (power < 0 ? -power : power));
}

/* "tile 6x64, rows x 2". */
static const char *cut_text(Arena *a, const ProductCut *c) {
  StrBuf b;
  buf_init(&b, a);
  if (c->tile) {
    const ProductTile *t = &product_level(cpu_level())->tile[c->tile - 1];
    buf_printf(&b, ", tile %ux%u", t->mr, t->nr);
  }
  put_scale(&b, "depth", c->depth), put_scale(&b, "rows", c->rows), put_scale(&b, "columns", c->cols);
  return b.len ? b.text + 2 : "as it was";
}

static int by_before(const void *a, const void *b) {
  double x = ((const Kind *)a)->before, y = ((const Kind *)b)->before;
  return (x < y) - (x > y);
}

static void report_text(const Tune *u, const char *dir, uint32_t all, StrBuf *out) {
  buf_puts(out, "  before ms    after ms          steps  product\n");
  for (uint32_t i = 0; i < u->n; i++) {
    const Kind *k = &u->kind[i];
    buf_printf(out, "%11.4f %11.4f  %+5.1f %%  %5u  %s: %s\n", k->before * 1e-6, k->after * 1e-6,
               k->before > 0 ? 100 * (k->after / k->before - 1) : 0, k->steps, k->name,
               cut_text(u->t->arena, &k->cut[RESPECTS]));
  }
  buf_printf(out, "%11.4f %11.4f  a whole run, of the fastest\n", u->before, u->after);
  buf_printf(out, "%u of %u products of %s: cut otherwise from now on; the table in %s has %u\n", kept(u), u->n,
             tune_cpu(u->t->arena), dir, all);
}

static void report_json(const Tune *u, const char *dir, int threads, StrBuf *out) {
  buf_puts(out, "{\"model\": ");
  json_str(out, u->t->o->arg[0]);
  buf_printf(out, ", \"threads\": %d, \"cpu\": ", threads);
  json_str(out, tune_cpu(u->t->arena));
  buf_puts(out, ", \"directory\": ");
  json_str(out, dir);
  buf_printf(out, ", \"before_ms\": %.4f, \"after_ms\": %.4f, \"trials\": %d, \"kept\": %u, \"products\": [", u->before,
             u->after, u->trials, kept(u));
  for (uint32_t i = 0; i < u->n; i++) {
    const Kind *k = &u->kind[i];
    const ProductCut *c = &k->cut[RESPECTS];
    buf_puts(out, i ? ",\n {\"name\": " : "\n {\"name\": ");
    json_str(out, k->name);
    buf_printf(out, ", \"key\": \"%016llx\", \"steps\": %u, \"before_ms\": %.6f, \"after_ms\": %.6f, \"cut\": ",
               (unsigned long long)k->key, k->steps, k->before * 1e-6, k->after * 1e-6);
    if (is_cut(c))
      buf_printf(out, "{\"tile\": %u, \"depth\": %d, \"rows\": %d, \"cols\": %d}}", c->tile, c->depth, c->rows,
                 c->cols);
    else
      buf_puts(out, "null}");
  }
  buf_puts(out, "]}\n");
}

Status cmd_tune(Tool *t) {
  const char *dir = cache_directory(t->arena, opt_str(t->o, OPT_cache)), *device = opt_str(t->o, OPT_device);
  Tune *u = arena_new(t->arena, Tune);
  uint32_t all = 0;
  StrBuf out;
  u->t = t;
  if (device && strcmp(device, "cpu"))
    return fail(t->c, ST_USAGE, "sard tune measures on the CPU alone, not on device '%s'", device);
  if (!dir)
    return err_hint(t->c, fail(t->c, ST_USAGE, "the compile cache is off, and with it the table of tuned products"),
                    "name a directory with --cache");
  TRY(try_each(u));
  TRY(try_together(u));
  TRY(confirm(u));
  tool_progress_end(t);
  Tuning chosen = table(u, best);
  TRY(tune_keep(t->c, t->arena, dir, &chosen, &all));
  if (u->n)
    qsort(u->kind, u->n, sizeof *u->kind, by_before);
  buf_init(&out, t->arena);
  if (opt_set(t->o, OPT_json))
    report_json(u, dir, session_options(t->o).threads, &out);
  else
    report_text(u, dir, all, &out);
  return tool_print(t, &out);
}
