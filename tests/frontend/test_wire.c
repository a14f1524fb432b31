/* test_wire.c - the bounded scan: what it cuts out, what it writes, what it refuses and how it says where.
 * SPDX-License-Identifier: Apache-2.0 */
#include "frontend/wire.h"

#include "tests/frontend/pb.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/support/fixture.h"

static Status scan(const Pb *p, WireMessage type, WireScan *s) { return wire_scan(&c, a, type, p->b, p->n, NULL, s); }

/* Scanning p fails as invalid with a message that contains text. Frees p. */
static void refused(Pb *p, WireMessage type, const char *text) {
  WireScan s;
  assert_int_equal(scan(p, type, &s), ST_INVALID);
  if (!strstr(c.err.message, text))
    fail_msg("'%s' is not in '%s'", text, c.err.message);
  pb_free(p);
}

static void raw_data_is_cut_out(void **state) {
  (void)state;
  uint8_t data[5000];
  memset(data, 7, sizeof data);
  Pb t = {0};
  pb_int(&t, 1, 1250);
  pb_int(&t, 2, 1);
  pb_bytes(&t, TP_RAW_DATA, data, sizeof data);
  pb_str(&t, 8, "w");
  WireScan s;
  assert_int_equal(scan(&t, WIRE_TensorProto, &s), ST_OK);
  assert_int_equal(s.npiece, 1);
  assert_int_equal(s.piece->field, TP_RAW_DATA);
  assert_true(s.piece->packed);
  assert_int_equal(s.piece->len, sizeof data);
  assert_true(s.piece->ptr > t.b && s.piece->ptr + s.piece->len < t.b + t.n);
  /* dims, data_type, name, and the note: tag of 5 bytes, index 0, one piece */
  const uint8_t want[] = {8,    0xe2, 9,    16, 1, 0x42, 0x81, 0x80, 0x80, 0x80, 0, 'w', 0xf9,
                          0xff, 0xff, 0xff, 15, 0, 0,    0,    0,    1,    0,    0, 0};
  assert_int_equal(s.n, sizeof want);
  assert_memory_equal(s.bytes, want, sizeof want);
  pb_free(&t);
}

static void runs_are_one_piece(void **state) {
  (void)state;
  Pb t = {0};
  for (int i = 0; i < 100; i++)
    pb_str(&t, TP_STRING_DATA, "abc");
  pb_f32(&t, TP_FLOAT_DATA, 1);
  pb_f32(&t, TP_FLOAT_DATA, 2);
  pb_str(&t, 8, "between");
  pb_f32(&t, TP_FLOAT_DATA, 3);
  WireScan s;
  assert_int_equal(scan(&t, WIRE_TensorProto, &s), ST_OK);
  assert_int_equal(s.npiece, 3);
  assert_int_equal(s.piece[0].len, 500);
  assert_false(s.piece[0].packed);
  assert_int_equal(s.piece[1].len, 10);
  assert_int_equal(s.piece[2].len, 5);
  pb_free(&t);
}

static void unknown_fields_are_dropped(void **state) {
  (void)state;
  Pb t = {0};
  pb_str(&t, 77, "from the future");
  pb_int(&t, 4000, 1);
  pb_tag(&t, WIRE_PIECES_FIELD, 1); /* a forged note */
  pb_put(&t, "\0\0\0\0\1\0\0\0", 8);
  WireScan s;
  assert_int_equal(scan(&t, WIRE_TensorProto, &s), ST_OK);
  assert_int_equal(s.n, 0);
  WireLimits strict = {.strict = true};
  assert_int_equal(wire_scan(&c, a, WIRE_TensorProto, t.b, t.n, &strict, &s), ST_INVALID);
  pb_free(&t);
}

static void training_is_checked_and_dropped(void **state) {
  (void)state;
  Pb m = {0}, info = {0}, graph = {0}, tensor = {0};
  pb_bytes(&tensor, TP_RAW_DATA, "1234", 4);
  pb_msg(&graph, 5, &tensor);
  pb_msg(&info, 1, &graph);
  pb_msg(&m, 20, &info);
  WireScan s;
  assert_int_equal(scan(&m, WIRE_ModelProto, &s), ST_OK);
  assert_int_equal(s.n, 0);
  assert_int_equal(s.npiece, 0);
  pb_free(&m);
  pb_str(&graph, 2, "\xff");
  pb_msg(&info, 1, &graph);
  pb_msg(&m, 20, &info);
  refused(&m, WIRE_ModelProto, "ModelProto.training_info[0].initialization.name: text is not valid UTF-8");
}

static void says_where(void **state) {
  (void)state;
  Pb m = {0}, g = {0}, n = {0}, at = {0}, t = {0};
  pb_str(&n, 3, "first");
  pb_msg(&g, 1, &n);
  pb_str(&at, 1, "x");
  pb_msg(&n, 5, &at);
  pb_int(&t, 8, 3); /* a name that is a number */
  pb_msg(&at, 5, &t);
  pb_msg(&n, 5, &at);
  pb_msg(&g, 1, &n);
  pb_msg(&m, 7, &g);
  refused(
      &m, WIRE_ModelProto,
      "damaged protobuf at byte 22, in ModelProto.graph.node[1].attribute[1].t.name: a field has the wrong wire type");
}

static void bytes_refused(const char *bytes, size_t n, const char *text) {
  Pb p = {0};
  pb_put(&p, bytes, n);
  refused(&p, WIRE_ModelProto, text);
}

