/* weights.c - tensor data: borrowed where the bytes are right as they are, converted where not, refused where they do
 * not match the shape. What a name of external data leads to is judged by the descriptor that was opened, not by the
 * name.
 * SPDX-License-Identifier: Apache-2.0 */
#include "frontend/weights.h"

#include "support/checked.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "tensor data of ONNX is little endian and is used as it lies");

struct Weights {
  Ctx *c;
  Model *m;
  bool strict;
  size_t budget;       /* bytes that converted tensors may still take */
  int dir[2];          /* where external data is looked for; -1: nowhere */
  const char *root[2]; /* real paths of the directories that it must lie in */
  uint32_t cap;        /* of m->file, once it is ours to extend */
  Map by_name;         /* location -> Mapped */
  Cleanup cleanup;
};

/* The typed field that holds data of a type; 0: raw data only. */
static const uint8_t field_of[DT_count] = {
    [DT_f32] = TP_FLOAT_DATA,    [DT_c64] = TP_FLOAT_DATA,        [DT_f64] = TP_DOUBLE_DATA,
    [DT_c128] = TP_DOUBLE_DATA,  [DT_i64] = TP_INT64_DATA,        [DT_u64] = TP_UINT64_DATA,
    [DT_u32] = TP_UINT64_DATA,   [DT_str] = TP_STRING_DATA,       [DT_i32] = TP_INT32_DATA,
    [DT_i16] = TP_INT32_DATA,    [DT_i8] = TP_INT32_DATA,         [DT_u16] = TP_INT32_DATA,
    [DT_u8] = TP_INT32_DATA,     [DT_bool] = TP_INT32_DATA,       [DT_f16] = TP_INT32_DATA,
    [DT_bf16] = TP_INT32_DATA,   [DT_f8e4m3fn] = TP_INT32_DATA,   [DT_f8e4m3fnuz] = TP_INT32_DATA,
    [DT_f8e5m2] = TP_INT32_DATA, [DT_f8e5m2fnuz] = TP_INT32_DATA, [DT_f8e8m0] = TP_INT32_DATA,
    [DT_f4e2m1] = TP_INT32_DATA, [DT_i4] = TP_INT32_DATA,         [DT_u4] = TP_INT32_DATA,
    [DT_i2] = TP_INT32_DATA,     [DT_u2] = TP_INT32_DATA,         [DT_f6e2m3] = TP_INT32_DATA,
    [DT_f6e3m2] = TP_INT32_DATA,
};

static const char *field_name(int field) {
  static const char *const name[] = {
      [TP_FLOAT_DATA] = "float_data",  [TP_INT32_DATA] = "int32_data", [TP_STRING_DATA] = "string_data",
      [TP_INT64_DATA] = "int64_data",  [TP_RAW_DATA] = "raw_data",     [TP_DOUBLE_DATA] = "double_data",
      [TP_UINT64_DATA] = "uint64_data"};
  return name[field];
}

/* --- type and shape --- */

/* A tensor of this type and shape without data; its count of elements and of bytes. */
static Status empty_tensor(Ctx *c, Arena *a, int32_t dtype, uint32_t ndim, const int64_t *dim, Tensor **out,
                           size_t *bytes) {
  int64_t count;
  char text[512];
  if (!dtype_valid(dtype))
    return fail(c, ST_INVALID, "%d is no element type of ONNX", (int)dtype);
  if (ndim > MAX_RANK)
    return fail(c, ST_UNSUPPORTED, "rank %u is above %d", (unsigned)ndim, MAX_RANK);
  for (uint32_t i = 0; i < ndim; i++)
    if (dim[i] < 0)
      return fail(c, ST_INVALID, "shape %s has a negative extent", shape_text((int)ndim, dim, text, sizeof text));
  if (!extent_ok(dim, (int)ndim, &count) || !dtype_bytes((DType)dtype, count, bytes))
    return fail(c, ST_INVALID, "shape %s is larger than any memory", shape_text((int)ndim, dim, text, sizeof text));
  Tensor *t = arena_new(a, Tensor);
  t->dtype = (DType)dtype, t->rank = (int8_t)ndim;
  if (ndim)
    memcpy(t->dim, dim, ndim * sizeof *dim);
  *out = t;
  return ST_OK;
}

