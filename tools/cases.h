/* cases.h - finding ONNX test cases in folders.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_TOOLS_CASES_H
#define SARD_TOOLS_CASES_H

#include "support/arena.h"

typedef struct TestCase {
  const char *dir;  /* holds model.onnx */
  const char *name; /* dir below the folder that was searched */
  const char **set; /* paths of test_data_set_N, in order of N */
  uint32_t nset;
  double rtol, atol; /* of tolerance.txt; < 0: none */
} TestCase;

/* Every folder at or below dir that holds model.onnx, in order of names. ST_USAGE when there is none. */
Status cases_find(Ctx *c, Arena *a, const char *dir, TestCase **out, size_t *n);
/* Files STEM_0.pb, STEM_1.pb … of a set. */
uint32_t case_files(const char *set, const char *stem);

#endif
