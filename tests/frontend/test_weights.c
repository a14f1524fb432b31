/* test_weights.c - tensor data from every place it can be in, and everything that must not be read.
 * SPDX-License-Identifier: Apache-2.0 */
#include "frontend/weights.h"

#include "tests/frontend/pb.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static Alloc alloc;
static Ctx c;
static Arena *a;
static char dir[64], other[64]; /* the model's directory, and one beside it */

static void at(char *path, size_t cap, const char *where, const char *name) {
  assert_true(snprintf(path, cap, "%s/%s", where, name) < (int)cap);
}

static void write_file(const char *where, const char *name, const void *bytes, size_t n) {
  char path[256];
  at(path, sizeof path, where, name);
  FILE *f = fopen(path, "wb");
  assert_non_null(f);
  assert_int_equal(fwrite(bytes, 1, n, f), n);
  fclose(f);
}

static int setup(void **state) {
  (void)state;
  alloc_init_system(&alloc);
  ctx_open(&c, &alloc);
  a = arena_create(&c);
  strcpy(dir, "/tmp/sard-weights-XXXXXX");
  strcpy(other, "/tmp/sard-outside-XXXXXX");
  return !mkdtemp(dir) || !mkdtemp(other);
}

static int teardown(void **state) {
  (void)state;
  char command[256];
  ctx_close(&c);
  assert_int_equal(atomic_load(&alloc.used), 0);
  snprintf(command, sizeof command, "rm -rf '%s' '%s'", dir, other);
  return system(command);
}

/* --- tensors in the file --- */

static Pb tensor_of(int dtype, int64_t count) {
  Pb t = {0};
  pb_str(&t, 8, "w");
  pb_int(&t, 2, dtype);
  pb_int(&t, 1, count);
  return t;
}

static Status load(Pb *t, const Tensor **out) {
  RawTensor *raw;
  assert_int_equal(decode_tensor(&c, a, t->b, t->n, &raw), ST_OK);
  return weights_plain(&c, a, raw, out);
}

static void gives(Pb *t, const void *bytes, size_t n) {
  const Tensor *out;
  if (load(t, &out))
    fail_msg("%s", c.err.message);
  assert_int_equal(tensor_bytes(out), n);
  if (n)
    assert_memory_equal(out->data, bytes, n);
  pb_free(t);
}

static void refused(Pb *t, Status kind, const char *text) {
  const Tensor *out;
  assert_int_equal(load(t, &out), kind);
  if (!strstr(c.err.message, text) || !strstr(c.err.message, "tensor 'w'"))
    fail_msg("'%s' is not in '%s'", text, c.err.message);
  pb_free(t);
}

static void raw_data_is_borrowed(void **state) {
  (void)state;
  Pb t = tensor_of(DT_f32, 2);
  const float want[] = {1.5f, -2};
  const Tensor *out;
  pb_bytes(&t, TP_RAW_DATA, want, 8);
  assert_int_equal(load(&t, &out), ST_OK);
  assert_true((uint8_t *)out->data > t.b && (uint8_t *)out->data < t.b + t.n);
  assert_memory_equal(out->data, want, 8);
  assert_true(out->rank == 1 && out->dim[0] == 2 && out->dtype == DT_f32);
  pb_free(&t);
}

static void scalars_and_empty_tensors(void **state) {
  (void)state;
  Pb t = {0};
  pb_int(&t, 2, DT_i32), pb_int(&t, TP_INT32_DATA, 7);
  gives(&t, (int32_t[]){7}, 4); /* no dims: rank 0 */
  t = tensor_of(DT_f32, 0);
  gives(&t, NULL, 0);
  t = tensor_of(DT_f32, 0), pb_bytes(&t, TP_RAW_DATA, NULL, 0);
  gives(&t, NULL, 0);
  t = tensor_of(DT_str, 0);
  gives(&t, NULL, 0);
}

