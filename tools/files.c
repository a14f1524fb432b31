/* files.c - reading whole files.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tools/files.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct Descriptor {
  int fd;
  Cleanup cleanup;
} Descriptor;

static void close_descriptor(void *arg) { close(((Descriptor *)arg)->fd); }

static Status read_all(Ctx *c, Arena *a, int fd, size_t expect, const char *path, Str *out) {
  size_t cap = expect + 1, n = 0;
  char *p = arena_get(a, cap, 1, 64);
  for (;;) {
    if (n + 1 >= cap && n >= expect) { /* grew, or a pipe */
      char one;
      ssize_t k = read(fd, &one, 1);
      if (k == 0)
        break;
      if (k > 0) {
        cap = cap < 65536 ? 65536 : cap * 2;
        char *q = arena_get(a, cap, 1, 64);
        memcpy(q, p, n);
        p = q;
        p[n++] = one;
      } else if (errno != EINTR)
        return fail_errno(c, "read", path);
      TRY(ctx_poll(c));
      continue;
    }
    ssize_t k = read(fd, p + n, cap - 1 - n);
    if (k < 0 && errno != EINTR)
      return fail_errno(c, "read", path);
    if (!k)
      break;
    n += k > 0 ? (size_t)k : 0;
    TRY(ctx_poll(c));
  }
  p[n] = 0;
  *out = (Str){p, n};
  return ST_OK;
}

Status file_read(Ctx *c, Arena *a, const char *path, Str *out) {
  struct stat s;
  Descriptor *d = arena_new(a, Descriptor);
  d->fd = open(path, O_RDONLY | O_CLOEXEC);
  if (d->fd < 0)
    return fail_errno(c, "open", path);
  ctx_on_failure(c, &d->cleanup, close_descriptor, d);
  Status st = ST_OK;
  if (fstat(d->fd, &s))
    st = fail_errno(c, "read", path);
  else if (S_ISDIR(s.st_mode))
    st = err_file(c, fail(c, ST_IO, "is a folder, a file is wanted"), path);
  else
    st = read_all(c, a, d->fd, S_ISREG(s.st_mode) && s.st_size > 0 ? (size_t)s.st_size : 0, path, out);
  ctx_forget(c, &d->cleanup);
  close(d->fd);
  return st;
}

bool has_suffix(const char *s, const char *suffix) {
  size_t n = strlen(s), m = strlen(suffix);
  return n >= m && !strcasecmp(s + n - m, suffix);
}
