/* main.c - the sard command: parses, dispatches to one function per command, reports the error, sets the exit code.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tools/tool.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The one thing a signal handler can do: raise a flag that loading, running and our own loops poll. */
static volatile int interrupted;
static atomic_int interrupted_atomic;

static void on_interrupt(int sig) {
  if (interrupted) { /* the second time: at once */
    signal(sig, SIG_DFL);
    raise(sig);
  }
  interrupted = 1;
  atomic_store_explicit(&interrupted_atomic, 1, memory_order_relaxed);
}

static Status (*const commands[CMD_count])(Tool *) = {
#define CMD(name, args, min, max, line, text) cmd_##name,
#include "tools/commands.def"
#undef CMD
};

typedef struct Args {
  int argc;
  char **argv;
  Tool *t;
  Options *o;
} Args;

static bool is_dumb(void) {
  const char *term = getenv("TERM");
  return term && !strcmp(term, "dumb");
}

static bool want_color(const Options *o, int fd) {
  const char *s = opt_str(o, OPT_color), *none = getenv("NO_COLOR");
  if (s && strcmp(s, "auto"))
    return !strcmp(s, "always");
  return isatty(fd) && !(none && *none) && !is_dumb();
}

static Status run_command(Ctx *c, void *arg) {
  Args *x = arg;
  Tool *t = x->t;
  t->arena = arena_create(c);
  Status st = options_parse(c, t->arena, x->argc, x->argv, x->o);
  t->color = want_color(x->o, 1), t->color_err = want_color(x->o, 2);
  t->progress = isatty(2) && !opt_set(x->o, OPT_quiet) && !is_dumb();
  TRY(st);
  if (opt_set(x->o, OPT_help)) {
    StrBuf b;
    buf_init(&b, t->arena);
    help_text(&b, x->o->cmd == CMD_help ? CMD_count : x->o->cmd, false);
    return tool_print(t, &b);
  }
  if (opt_set(x->o, OPT_max_memory) && x->o->cmd != CMD_test)
    c->alloc->limit = (size_t)opt_int(x->o, OPT_max_memory, 0);
  if (opt_set(x->o, OPT_timeout) && x->o->cmd != CMD_test)
    c->deadline_ns = now_ns() + (int64_t)(fmin(opt_float(x->o, OPT_timeout, 0), 1e9) * 1e9);
  return commands[x->o->cmd](t);
}

int main(int argc, char **argv) {
  Alloc alloc;
  Ctx c;
  Options o = {0};
  Tool t = {.c = &c, .o = &o, .cancel = &interrupted};
  struct sigaction sa = {.sa_handler = on_interrupt};
  sigemptyset(&sa.sa_mask);
  sigaction(SIGINT, &sa, NULL);
  sigaction(SIGTERM, &sa, NULL);
  alloc_init_system(&alloc);
  ctx_open(&c, &alloc);
  c.cancel = &interrupted_atomic;
  Status st = ctx_protect(&c, run_command, &(Args){argc, argv, &t, &o});
  if (st && interrupted)
    st = ST_CANCELLED;
  if (st == ST_CANCELLED)
    snprintf(c.err.message, sizeof c.err.message, "interrupted");
  if (st)
    tool_report(&t, &c.err);
  ctx_close(&c);
  return st ? tool_exit_code(st) : t.failed ? 1 : 0;
}