/* Values packed in one field, one by one, and both mixed. */
static void typed_fields(void **state) {
  (void)state;
  const float f[] = {1, 2, 3};
  const double d[] = {-0.5, 8};
  Pb t = tensor_of(DT_f32, 3);
  pb_bytes(&t, TP_FLOAT_DATA, f, 12);
  gives(&t, f, 12);
  t = tensor_of(DT_f32, 3);
  pb_f32(&t, TP_FLOAT_DATA, 1), pb_bytes(&t, TP_FLOAT_DATA, f + 1, 4), pb_f32(&t, TP_FLOAT_DATA, 3);
  gives(&t, f, 12);
  t = tensor_of(DT_c64, 1), pb_bytes(&t, TP_FLOAT_DATA, f, 8);
  gives(&t, f, 8);
  t = tensor_of(DT_c64, 1), pb_f32(&t, TP_FLOAT_DATA, 1), pb_f32(&t, TP_FLOAT_DATA, 2);
  gives(&t, f, 8);
  t = tensor_of(DT_f64, 2), pb_f64(&t, TP_DOUBLE_DATA, d[0]), pb_f64(&t, TP_DOUBLE_DATA, d[1]);
  gives(&t, d, 16);
  t = tensor_of(DT_c128, 1), pb_bytes(&t, TP_DOUBLE_DATA, d, 16);
  gives(&t, d, 16);
  t = tensor_of(DT_i64, 2), pb_int(&t, TP_INT64_DATA, INT64_MIN), pb_int(&t, TP_INT64_DATA, 5);
  gives(&t, (int64_t[]){INT64_MIN, 5}, 16);
  t = tensor_of(DT_u64, 1), pb_int(&t, TP_UINT64_DATA, -1);
  gives(&t, (uint64_t[]){UINT64_MAX}, 8);
  t = tensor_of(DT_u32, 1), pb_int(&t, TP_UINT64_DATA, UINT32_MAX);
  gives(&t, (uint32_t[]){UINT32_MAX}, 4);
}

static void small_types_in_int32_data(void **state) {
  (void)state;
  Pb t = tensor_of(DT_i32, 2);
  pb_int(&t, TP_INT32_DATA, -1), pb_int(&t, TP_INT32_DATA, UINT32_MAX); /* sign-extended or not */
  gives(&t, (int32_t[]){-1, -1}, 8);
  t = tensor_of(DT_i8, 2), pb_int(&t, TP_INT32_DATA, -128), pb_int(&t, TP_INT32_DATA, 127);
  gives(&t, (int8_t[]){-128, 127}, 2);
  t = tensor_of(DT_u16, 1), pb_int(&t, TP_INT32_DATA, 65535);
  gives(&t, (uint16_t[]){65535}, 2);
  t = tensor_of(DT_bool, 3), pb_int(&t, TP_INT32_DATA, 0), pb_int(&t, TP_INT32_DATA, 1), pb_int(&t, TP_INT32_DATA, 256);
  gives(&t, (uint8_t[]){0, 1, 1}, 3);
  t = tensor_of(DT_f16, 1), pb_int(&t, TP_INT32_DATA, 0x3c00); /* 1.0 */
  gives(&t, (uint16_t[]){0x3c00}, 2);
  t = tensor_of(DT_bf16, 1), pb_int(&t, TP_INT32_DATA, 0xbf80); /* -1.0 */
  gives(&t, (uint16_t[]){0xbf80}, 2);
  t = tensor_of(DT_f8e4m3fn, 1), pb_int(&t, TP_INT32_DATA, 0xc0);
  gives(&t, (uint8_t[]){0xc0}, 1);
  t = tensor_of(DT_i4, 3), pb_int(&t, TP_INT32_DATA, 0x21), pb_int(&t, TP_INT32_DATA, 0x0f); /* two in each: 1, 2, -1 */
  gives(&t, (uint8_t[]){0x21, 0x0f}, 2);
  t = tensor_of(DT_u2, 5), pb_int(&t, TP_INT32_DATA, 0xe4), pb_int(&t, TP_INT32_DATA, 1); /* four in each: 0 1 2 3, 1 */
  gives(&t, (uint8_t[]){0xe4, 1}, 2);
  t = tensor_of(DT_f6e2m3, 4); /* one in each; 4 x 6 bits, the first lowest: 1 + (2 << 6) + (3 << 12) + (63 << 18) */
  pb_int(&t, TP_INT32_DATA, 1), pb_int(&t, TP_INT32_DATA, 2), pb_int(&t, TP_INT32_DATA, 3),
      pb_int(&t, TP_INT32_DATA, 63);
  gives(&t, (uint8_t[]){0x81, 0x30, 0xfc}, 3);
}

static void strings(void **state) {
  (void)state;
  Pb t = tensor_of(DT_str, 3);
  const Tensor *out;
  pb_str(&t, TP_STRING_DATA, "one"), pb_str(&t, TP_STRING_DATA, ""), pb_bytes(&t, TP_STRING_DATA, "\xff\0", 2);
  assert_int_equal(load(&t, &out), ST_OK);
  const Str *s = out->data;
  assert_true(str_is(s[0], "one") && !s[1].len && s[2].len == 2 && !memcmp(s[2].ptr, "\xff\0", 2));
  pb_free(&t);
}

