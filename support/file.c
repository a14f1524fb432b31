/* file.c - read-only mappings of regular files.
 *
 * Files are opened with O_NONBLOCK, so that a FIFO does not hang us before it is refused, and O_NOCTTY. Symbolic links
 * are followed: where a path may lead is the caller's question (frontend/weights.c asks it of the open descriptor).
 * SPDX-License-Identifier: Apache-2.0 */
#include "support/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static void release(void *arg) {
  Mapped *m = arg;
  if (m->base)
    munmap((void *)m->base, m->size);
  if (m->fd >= 0)
    close(m->fd);
  m->base = NULL, m->size = 0, m->fd = -1;
}

typedef struct Request {
  Arena *arena;
  const char *path;
  Mapped *made;
} Request;

static Status make(Ctx *c, void *arg) {
  (void)c;
  Request *r = arg;
  r->made = arena_new(r->arena, Mapped);
  r->made->path = arena_strdup(r->arena, r->path);
  return ST_OK;
}

static const char *kind_of(mode_t mode) {
  return S_ISDIR(mode) ? "a directory" : S_ISFIFO(mode) ? "a pipe" : S_ISSOCK(mode) ? "a socket" : "a device";
}

static Status map_it(Ctx *c, Mapped *m) {
  struct stat st;
  if (fstat(m->fd, &st))
    return fail_errno(c, "examine the file", m->path);
  if (!S_ISREG(st.st_mode))
    return err_file(c, fail(c, ST_IO, "not a regular file but %s", kind_of(st.st_mode)), m->path);
  m->dev = st.st_dev, m->ino = st.st_ino;
  m->mtime_ns = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
  m->ctime_ns = (int64_t)st.st_ctim.tv_sec * 1000000000 + st.st_ctim.tv_nsec;
  if (!st.st_size)
    return ST_OK;
  void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, m->fd, 0);
  if (p == MAP_FAILED)
    return fail_errno(c, "map the file", m->path);
  m->base = p, m->size = (size_t)st.st_size;
  return ST_OK;
}

Status map_fd(Ctx *c, Arena *a, int fd, const char *path, Mapped **out) {
  Request r = {.arena = a, .path = path};
  Status st = ctx_protect(c, make, &r); /* protected: fd is ours already and would leak */
  if (st) {
    close(fd);
    return st;
  }
  Mapped *m = r.made;
  m->fd = fd;
  ctx_on_failure(c, &m->cleanup, release, m);
  st = map_it(c, m);
  if (st)
    map_close(c, m);
  else
    *out = m;
  return st;
}

Status map_open(Ctx *c, Arena *a, const char *path, Mapped **out) {
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (fd < 0)
    return fail_errno(c, "open the file", path);
  return map_fd(c, a, fd, path, out);
}

void map_huge(const Mapped *m) {
  if (m->base)
    madvise((void *)(uintptr_t)m->base, m->size, MADV_HUGEPAGE);
}

void map_forget(const Mapped *m) {
  if (m->base)
    madvise((void *)(uintptr_t)m->base, m->size, MADV_DONTNEED);
}

void map_close(Ctx *c, Mapped *m) {
  ctx_forget(c, &m->cleanup);
  release(m);
}

Status map_check(Ctx *c, const Mapped *m) {
  struct stat st;
  if (fstat(m->fd, &st))
    return fail_errno(c, "examine the file", m->path);
  if (st.st_size < 0 || (size_t)st.st_size < m->size)
    return err_file(c,
                    fail(c, ST_INVALID, "the file was cut short while it was in use: %zu bytes then, %lld now", m->size,
                         (long long)st.st_size),
                    m->path);
  return ST_OK;
}

void map_move(Ctx *c, Mapped *from, Mapped *to) {
  ctx_forget(c, &from->cleanup);
  *to = *from;
  ctx_on_failure(c, &to->cleanup, release, to);
  from->base = NULL, from->size = 0, from->fd = -1;
}
