/* test.c - `sard test`: ONNX test cases, each in a process of its own.
 *
 * A worker writes one Report to its pipe and exits. What happens to it otherwise (a signal, a limit, the deadline) is
 * the result of its case and of no other. SPDX-License-Identifier: Apache-2.0 */
#include "tools/ahead.h"
#include "tools/cases.h"
#include "tools/compare.h"
#include "codegen/backend.h"
#include "support/cores.h"
#include "tools/files.h"
#include "tools/inputs.h"
#include "tools/judge.h"
#include "tools/json.h"
#include "tools/pb.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif

typedef enum { PASSED, FAILED, SKIPPED } Result;

typedef struct Report { /* what a worker says; crosses a pipe in one write (less than PIPE_BUF) */
  Result result;
  int64_t steps[4];
  double worst; /* largest difference over the largest magnitude, of all outputs */
  bool random;  /* outputs hang on random numbers, and were judged by their distribution */
  char reason[1600];
} Report;

_Static_assert(sizeof(Report) <= 4096, "one write to a pipe is atomic up to PIPE_BUF");

typedef struct Worker {
  pid_t pid; /* 0: free */
  int pipe;
  size_t index;
  int64_t start, deadline;
  bool timed_out;
} Worker;

typedef struct Outcome {
  Report r;
  double seconds;
  bool done;
} Outcome;

typedef struct Suite {
  Tool *t;
  TestCase *list;
  size_t n, next, printed;
  Outcome *out;
  Worker *worker;
  int nworker;
  int64_t count[3], random; /* random: of those that passed */
  Cleanup cleanup;          /* ends the workers; the suite is in the arena, as failure may unwind past its maker */
} Suite;

/* --- one case, in the worker --- */

typedef struct CaseRun {
  Tool *t;
  const TestCase *x;
  Report *r;
  Ahead *ahead; /* a program that is run; NULL: the session is */
  const char *model;
  SessionOptions o; /* of the model itself, not compiled ahead */
} CaseRun;

static Status read_pb(Tool *t, const char *path, const Port *p, Tensor **out) {
  Str bytes;
  TRY(file_read(t->c, t->arena, path, &bytes));
  Status st = pb_read(t->c, t->arena, p->kind, bytes.ptr, bytes.len, out, NULL);
  return st ? err_file(t->c, st, path) : ST_OK;
}

static Status read_values(Tool *t, const char *set, const char *stem, const Port *port, size_t nport, Tensor ***out,
                          uint32_t *n) {
  *n = case_files(set, stem);
  if (*n > nport)
    return err_file(t->c, fail(t->c, ST_INVALID, "%u files %s_N.pb for %zu %ss of the model", *n, stem, nport, stem),
                    set);
  *out = arena_array(t->arena, Tensor *, nport);
  for (uint32_t i = 0; i < *n; i++)
    TRY(read_pb(t, arena_printf(t->arena, "%s/%s_%u.pb", set, stem, i), &port[i], &(*out)[i]));
  return ST_OK;
}

typedef struct Results {
  Tensor **in, **got, **want;
  uint32_t nwant;
} Results;

/* What differs from what is wanted may hang on random numbers. */
static Status judge(CaseRun *k, Session *s, const char *set, const Results *x, const Tolerance *tol,
                    const char *differs, double worst) {
  Judged j;
  TRY(judge_run(k->t, k->model, &k->o, tol, s, (const Tensor *const *)x->in, (const Tensor *const *)x->got,
                (const Tensor *const *)x->want, x->nwant, &j));
  bool right = j.random && !j.reason;
  k->r->random = j.random;
  if (!right)
    k->r->result = FAILED, k->r->worst = worst;
  snprintf(k->r->reason, sizeof k->r->reason, "%s%s%s", k->x->nset > 1 ? strrchr(set, '/') + 1 : "",
           k->x->nset > 1 ? ": " : "",
           right      ? j.seen
           : j.random ? j.reason
                      : differs);
  return ST_OK;
}

static Status run_set(CaseRun *k, Session *s, const char *set, const Tolerance *tol) {
  Tool *t = k->t;
  Tensor **in, **want, **got;
  uint32_t nin, nwant;
  TRY(read_values(t, set, "input", s->in, s->nin, &in, &nin));
  TRY(read_values(t, set, "output", s->out, s->nout, &want, &nwant));
  if (k->ahead)
    TRY(ahead_run(t, k->ahead, s, (const Tensor *const *)in, &got));
  else
    TRY(session_run(t, s, (const Tensor *const *)in, 0, &got));
  if (!nwant)
    return err_file(t->c, fail(t->c, ST_INVALID, "no output_0.pb to compare with"), set);
  const char *differs = NULL;
  double worst = k->r->worst;
  for (uint32_t i = 0; i < nwant; i++) {
    Diff d;
    compare_values(t->arena, got[i], want[i], tol, &d);
    worst = d.max_rel > worst ? d.max_rel : worst;
    if (!d.ok && !differs)
      differs = arena_printf(t->arena, "output '%s': %s", s->out[i].name, d.reason);
  }
  if (differs && k->r->result == PASSED)
    return judge(k, s, set, &(Results){in, got, want, nwant}, tol, differs, worst);
  k->r->worst = worst;
  return ST_OK;
}