static void contradictions(void **state) {
  (void)state;
  Pb t = tensor_of(DT_f32, 3);
  pb_bytes(&t, TP_RAW_DATA, "12345678", 8);
  refused(&t, ST_INVALID, "f32[3] needs 12 bytes, but the data has 8");
  t = tensor_of(DT_f32, 3);
  refused(&t, ST_INVALID, "needs 12 bytes, but the data has 0");
  t = tensor_of(DT_f32, 2), pb_f32(&t, TP_FLOAT_DATA, 1);
  refused(&t, ST_INVALID, "needs 2 values, but the data has 1");
  t = tensor_of(DT_i64, 1), pb_f32(&t, TP_FLOAT_DATA, 1);
  refused(&t, ST_INVALID, "float_data cannot hold i64");
  t = tensor_of(DT_str, 1), pb_bytes(&t, TP_RAW_DATA, "1234567890123456", 16);
  refused(&t, ST_INVALID, "raw_data cannot hold strings");
  t = tensor_of(DT_f32, 1), pb_f32(&t, TP_FLOAT_DATA, 1), pb_bytes(&t, TP_RAW_DATA, "1234", 4);
  refused(&t, ST_INVALID, "data twice: in float_data and in raw_data");
  t = tensor_of(DT_f32, 1), pb_bytes(&t, TP_RAW_DATA, "1234", 4), pb_bytes(&t, TP_RAW_DATA, "1234", 4);
  refused(&t, ST_INVALID, "data twice");
  t = tensor_of(DT_i8, 1), pb_int(&t, TP_INT32_DATA, 256);
  refused(&t, ST_INVALID, "value 256 of int32_data is out of range for i8");
  t = tensor_of(DT_i64, 2), pb_bytes(&t, TP_INT64_DATA, "\x01\x80", 2);
  refused(&t, ST_INVALID, "int64_data is damaged");
  t = tensor_of(DT_str, 1ll << 60), pb_str(&t, TP_STRING_DATA, "x");
  refused(&t, ST_INVALID, "larger than any memory");
}

static void bad_types_and_shapes(void **state) {
  (void)state;
  Pb t = tensor_of(0, 1);
  refused(&t, ST_INVALID, "0 is no element type");
  t = tensor_of(29, 1);
  refused(&t, ST_INVALID, "29 is no element type");
  t = tensor_of(-5, 1);
  refused(&t, ST_INVALID, "-5 is no element type");
  t = tensor_of(DT_f32, -1);
  refused(&t, ST_INVALID, "[-1] has a negative extent");
  t = tensor_of(DT_f32, 1ll << 32), pb_int(&t, 1, 1ll << 32);
  refused(&t, ST_INVALID, "[4294967296,4294967296] is larger than any memory");
  t = tensor_of(DT_f32, 0), pb_int(&t, 1, 1ll << 32), pb_int(&t, 1, 1ll << 32);
  refused(&t, ST_INVALID, "larger than any memory");
  t = tensor_of(DT_f32, 1);
  for (int i = 0; i < MAX_RANK; i++)
    pb_int(&t, 1, 1);
  refused(&t, ST_UNSUPPORTED, "rank 17 is above 16");
}

/* --- external data --- */

static Model model;
static Weights *open_weights(const char *path, const LoadOptions *o) {
  Weights *w;
  model = (Model){.arena = a, .path = path};
  assert_int_equal(weights_open(&c, &model, dir, o, &w), ST_OK);
  return w;
}

typedef struct Ext {
  const char *location, *offset, *length;
} Ext;

/* f32[2] at e, loaded through w. */
static Status external(Weights *w, Ext e, const Tensor **out) {
  static const int64_t two = 2;
  MetaEntry entries[3];
  RawTensor t = {.name = "w", .dtype = DT_f32, .ndim = 1, .dim = &two, .external = true, .ext = entries};
  if (e.location)
    entries[t.next++] = (MetaEntry){"location", e.location};
  if (e.offset)
    entries[t.next++] = (MetaEntry){"offset", e.offset};
  if (e.length)
    entries[t.next++] = (MetaEntry){"length", e.length};
  return weights_tensor(w, &t, out);
}

