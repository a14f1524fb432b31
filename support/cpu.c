/* cpu.c - CPU levels by cpuid, as the compiler's run time reads it (which also asks the operating system for the registers).
 * SPDX-License-Identifier: Apache-2.0 */
#include "support/cpu.h"

#include "support/status.h"

#include <elf.h>
#include <stdio.h>
#include <string.h>

static const struct {
  const char *name;
  int bits; /* of a vector register, or of what code without vectors works on side by side */
  uint16_t machine;
} levels[] = {
    {"x86-64", 128, EM_X86_64},         {"x86-64-v3", 256, EM_X86_64},           {"x86-64-v4", 512, EM_X86_64},
    {"x86-64-v4-vnni", 512, EM_X86_64}, {"x86-64-v4-vnni-bf16", 512, EM_X86_64}, {"aarch64", 128, EM_AARCH64},
    {"riscv64", 128, EM_RISCV}};
enum { X86_64, X86_64_V3, X86_64_V4, X86_64_V4_VNNI, X86_64_V4_BF16, AARCH64, RISCV64 };

static int highest(void) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !__builtin_cpu_supports("bmi") ||
      !__builtin_cpu_supports("bmi2") || !__builtin_cpu_supports("popcnt"))
    return X86_64;
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
      !__builtin_cpu_supports("avx512cd") || !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vl"))
    return X86_64_V3;
  if (!__builtin_cpu_supports("avx512vnni"))
    return X86_64_V4;
  return __builtin_cpu_supports("avx512bf16") ? X86_64_V4_BF16 : X86_64_V4_VNNI;
#elif defined(__aarch64__)
  return AARCH64;
#elif defined(__riscv)
  return RISCV64;
#else
  return -1;
#endif
}

/* Intel's CPUs take twice as long for a product of bf16 pairs as for the two FMA of f32 that it stands for (Emerald Rapids: 0.5 times
 * fp32 on BERT-base, where AMD's Zen 5 reaches 1.7). */
static int fastest(void) {
  int i = highest();
#if defined(__x86_64__)
  if (i == X86_64_V4_BF16 && __builtin_cpu_is("intel"))
    return X86_64_V4_VNNI;
#endif
  return i;
}

static int find(const char *level) {
  for (int i = 0; i < (int)countof(levels); i++)
    if (!strcmp(levels[i].name, level))
      return i;
  return -1;
}

const char *cpu_level(void) {
  int i = fastest();
  return i < 0 ? "" : levels[i].name;
}

bool cpu_runs(const char *level) {
  int i = find(level), here = highest();
  return i >= 0 && here >= 0 && i <= here && levels[i].machine == levels[here].machine;
}

int cpu_vector_bits(const char *level) {
  int i = find(level);
  return i < 0 ? 0 : levels[i].bits;
}

uint16_t cpu_machine(const char *level) {
  int i = find(level);
  return i < 0 ? EM_NONE : levels[i].machine;
}

int cpu_rank(const char *level) { return find(level); }

void cpu_model(char *text, size_t n) {
  char line[256];
  FILE *f = fopen("/proc/cpuinfo", "re");
  *text = 0;
  while (f && !*text && fgets(line, sizeof line, f)) {
    const char *value = strstr(line, ": ");
    if (value && (!strncmp(line, "model name", 10) || !strncmp(line, "CPU part", 8) || !strncmp(line, "uarch", 5)))
      snprintf(text, n, "%.*s", (int)strcspn(value + 2, "\n"), value + 2);
  }
  if (f)
    fclose(f);
}

const char *cpu_level_names(void) {
  return "x86-64, x86-64-v3, x86-64-v4, x86-64-v4-vnni, x86-64-v4-vnni-bf16, aarch64, riscv64";
}
