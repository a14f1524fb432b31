/* zip.c - zip archives. Sizes and offsets are 32 bits of a header, or all ones there and 64 bits in an extra field.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tools/zip.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

enum { LOCAL = 0x04034b50, CENTRAL = 0x02014b50, END = 0x06054b50, END64 = 0x06064b50, WHERE64 = 0x07064b50 };
enum { LOCAL_SIZE = 30, CENTRAL_SIZE = 46, END_SIZE = 22, END64_SIZE = 56, WHERE64_SIZE = 20, EXTRA64 = 1 };
enum { STORED = 0, DEFLATED = 8, ENCRYPTED = 1, UTF8_NAME = 1 << 11 };
enum { MAX_ENTRIES = 1 << 20, MAX_NAME = 65535, PIECE = 1 << 16 };
static const uint64_t all_ones = 0xffffffff;

static uint64_t get(const uint8_t *p, int n) {
  uint64_t v = 0;
  while (n--)
    v = v << 8 | p[n];
  return v;
}

static uint8_t *put(uint8_t *p, uint64_t v, int n) {
  for (; n--; v >>= 8)
    *p++ = (uint8_t)v;
  return p;
}

/* --- reading --- */

static Status damaged(Ctx *c, const Zip *z, const char *why) {
  return err_file(c, fail(c, ST_INVALID, "cannot read the archive: %s", why), z->path);
}

static Status bytes_at(Ctx *c, const Zip *z, uint64_t at, uint8_t *p, uint64_t n) {
  if (at > z->bytes || n > z->bytes - at)
    return damaged(c, z, "it is cut short");
  while (n) {
    ssize_t k = pread(z->fd, p, n < 1 << 24 ? n : 1 << 24, (off_t)at);
    if (!k)
      return damaged(c, z, "it has become shorter");
    if (k < 0 && errno != EINTR)
      return fail_errno(c, "read", z->path);
    if (k > 0)
      p += k, at += (uint64_t)k, n -= (uint64_t)k;
    TRY(ctx_poll(c));
  }
  return ST_OK;
}

typedef struct Directory {
  uint64_t n, bytes, at;
} Directory;

/* The end record is the last thing but for a comment of its own. */
static Status find_directory(Ctx *c, Arena *a, const Zip *z, Directory *d) {
  uint64_t n = z->bytes < END_SIZE + MAX_NAME ? z->bytes : END_SIZE + MAX_NAME, i = n;
  uint8_t *p = arena_get(a, n + 1, 1, 1), end[END64_SIZE];
  TRY(bytes_at(c, z, z->bytes - n, p, n));
  for (i = n < END_SIZE ? 0 : n - END_SIZE + 1; i; i--)
    if (get(p + i - 1, 4) == END && i - 1 + END_SIZE + get(p + i - 1 + 20, 2) == n)
      break;
  if (!i)
    return damaged(c, z, "it is no zip archive, or cut short");
  const uint8_t *e = p + i - 1;
  *d = (Directory){get(e + 10, 2), get(e + 12, 4), get(e + 16, 4)};
  if (d->n != 0xffff && d->bytes != all_ones && d->at != all_ones)
    return ST_OK;
  if (i - 1 < WHERE64_SIZE || get(e - WHERE64_SIZE, 4) != WHERE64)
    return ST_OK;
  TRY(bytes_at(c, z, get(e - WHERE64_SIZE + 8, 8), end, END64_SIZE));
  if (get(end, 4) != END64)
    return damaged(c, z, "its end record of 64 bits is not where it should be");
  *d = (Directory){get(end + 32, 8), get(end + 40, 8), get(end + 48, 8)};
  return ST_OK;
}

/* What is all ones in the header stands in the extra field, in this order. */
static bool wide_fields(const uint8_t *p, size_t n, ZipEntry *e) {
  uint64_t *field[3] = {&e->size, &e->packed, &e->at};
  for (; n >= 4 && n - 4 >= get(p + 2, 2); n -= 4 + get(p + 2, 2), p += 4 + get(p + 2, 2)) {
    if (get(p, 2) != EXTRA64)
      continue;
    size_t at = 4, end = 4 + get(p + 2, 2);
    for (int i = 0; i < 3; i++)
      if (*field[i] == all_ones) {
        if (end - at < 8)
          return false;
        *field[i] = get(p + at, 8), at += 8;
      }
    return true;
  }
  return e->size != all_ones && e->packed != all_ones && e->at != all_ones;
}