static void not_read(Weights *w, Ext e, const char *text) {
  const Tensor *out;
  Status st = external(w, e, &out);
  if (!st || !strstr(c.err.message, text) || !strstr(c.err.message, "'w'"))
    fail_msg("'%s' is not in '%s' (status %d)", text, st ? c.err.message : "", st);
}

static void external_is_mapped_once(void **state) {
  (void)state;
  const float data[] = {1, 2, 3, 4};
  uint8_t file[17] = {9};
  memcpy(file + 1, data, 16);
  write_file(dir, "m.data", file, sizeof file);
  Weights *w = open_weights(NULL, NULL);
  const Tensor *t, *u;
  assert_int_equal(external(w, (Ext){"m.data", "1", "8"}, &t), ST_OK); /* unaligned */
  assert_memory_equal(t->data, data, 8);
  assert_int_equal(external(w, (Ext){"./m.data", "9", NULL}, &u), ST_OK); /* no length: what the shape needs */
  assert_memory_equal(u->data, data + 2, 8);
  assert_int_equal(model.nfile, 1);
  assert_true((uint8_t *)t->data == model.file[0]->base + 1);
  assert_true((uint8_t *)u->data == model.file[0]->base + 9);
  weights_close(w);
  assert_memory_equal(t->data, data, 8); /* the mapping stays with the model */
}

static void external_numbers(void **state) {
  (void)state;
  write_file(dir, "m.data", "0123456789abcdef", 16);
  Weights *w = open_weights(NULL, NULL);
  not_read(w, (Ext){"m.data", "-1", "8"}, "offset '-1' is no size");
  not_read(w, (Ext){"m.data", "0", "-8"}, "length '-8' is no size");
  not_read(w, (Ext){"m.data", "0x0", "8"}, "offset '0x0' is no size");
  not_read(w, (Ext){"m.data", "", "8"}, "offset '' is no size");
  not_read(w, (Ext){"m.data", "99999999999999999999", "8"}, "is no size");
  not_read(w, (Ext){"m.data", "9223372036854775807", "8"}, "too few for 8 bytes at offset 9223372036854775807");
  not_read(w, (Ext){"m.data", "9", "8"}, "has 16 bytes, too few for 8 bytes at offset 9");
  not_read(w, (Ext){"m.data", "0", "4"}, "f32[2] needs 8 bytes, but the data has 4");
  not_read(w, (Ext){"m.data", "0", "9223372036854775807"}, "needs 8 bytes");
  not_read(w, (Ext){NULL, "0", "8"}, "no location");
  not_read(w, (Ext){"", "0", "8"}, "no location");
  weights_close(w);
}

static void external_names(void **state) {
  (void)state;
  char path[256], target[256], link_path[256];
  write_file(other, "secret", "0123456789abcdef", 16);
  at(target, sizeof target, other, "secret");
  Weights *w = open_weights(NULL, NULL);
  not_read(w, (Ext){target, "0", "8"}, "absolute path");
  snprintf(path, sizeof path, "../%s/secret", strrchr(other, '/') + 1);
  not_read(w, (Ext){path, "0", "8"}, "leaves the model's directory");
  not_read(w, (Ext){"sub/../../x", "0", "8"}, "leaves the model's directory");
  not_read(w, (Ext){"..", "0", "8"}, "leaves the model's directory");
  not_read(w, (Ext){"missing", "0", "8"}, "'missing' is not there");
  not_read(w, (Ext){".", "0", "8"}, "not a regular file");
  at(link_path, sizeof link_path, dir, "out");
  assert_int_equal(symlink(target, link_path), 0);
  not_read(w, (Ext){"out", "0", "8"}, "leads out of the model's directory");
  at(link_path, sizeof link_path, dir, "outdir");
  assert_int_equal(symlink(other, link_path), 0);
  not_read(w, (Ext){"outdir/secret", "0", "8"}, "leads out of the model's directory");
  at(link_path, sizeof link_path, dir, "zero");
  assert_int_equal(symlink("/dev/zero", link_path), 0);
  not_read(w, (Ext){"zero", "0", "8"}, "not a regular file");
  at(link_path, sizeof link_path, dir, "pipe");
  assert_int_equal(mkfifo(link_path, 0600), 0);
  not_read(w, (Ext){"pipe", "0", "8"}, "not a regular file");
  assert_int_equal(model.nfile, 0);
  weights_close(w);
}