static Status run_case(Ctx *c, void *arg) {
  CaseRun *k = arg;
  Tool *t = k->t;
  const Options *o = t->o;
  const TestCase *x = k->x;
  Session *s;
  t->arena = arena_create(c);
  const char *model = arena_printf(t->arena, "%s/model.onnx", x->dir), *ahead = opt_str(o, OPT_ahead);
  const char *cache = opt_str(o, OPT_cache);
  SessionOptions so = {.device = opt_str(o, OPT_device),
                       .cache = cache ? cache : "off",
                       .precision = opt_str(o, OPT_precision),
                       .threads = (int)opt_int(o, OPT_threads, 1),
                       .max_memory = c->alloc->limit,
                       .strict = opt_set(o, OPT_strict),
                       .allow_reference = opt_set(o, OPT_allow),
                       .quiet = true};
  Tolerance tol = {opt_float(o, OPT_rtol, x->rtol >= 0 ? x->rtol : 1e-3),
                   opt_float(o, OPT_atol, x->atol >= 0 ? x->atol : 1e-7), opt_float(o, OPT_relative, -1),
                   opt_set(o, OPT_rtol) ? 0 : 0x1p-6}; /* two units of bfloat16, as the official runner */
  k->model = model, k->o = so;
  if (ahead)
    TRY(ahead_compile(t, model, ahead, &k->ahead));
  if (ahead && !strcmp(ahead, "exe"))
    so.device = "reference"; /* tells what goes in and out; what is run is the program */
  else if (ahead)
    model = k->ahead->path, so.own_runtime = !strcmp(ahead, "so"), k->ahead = NULL;
  TRY(session_open(t, model, &so, &s));
  session_steps(s, k->r->steps);
  if (opt_set(o, OPT_require))
    TRY(session_refuse_reference(s));
  for (uint32_t i = 0; i < x->nset; i++)
    TRY(run_set(k, s, x->set[i], &tol));
  session_close(s);
  return ST_OK;
}

static void report_error(Report *r, const Err *e) {
  r->result = FAILED;
  size_t n = (size_t)snprintf(r->reason, sizeof r->reason, "%s", *e->message ? e->message : "failed");
  const char *const part[][2] = {{"node", e->node}, {"op", e->op}, {"in", e->module}, {"from", e->source}};
  for (size_t i = 0; i < countof(part); i++)
    if (*part[i][1] && n < sizeof r->reason)
      n += (size_t)snprintf(r->reason + n, sizeof r->reason - n, "%s%s %s", i ? ", " : "; ", part[i][0], part[i][1]);
}

static int64_t memory_limit(const Tool *t) { return opt_int(t->o, OPT_max_memory, (int64_t)4 << 30); }

NORETURN static void work(Suite *s, size_t index, int fd) {
  static Report r;
  Alloc alloc;
  Ctx c;
  Tool t = *s->t;
  alloc_init_system(&alloc);
  alloc.limit = (size_t)memory_limit(s->t);
#ifndef SANITIZED /* whose shadow memory counts */
  struct rlimit rl = {(rlim_t)memory_limit(s->t) + ((rlim_t)1 << 30), (rlim_t)memory_limit(s->t) + ((rlim_t)1 << 30)};
  setrlimit(RLIMIT_DATA, &rl); /* not RLIMIT_AS: mapped weights are no memory of ours */
#endif
  setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
  signal(SIGINT, SIG_IGN); /* the parent ends its workers */
  ctx_open(&c, &alloc);
  t.c = &c, t.progress = false;
  r = (Report){.result = PASSED};
  if (!s->list[index].nset) {
    r.result = SKIPPED;
    snprintf(r.reason, sizeof r.reason, "no folder test_data_set_N beside the model");
  } else if (ctx_protect(&c, run_case, &(CaseRun){&t, &s->list[index], &r}))
    report_error(&r, &c.err);
  ctx_close(&c);
  ssize_t k = write(fd, &r, sizeof r);
  _exit(k == (ssize_t)sizeof r ? 0 : 1);
}

/* --- the parent --- */