static Status size_mismatch(Ctx *c, const Tensor *t, size_t needed, size_t given, const char *what) {
  char text[512];
  return fail(c, ST_INVALID, "%s needs %zu %s, but the data has %zu", tensor_type_text(t, text, sizeof text), needed,
              what, given);
}

static Status take_budget(Ctx *c, size_t *budget, size_t bytes) {
  if (bytes > *budget)
    return fail(c, ST_MEMORY,
                "it takes %zu bytes of memory when converted, over the limit of %zu for what a model's file unfolds to",
                bytes, *budget);
  *budget -= bytes;
  return ST_OK;
}

static void *lend(const uint8_t *p) {
  return (void *)(uintptr_t)p; /* Tensor.data is not const; constants are never written */
}

/* --- typed fields --- */

/* Goes through the values of a tensor's pieces, packed or not. */
typedef struct Values {
  const WirePiece *piece, *last;
  const uint8_t *p;
  bool damaged;
} Values;

static Values values_of(const RawTensor *t) {
  return (Values){.piece = t->piece, .last = t->piece + t->npiece, .p = t->npiece ? t->piece->ptr : NULL};
}

/* Bytes of a value of fixed size in this field; 0: varint. */
static size_t fixed_size(int field) { return field == TP_FLOAT_DATA ? 4 : field == TP_DOUBLE_DATA ? 8 : 0; }

/* The next value as bits; for strings *bits is the length and *s its start. False: no more, or damaged. */
static bool next_value(Values *it, uint64_t *bits, const uint8_t **s) {
  while (it->piece < it->last && it->p == it->piece->ptr + it->piece->len)
    if (++it->piece < it->last)
      it->p = it->piece->ptr;
  if (it->piece == it->last)
    return false;
  const uint8_t *end = it->piece->ptr + it->piece->len;
  size_t size = fixed_size(it->piece->field);
  uint64_t tag;
  it->damaged = true;
  if (!it->piece->packed && !wire_varint(&it->p, end, &tag))
    return false;
  if (size) {
    if ((size_t)(end - it->p) < size)
      return false;
    *bits = 0;
    memcpy(bits, it->p, size);
    it->p += size;
  } else if (!wire_varint(&it->p, end, bits)) {
    return false;
  } else if (it->piece->field == TP_STRING_DATA) {
    if (*bits > (size_t)(end - it->p))
      return false;
    *s = it->p;
    it->p += *bits;
  }
  it->damaged = false;
  return true;
}

static bool count_values(const RawTensor *t, size_t *n) {
  Values it = values_of(t);
  uint64_t bits;
  const uint8_t *s;
  *n = 0;
  while (next_value(&it, &bits, &s))
    ++*n;
  return !it.damaged;
}

static int unit_bits(DType t) {
  switch (t) {
  case DT_c64: return 32;
  case DT_c128: return 64;
  case DT_f6e2m3:
  case DT_f6e3m2: return 6;
  default: return dtype_bits(t) < 8 ? 8 : dtype_bits(t); /* packed elements: a value is a byte of them */
  }
}

/* Stores the low unit bits of a value as unit i. False: the value does not fit. */
static bool put_unit(uint8_t *data, size_t i, int unit, uint64_t bits) {
  int64_t v = (int64_t)bits;
  if (unit < 64 && (v < -((int64_t)1 << (unit - 1)) || v >= (int64_t)1 << unit))
    return false;
  if (unit >= 8) {
    memcpy(data + i * (size_t)(unit / 8), &bits, (size_t)unit / 8);
    return true;
  }
  for (int k = 0; k < unit; k++) {
    size_t at = i * (size_t)unit + (size_t)k;
    data[at / 8] |= (uint8_t)((bits >> k & 1) << at % 8);
  }
  return true;
}

static Status fill_strings(Ctx *c, const RawTensor *t, Str *s, size_t n) {
  Values it = values_of(t);
  uint64_t len;
  const uint8_t *p;
  for (size_t i = 0; i < n; i++) {
    if (!next_value(&it, &len, &p))
      return fail(c, ST_INVALID, "the data changed while it was read");
    s[i] = (Str){(const char *)p, len};
  }
  return ST_OK;
}

