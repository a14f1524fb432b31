/* wire.c - one walk over the wire format, done twice: first to check and count, then to write the compact copy.
 *
 * The walk descends by the table of wire.def, at most WIRE_MAX_DEPTH levels. The first pass allocates nothing, so that
 * a file which asks for too much is refused before it gets anything. Lengths in the compact copy are written as five
 * bytes, patched when the message ends.
 * SPDX-License-Identifier: Apache-2.0 */
#include "frontend/wire.h"

#include "support/str.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

typedef enum { KIND_NONE, KIND_INT, KIND_FLOAT, KIND_DOUBLE, KIND_STRING, KIND_BYTES, KIND_MESSAGE } Kind;
typedef enum { LABEL_ONE, LABEL_MANY } Label;
typedef enum { WHAT_KEEP, WHAT_DROP, WHAT_DATA } What;
typedef enum { WT_VARINT, WT_FIXED64, WT_LENGTH, WT_GROUP, WT_GROUP_END, WT_FIXED32 } WireType;

typedef struct WireField {
  const char *name;
  uint8_t kind, label, what;
  uint8_t child; /* WireMessage */
} WireField;

enum { MAX_FIELD = 26 };
static const WireField field_table[WIRE_COUNT][MAX_FIELD + 1] = {
#define FIELD(message, number, name, label, kind, what)                                                                \
  [WIRE_##message][number] = {#name, KIND_##kind, LABEL_##label, WHAT_##what, 0},
#define SUB(message, number, name, label, child, what)                                                                 \
  [WIRE_##message][number] = {#name, KIND_MESSAGE, LABEL_##label, WHAT_##what, WIRE_##child},
#include "frontend/wire.def"
};

static const struct {
  const char *name;
  uint16_t cost;
} message_table[WIRE_COUNT] = {
#define MESSAGE(name, cost) {#name, cost},
#include "frontend/wire.def"
};

/* What a field takes beyond its bytes: protobuf-c notes every field of a message in a table that grows by doubling,
 * with room for the first 16 on the stack; text is copied and rounded up; lists hold a pointer or a counted string. */
enum { NOTE_COST = 80, FREE_NOTES = 16, TEXT_COST = 40, MEMBER_COST = 16 };

/* No message of n bytes that means something takes more than this to decode: a file of empty submessages does. */
enum { GENEROUS_BYTES = 64 << 20, GENEROUS_RATIO = 32 };

typedef struct Frame {
  const struct Frame *up;
  const WireField *field; /* of up's message; NULL: the root */
  uint32_t index;         /* which occurrence of it */
  uint8_t type;           /* WireMessage */
  int depth;
  uint32_t seen[MAX_FIELD + 1];
} Frame;

typedef struct Scan {
  Ctx *c;
  const uint8_t *base; /* start of the input */
  bool strict;
  size_t limit;
  uint8_t *out;     /* NULL in the first pass */
  size_t n, cap;    /* bytes of the compact copy so far, and its size */
  WirePiece *piece; /* NULL in the first pass */
  uint64_t npiece, piece_cap;
  size_t data; /* bytes of the input that pieces hold */
  size_t cost;
  unsigned dropping; /* > 0: inside a field that nobody reads */
  unsigned polls;
  WirePiece last; /* the newest piece, also in the first pass */
} Scan;

/* One field as read: its tag, and where value and field end. */
typedef struct Item {
  uint32_t number;
  uint8_t wire;         /* WireType */
  const uint8_t *start; /* the tag */
  const uint8_t *value; /* behind the tag, and behind the length of a WT_LENGTH field */
  const uint8_t *end;
} Item;

bool wire_varint(const uint8_t **p, const uint8_t *end, uint64_t *v) {
  uint64_t r = 0;
  for (unsigned shift = 0; shift < 70 && *p < end; shift += 7) {
    uint8_t byte = *(*p)++;
    r |= (uint64_t)(byte & 0x7f) << shift;
    if (!(byte & 0x80)) {
      *v = r;
      return true;
    }
  }
  return false;
}

/* --- errors --- */

static void put_path(StrBuf *b, const Frame *f) {
  if (f->up)
    put_path(b, f->up);
  if (!f->field)
    buf_puts(b, message_table[f->type].name);
  else if (f->field->label == LABEL_MANY)
    buf_printf(b, ".%s[%u]", f->field->name, f->index);
  else
    buf_printf(b, ".%s", f->field->name);
}

/* "byte 1234, in ModelProto.graph.node[17]: …"; field may be NULL. */
static Status bad(Scan *s, const Frame *f, const char *field, const uint8_t *at, const char *why) {
  StrBuf path;
  Arena *tmp = arena_create(s->c);
  buf_init(&path, tmp);
  put_path(&path, f);
  const char *tail = path.text;
  size_t most = 400; /* of a deep path, the end says more */
  if (path.len > most)
    tail += path.len - most;
  fail(s->c, ST_INVALID, "damaged protobuf at byte %zu, in %s%s%s%s: %s", (size_t)(at - s->base),
       tail == path.text ? "" : "...", tail, field ? "." : "", field ? field : "", why);
  arena_destroy(tmp);
  return ST_INVALID;
}

static Status too_much(Scan *s, size_t cost) {
  return fail(s->c, ST_MEMORY, "the model's structure takes more than %zu MiB of memory; the limit is %zu MiB",
              cost >> 20, s->limit >> 20);
}

static Status charge(Scan *s, size_t bytes) {
  if (s->dropping || s->out)
    return ST_OK;
  s->cost += bytes; /* cannot overflow: at most a few hundred for each byte of the input, and we stop at the limit */
  return s->cost > s->limit ? too_much(s, s->cost) : ST_OK;
}

/* --- the compact copy --- */

static void put(Scan *s, const void *p, size_t n) {
  if (s->dropping)
    return;
  if (s->out && n && s->n <= s->cap && n <= s->cap - s->n)
    memcpy(s->out + s->n, p, n);
  s->n += n;
}

static void put_tag(Scan *s, uint32_t number, uint8_t wire) {
  uint8_t b[5];
  size_t n = 0;
  uint32_t v = number << 3 | wire;
  for (; v >= 0x80; v >>= 7)
    b[n++] = (uint8_t)(v | 0x80);
  b[n++] = (uint8_t)v;
  put(s, b, n);
}

/* A length in five bytes, whatever its value: so that it can be patched. Lengths of the copy are below 2^31. */
static void encode_length(uint8_t b[5], size_t n) {
  for (int i = 0; i < 5; i++, n >>= 7)
    b[i] = (uint8_t)((n & 0x7f) | (i < 4 ? 0x80 : 0));
}

static void put_length(Scan *s, size_t n) {
  uint8_t b[5];
  encode_length(b, n);
  put(s, b, 5);
}

static void put_pieces(Scan *s, uint64_t first) {
  uint64_t v = first | (s->npiece - first) << 32;
  uint8_t b[8];
  for (int i = 0; i < 8; i++)
    b[i] = (uint8_t)(v >> 8 * i);
  put_tag(s, WIRE_PIECES_FIELD, WT_FIXED64);
  put(s, b, 8);
}

/* --- the walk --- */

static Status read_item(Scan *s, const Frame *f, const uint8_t *p, const uint8_t *end, Item *it) {
  uint64_t tag, len;
  it->start = p;
  if (!wire_varint(&p, end, &tag))
    return bad(s, f, NULL, it->start, "a field tag is cut short or too long");
  it->number = (uint32_t)(tag >> 3), it->wire = tag & 7;
  if (tag > UINT32_MAX || !it->number)
    return bad(s, f, NULL, it->start, "a field number is out of range");
  const WireField *w = it->number <= MAX_FIELD ? &field_table[f->type][it->number] : NULL;
  const char *name = w ? w->name : NULL;
  it->value = p;
  switch (it->wire) {
  case WT_VARINT:
    if (!wire_varint(&p, end, &len))
      return bad(s, f, name, it->start, "a number is cut short or longer than 10 bytes");
    break;
  case WT_FIXED32:
  case WT_FIXED64: {
    size_t n = it->wire == WT_FIXED32 ? 4 : 8;
    if ((size_t)(end - p) < n)
      return bad(s, f, name, it->start, "a number is cut short");
    p += n;
    break;
  }
  case WT_LENGTH:
    if (!wire_varint(&p, end, &len))
      return bad(s, f, name, it->start, "a length is cut short or longer than 10 bytes");
    if (len > (size_t)(end - p))
      return bad(s, f, name, it->start, "a length runs past the end of the message: the file is cut short or damaged");
    it->value = p;
    p += len;
    break;
  case WT_GROUP:
  case WT_GROUP_END: return bad(s, f, name, it->start, "groups are not used in ONNX");
  default: return bad(s, f, name, it->start, "no such wire type");
  }
  it->end = p;
  return ST_OK;
}

static WireType wire_of(const WireField *w) {
  switch ((Kind)w->kind) {
  case KIND_INT: return WT_VARINT;
  case KIND_FLOAT: return WT_FIXED32;
  case KIND_DOUBLE: return WT_FIXED64;
  default: return WT_LENGTH;
  }
}

/* The number of values in packed numbers; false: the payload is no such list. */
static bool packed_count(const WireField *w, const Item *it, size_t *count) {
  size_t len = (size_t)(it->end - it->value), n = 0;
  if (w->kind != KIND_INT) {
    size_t size = w->kind == KIND_FLOAT ? 4 : 8;
    *count = len / size;
    return len % size == 0;
  }
  uint64_t v;
  for (const uint8_t *p = it->value; p < it->end; n++)
    if (!wire_varint(&p, it->end, &v))
      return false;
  *count = n;
  return true;
}

static Status scan_text(Scan *s, const Frame *f, const WireField *w, const Item *it) {
  size_t len = (size_t)(it->end - it->value);
  if (w->kind == KIND_STRING) {
    if (!utf8_valid((const char *)it->value, len))
      return bad(s, f, w->name, it->start, "text is not valid UTF-8");
    if (len && memchr(it->value, 0, len))
      return bad(s, f, w->name, it->start, "text holds a NUL byte");
  }
  TRY(charge(s, len + TEXT_COST));
  put_tag(s, it->number, WT_LENGTH);
  put_length(s, len);
  put(s, it->value, len);
  return ST_OK;
}

static Status scan_numbers(Scan *s, const Frame *f, const WireField *w, const Item *it) {
  put_tag(s, it->number, it->wire);
  if (it->wire == WT_LENGTH) {
    size_t count, len = (size_t)(it->end - it->value);
    if (!packed_count(w, it, &count))
      return bad(s, f, w->name, it->start, "packed numbers are cut short");
    TRY(charge(s, count * 8));
    put_length(s, len);
  } else {
    TRY(charge(s, 8));
  }
  put(s, it->value, (size_t)(it->end - it->value));
  return ST_OK;
}

/* Tensor data: noted as a piece, not looked at. first: index of the tensor's first piece. */
static Status scan_data(Scan *s, const Frame *f, const Item *it, uint64_t first) {
  if (s->dropping)
    return ST_OK;
  bool packed = it->wire == WT_LENGTH && it->number != TP_STRING_DATA;
  const uint8_t *start = packed ? it->value : it->start;
  size_t len = (size_t)(it->end - start);
  s->data += len;
  bool joins = s->npiece > first && !packed && !s->last.packed && s->last.field == it->number &&
               s->last.ptr + s->last.len == start;
  if (joins) {
    s->last.len += len;
  } else {
    if (s->npiece == UINT32_MAX)
      return bad(s, f, NULL, it->start, "more pieces of tensor data than can be");
    s->last = (WirePiece){.ptr = start, .len = len, .field = (uint8_t)it->number, .packed = packed};
    s->npiece++;
    TRY(charge(s, sizeof(WirePiece)));
  }
  if (s->npiece <= s->piece_cap)
    s->piece[s->npiece - 1] = s->last;
  return ST_OK;
}

static Status scan_message(Scan *s, Frame *f, const uint8_t *p, const uint8_t *end);

static Status scan_child(Scan *s, Frame *f, const WireField *w, const Item *it) {
  if (f->depth >= WIRE_MAX_DEPTH)
    return bad(s, f, w->name, it->start, "messages are nested more than 100 deep");
  Frame child = {.up = f, .field = w, .index = f->seen[it->number] - 1, .type = w->child, .depth = f->depth + 1};
  bool drop = w->what == WHAT_DROP;
  s->dropping += drop;
  put_tag(s, it->number, WT_LENGTH);
  put_length(s, 0);
  size_t start = s->n;
  TRY(scan_message(s, &child, it->value, it->end));
  if (s->out && !s->dropping && start <= s->cap)
    encode_length(s->out + start - 5, s->n - start);
  s->dropping -= drop;
  return ST_OK;
}

static Status scan_field(Scan *s, Frame *f, const Item *it, uint64_t first) {
  const WireField *w = it->number <= MAX_FIELD ? &field_table[f->type][it->number] : NULL;
  if (!w || !w->name) {
    if (s->strict)
      return bad(s, f, NULL, it->start, "a field that the ONNX schema does not have");
    return ST_OK;
  }
  uint32_t seen = ++f->seen[it->number];
  bool packed = it->wire == WT_LENGTH && w->kind >= KIND_INT && w->kind <= KIND_DOUBLE && w->label == LABEL_MANY;
  if (it->wire != wire_of(w) && !packed)
    return bad(s, f, w->name, it->start, "a field has the wrong wire type");
  /* protobuf would merge the two; no writer of ONNX makes such a file, and its parts could disagree */
  if (w->kind == KIND_MESSAGE && w->label == LABEL_ONE && seen > 1)
    return bad(s, f, w->name, it->start, "a single message is given twice");
  if (w->kind == KIND_MESSAGE)
    return scan_child(s, f, w, it);
  if (w->what == WHAT_DATA)
    return scan_data(s, f, it, first);
  s->dropping += w->what == WHAT_DROP;
  TRY(w->kind >= KIND_STRING ? scan_text(s, f, w, it) : scan_numbers(s, f, w, it));
  s->dropping -= w->what == WHAT_DROP;
  return ST_OK;
}

static Status scan_message(Scan *s, Frame *f, const uint8_t *p, const uint8_t *end) {
  uint64_t first = s->npiece;
  size_t fields = 0;
  if ((++s->polls & 0xfff) == 0)
    TRY(ctx_poll(s->c));
  TRY(charge(s, message_table[f->type].cost + MEMBER_COST));
  for (; p < end; fields++) {
    Item it;
    TRY(read_item(s, f, p, end, &it));
    if (fields >= FREE_NOTES)
      TRY(charge(s, NOTE_COST));
    TRY(scan_field(s, f, &it, first));
    p = it.end;
  }
  if (s->npiece > first && f->type == WIRE_TensorProto)
    put_pieces(s, first);
  return ST_OK;
}

static Status walk(Scan *s, WireMessage type, const uint8_t *data, size_t n) {
  Frame root = {.type = (uint8_t)type};
  static const uint8_t none;
  if (!n)
    data = &none; /* an empty file is not mapped */
  s->base = data;
  return scan_message(s, &root, data, data + n);
}

Status wire_scan(Ctx *c, Arena *a, WireMessage type, const uint8_t *data, size_t n, const WireLimits *l,
                 WireScan *out) {
  size_t limit = l && l->max_bytes ? l->max_bytes : (size_t)1 << 30;
  Scan s = {.c = c, .strict = l && l->strict, .limit = limit};
  TRY(walk(&s, type, data, n));
  size_t structure = n - s.data;
  if (s.cost > GENEROUS_BYTES + structure * GENEROUS_RATIO)
    return fail(c, ST_MEMORY,
                "the %zu KiB of the model's structure would take %zu MiB of memory: a sound model needs far less",
                structure >> 10, s.cost >> 20);
  if (s.n > INT_MAX || s.n > limit)
    return too_much(&s, s.n);
  *out = (WireScan){.n = s.n, .npiece = (uint32_t)s.npiece, .cost = s.cost};
  out->bytes = s.out = arena_get(a, s.n, 1, 16);
  out->piece = s.piece = arena_array(a, WirePiece, s.npiece);
  s.cap = s.n, s.piece_cap = s.npiece;
  s.n = 0, s.npiece = 0;
  TRY(walk(&s, type, data, n));
  if (s.n != s.cap || s.npiece != s.piece_cap) /* a mapped file shows what others write to it */
    return fail(c, ST_INVALID, "the file changed while it was read");
  return ST_OK;
}