/* An entry of the directory at p, of n bytes at most; used: how many it takes. */
static const char *read_entry(Arena *a, const Zip *z, const uint8_t *p, uint64_t n, ZipEntry *e, uint64_t *used) {
  if (n < CENTRAL_SIZE || get(p, 4) != CENTRAL)
    return "its directory is damaged";
  uint64_t name = get(p + 28, 2), extra = get(p + 30, 2);
  *used = CENTRAL_SIZE + name + extra + get(p + 32, 2);
  if (*used > n)
    return "its directory is damaged";
  const char *s = (const char *)p + CENTRAL_SIZE;
  *e = (ZipEntry){.name = arena_strndup(a, s, name),
                  .at = get(p + 42, 4),
                  .packed = get(p + 20, 4),
                  .size = get(p + 24, 4),
                  .crc = (uint32_t)get(p + 16, 4),
                  .method = (uint32_t)get(p + 10, 2)};
  if (!wide_fields(p + CENTRAL_SIZE + name, extra, e))
    return "its directory is damaged";
  if (memchr(s, 0, name) || !utf8_valid(s, name))
    return "the name of a file in it is not UTF-8";
  if (get(p + 8, 2) & ENCRYPTED)
    return "it is encrypted";
  if (e->method != STORED && e->method != DEFLATED)
    return "it is compressed by another method than deflate";
  /* Deflate makes at most 1032 bytes of one: what claims more would only be a way to ask for memory. */
  if (e->packed > z->bytes || e->size / 1032 > e->packed + 64 || (e->method == STORED && e->size != e->packed))
    return "a file in it claims a size it cannot have";
  return NULL;
}

static Status read_directory(Ctx *c, Arena *a, Zip *z) {
  Directory d;
  struct stat s;
  if (fstat(z->fd, &s))
    return fail_errno(c, "read", z->path);
  if (!S_ISREG(s.st_mode))
    return err_file(c, fail(c, ST_IO, "is no regular file"), z->path);
  z->bytes = (uint64_t)s.st_size;
  TRY(find_directory(c, a, z, &d));
  if (d.n > MAX_ENTRIES)
    return err_file(c, fail(c, ST_INVALID, "an archive of %llu files", (unsigned long long)d.n), z->path);
  if (d.bytes > z->bytes || d.n > d.bytes / CENTRAL_SIZE)
    return damaged(c, z, "its directory is cut short");
  uint8_t *p = arena_get(a, d.bytes + 1, 1, 1);
  TRY(bytes_at(c, z, d.at, p, d.bytes));
  z->entry = arena_array(a, ZipEntry, d.n + 1);
  for (uint64_t at = 0, used; z->n < d.n; z->n++, at += used) {
    const char *why = read_entry(a, z, p + at, d.bytes - at, &z->entry[z->n], &used);
    if (why)
      return damaged(c, z, why);
  }
  return ST_OK;
}

static void close_file(void *arg) { close(((Zip *)arg)->fd); }

void zip_close(Ctx *c, Zip *z) {
  ctx_forget(c, &z->cleanup);
  close_file(z);
}

