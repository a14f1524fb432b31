/* attr.h - attribute structs described by tables, so that import, printing, comparing, copying and the program format are
 * one piece of code each. The structs and tables themselves are made from ops/eval/attrs.def.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_SUPPORT_ATTR_H
#define SARD_SUPPORT_ATTR_H

#include "support/dim.h"
#include "support/tensor.h"

typedef struct Ints {
  const int64_t *v;
  int64_t n;
} Ints; /* v NULL: not given */
typedef struct Floats {
  const float *v;
  int64_t n;
} Floats;
typedef struct Strs {
  const Str *v;
  int64_t n;
} Strs;
typedef struct Dims {
  const Dim *v;
  int64_t n;
} Dims;

typedef enum { AK_INT, AK_FLOAT, AK_STR, AK_INTS, AK_FLOATS, AK_STRS, AK_TENSOR, AK_DIMS } AttrKind;

#define ABSENT   INT64_MIN       /* an optional integer that is not given */
#define REQUIRED (INT64_MIN + 1) /* default of an integer that must be given */

typedef struct AttrField {
  const char *name; /* NULL ends the table */
  AttrKind kind;
  size_t offset; /* bytes into the struct */
  int64_t i;     /* AK_INT: default, ABSENT or REQUIRED */
  float f;       /* AK_FLOAT: default; NaN: not given */
  const char *s; /* AK_STR: default; NULL: not given */
  bool required;
} AttrField;

typedef struct AttrInfo {
  const char *name;
  size_t size; /* of the struct; 0: no attributes */
  const AttrField *field;
} AttrInfo;

/* A struct with every field at its default (REQUIRED ones left at REQUIRED / NULL). NULL for an operator without any. */
void *attr_new(Arena *a, const AttrInfo *info);
void *attr_copy(Arena *a, const AttrInfo *info, const void *attr); /* lists and strings too; tensor data borrowed */
bool attr_equal(const AttrInfo *info, const void *a, const void *b);
uint64_t attr_hash(const AttrInfo *info, const void *attr);
const AttrField *attr_field(const AttrInfo *info, const char *name); /* NULL: no such attribute */
bool attr_is_default(const AttrField *f, const void *attr);

/* The struct as bytes that mean the same in another process (AK_DIMS fields are not written), and back: decoding trusts
 * nothing; ST_INVALID when the bytes are not an encoding of info's struct. */
void attr_encode(StrBuf *b, const AttrInfo *info, const void *attr);
Status attr_decode(Ctx *c, Arena *a, const AttrInfo *info, const void *bytes, size_t n, void **attr);

#define ATTR_AT(T, attr, f)  (*(T *)((char *)(attr) + (f)->offset))
#define ATTR_GET(T, attr, f) (*(const T *)((const char *)(attr) + (f)->offset))

#endif
