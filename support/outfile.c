/* outfile.c - writing to a temporary name, then renaming.
 * SPDX-License-Identifier: Apache-2.0 */
#include "support/outfile.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static void discard(void *arg) {
  OutFile *f = arg;
  if (f->fd >= 0)
    close(f->fd);
  unlink(f->temp);
}

Status file_begin(Ctx *c, Arena *a, const char *path, OutFile **out) {
  struct stat s;
  char real[PATH_MAX];
  if (realpath(path, real)) /* through a link: its target is replaced, not the link */
    path = arena_strdup(a, real);
  if (!stat(path, &s) && !S_ISREG(s.st_mode))
    return err_file(c, fail(c, ST_IO, "is no regular file, and is not written to"), path);
  OutFile *f = arena_new(a, OutFile);
  char *temp = arena_printf(a, "%s.XXXXXX", path);
  f->path = path, f->temp = temp;
  f->fd = mkostemp(temp, O_CLOEXEC);
  if (f->fd < 0)
    return fail_errno(c, "create", path);
  mode_t mask = umask(0);
  umask(mask);
  ctx_on_failure(c, &f->cleanup, discard, f);
  if (fchmod(f->fd, 0666 & ~mask))
    return fail_errno(c, "create", path);
  *out = f;
  return ST_OK;
}

Status file_put(Ctx *c, OutFile *f, const void *p, size_t n) {
  for (const char *at = p; n;) {
    ssize_t k = write(f->fd, at, n);
    if (k < 0 && errno != EINTR)
      return fail_errno(c, "write", f->path);
    if (k > 0)
      at += k, n -= (size_t)k;
    TRY(ctx_poll(c));
  }
  return ST_OK;
}

Status file_commit(Ctx *c, OutFile *f) {
  int bad = close(f->fd);
  f->fd = -1;
  if (bad || rename(f->temp, f->path))
    return fail_errno(c, "write", f->path);
  ctx_forget(c, &f->cleanup);
  return ST_OK;
}

Status file_executable(Ctx *c, OutFile *f) {
  mode_t mask = umask(0);
  umask(mask);
  return fchmod(f->fd, 0777 & ~mask) ? fail_errno(c, "create", f->path) : ST_OK;
}
