/* variants.c - a graph run in every way: unoptimised on the reference evaluators through the executor, optimised on them,
 * compiled on one thread and on two. SPDX-License-Identifier: Apache-2.0 */
#include "codegen/kernels.h"
#include "passes/pass.h"
#include "runtime/runtime.h"
#include "support/cpu.h"
#include "tests/random/random.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LIMIT_S = 60 };

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

static Status build(Ctx *c, const char *text, bool optimise, bool compile, Program *out) {
  Graph *g;
  PlanInput in = {0};
  Kernels k = {0};
  RtFile packed;
  const uint8_t *image;
  size_t size;
  TRY(random_read(c, text, &g));
  if (optimise)
    TRY(passes_run(c, g, &(PassOptions){.verify = true}));
  out->a = arena_create(c);
  if (compile)
    TRY(kernels_compile(c, out->a, out->a, g,
                        &(KernelsInput){.level = cpu_level(), .threads = 1, .allow_reference = true}, &k));
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
static Status try_way(Ctx *c, Case *k, const Oracle *o, const char *how, bool optimise, bool compile, Tensor *const *in,
                      uint32_t nin) {
  Program p;
  RtOutput *one, *two;
  char why[1200];
  Pool *pool = NULL;
  if (build(c, k->text, optimise, compile, &p) || run(c, &p, in, nin, o->n, 1, NULL, &one)) {
    snprintf(why, sizeof why, "%s (%s)", c->err.message, c->err.op);
    return bad(k, BROKEN, how, why);
  }
  for (uint32_t i = 0; i < o->n; i++)
    if (!oracle_accepts(o, i, &one[i].t, why, sizeof why))
      return bad(k, DIFFERENT, how, why);
  if (!compile)
    return ST_OK;
  TRY(pool_create(c, 2, &pool));
  Status st = run(c, &p, in, nin, o->n, 2, pool, &two);
  pool_destroy(pool);
  TRY(st);
  for (uint32_t i = 0; i < o->n; i++)
    if (!tensor_equal(&one[i].t, &two[i].t))
      return bad(k, DIFFERENT, how, "two threads compute other bits than one");
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
  static const struct {
    const char *how;
    bool optimise, compile;
  } way[] = {{"unoptimised, on reference", false, false},
             {"optimised, on reference", true, false},
             {"unoptimised, compiled", false, true},
             {"optimised, compiled", true, true}};
  for (size_t i = 0; i < countof(way) && k->verdict == SAME; i++)
    TRY(try_way(c, k, &o, way[i].how, way[i].optimise, way[i].compile, in, g->nin));
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