static Status fill_units(Ctx *c, const RawTensor *t, const Tensor *to, size_t n) {
  Values it = values_of(t);
  int unit = unit_bits(to->dtype);
  uint64_t bits;
  const uint8_t *p;
  for (size_t i = 0; i < n; i++) {
    if (!next_value(&it, &bits, &p))
      return fail(c, ST_INVALID, "the data changed while it was read");
    if (to->dtype == DT_bool)
      bits = bits != 0;
    if (!put_unit(to->data, i, unit, bits))
      return fail(c, ST_INVALID, "value %lld of %s is out of range for %s", (long long)bits,
                  field_name(t->piece->field), dtype_name(to->dtype));
  }
  return ST_OK;
}

static Status typed_data(Ctx *c, Arena *a, size_t *budget, const RawTensor *t, Tensor *to, size_t bytes) {
  size_t given, needed = to->dtype == DT_str ? bytes / sizeof(Str) : bytes * 8 / (size_t)unit_bits(to->dtype);
  if (unit_bits(to->dtype) == 6)
    needed = (size_t)tensor_count(to);
  bool fixed = fixed_size(t->piece->field) != 0;
  if (fixed && t->npiece == 1 && t->piece->packed) { /* the bytes are those of the tensor: nothing to read */
    if (t->piece->len != bytes)
      return size_mismatch(c, to, bytes, t->piece->len, "bytes");
    to->data = lend(t->piece->ptr);
    return ST_OK;
  }
  if (!count_values(t, &given))
    return fail(c, ST_INVALID, "%s is damaged", field_name(t->piece->field));
  if (given != needed)
    return size_mismatch(c, to, needed, given, to->dtype == DT_str ? "strings" : "values");
  TRY(take_budget(c, budget, bytes));
  to->data = arena_get(a, bytes, 1, 64);
  return to->dtype == DT_str ? fill_strings(c, t, to->data, needed) : fill_units(c, t, to, needed);
}

static Status inline_data(Ctx *c, Arena *a, size_t *budget, const RawTensor *t, Tensor *to, size_t bytes) {
  int field = t->npiece ? t->piece->field : 0;
  for (uint32_t i = 1; i < t->npiece; i++)
    if (t->piece[i].field != field || field == TP_RAW_DATA)
      return fail(c, ST_INVALID, "it has data twice: in %s and in %s", field_name(field),
                  field_name(t->piece[i].field));
  if (!field) {
    if (bytes)
      return size_mismatch(c, to, bytes, 0, "bytes");
    to->data = arena_get(a, 0, 1, 64);
    return ST_OK;
  }
  if (field != TP_RAW_DATA && field != field_of[to->dtype])
    return fail(c, ST_INVALID, "%s cannot hold %s", field_name(field), dtype_name(to->dtype));
  if (field != TP_RAW_DATA)
    return typed_data(c, a, budget, t, to, bytes);
  if (to->dtype == DT_str)
    return fail(c, ST_INVALID, "raw_data cannot hold strings");
  if (t->piece->len != bytes)
    return size_mismatch(c, to, bytes, t->piece->len, "bytes");
  to->data = lend(t->piece->ptr);
  return ST_OK;
}

/* --- external data --- */

typedef struct Location {
  const char *name;
  int64_t offset, length; /* length -1: not given */
} Location;

static bool parse_size(const char *s, int64_t *v) {
  int64_t n = 0;
  if (!*s)
    return false;
  for (; *s; s++)
    if (*s < '0' || *s > '9' || !mul_ok(n, 10, &n) || !add_ok(n, *s - '0', &n))
      return false;
  *v = n;
  return true;
}

static bool climbs(const char *name) {
  for (const char *p = name; *p; p += strcspn(p, "/"), p += *p == '/')
    if (!strncmp(p, "..", 2) && (!p[2] || p[2] == '/'))
      return true;
  return false;
}