static Status start_worker(Suite *s, Worker *w) {
  int fd[2];
  Tool *t = s->t;
  if (pipe(fd))
    return fail_errno(t->c, "start a worker", NULL);
  fflush(NULL);
  *w = (Worker){.index = s->next, .pipe = fd[0], .start = now_ns()};
  double limit = opt_float(t->o, OPT_timeout, 60);
  w->deadline = limit > 0 ? w->start + (int64_t)((limit < 1e9 ? limit : 1e9) * 1e9) : INT64_MAX;
  w->pid = fork();
  if (w->pid < 0) {
    w->pid = 0;
    Status st = fail_errno(t->c, "start a worker", NULL);
    close(fd[0]), close(fd[1]);
    return st;
  }
  if (!w->pid) {
    close(fd[0]);
    work(s, w->index, fd[1]);
  }
  close(fd[1]);
  s->next++;
  return ST_OK;
}

static void finish_worker(Suite *s, Worker *w) {
  Outcome *out = &s->out[w->index];
  int status = 0;
  ssize_t k;
  do
    k = read(w->pipe, &out->r, sizeof out->r);
  while (k < 0 && errno == EINTR);
  close(w->pipe);
  while (waitpid(w->pid, &status, 0) < 0 && errno == EINTR)
    ;
  out->seconds = (double)(now_ns() - w->start) / 1e9;
  out->done = true;
  if (k != (ssize_t)sizeof out->r) {
    out->r = (Report){.result = FAILED};
    if (w->timed_out)
      snprintf(out->r.reason, sizeof out->r.reason, "ended after %.3g s: over the time limit", out->seconds);
    else if (WIFSIGNALED(status))
      snprintf(out->r.reason, sizeof out->r.reason, "the process died: %s", strsignal(WTERMSIG(status)));
    else
      snprintf(out->r.reason, sizeof out->r.reason, "the process ended with exit code %d before its result",
               WEXITSTATUS(status));
  }
  out->r.reason[sizeof out->r.reason - 1] = 0;
  s->count[out->r.result]++;
  s->random += out->r.random && out->r.result == PASSED;
  w->pid = 0;
}

static void end_workers(void *arg) {
  Suite *s = arg;
  for (int i = 0; i < s->nworker; i++)
    if (s->worker[i].pid) {
      kill(s->worker[i].pid, SIGKILL);
      waitpid(s->worker[i].pid, NULL, 0);
      close(s->worker[i].pipe);
    }
}

static Status print_line(Suite *s, size_t i) {
  static const char *const word[] = {"passed", "FAILED", "skipped"}, *const style[] = {"32", "31", "33"};
  const Outcome *x = &s->out[i];
  char s1[16], s2[16];
  StrBuf b;
  if (opt_set(s->t->o, OPT_quiet) && x->r.result == PASSED)
    return ST_OK;
  buf_init(&b, s->t->arena);
  buf_printf(&b, "%s%-7s%s ", tool_style(s->t, style[x->r.result], s1), word[x->r.result], tool_style(s->t, "0", s2));
  buf_escaped(&b, s->list[i].name);
  if (*x->r.reason)
    buf_puts(&b, ": ");
  buf_escaped(&b, x->r.reason);
  if (opt_set(s->t->o, OPT_verbose))
    buf_printf(&b, "  (%.3f s, worst %.3g, %lld compiled, %lld library, %lld host, %lld reference)", x->seconds,
               x->r.worst, (long long)x->r.steps[0], (long long)x->r.steps[1], (long long)x->r.steps[2],
               (long long)x->r.steps[3]);
  buf_putc(&b, '\n');
  return tool_print(s->t, &b);
}

/* Waits until a worker is done or over its limit. */
static Status wait_workers(Suite *s) {
  struct pollfd p[256];
  Worker *of[256];
  int n = 0;
  int64_t now = now_ns(), soonest = now + 200000000;
  for (int i = 0; i < s->nworker; i++)
    if (s->worker[i].pid) {
      p[n] = (struct pollfd){.fd = s->worker[i].pipe, .events = POLLIN};
      of[n++] = &s->worker[i];
      soonest = s->worker[i].deadline < soonest ? s->worker[i].deadline : soonest;
    }
  int ms = soonest > now ? (int)((soonest - now) / 1000000) + 1 : 0;
  if (poll(p, (nfds_t)n, ms) < 0 && errno != EINTR)
    return fail_errno(s->t->c, "wait for workers", NULL);
  now = now_ns();
  for (int i = 0; i < n; i++) {
    if (!(p[i].revents & (POLLIN | POLLHUP)) && now > of[i]->deadline) {
      of[i]->timed_out = true;
      kill(of[i]->pid, SIGKILL);
      finish_worker(s, of[i]);
    } else if (p[i].revents & (POLLIN | POLLHUP | POLLERR))
      finish_worker(s, of[i]);
  }
  return ctx_poll(s->t->c);
}