/* A directory whose name starts like the model's is not the model's. */
static void prefix_is_not_inside(void **state) {
  (void)state;
  char longer[256], link_path[256], target[256], command[600];
  snprintf(longer, sizeof longer, "%s-evil", dir);
  assert_int_equal(mkdir(longer, 0700), 0);
  write_file(longer, "f", "01234567", 8);
  at(target, sizeof target, longer, "f");
  at(link_path, sizeof link_path, dir, "f");
  assert_int_equal(symlink(target, link_path), 0);
  Weights *w = open_weights(NULL, NULL);
  not_read(w, (Ext){"f", "0", "8"}, "leads out of the model's directory");
  weights_close(w);
  snprintf(command, sizeof command, "rm -rf '%s'", longer);
  assert_int_equal(system(command), 0);
}

static void links_within(void **state) {
  (void)state;
  char from[256], to[256];
  write_file(dir, "m.data", "01234567", 8);
  at(to, sizeof to, dir, "link");
  assert_int_equal(symlink("m.data", to), 0);
  at(from, sizeof from, dir, "m.data");
  at(to, sizeof to, dir, "hard");
  assert_int_equal(link(from, to), 0);
  const Tensor *t;
  Weights *w = open_weights(NULL, NULL);
  assert_int_equal(external(w, (Ext){"link", NULL, NULL}, &t), ST_OK);
  assert_int_equal(external(w, (Ext){"hard", NULL, NULL}, &t), ST_OK);
  assert_int_equal(model.nfile, 1); /* all one file */
  weights_close(w);
  w = open_weights(NULL, &(LoadOptions){.strict = true});
  not_read(w, (Ext){"hard", NULL, NULL}, "is a hard link");
  weights_close(w);
}

/* A Hugging Face cache: snapshots/REV/model.onnx and its data are links to blobs/HASH. */
static void symlink_farm(void **state) {
  (void)state;
  char path[256], command[1024];
  snprintf(command, sizeof command,
           "cd '%s' && mkdir -p blobs snapshots/rev && printf model > blobs/aa && printf 01234567 > blobs/bb && "
           "ln -s ../../blobs/aa snapshots/rev/model.onnx && ln -s ../../blobs/bb snapshots/rev/model.onnx_data",
           dir);
  assert_int_equal(system(command), 0);
  snprintf(path, sizeof path, "%s/snapshots/rev/model.onnx", dir);
  strcat(dir, "/snapshots/rev");
  const Tensor *t;
  Weights *w = open_weights(path, NULL);
  assert_int_equal(external(w, (Ext){"model.onnx_data", NULL, NULL}, &t), ST_OK);
  assert_memory_equal(t->data, "01234567", 8);
  assert_int_equal(external(w, (Ext){"bb", NULL, NULL}, &t), ST_OK); /* beside the real file */
  weights_close(w);
  w = open_weights(NULL, NULL); /* without the model's path the blobs are outside */
  not_read(w, (Ext){"model.onnx_data", NULL, NULL}, "leads out of the model's directory");
  weights_close(w);
  dir[strlen(dir) - strlen("/snapshots/rev")] = 0;
}

static void external_without_directory(void **state) {
  (void)state;
  Weights *w;
  model = (Model){.arena = a};
  assert_int_equal(weights_open(&c, &model, NULL, NULL, &w), ST_OK);
  not_read(w, (Ext){"m.data", NULL, NULL}, "a model that has no directory");
  weights_close(w);
}

/* --- sparse tensors --- */

static RawTensor floats(const float *v, const int64_t *n, WirePiece *piece) {
  *piece = (WirePiece){(const uint8_t *)v, (size_t)*n * 4, TP_RAW_DATA, true};
  return (RawTensor){.name = "w", .dtype = DT_f32, .ndim = 1, .dim = n, .piece = piece, .npiece = 1};
}

static Status sparse(const int64_t *index, uint32_t index_rank, const int64_t *index_dim, const int64_t *dim,
                     uint32_t ndim, const Tensor **out) {
  static const float v[] = {5, 6};
  static const int64_t two = 2;
  WirePiece pv, pi = {(const uint8_t *)index, sizeof *index, TP_RAW_DATA, true};
  for (uint32_t i = 0; i < index_rank; i++)
    pi.len *= (size_t)index_dim[i];
  RawTensor values = floats(v, &two, &pv);
  RawTensor indices = {.name = "i", .dtype = DT_i64, .ndim = index_rank, .dim = index_dim, .piece = &pi, .npiece = 1};
  RawSparse s = {.values = &values, .indices = &indices, .dim = dim, .ndim = ndim};
  Weights *w = open_weights(NULL, &(LoadOptions){.max_bytes = 1 << 20});
  Status st = weights_sparse(w, &s, out);
  weights_close(w);
  return st;
}