/* location, offset and length; other keys (checksum, whatever a writer adds) are of no use here. */
static Status parse_location(Ctx *c, const RawTensor *t, Location *l) {
  const char *offset = NULL, *length = NULL;
  *l = (Location){.length = -1};
  for (uint32_t i = 0; i < t->next; i++) {
    const char *key = t->ext[i].key;
    const char **to = !strcmp(key, "location") ? &l->name
                      : !strcmp(key, "offset") ? &offset
                      : !strcmp(key, "length") ? &length
                                               : NULL;
    if (to && *to)
      return fail(c, ST_INVALID, "external data: '%s' is given twice", key);
    if (to)
      *to = t->ext[i].value;
  }
  if (!l->name || !*l->name)
    return fail(c, ST_INVALID, "external data has no location");
  if (offset && !parse_size(offset, &l->offset))
    return fail(c, ST_INVALID, "external data: offset '%s' is no size", offset);
  if (length && !parse_size(length, &l->length))
    return fail(c, ST_INVALID, "external data: length '%s' is no size", length);
  return ST_OK;
}

static bool inside(const char *root, const char *path) {
  size_t n = strlen(root);
  if (n && root[n - 1] == '/')
    n--; /* the root directory itself */
  return !strncmp(root, path, n) && path[n] == '/';
}

/* The real path of an open file: what /proc says of the descriptor, or, where there is no /proc, what the name leads to
 * if that is still the same file. */
static bool real_path_of(int fd, const struct stat *st, const char *dir, const char *name, char out[PATH_MAX]) {
  char link[PATH_MAX];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t n = readlink(link, out, PATH_MAX - 1);
  if (n > 0 && n < PATH_MAX - 1) {
    out[n] = 0;
    return out[0] == '/';
  }
  struct stat now;
  int len = snprintf(link, sizeof link, "%s/%s", dir, name);
  return len > 0 && len < PATH_MAX && realpath(link, out) && !lstat(out, &now) && now.st_dev == st->st_dev &&
         now.st_ino == st->st_ino;
}

/* Judges the open file, not its name: a regular file in one of the directories. */
static Status check_file(Weights *w, int fd, int which, const char *name) {
  struct stat st;
  char real[PATH_MAX];
  if (fstat(fd, &st))
    return fail_errno(w->c, "examine external data", name);
  if (!S_ISREG(st.st_mode))
    return fail(w->c, ST_INVALID, "external data '%s' is not a regular file", name);
  if (w->strict && st.st_nlink > 1)
    return fail(w->c, ST_INVALID, "external data '%s' is a hard link, which strict loading refuses", name);
  if (!real_path_of(fd, &st, w->root[which], name, real))
    return fail(w->c, ST_INVALID, "external data '%s': cannot tell where the file lies", name);
  for (int i = 0; i < 2; i++)
    if (w->root[i] && inside(w->root[i], real))
      return ST_OK;
  return err_hint(w->c, fail(w->c, ST_INVALID, "external data '%s' leads out of the model's directory", name),
                  "put the data file itself, or a link to one in the same directory, beside the model");
}

