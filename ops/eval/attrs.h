/* attrs.h - the attribute structs that attrs.def describes, and their tables.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_OPS_EVAL_ATTRS_H
#define SARD_OPS_EVAL_ATTRS_H

#include "support/attr.h"

#define A_INT(Name, name, def)   int64_t name;
#define A_FLOAT(Name, name, def) float name;
#define A_STR(Name, name, def)   Str name;
#define A_INTS(Name, name)       Ints name;
#define A_FLOATS(Name, name)     Floats name;
#define A_STRS(Name, name)       Strs name;
#define A_TENSOR(Name, name)     const Tensor *name;
#define A_DIMS(Name, name)       Dims name;
#define REQUIRED_STR             NULL
#define ATTRS(Name, ...)                                                                                               \
  typedef struct Name##Attr {                                                                                          \
    __VA_ARGS__                                                                                                        \
  } Name##Attr;
#include "ops/eval/attrs.def"
#undef ATTRS
#undef A_INT
#undef A_FLOAT
#undef A_STR
#undef A_INTS
#undef A_FLOATS
#undef A_STRS
#undef A_TENSOR
#undef A_DIMS
#undef REQUIRED_STR

#define ATTRS(Name, ...) extern const AttrInfo Name##_attrs;
#include "ops/eval/attrs.def"
#undef ATTRS
extern const AttrInfo No_attrs; /* operators without attributes */

#endif
