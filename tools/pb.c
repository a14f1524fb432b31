/* pb.c - TensorProto through the frontend's decoder; the two messages around it by hand.
 *   SequenceProto { name = 1, elem_type = 2, tensor_values = 3, sequence_values = 5, optional_values = 7 }
 *   OptionalProto { name = 1, elem_type = 2, tensor_value = 3, sequence_value = 5, optional_value = 7 }
 * elem_type of both: TENSOR = 1, SPARSE_TENSOR = 2, SEQUENCE = 3, MAP = 4, OPTIONAL = 5.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tools/pb.h"

#include "frontend/decode.h"
#include "frontend/weights.h"
#include "tools/message.h"

#include <string.h>

enum { MAX_NESTING = 8 };

static Status read_tensor(Ctx *c, Arena *a, const void *bytes, size_t n, Tensor **out, const char **name) {
  RawTensor *raw;
  const Tensor *t;
  TRY(decode_tensor(c, a, bytes, n, &raw));
  TRY(weights_plain(c, a, raw, &t));
  *out = arena_copy(a, t, sizeof *t);
  if (!tensor_aligned(t))
    (*out)->data = arena_copy(a, t->data, tensor_bytes(t));
  if (name)
    *name = raw->name;
  return ST_OK;
}

static Status read_container(Ctx *c, Arena *a, ValueKind kind, const uint8_t *p, size_t n, int depth, Tensor **out,
                             const char **name) {
  const char *what = kind == VK_SEQUENCE ? "SequenceProto" : "OptionalProto";
  const uint8_t *end = p + n;
  Tensor *t = arena_new(a, Tensor);
  size_t cap = 0;
  if (depth > MAX_NESTING)
    return fail(c, ST_INVALID, "%s nested more than %d deep", what, MAX_NESTING);
  t->kind = (uint8_t)kind;
  while (p < end) {
    Field f;
    if (!field_next(&p, end, &f))
      return fail(c, ST_INVALID, "damaged %s: it cannot be read at %zu bytes before its end", what, (size_t)(end - p));
    if (f.number == 1 && f.type == WIRE_BYTES && name)
      *name = arena_strndup(a, (const char *)f.ptr, (size_t)f.value);
    if (!f.number || f.number > 7 || f.type != (f.number == 2 ? WIRE_VARINT : WIRE_BYTES))
      return err_hint(c,
                      fail(c, ST_INVALID, "not a %s: it has field %llu of wire type %d", what,
                           (unsigned long long)f.number, (int)f.type),
                      "a tensor where a sequence or optional is wanted?");
    if (f.number < 3)
      continue;
    Tensor *item;
    if (f.number == 3)
      TRY(read_tensor(c, a, f.ptr, (size_t)f.value, &item, NULL));
    else if (f.number == 5 || f.number == 7)
      TRY(read_container(c, a, f.number == 5 ? VK_SEQUENCE : VK_OPTIONAL, f.ptr, (size_t)f.value, depth + 1, &item,
                         NULL));
    else
      return fail(c, ST_UNSUPPORTED, "%s with sparse tensors or maps", what);
    if ((size_t)t->nitem == cap) {
      Tensor **grown = arena_array(a, Tensor *, cap ? cap * 2 : 4);
      if (cap)
        memcpy(grown, t->item, cap * sizeof *grown);
      t->item = grown, cap = cap ? cap * 2 : 4;
    }
    t->item[t->nitem++] = item;
  }
  if (kind == VK_OPTIONAL && t->nitem > 1)
    return fail(c, ST_INVALID, "OptionalProto with %lld elements", (long long)t->nitem);
  *out = t;
  return ST_OK;
}

Status pb_read(Ctx *c, Arena *a, ValueKind kind, const void *bytes, size_t n, Tensor **out, const char **name) {
  if (name)
    *name = "";
  switch (kind) {
  case VK_TENSOR: return read_tensor(c, a, bytes, n, out, name);
  case VK_SEQUENCE:
  case VK_OPTIONAL: return read_container(c, a, kind, bytes, n, 0, out, name);
  default: return fail(c, ST_UNSUPPORTED, "maps are not read from protobuf files");
  }
}

/* --- writing --- */

static void write_tensor(StrBuf *b, const char *name, const Tensor *t) {
  for (int i = 0; i < t->rank; i++)
    field_put_int(b, 1, (uint64_t)t->dim[i]);
  field_put_int(b, 2, t->dtype);
  if (t->dtype == DT_str)
    for (int64_t i = 0, n = tensor_count(t); i < n; i++)
      field_put_bytes(b, 6, ((const Str *)t->data)[i].ptr, ((const Str *)t->data)[i].len);
  if (name)
    field_put_text(b, 8, name);
  if (t->dtype != DT_str)
    field_put_bytes(b, 9, t->data, tensor_bytes(t));
}

static Status write_value(Ctx *c, StrBuf *b, const char *name, const Tensor *t, int depth) {
  if (t->kind == VK_TENSOR) {
    write_tensor(b, name, t);
    return ST_OK;
  }
  if (t->kind == VK_MAP || depth > MAX_NESTING)
    return fail(c, ST_UNSUPPORTED, "this value cannot be stored as a protobuf file");
  ValueKind first = t->nitem ? t->item[0]->kind : VK_TENSOR;
  if (name)
    field_put_text(b, 1, name);
  field_put_int(b, 2, first == VK_TENSOR ? 1 : first == VK_SEQUENCE ? 3 : 5);
  for (int64_t i = 0; i < t->nitem; i++) {
    StrBuf item;
    buf_init(&item, b->arena);
    TRY(write_value(c, &item, NULL, t->item[i], depth + 1));
    field_put_bytes(b, first == VK_TENSOR ? 3 : first == VK_SEQUENCE ? 5 : 7, item.text, item.len);
  }
  return ST_OK;
}

Status pb_write(Ctx *c, Arena *a, const char *name, const Tensor *t, Str *out) {
  StrBuf b;
  buf_init(&b, a);
  TRY(write_value(c, &b, name, t, 0));
  *out = (Str){b.text, b.len};
  return ST_OK;
}