static Status open_external(Weights *w, const char *name, int *out) {
  int which = 0, fd = -1;
  if (w->dir[0] < 0)
    return fail(w->c, ST_INVALID, "external data '%s' of a model that has no directory", name);
  for (; which < 2 && w->dir[which] >= 0; which++) {
    struct stat st;
    if (fstatat(w->dir[which], name, &st, 0)) {
      if (errno == ENOENT)
        continue;
    } else if (!S_ISREG(st.st_mode)) { /* before it is opened: opening a device can do things */
      return fail(w->c, ST_INVALID, "external data '%s' is not a regular file", name);
    }
    fd = openat(w->dir[which], name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    break;
  }
  if (fd < 0 && errno == ENOENT)
    return err_hint(w->c, fail(w->c, ST_IO, "external data '%s' is not there", name),
                    "copy the data file into the directory of the model");
  if (fd < 0)
    return fail_errno(w->c, "open external data", name);
  Status st = check_file(w, fd, which, name);
  if (st)
    close(fd);
  else
    *out = fd;
  return st;
}

static Mapped *already_mapped(const Weights *w, int fd) {
  struct stat st;
  if (fstat(fd, &st))
    return NULL;
  for (uint32_t i = 0; i < w->m->nfile; i++)
    if (w->m->file[i]->dev == st.st_dev && w->m->file[i]->ino == st.st_ino)
      return w->m->file[i];
  return NULL;
}

static void append_file(Weights *w, Mapped *f) {
  Model *m = w->m;
  if (m->nfile >= w->cap) {
    w->cap = m->nfile * 2 + 4;
    Mapped **more = arena_array(m->arena, Mapped *, w->cap);
    if (m->nfile)
      memcpy(more, m->file, m->nfile * sizeof *more);
    m->file = more;
  }
  m->file[m->nfile++] = f;
}

Status weights_file(Weights *w, const char *name, Mapped **out) {
  *out = map_get(&w->by_name, name);
  if (*out)
    return ST_OK;
  int fd = -1;
  if (*name == '/')
    return fail(w->c, ST_INVALID, "external data at the absolute path '%s': only files beside the model are read",
                name);
  if (climbs(name))
    return fail(w->c, ST_INVALID, "external data at '%s' leaves the model's directory", name);
  TRY(open_external(w, name, &fd));
  *out = already_mapped(w, fd);
  if (*out) {
    close(fd);
  } else {
    TRY(map_fd(w->c, w->m->arena, fd, name, out));
    append_file(w, *out);
  }
  map_put(&w->by_name, name, *out);
  return ST_OK;
}

static Status external_data(Weights *w, const RawTensor *t, Tensor *to, size_t bytes) {
  Location l;
  Mapped *f;
  if (to->dtype == DT_str)
    return fail(w->c, ST_INVALID, "strings cannot be external data");
  TRY(parse_location(w->c, t, &l));
  TRY(weights_file(w, l.name, &f));
  if (l.length >= 0 && (size_t)l.length != bytes)
    return size_mismatch(w->c, to, bytes, (size_t)l.length, "bytes");
  if ((size_t)l.offset > f->size || bytes > f->size - (size_t)l.offset)
    return err_hint(w->c,
                    fail(w->c, ST_INVALID, "external data '%s' has %zu bytes, too few for %zu bytes at offset %lld",
                         l.name, f->size, bytes, (long long)l.offset),
                    "make sure that the data file belongs to this model and was copied completely");
  to->data = bytes ? lend(f->base + l.offset) : arena_get(w->m->arena, 0, 1, 64);
  return ST_OK;
}

/* --- sparse tensors --- */

/* Linear index of element i, checked; false: out of range. */
static bool linear_index(const Tensor *index, int64_t i, const Tensor *dense, int64_t count, int64_t *at) {
  int per = index->rank == 2 ? dense->rank : 1;
  *at = 0;
  for (int k = 0; k < per; k++) {
    int64_t v, extent = index->rank == 2 ? dense->dim[k] : count;
    memcpy(&v, (const uint8_t *)index->data + (size_t)(i * per + k) * sizeof v, sizeof v);
    if (v < 0 || v >= extent)
      return false;
    *at = *at * extent + v; /* below count, which does not overflow */
  }
  return true;
}

static Status check_sparse(Ctx *c, const Tensor *values, const Tensor *index, const Tensor *dense) {
  if (values->rank != 1)
    return fail(c, ST_INVALID, "values of a sparse tensor must have rank 1, not %d", values->rank);
  if (dtype_bits(values->dtype) % 8)
    return fail(c, ST_UNSUPPORTED, "sparse tensors of %s", dtype_name(values->dtype));
  if (index->dtype != DT_i64 || (index->rank != 1 && index->rank != 2) || index->dim[0] != values->dim[0] ||
      (index->rank == 2 && index->dim[1] != dense->rank))
    return fail(c, ST_INVALID, "indices of a sparse tensor must be i64[%lld] or i64[%lld,%d]",
                (long long)values->dim[0], (long long)values->dim[0], dense->rank);
  return ST_OK;
}

static Status scatter(Ctx *c, const Tensor *values, const Tensor *index, Tensor *dense) {
  int64_t at, before = -1, count = tensor_count(dense);
  size_t size = (size_t)dtype_bits(dense->dtype) / 8;
  for (int64_t i = 0; i < values->dim[0]; i++, before = at) {
    if (!linear_index(index, i, dense, count, &at))
      return fail(c, ST_INVALID, "index %lld of a sparse tensor is out of range", (long long)i);
    if (at <= before)
      return fail(c, ST_INVALID, "indices of a sparse tensor must ascend: number %lld does not", (long long)i);
    memcpy((uint8_t *)dense->data + (size_t)at * size, (const uint8_t *)values->data + (size_t)i * size, size);
  }
  return ST_OK;
}

static Status sparse(Weights *w, const RawSparse *s, const Tensor **out) {
  const Tensor *values, *index = NULL;
  Tensor *dense;
  size_t bytes;
  TRY(weights_tensor(w, s->values, &values));
  if (s->indices)
    TRY(weights_tensor(w, s->indices, &index));
  else
    index = tensor_vec_i64(w->m->arena, NULL, 0);
  TRY(empty_tensor(w->c, w->m->arena, values->dtype, s->ndim, s->dim, &dense, &bytes));
  TRY(check_sparse(w->c, values, index, dense));
  TRY(take_budget(w->c, &w->budget, bytes));
  dense->data = arena_get(w->m->arena, bytes, 1, 64);
  *out = dense;
  return scatter(w->c, values, index, dense);
}

/* --- entry points --- */

static Status named(Ctx *c, Status st, const char *name) {
  bool already = !strncmp(c->err.message, "tensor '", 8); /* a sparse tensor is named by its values */
  return st && *name && !already ? err_note(c, st, "tensor '%s'", name) : st;
}

static size_t budget_of(const LoadOptions *o) { return o && o->max_bytes ? o->max_bytes : (size_t)1 << 30; }

static void release(void *arg) {
  Weights *w = arg;
  for (int i = 0; i < 2; i++) {
    if (w->dir[i] >= 0)
      close(w->dir[i]);
    w->dir[i] = -1;
  }
}

static int open_dir(const char *path) { return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC); }