static void damaged_bytes(void **state) {
  (void)state;
#define BAD(bytes, text) bytes_refused(bytes, sizeof bytes - 1, text)
  BAD("\x3a", "ModelProto.graph: a length is cut short");
  BAD("\x3a\x05\x00", "ModelProto.graph: a length runs past the end");
  BAD("\x3a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "a length runs past the end");     /* 2^63 - 1 */
  BAD("\x3a\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", "a length runs past the end"); /* 2^63 */
  BAD("\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "longer than 10 bytes");
  BAD("\x08", "ModelProto.ir_version: a number is cut short");
  BAD("\x08\x80", "a number is cut short");
  BAD("\x00\x00", "a field number is out of range");
  BAD("\xfa\xff\xff\xff\xff\x01", "a field number is out of range");
  BAD("\x3b\x3c", "groups are not used");
  BAD("\x3c", "groups are not used");
  BAD("\x3e", "no such wire type");
  BAD("\x0a\x01x", "ir_version: a field has the wrong wire type");
  BAD("\x0d\x00\x00", "a number is cut short");
  BAD("\x12\x02\xc3\x28", "producer_name: text is not valid UTF-8");
  BAD("\x12\x03"
      "a\0b",
      "producer_name: text holds a NUL byte");
  BAD("\x3a\x00\x3a\x00", "ModelProto.graph: a single message is given twice");
  BAD("\x80", "a field tag is cut short");
}

static void packed_numbers(void **state) {
  (void)state;
  Pb at = {0};
  pb_bytes(&at, 8, "\x01\x02\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 12);
  pb_bytes(&at, 7, "abcdefgh", 8);
  WireScan s;
  assert_int_equal(scan(&at, WIRE_AttributeProto, &s), ST_OK);
  pb_bytes(&at, 7, "abcdef", 6);
  refused(&at, WIRE_AttributeProto, "AttributeProto.floats: packed numbers are cut short");
  pb_bytes(&at, 8, "\x01\x80", 2);
  refused(&at, WIRE_AttributeProto, "AttributeProto.ints: packed numbers are cut short");
}

/* TypeProto.sequence_type.elem_type... : n messages inside the outermost one. */
static Pb nested(int n) {
  Pb p = {0}, up = {0};
  for (int i = n; i > 0; i--) {
    pb_msg(&up, i % 2 ? 4 : 1, &p);
    p = up, up = (Pb){0};
  }
  return p;
}

static void depth_is_bounded(void **state) {
  (void)state;
  WireScan s;
  Pb p = nested(WIRE_MAX_DEPTH);
  assert_int_equal(scan(&p, WIRE_TypeProto, &s), ST_OK);
  pb_free(&p);
  p = nested(WIRE_MAX_DEPTH + 1);
  refused(&p, WIRE_TypeProto, "nested more than 100 deep");
  p = nested(12000);
  refused(&p, WIRE_TypeProto, "nested more than 100 deep");
}

static void empty_submessages_are_too_much(void **state) {
  (void)state;
  Pb g = {0}, m = {0};
  for (int i = 0; i < 1 << 20; i++)
    pb_bytes(&g, 1, NULL, 0);
  pb_msg(&m, 7, &g);
  WireScan s;
  assert_int_equal(scan(&m, WIRE_ModelProto, &s), ST_MEMORY);
  assert_true(atomic_load(&alloc.peak) < 64 << 10); /* refused before anything is allocated */
  pb_free(&m);
}

static void limit_is_kept(void **state) {
  (void)state;
  Pb m = {0};
  char doc[1000];
  memset(doc, 'x', sizeof doc);
  pb_bytes(&m, 6, doc, sizeof doc);
  WireScan s;
  WireLimits limits = {.max_bytes = 2000};
  assert_int_equal(wire_scan(&c, a, WIRE_ModelProto, m.b, m.n, &limits, &s), ST_OK);
  assert_true(s.cost >= 1000 && s.cost <= 2000);
  limits.max_bytes = 1000;
  assert_int_equal(wire_scan(&c, a, WIRE_ModelProto, m.b, m.n, &limits, &s), ST_MEMORY);
  pb_free(&m);
}

/* Length prefixes of the copy are patched when a message ends, also around dropped and cut fields. */
static void lengths_are_patched(void **state) {
  (void)state;
  Pb m = {0}, g = {0}, t = {0};
  pb_bytes(&t, TP_RAW_DATA, "12345678", 8);
  pb_str(&t, 12, "documentation of a tensor is dropped");
  pb_msg(&g, 5, &t);
  pb_str(&g, 2, "g");
  pb_msg(&m, 7, &g);
  WireScan s;
  assert_int_equal(scan(&m, WIRE_ModelProto, &s), ST_OK);
  const uint8_t want[] = {0x3a, 0x80 | 26, 0x80, 0x80, 0x80, 0,    0x2a, 0x80 | 13, 0x80, 0x80, 0x80,
                          0,    0xf9,      0xff, 0xff, 0xff, 15,   0,    0,         0,    0,    1,
                          0,    0,         0,    0x12, 0x81, 0x80, 0x80, 0x80,      0,    'g'};
  assert_int_equal(s.n, sizeof want);
  assert_memory_equal(s.bytes, want, sizeof want);
  pb_free(&m);
}

int main(void) {
  const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
      T(raw_data_is_cut_out),
      T(runs_are_one_piece),
      T(unknown_fields_are_dropped),
      T(training_is_checked_and_dropped),
      T(says_where),
      T(damaged_bytes),
      T(packed_numbers),
      T(depth_is_bounded),
      T(empty_submessages_are_too_much),
      T(limit_is_kept),
      T(lengths_are_patched),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
