/* variants.c - a graph run in every way: unoptimised on the reference evaluators through the executor, optimised on them, written
 * as an ONNX model and imported again, compiled on one thread and on two. SPDX-License-Identifier: Apache-2.0 */
#include "codegen/kernels.h"
#include "frontend/model.h"
#include "passes/pass.h"
#include "runtime/runtime.h"
#include "support/cpu.h"
#include "tests/random/onnx.h"
#include "tests/random/random.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LIMIT_S = 60 };

const char *random_level;

typedef struct Case {
  const char *text;
  uint64_t seed;
  char *why;
  size_t cap;
  Verdict verdict;
} Case;

typedef struct Program {
  RtProgram *p;
  Arena *a;
} Program;

static void print(void *arg, const char *text, size_t n) {
  (void)arg;
  fwrite(text, 1, n, stderr);
}

typedef struct Way {
  const char *how;
  bool import, optimise, compile;
} Way;

/* The graph of a model that g was written as. */
static Status through_onnx(Ctx *c, Graph **g) {
  Pb p = {0};
  Model *m;
  Arena *a = arena_create(c);
  onnx_model(&p, a, *g);
  void *bytes = arena_copy(a, p.b, p.n);
  size_t n = p.n;
  pb_free(&p);
  TRY(model_load_bytes(c, bytes, n, NULL, NULL, &m));
  *g = m->graph;
  return ST_OK;
}

static Status build(Ctx *c, const char *text, const Way *way, Program *out) {
  Graph *g;
  bool compile = way->compile;
  PlanInput in = {0};
  Kernels k = {0};
  RtFile packed;
  const uint8_t *image;
  size_t size;
  TRY(random_read(c, text, &g));
  if (way->import)
    TRY(through_onnx(c, &g));
  if (way->optimise)
    TRY(passes_run(c, g, &(PassOptions){.verify = true}));
  out->a = arena_create(c);
  const char *level = random_level ? random_level : cpu_level();
  if (compile)
    TRY(kernels_compile(c, out->a, out->a, g, &(KernelsInput){.level = level, .threads = 1, .allow_reference = true}, &k));
  if (compile && getenv("RANDOM_KERNELS"))
    TRY(kernels_dump(c, k.groups, "all", print, NULL));
  in.groups = k.groups, in.object = k.object, in.nobject = k.nobject, in.code = k.code;
  TRY(plan_build(c, out->a, g, &in, &image, &size));
  if (k.packed)
    packed = (RtFile){k.packed, k.groups->packed_size};
  TRY(rt_load(c, out->a, image, size, plan_build_id(), &packed, k.packed != NULL, &out->p));
  return ST_OK;
}

static Status run(Ctx *c, const Program *p, Tensor *const *in, uint32_t nin, uint32_t nout, int threads, Pool *pool,
                  RtOutput **out) {
  RtRunOptions o = {.pool = pool, .threads = threads, .eager = true};
  Tensor *t = arena_array(p->a, Tensor, nin + 1u);
  *out = arena_array(p->a, RtOutput, nout);
  for (uint32_t i = 0; i < nin; i++)
    t[i] = *in[i];
  for (uint32_t i = 0; i < nout; i++)
    (*out)[i].wanted = true;
  return rt_run(p->p, c, &o, t, nin, *out, nout);
}

static Status bad(Case *k, Verdict v, const char *how, const char *what) {
  char text[1400];
  snprintf(text, sizeof text, "%s: %s", how, what);
  snprintf(k->why, k->cap, "%s", text);
  k->verdict = v;
  return ST_OK;
}

/* One way against the oracle; the last way's outputs stay in *out. */
static Status try_way(Ctx *c, Case *k, const Oracle *o, const Way *way, Tensor *const *in, uint32_t nin) {
  Program p;
  RtOutput *one, *two;
  char why[1200];
  Pool *pool = NULL;
  if (build(c, k->text, way, &p) || run(c, &p, in, nin, o->n, 1, NULL, &one)) {
    snprintf(why, sizeof why, "%s (%s)", c->err.message, c->err.op);
    return bad(k, BROKEN, way->how, why);
  }
  for (uint32_t i = 0; i < o->n; i++)
    if (!oracle_accepts(o, i, &one[i].t, why, sizeof why))
      return bad(k, DIFFERENT, way->how, why);
  if (!way->compile)
    return ST_OK;
  TRY(pool_create(c, 2, &pool));
  Status st = run(c, &p, in, nin, o->n, 2, pool, &two);
  pool_destroy(pool);
  TRY(st);
  for (uint32_t i = 0; i < o->n; i++)
    if (!tensor_equal(&one[i].t, &two[i].t))
      return bad(k, DIFFERENT, way->how, "two threads compute other bits than one");
  return ST_OK;
}

static Status all_ways(Ctx *c, void *arg) {
  Case *k = arg;
  Graph *g;
  Oracle o;
  Arena *a = arena_create(c);
  if (random_read(c, k->text, &g))
    return bad(k, BROKEN, "as text", c->err.message);
  Tensor **in = random_inputs(c, a, g, k->seed);
  if (!oracle_run(c, a, g, in, k->seed, &o))
    return bad(k, BROKEN, "evaluated node by node", c->err.message);
  static const Way way[] = {{"unoptimised, on reference", false, false, false},
                            {"as an ONNX model, optimised, on reference", true, true, false},
                            {"optimised, on reference", false, true, false},
                            {"unoptimised, compiled", false, false, true},
                            {"optimised, compiled", false, true, true}};
  for (size_t i = 0; i < countof(way) && k->verdict == SAME; i++)
    TRY(try_way(c, k, &o, &way[i], in, g->nin));
  return ST_OK;
}

static void in_child(const char *text, uint64_t seed, int fd) {
  static char why[500];
  Alloc alloc;
  Ctx c;
  Case k = {text, seed, why, sizeof why, SAME};
  alarm(LIMIT_S);
  alloc_init_system(&alloc);
  ctx_open(&c, &alloc);
  if (ctx_protect(&c, all_ways, &k))
    bad(&k, BROKEN, "run", c.err.message);
  ssize_t n = write(fd, why, strlen(why));
  _exit(n < 0 ? BROKEN : (int)k.verdict);
}

Verdict judge(const char *text, uint64_t seed, char *why, size_t cap) {
  int fd[2], status = 0;
  if (pipe(fd))
    return BROKEN;
  fflush(NULL);
  pid_t pid = fork();
  if (!pid) {
    close(fd[0]);
    in_child(text, seed, fd[1]);
  }
  close(fd[1]);
  ssize_t n = read(fd[0], why, cap - 1);
  why[n > 0 ? n : 0] = 0;
  close(fd[0]);
  waitpid(pid, &status, 0);
  if (WIFSIGNALED(status))
    snprintf(why, cap, "%s", strsignal(WTERMSIG(status)));
  return WIFEXITED(status) && WEXITSTATUS(status) <= BROKEN ? (Verdict)WEXITSTATUS(status) : BROKEN;
}