/* The directory of the model's real path, when it is another one. */
static void open_real_dir(Weights *w) {
  char real[PATH_MAX];
  if (!w->m->path || !realpath(w->m->path, real))
    return;
  char *slash = strrchr(real, '/');
  if (!slash)
    return;
  slash[slash == real] = 0;
  if (!strcmp(real, w->root[0]))
    return;
  w->root[1] = arena_strdup(w->m->arena, real);
  w->dir[1] = open_dir(real);
}

Status weights_open(Ctx *c, Model *m, const char *dir, const LoadOptions *o, Weights **out) {
  Weights *w = arena_new(m->arena, Weights);
  *w = (Weights){.c = c, .m = m, .strict = o && o->strict, .budget = budget_of(o), .dir = {-1, -1}};
  map_init(&w->by_name, m->arena);
  ctx_on_failure(c, &w->cleanup, release, w);
  *out = w;
  if (!dir)
    return ST_OK;
  char real[PATH_MAX];
  if (!realpath(dir, real))
    return fail_errno(c, "find the directory of external data", dir);
  w->root[0] = arena_strdup(m->arena, real);
  w->dir[0] = open_dir(dir);
  if (w->dir[0] < 0)
    return fail_errno(c, "open the directory of external data", dir);
  open_real_dir(w);
  return ST_OK;
}

void weights_close(Weights *w) {
  ctx_forget(w->c, &w->cleanup);
  release(w);
}

static Status tensor(Weights *w, const RawTensor *t, const Tensor **out) {
  Tensor *to;
  size_t bytes;
  TRY(empty_tensor(w->c, w->m->arena, t->dtype, t->ndim, t->dim, &to, &bytes));
  *out = to;
  return t->external ? external_data(w, t, to, bytes) : inline_data(w->c, w->m->arena, &w->budget, t, to, bytes);
}

Status weights_tensor(Weights *w, const RawTensor *t, const Tensor **out) {
  return named(w->c, tensor(w, t, out), t->name);
}

Status weights_sparse(Weights *w, const RawSparse *s, const Tensor **out) {
  return named(w->c, sparse(w, s, out), s->values->name);
}

static Status plain(Ctx *c, Arena *a, const RawTensor *t, const Tensor **out) {
  Tensor *to;
  size_t bytes, budget = budget_of(NULL);
  if (t->external)
    return fail(c, ST_INVALID, "external data in a tensor that stands alone");
  TRY(empty_tensor(c, a, t->dtype, t->ndim, t->dim, &to, &bytes));
  *out = to;
  return inline_data(c, a, &budget, t, to, bytes);
}

Status weights_plain(Ctx *c, Arena *a, const RawTensor *t, const Tensor **out) {
  return named(c, plain(c, a, t, out), t->name);
}
