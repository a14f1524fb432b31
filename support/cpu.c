/* cpu.c - CPU levels by cpuid, as the compiler's run time reads it (which also asks the operating system for the registers).
 * SPDX-License-Identifier: Apache-2.0 */
#include "support/cpu.h"

#include "support/status.h"

#include <string.h>

static const struct {
  const char *name;
  int bits;
} levels[] = {{"x86-64", 128}, {"x86-64-v3", 256}, {"x86-64-v4", 512}, {"x86-64-v4-vnni-bf16", 512}};

static int highest(void) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !__builtin_cpu_supports("bmi") ||
      !__builtin_cpu_supports("bmi2") || !__builtin_cpu_supports("popcnt"))
    return 0;
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
      !__builtin_cpu_supports("avx512cd") || !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vl"))
    return 1;
  if (!__builtin_cpu_supports("avx512vnni") || !__builtin_cpu_supports("avx512bf16"))
    return 2;
  return 3;
#else
  return -1;
#endif
}

static int find(const char *level) {
  for (int i = 0; i < (int)countof(levels); i++)
    if (!strcmp(levels[i].name, level))
      return i;
  return -1;
}

const char *cpu_level(void) {
  int i = highest();
  return i < 0 ? "" : levels[i].name;
}

bool cpu_runs(const char *level) {
  int i = find(level);
  return i >= 0 && i <= highest();
}

int cpu_vector_bits(const char *level) {
  int i = find(level);
  return i < 0 ? 0 : levels[i].bits;
}

int cpu_rank(const char *level) { return find(level); }

const char *cpu_level_names(void) { return "x86-64, x86-64-v3, x86-64-v4, x86-64-v4-vnni-bf16"; }
