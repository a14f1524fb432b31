/* gpu.c - which code runs on which GPU.
 * SPDX-License-Identifier: Apache-2.0 */
#include "support/gpu.h"

#include "support/ctx.h"

#include <stdlib.h>
#include <string.h>

static const char *const levels[] = {"sm_80", "sm_90", "sm_90a"};

int gpu_rank(const char *level) {
  for (size_t i = 0; i < countof(levels); i++)
    if (!strcmp(level, levels[i]))
      return (int)i;
  return -1;
}

const char *gpu_level_names(void) { return "sm_80, sm_90, sm_90a"; }

/* "sm_90a": 90, and only that. 0: it is no target. */
static int parse(const char *target, bool *only) {
  char *end;
  if (strncmp(target, "sm_", 3))
    return 0;
  long n = strtol(target + 3, &end, 10);
  *only = !strcmp(end, "a");
  return (*only || !*end) && n > 0 && n < 1000 ? (int)n : 0;
}

bool gpu_runs(const char *target, int capability) {
  bool only;
  int own = parse(target, &only);
  return own && (only ? own == capability : own / 10 == capability / 10 && own <= capability);
}

bool gpu_compiles(const char *target, int capability) {
  bool only;
  int own = parse(target, &only);
  return own && (only ? own == capability : own <= capability);
}