static void bad_sparse(const int64_t *index, uint32_t rank, const int64_t *index_dim, const int64_t *dim, uint32_t ndim,
                       Status kind, const char *text) {
  const Tensor *out;
  assert_int_equal(sparse(index, rank, index_dim, dim, ndim, &out), kind);
  if (!strstr(c.err.message, text) || !strstr(c.err.message, "'w'"))
    fail_msg("'%s' is not in '%s'", text, c.err.message);
}

/* Two elements a byte: -1 and 3 at 1 and 4 of five. */
static void packed_sparse(void) {
  static const uint8_t values[] = {0x3f}, want[] = {0xf0, 0, 3};
  static const int64_t index[] = {1, 4}, two = 2, five = 5;
  WirePiece pv = {values, sizeof values, TP_RAW_DATA, true},
            pi = {(const uint8_t *)index, sizeof index, TP_RAW_DATA, true};
  RawTensor v = {.name = "w", .dtype = DT_i4, .ndim = 1, .dim = &two, .piece = &pv, .npiece = 1};
  RawTensor i = {.name = "i", .dtype = DT_i64, .ndim = 1, .dim = &two, .piece = &pi, .npiece = 1};
  RawSparse s = {.values = &v, .indices = &i, .dim = &five, .ndim = 1};
  Weights *w = open_weights(NULL, &(LoadOptions){.max_bytes = 1 << 20});
  const Tensor *t;
  assert_int_equal(weights_sparse(w, &s, &t), ST_OK);
  assert_memory_equal(t->data, want, sizeof want);
  weights_close(w);
}

static void sparse_tensors(void **state) {
  (void)state;
  const int64_t shape[] = {2, 3}, n[] = {2}, n2[] = {2, 2}, n3[] = {2, 3}, three[] = {3}, huge[] = {1 << 20, 1 << 20},
                minus[] = {-1, 3};
  const float want[] = {0, 5, 0, 0, 0, 6};
  const Tensor *t;
  assert_int_equal(sparse((int64_t[]){1, 5}, 1, n, shape, 2, &t), ST_OK);
  assert_memory_equal(t->data, want, sizeof want);
  assert_int_equal(sparse((int64_t[]){0, 1, 1, 2}, 2, n2, shape, 2, &t), ST_OK);
  assert_memory_equal(t->data, want, sizeof want);
  packed_sparse();
  bad_sparse((int64_t[]){1, 6}, 1, n, shape, 2, ST_INVALID, "index 1 of a sparse tensor is out of range");
  bad_sparse((int64_t[]){-1, 5}, 1, n, shape, 2, ST_INVALID, "index 0 of a sparse tensor is out of range");
  bad_sparse((int64_t[]){0, 1, 2, 0}, 2, n2, shape, 2, ST_INVALID, "index 1 of a sparse tensor is out of range");
  bad_sparse((int64_t[]){0, 3, 1, 0}, 2, n2, shape, 2, ST_INVALID, "index 0 of a sparse tensor is out of range");
  bad_sparse((int64_t[]){5, 1}, 1, n, shape, 2, ST_INVALID, "must ascend");
  bad_sparse((int64_t[]){1, 1}, 1, n, shape, 2, ST_INVALID, "must ascend");
  bad_sparse((int64_t[]){1, 2, 3}, 1, three, shape, 2, ST_INVALID,
             "indices of a sparse tensor must be i64[2] or i64[2,2]");
  bad_sparse((int64_t[]){0, 0, 0, 0, 0, 1}, 2, n3, shape, 2, ST_INVALID, "indices of a sparse tensor must be");
  bad_sparse((int64_t[]){0, 1}, 1, n, minus, 2, ST_INVALID, "negative extent");
  bad_sparse((int64_t[]){0, 1}, 1, n, huge, 2, ST_MEMORY, "takes 4398046511104 bytes of memory");
}

int main(void) {
  const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
      T(raw_data_is_borrowed),
      T(scalars_and_empty_tensors),
      T(typed_fields),
      T(small_types_in_int32_data),
      T(strings),
      T(contradictions),
      T(bad_types_and_shapes),
      T(external_is_mapped_once),
      T(external_numbers),
      T(external_names),
      T(prefix_is_not_inside),
      T(links_within),
      T(symlink_farm),
      T(external_without_directory),
      T(sparse_tensors),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
