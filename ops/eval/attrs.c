/* attrs.c - the tables of attrs.def.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/eval/attrs.h"

#include <math.h>

const AttrInfo No_attrs = {.name = "No"};

#define FIELD(Name, name_, kind_, ...)                                                                                 \
  {.name = #name_, .kind = kind_, .offset = offsetof(Name##Attr, name_), __VA_ARGS__},
#define REQUIRED_STR             NULL, .required = true
#define A_INT(Name, name, def)   FIELD(Name, name, AK_INT, .i = def, .required = (def) == REQUIRED)
#define A_FLOAT(Name, name, def) FIELD(Name, name, AK_FLOAT, .f = def)
#define A_STR(Name, name, ...)   FIELD(Name, name, AK_STR, .s = __VA_ARGS__)
#define A_INTS(Name, name)       FIELD(Name, name, AK_INTS, .i = 0)
#define A_FLOATS(Name, name)     FIELD(Name, name, AK_FLOATS, .i = 0)
#define A_STRS(Name, name)       FIELD(Name, name, AK_STRS, .i = 0)
#define A_TENSOR(Name, name)     FIELD(Name, name, AK_TENSOR, .i = 0)
#define A_DIMS(Name, name)       FIELD(Name, name, AK_DIMS, .i = 0)
#define ATTRS(Name, ...)                                                                                               \
  static const AttrField Name##_fields[] = {__VA_ARGS__{.name = NULL}};                                                \
  const AttrInfo Name##_attrs = {#Name, sizeof(Name##Attr), Name##_fields};
#include "ops/eval/attrs.def"
