/* npy.c - .npy files of versions 1 and 2: numbers in C order, little-endian.
 * SPDX-License-Identifier: Apache-2.0 */
#include "start/npy.h"

#include "sard.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
  const char *descr;
  sard_dtype dtype;
} types[] = {{"<f4", SARD_F32}, {"<f8", SARD_F64},  {"<f2", SARD_F16}, {"|i1", SARD_I8},   {"<i2", SARD_I16},
             {"<i4", SARD_I32}, {"<i8", SARD_I64},  {"|u1", SARD_U8},  {"<u2", SARD_U16},  {"<u4", SARD_U32},
             {"<u8", SARD_U64}, {"|b1", SARD_BOOL}, {"<c8", SARD_C64}, {"<c16", SARD_C128}};

/* The text behind 'key': in the header's dictionary. */
static const char *find_value(const char *dict, const char *key) {
  const char *p = strstr(dict, key);
  p = p ? strchr(p + strlen(key), ':') : NULL;
  return p ? p + 1 + strspn(p + 1, " ") : NULL;
}

static const char *parse(const char *dict, sard_tensor *t) {
  const char *descr = find_value(dict, "'descr'"), *order = find_value(dict, "'fortran_order'"),
             *shape = find_value(dict, "'shape'");
  char *end;
  if (!descr || !order || !shape || *shape++ != '(')
    return "its header is not understood";
  if (strncmp(order, "False", 5))
    return "it is in Fortran order";
  for (size_t i = 0; i < sizeof types / sizeof *types; i++)
    if (!strncmp(descr + 1, types[i].descr, strlen(types[i].descr)))
      t->dtype = types[i].dtype;
  if (!t->dtype)
    return "its element type is not understood";
  for (; *shape && *shape != ')'; shape = end + strspn(end, ", L")) {
    if (t->rank == SARD_MAX_RANK)
      return "it has too many dimensions";
    t->dim[t->rank++] = strtoll(shape, &end, 10);
    if (end == shape)
      return "its shape is not understood";
  }
  return sard_tensor_bytes(t) < 0 ? "its shape is not valid" : NULL;
}

static const char *read_array(FILE *f, sard_tensor *t) {
  unsigned char head[12];
  char *dict;
  if (fread(head, 1, 10, f) != 10 || memcmp(head, "\x93NUMPY", 6) || head[6] < 1 || head[6] > 2)
    return "it is no .npy file";
  if (head[6] == 2 && fread(head + 10, 1, 2, f) != 2)
    return "it is cut short";
  size_t n = head[8] | (size_t)head[9] << 8;
  if (head[6] == 2)
    n |= (size_t)head[10] << 16 | (size_t)head[11] << 24;
  if (n > 1 << 20 || !(dict = calloc(1, n + 1)))
    return "its header is too long";
  const char *problem = fread(dict, 1, n, f) == n ? parse(dict, t) : "it is cut short";
  free(dict);
  if (problem)
    return problem;
  size_t bytes = (size_t)sard_tensor_bytes(t);
  if (!(t->data = malloc(bytes + 1)))
    return "there is no memory for it";
  return fread(t->data, 1, bytes, f) == bytes ? NULL : "it is cut short";
}

const char *npy_load(const char *path, sard_tensor *t) {
  FILE *f = fopen(path, "rb");
  *t = (sard_tensor){0};
  if (!f)
    return "it cannot be opened";
  const char *problem = read_array(f, t);
  fclose(f);
  return problem;
}

const char *npy_store(const char *path, const sard_tensor *t) {
  char dict[512], shape[400] = "";
  size_t n = 0, bytes = (size_t)sard_tensor_bytes(t);
  const char *descr = NULL;
  for (size_t i = 0; i < sizeof types / sizeof *types; i++)
    if (types[i].dtype == t->dtype)
      descr = types[i].descr;
  if (!descr)
    return "numpy has no such element type";
  for (int k = 0; k < t->rank; k++)
    n += (size_t)snprintf(shape + n, sizeof shape - n, "%lld, ", (long long)t->dim[k]);
  int len = snprintf(dict, sizeof dict, "{'descr': '%s', 'fortran_order': False, 'shape': (%s), }", descr, shape);
  int all = (10 + len + 1 + 63) / 64 * 64; /* data begin at a multiple of 64 */
  FILE *f = fopen(path, "wb");
  if (!f)
    return "it cannot be created";
  fprintf(f, "\x93NUMPY\x01%c%c%c%s%*s\n", 0, (all - 10) & 255, (all - 10) >> 8, dict, all - 11 - len, "");
  size_t put = fwrite(t->data, 1, bytes, f);
  return fclose(f) || put != bytes ? "it cannot be written" : NULL;
}
