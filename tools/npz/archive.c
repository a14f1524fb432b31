/* archive.c - .npz over libzip: part of libsard-npz.so.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tools/npz.h"

#include "tools/npy.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <zip.h>

enum { MAX_ENTRIES = 1 << 20 };

struct Npz {
  Ctx *c;
  Arena *a;
  const char *path;
  zip_t *zip;
  size_t n;
  const char **name;
  uint64_t size; /* bytes of the file */
  Cleanup cleanup;
};

static void discard(void *arg) {
  Npz *z = arg;
  zip_discard(z->zip);
}

void npz_close(Npz *z) {
  ctx_forget(z->c, &z->cleanup);
  discard(z);
}

static Status zip_failed(Ctx *c, const char *what, zip_error_t *e, const char *path) {
  Status st = fail(c, ST_INVALID, "cannot %s: %s", what, zip_error_strerror(e));
  return err_file(c, st, path);
}

Status npz_open(Ctx *c, Arena *a, const char *path, Npz **out) {
  int code = 0;
  struct stat file;
  if (stat(path, &file))
    return fail_errno(c, "open", path);
  Npz *z = arena_new(a, Npz);
  *z = (Npz){.c = c, .a = a, .path = path, .zip = zip_open(path, ZIP_RDONLY, &code)};
  if (!z->zip) {
    zip_error_t e;
    zip_error_init_with_code(&e, code);
    Status st = zip_failed(c, "read the .npz archive", &e, path);
    zip_error_fini(&e);
    return st;
  }
  ctx_on_failure(c, &z->cleanup, discard, z);
  z->size = (uint64_t)file.st_size;
  zip_int64_t n = zip_get_num_entries(z->zip, 0);
  if (n > MAX_ENTRIES)
    return err_file(c, fail(c, ST_INVALID, "an .npz archive of %lld entries", (long long)n), path);
  z->n = n > 0 ? (size_t)n : 0;
  z->name = arena_array(a, const char *, z->n + 1);
  for (size_t i = 0; i < z->n; i++) {
    const char *s = zip_get_name(z->zip, i, ZIP_FL_ENC_GUESS);
    if (!s)
      return zip_failed(c, "read the .npz archive", zip_get_error(z->zip), path);
    size_t len = strlen(s);
    z->name[i] = arena_strndup(a, s, has_suffix(s, ".npy") ? len - 4 : len);
  }
  *out = z;
  return ST_OK;
}

const char *npz_name(Npz *z, size_t i) { return i < z->n ? z->name[i] : NULL; }

int64_t npz_find(Npz *z, const char *name) {
  for (size_t i = 0; i < z->n; i++)
    if (!strcmp(z->name[i], name))
      return (int64_t)i;
  return -1;
}

typedef struct Entry {
  zip_file_t *f;
  Cleanup cleanup;
} Entry;

static void close_entry(void *arg) { zip_fclose(((Entry *)arg)->f); }

static Status read_entry(Npz *z, size_t i, uint8_t *p, size_t size) {
  Entry *e = arena_new(z->a, Entry);
  e->f = zip_fopen_index(z->zip, i, 0);
  if (!e->f)
    return zip_failed(z->c, "read the .npz archive", zip_get_error(z->zip), z->path);
  ctx_on_failure(z->c, &e->cleanup, close_entry, e);
  Status st = ST_OK;
  for (size_t at = 0; at < size && !st;) {
    size_t want = size - at < (size_t)1 << 24 ? size - at : (size_t)1 << 24;
    zip_int64_t k = zip_fread(e->f, p + at, want);
    if (k <= 0)
      st = k ? zip_failed(z->c, "read the .npz archive", zip_file_get_error(e->f), z->path)
             : err_file(z->c, fail(z->c, ST_INVALID, "array '%s' is cut short", z->name[i]), z->path);
    else
      at += (size_t)k, st = ctx_poll(z->c);
  }
  ctx_forget(z->c, &e->cleanup);
  close_entry(e);
  return st;
}

Status npz_read(Npz *z, size_t i, DType want, Tensor **out) {
  zip_stat_t s;
  if (zip_stat_index(z->zip, i, 0, &s) || !(s.valid & ZIP_STAT_SIZE) || !(s.valid & ZIP_STAT_COMP_SIZE))
    return err_file(z->c, fail(z->c, ST_INVALID, "array '%s' has no size", z->name[i]), z->path);
  /* Deflate makes at most 1032 bytes of one: what claims more would only be a way to ask for memory. */
  if (s.comp_size > z->size || s.size / 1032 > s.comp_size + 64)
    return err_file(z->c, fail(z->c, ST_INVALID, "array '%s' claims a size it cannot have", z->name[i]), z->path);
  uint8_t *p = arena_get(z->a, s.size, 1, 64);
  TRY(read_entry(z, i, p, s.size));
  Status st = npy_read(z->c, z->a, p, s.size, want, out);
  return st ? err_file(z->c, err_note(z->c, st, "array '%s'", z->name[i]), z->path) : ST_OK;
}

typedef struct Writer {
  zip_t *zip;
  Cleanup cleanup;
} Writer;

static void discard_writer(void *arg) { zip_discard(((Writer *)arg)->zip); }

static Status add_entry(Ctx *c, Arena *a, zip_t *zip, const char *path, const char *name, const Tensor *t) {
  Str head, data;
  TRY(npy_write(c, a, t, &head, &data));
  zip_buffer_fragment_t part[2] = {{(zip_uint8_t *)(uintptr_t)head.ptr, head.len},
                                   {(zip_uint8_t *)(uintptr_t)data.ptr, data.len}};
  zip_source_t *src = zip_source_buffer_fragment(zip, part, data.len ? 2 : 1, 0);
  if (!src)
    return zip_failed(c, "write the .npz archive", zip_get_error(zip), path);
  zip_int64_t at = zip_file_add(zip, arena_printf(a, "%s.npy", name), src, ZIP_FL_ENC_UTF_8);
  if (at < 0) {
    zip_source_free(src);
    return zip_failed(c, "write the .npz archive", zip_get_error(zip), path);
  }
  if (zip_set_file_compression(zip, (zip_uint64_t)at, ZIP_CM_STORE, 0) ||
      zip_file_set_dostime(zip, (zip_uint64_t)at, 0, 0x21, 0)) /* 1980-01-01: the same outputs give the same file */
    return zip_failed(c, "write the .npz archive", zip_get_error(zip), path);
  return ST_OK;
}

Status npz_write(Ctx *c, Arena *a, OutFile *f, size_t n, const char *const *name, const Tensor *const *t) {
  int code = 0;
  Writer *w = arena_new(a, Writer);
  w->zip = zip_open(f->temp, ZIP_CREATE | ZIP_TRUNCATE, &code);
  if (!w->zip)
    return err_file(c, fail(c, ST_IO, "cannot write the .npz archive"), f->path);
  ctx_on_failure(c, &w->cleanup, discard_writer, w);
  Status st = ST_OK;
  for (size_t i = 0; i < n && !st; i++)
    st = add_entry(c, a, w->zip, f->path, name[i], t[i]);
  if (!st && zip_close(w->zip))
    st = err_file(c, fail(c, ST_IO, "cannot write the .npz archive: %s", zip_strerror(w->zip)), f->path);
  else if (!st) {
    ctx_forget(c, &w->cleanup);
    return ST_OK;
  }
  ctx_forget(c, &w->cleanup);
  zip_discard(w->zip);
  return st;
}
