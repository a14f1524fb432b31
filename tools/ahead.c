/* ahead.c - compiling test cases ahead of time, and running the programs they become.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tools/ahead.h"

#include "tools/files.h"
#include "tools/npy.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at) {
  (void)st, (void)type, (void)at;
  return remove(path);
}

static void discard(void *arg) { nftw(((Ahead *)arg)->folder, remove_one, 8, FTW_DEPTH | FTW_PHYS); }

Status ahead_compile(Tool *t, const char *model, const char *kind, Ahead **out) {
  const char *tmp = getenv("TMPDIR");
  Ahead *x = arena_new(t->arena, Ahead);
  char *folder = arena_printf(t->arena, "%s/sard-XXXXXX", tmp && *tmp ? tmp : "/tmp");
  sard_compile_options co = SARD_COMPILE_OPTIONS_INIT;
  if (!mkdtemp(folder))
    return fail_errno(t->c, "create a folder", folder);
  x->folder = folder, x->path = arena_printf(t->arena, "%s/case.%s", folder, kind);
  ctx_on_failure(t->c, &x->cleanup, discard, x);
  co.allow_reference = opt_set(t->o, OPT_allow);
  co.executable = !strcmp(kind, "exe"), co.target = opt_str(t->o, OPT_target);
  co.device = opt_str(t->o, OPT_device);
  *out = x;
  return session_compile(t, model, x->path, &co);
}

static Status write_input(Tool *t, const char *path, const Tensor *x) {
  Str head, data;
  OutFile *f;
  TRY(npy_write(t->c, t->arena, x, &head, &data));
  TRY(file_begin(t->c, t->arena, path, &f));
  TRY(file_put(t->c, f, head.ptr, head.len));
  TRY(file_put(t->c, f, data.ptr, data.len));
  return file_commit(t->c, f);
}

/* The words of --runner, the program, its inputs, the folder for its outputs; NULL at the end. */
static Status make_arguments(Tool *t, const Ahead *x, const Session *s, const Tensor *const *in, const char *out,
                             const char ***argv) {
  const char *runner = opt_str(t->o, OPT_runner);
  const char **v = arena_array(t->arena, const char *, (runner ? strlen(runner) : 0) + s->nin + 4);
  size_t n = 0;
  for (size_t k; runner && *(runner += strspn(runner, " ")); runner += k) {
    k = strcspn(runner, " ");
    v[n++] = arena_strndup(t->arena, runner, k);
  }
  v[n++] = x->path;
  for (size_t i = 0; i < s->nin; i++) {
    const char *path = arena_printf(t->arena, "%s/in_%zu.npy", x->folder, i);
    if (!in[i])
      continue;
    TRY(write_input(t, path, in[i]));
    v[n++] = arena_printf(t->arena, "%s=%s", s->in[i].name, path);
  }
  v[n++] = "--output", v[n] = out;
  *argv = v;
  return ST_OK;
}

static Status run_program(Tool *t, const char *const *argv, const char *log) {
  Str said;
  int status = 0;
  pid_t pid = fork();
  if (pid < 0)
    return fail_errno(t->c, "start the program", argv[0]);
  if (!pid) {
    int fd = open(log, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* it ends with the case, whose time may run out */
    dup2(fd, 1), dup2(fd, 2);
    execvp(argv[0], (char *const *)(uintptr_t)argv);
    dprintf(2, "cannot be started: %s", strerror(errno));
    _exit(127);
  }
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
    ;
  if (WIFEXITED(status) && !WEXITSTATUS(status))
    return ST_OK;
  if (WIFSIGNALED(status))
    return fail(t->c, ST_INTERNAL, "the program died: %s", strsignal(WTERMSIG(status)));
  TRY(file_read(t->c, t->arena, log, &said));
  return fail(t->c, ST_INVALID, "the program failed: %.400s", said.ptr);
}

static Status read_output(Tool *t, const Session *s, size_t i, const char *folder, Tensor **out) {
  char *name = arena_strdup(t->arena, s->out[i].name);
  Str bytes;
  for (char *p = name; *p; p++)
    *p = *p == '/' ? '_' : *p;
  TRY(file_read(t->c, t->arena, arena_printf(t->arena, "%s/%s.npy", folder, name), &bytes));
  return npy_read(t->c, t->arena, bytes.ptr, bytes.len, s->out[i].dtype, out);
}

Status ahead_run(Tool *t, const Ahead *x, const Session *s, const Tensor *const *in, Tensor ***out) {
  const char *folder = arena_printf(t->arena, "%s/out", x->folder), **argv;
  TRY(make_arguments(t, x, s, in, folder, &argv));
  TRY(run_program(t, argv, arena_printf(t->arena, "%s/log", x->folder)));
  *out = arena_array(t->arena, Tensor *, s->nout);
  for (size_t i = 0; i < s->nout; i++)
    TRY(read_output(t, s, i, folder, &(*out)[i]));
  return ST_OK;
}