Status zip_open(Ctx *c, Arena *a, const char *path, Zip **out) {
  Zip *z = arena_new(a, Zip);
  *z = (Zip){.path = path, .fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (z->fd < 0)
    return fail_errno(c, "open", path);
  ctx_on_failure(c, &z->cleanup, close_file, z);
  Status st = read_directory(c, a, z);
  if (st)
    zip_close(c, z);
  else
    *out = z;
  return st;
}

typedef struct Inflation {
  z_stream s;
  Cleanup cleanup;
  uint8_t in[PIECE];
} Inflation;

static void end_inflation(void *arg) { inflateEnd(&((Inflation *)arg)->s); }

/* All of the entry's bytes must make all of its contents. */
static Status inflate_all(Ctx *c, const Zip *z, const ZipEntry *e, uint64_t at, uint8_t *p, Inflation *f) {
  uint64_t left = e->packed, size = e->size;
  int code = Z_OK;
  while (code == Z_OK) {
    uInt room = size < 1 << 24 ? (uInt)size : 1 << 24;
    if (!f->s.avail_in && left) {
      uInt n = left < PIECE ? (uInt)left : PIECE;
      TRY(bytes_at(c, z, at, f->in, n));
      f->s.next_in = f->in, f->s.avail_in = n;
      at += n, left -= n;
    }
    f->s.next_out = p, f->s.avail_out = room;
    code = inflate(&f->s, Z_NO_FLUSH);
    p += room - f->s.avail_out, size -= room - f->s.avail_out;
    TRY(ctx_poll(c));
  }
  return code == Z_STREAM_END && !size && !left && !f->s.avail_in ? ST_OK : damaged(c, z, "a file in it is damaged");
}

static Status read_deflated(Ctx *c, const Zip *z, const ZipEntry *e, uint64_t at, uint8_t *p) {
  uint8_t none; /* zlib wants an address of no bytes as well */
  Arena *a = arena_create(c);
  Inflation *f = arena_new(a, Inflation);
  f->s = (z_stream){0};
  if (inflateInit2(&f->s, -15) != Z_OK) {
    arena_destroy(a);
    return fail(c, ST_MEMORY, "out of memory for decompression");
  }
  ctx_on_failure(c, &f->cleanup, end_inflation, f);
  Status st = inflate_all(c, z, e, at, e->size ? p : &none, f);
  ctx_forget(c, &f->cleanup);
  end_inflation(f);
  arena_destroy(a);
  return st;
}

Status zip_read(Ctx *c, Zip *z, size_t i, uint8_t *p) {
  const ZipEntry *e = &z->entry[i];
  uint8_t head[LOCAL_SIZE];
  TRY(bytes_at(c, z, e->at, head, LOCAL_SIZE));
  if (get(head, 4) != LOCAL)
    return damaged(c, z, "a file in it is not where the directory says");
  uint64_t at = e->at + LOCAL_SIZE + get(head + 26, 2) + get(head + 28, 2);
  TRY(e->method == STORED ? bytes_at(c, z, at, p, e->size) : read_deflated(c, z, e, at, p));
  if (crc32_z(0, p, e->size) != e->crc)
    return damaged(c, z, "a file in it is damaged");
  return ST_OK;
}

/* --- writing --- */

static bool wide(const ZipEntry *e) { return e->size >= all_ones || e->at >= all_ones; }

/* What local headers and the directory have in common, 26 bytes: version needed to name and extra lengths. */
static uint8_t *common(uint8_t *p, const ZipEntry *e, uint64_t extra) {
  uint64_t size = wide(e) ? all_ones : e->size;
  p = put(put(put(p, wide(e) ? 45 : 20, 2), UTF8_NAME, 2), STORED, 2);
  p = put(put(p, 0, 2), 0x21, 2); /* 0:00 on 1980-01-01 */
  p = put(put(put(p, e->crc, 4), size, 4), size, 4);
  return put(put(p, strlen(e->name), 2), extra, 2);
}

static Status out(Ctx *c, ZipWriter *w, const void *p, size_t n) {
  w->bytes += n;
  return file_put(c, w->f, p, n);
}

Status zip_put(Ctx *c, ZipWriter *w, const char *name, Str head, Str data) {
  uint8_t b[LOCAL_SIZE + 20], *p = b;
  if (strlen(name) > MAX_NAME)
    return err_file(c, fail(c, ST_INVALID, "a name of %zu bytes does not fit a zip archive", strlen(name)), w->f->path);
  ZipEntry *e = &w->entry[w->n++];
  *e = (ZipEntry){.name = name, .at = w->bytes, .size = head.len + data.len};
  e->packed = e->size;
  e->crc = (uint32_t)crc32_z(0, (const uint8_t *)head.ptr, head.len);
  if (data.len) /* of a null pointer zlib makes the sum of nothing */
    e->crc = (uint32_t)crc32_z(e->crc, (const uint8_t *)data.ptr, data.len);
  p = common(put(p, LOCAL, 4), e, wide(e) ? 20 : 0);
  if (wide(e))
    p = put(put(put(put(p, EXTRA64, 2), 16, 2), e->size, 8), e->packed, 8);
  /* The name stands between the header and the extra field. */
  TRY(out(c, w, b, LOCAL_SIZE));
  TRY(out(c, w, name, strlen(name)));
  TRY(out(c, w, b + LOCAL_SIZE, (size_t)(p - b) - LOCAL_SIZE));
  TRY(out(c, w, head.ptr, head.len));
  return out(c, w, data.ptr, data.len);
}

static Status put_entry(Ctx *c, ZipWriter *w, const ZipEntry *e) {
  uint8_t b[CENTRAL_SIZE + 28], *p = b;
  p = put(put(p, CENTRAL, 4), 3 << 8 | 45, 2); /* made on Unix */
  p = common(p, e, wide(e) ? 28 : 0);
  p = put(put(put(p, 0, 6), (uint64_t)0100644 << 16, 4), wide(e) ? all_ones : e->at, 4);
  if (wide(e))
    p = put(put(put(put(put(p, EXTRA64, 2), 24, 2), e->size, 8), e->packed, 8), e->at, 8);
  TRY(out(c, w, b, CENTRAL_SIZE));
  TRY(out(c, w, e->name, strlen(e->name)));
  return out(c, w, b + CENTRAL_SIZE, (size_t)(p - b) - CENTRAL_SIZE);
}

Status zip_finish(Ctx *c, ZipWriter *w) {
  uint8_t b[END64_SIZE + WHERE64_SIZE + END_SIZE], *p = b;
  uint64_t at = w->bytes;
  for (size_t i = 0; i < w->n; i++)
    TRY(put_entry(c, w, &w->entry[i]));
  uint64_t bytes = w->bytes - at;
  bool large = w->n >= 0xffff || at >= all_ones || bytes >= all_ones;
  if (large) {
    p = put(put(put(put(p, END64, 4), END64_SIZE - 12, 8), 3 << 8 | 45, 2), 45, 2);
    p = put(put(put(put(put(p, 0, 8), w->n, 8), w->n, 8), bytes, 8), at, 8);
    p = put(put(put(put(p, WHERE64, 4), 0, 4), w->bytes, 8), 1, 4);
  }
  p = put(put(p, END, 4), 0, 4);
  p = put(put(p, large ? 0xffff : w->n, 2), large ? 0xffff : w->n, 2);
  p = put(put(put(p, large ? all_ones : bytes, 4), large ? all_ones : at, 4), 0, 2);
  return out(c, w, b, (size_t)(p - b));
}
