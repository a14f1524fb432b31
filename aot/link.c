/* link.c - calls the C compiler to link, without a shell, its messages in a file of their own.
 * SPDX-License-Identifier: Apache-2.0 */
#include "aot/link.h"

#include "support/outfile.h"
#include "support/str.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

const char *aot_find_compiler(Arena *a, const char *name) {
  const char *path = getenv("PATH");
  if (strchr(name, '/'))
    return access(name, X_OK) ? NULL : name;
  for (size_t n; path && *path; path += n + (path[n] == ':')) {
    n = strcspn(path, ":");
    const char *full = arena_printf(a, "%.*s/%s", (int)n, path, name);
    if (n && !access(full, X_OK))
      return full;
  }
  return NULL;
}

/* The last line that says something. */
static void read_messages(int fd, char *text, size_t cap) {
  off_t end = lseek(fd, 0, SEEK_END), at = end > (off_t)cap - 1 ? end - (off_t)cap + 1 : 0;
  ssize_t n = pread(fd, text, cap - 1, at);
  text[n > 0 ? n : 0] = 0;
  for (char *p = text + strlen(text); p > text && (p[-1] == '\n' || p[-1] == ' ');)
    *--p = 0;
}

static Status run(Ctx *c, const char *const *argv, int messages) {
  posix_spawn_file_actions_t actions;
  pid_t pid;
  int status;
  char text[600];
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, messages, 1);
  posix_spawn_file_actions_adddup2(&actions, messages, 2);
  errno = posix_spawn(&pid, argv[0], &actions, NULL, (char *const *)(uintptr_t)argv, environ);
  int failed = errno;
  posix_spawn_file_actions_destroy(&actions);
  errno = failed;
  if (failed)
    return fail_errno(c, "start the linker", argv[0]);
  while (waitpid(pid, &status, 0) < 0)
    if (errno != EINTR)
      return fail_errno(c, "wait for the linker", argv[0]);
  if (WIFEXITED(status) && !WEXITSTATUS(status))
    return ST_OK;
  read_messages(messages, text, sizeof text);
  return fail(c, ST_IO, "%s cannot link it: %s", argv[0], *text ? text : "it says nothing");
}

/* The names that a library exports: its model's, and the one by which dlopen finds the table of them. */
static Status write_exports(Ctx *c, Arena *a, const AotLink *l, const char *path) {
  OutFile *f;
  const char *text = arena_printf(a, "{ global: %s_*; sard_compiled_model; local: *; };\n", l->prefix);
  TRY(file_begin(c, a, path, &f));
  TRY(file_put(c, f, text, strlen(text)));
  return file_commit(c, f);
}

static Status link_to(Ctx *c, Arena *a, const AotLink *l, const char *compiler, const char *out, const char *exports) {
  const char **v = arena_array(a, const char *, 24 + (size_t)l->nlibrary);
  const char *slash = strrchr(l->out, '/');
  uint32_t n = 0;
  v[n++] = compiler;
  if (!l->program) {
    TRY(write_exports(c, a, l, exports));
    v[n++] = "-shared", v[n++] = arena_printf(a, "-Wl,-soname,%s", slash ? slash + 1 : l->out);
    v[n++] = arena_printf(a, "-Wl,--version-script=%s", exports);
    v[n++] = arena_printf(a, "-Wl,--defsym=sard_compiled_model=%s_api", l->prefix);
  } else {
    v[n++] = "-pie";
  }
  v[n++] = "-Wl,-z,now,-z,relro,-z,noexecstack,--as-needed,--gc-sections,--build-id=none,--strip-debug";
  v[n++] = "-o", v[n++] = out, v[n++] = l->object;
  for (uint32_t i = 0; i < l->nlibrary; i++)
    v[n++] = l->library[i];
  const char *said = arena_printf(a, "%s.log", out);
  int fd = open(said, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0)
    return fail_errno(c, "create", said);
  unlink(said);
  Status st = run(c, v, fd);
  close(fd);
  return st;
}

Status aot_link(Ctx *c, Arena *a, const AotLink *l) {
  const char *compiler = aot_find_compiler(a, l->compiler);
  const char *out = arena_printf(a, "%s.linked", l->object), *exports = arena_printf(a, "%s.exports", l->object);
  if (!compiler)
    return err_hint(c, fail(c, ST_UNSUPPORTED, "there is no linker: '%s' is not in PATH", l->compiler),
                    "install a C compiler (gcc or clang), or name one with CC; .sard, .o and .a need none");
  Status st = link_to(c, a, l, compiler, out, exports);
  if (!st && rename(out, l->out))
    st = fail_errno(c, "write", l->out);
  unlink(exports);
  if (st)
    unlink(out);
  return st;
}