/* The parent loads the code generator, once for all workers: to link LLVM takes a process 30 ms. One of them says why if that fails. */
static void load_generator(Suite *s) {
  const char *device = opt_str(s->t->o, OPT_device);
  const EmitApi *api;
  if (s->n > 1 && !(device && !strcmp(device, "reference")) && backend_load(s->t->c, &api))
    s->t->c->err = (Err){0};
}

static Status run_all(Suite *s) {
  bool json = opt_set(s->t->o, OPT_json);
  ctx_on_failure(s->t->c, &s->cleanup, end_workers, s);
  Status st = ST_OK;
  while (!st && s->printed < s->n) {
    for (int i = 0; i < s->nworker && s->next < s->n && !st; i++)
      if (!s->worker[i].pid)
        st = start_worker(s, &s->worker[i]);
    if (!st)
      st = wait_workers(s);
    for (; !st && s->printed < s->n && s->out[s->printed].done; s->printed++)
      if (!json)
        st = print_line(s, s->printed);
    if (!st)
      tool_progress(s->t, "%zu of %zu cases, %lld failed", s->printed, s->n, (long long)s->count[FAILED]);
  }
  ctx_forget(s->t->c, &s->cleanup);
  end_workers(s);
  return st;
}

static void json_all(const Suite *s, StrBuf *b) {
  static const char *const word[] = {"passed", "failed", "skipped"};
  buf_puts(b, "{\"cases\": [");
  for (size_t i = 0; i < s->n; i++) {
    const Outcome *x = &s->out[i];
    buf_puts(b, i ? ",\n  {\"case\": " : "\n  {\"case\": ");
    json_str(b, s->list[i].name);
    buf_puts(b, ", \"path\": ");
    json_str(b, s->list[i].dir);
    buf_printf(b, ", \"result\": \"%s\", \"reason\": ", word[x->r.result]);
    json_str(b, x->r.reason);
    buf_printf(b, ", \"random\": %s", x->r.random ? "true" : "false");
    buf_printf(b, ", \"seconds\": %.3f, \"worst\": ", x->seconds);
    json_f64(b, x->r.worst, 6);
    buf_puts(b, ", \"steps\": {");
    for (int k = 0; k < 4; k++)
      buf_printf(b, "%s\"%s\": %lld", k ? ", " : "", step_kind_name(k), (long long)x->r.steps[k]);
    buf_puts(b, "}}");
  }
  buf_printf(b, "\n], \"passed\": %lld, \"random\": %lld, \"failed\": %lld, \"skipped\": %lld}\n",
             (long long)s->count[PASSED], (long long)s->random, (long long)s->count[FAILED],
             (long long)s->count[SKIPPED]);
}

static Status find_cases(Suite *s) {
  Tool *t = s->t;
  for (int i = 0; i < t->o->narg; i++) {
    TestCase *list, *all;
    size_t n;
    TRY(cases_find(t->c, t->arena, t->o->arg[i], &list, &n));
    all = arena_array(t->arena, TestCase, s->n + n);
    if (s->n)
      memcpy(all, s->list, s->n * sizeof *all);
    memcpy(all + s->n, list, n * sizeof *all);
    s->list = all, s->n += n;
  }
  return ST_OK;
}

Status cmd_test(Tool *t) {
  Suite *s = arena_new(t->arena, Suite);
  s->t = t;
  Cores cores;
  StrBuf b;
  TRY(find_cases(s));
  cores_find(t->arena, "", &cores);
  int64_t jobs = opt_int(t->o, OPT_jobs, cores.usable);
  s->nworker = jobs < 1 ? 1 : jobs > 256 ? 256 : (int)jobs;
  s->worker = arena_array(t->arena, Worker, (size_t)s->nworker);
  s->out = arena_array(t->arena, Outcome, s->n);
  load_generator(s);
  TRY(run_all(s));
  t->failed = s->count[FAILED] > 0;
  buf_init(&b, t->arena);
  if (opt_set(t->o, OPT_json))
    json_all(s, &b);
  else if (s->random)
    buf_printf(&b, "%lld of those that passed draw random numbers, which were judged by their distribution\n",
               (long long)s->random);
  if (!opt_set(t->o, OPT_json))
    buf_printf(&b, "%lld passed, %lld failed, %lld skipped\n", (long long)s->count[PASSED], (long long)s->count[FAILED],
               (long long)s->count[SKIPPED]);
  return tool_print(t, &b);
}
