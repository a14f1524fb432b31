/* cpu.h - what this CPU can run, as levels of which each includes the ones before of the same machine.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_SUPPORT_CPU_H
#define SARD_SUPPORT_CPU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* "x86-64", "x86-64-v3" (AVX2, FMA, F16C), "x86-64-v4" (AVX-512 F BW CD DQ VL), "x86-64-v4-vnni",
 * "x86-64-v4-vnni-bf16"; "aarch64" (NEON); "riscv64" (rv64gc); the highest that this CPU and its operating system support, but for
 * instructions that are slower than what they replace. */
const char *cpu_level(void);
bool cpu_runs(const char *level);        /* is code for that level safe here? */
int cpu_vector_bits(const char *level);  /* 0: no such level */
uint16_t cpu_machine(const char *level); /* ELF's e_machine; 0: no such level */
int cpu_rank(const char *level); /* a higher one of the same machine includes the lower ones; -1: no such level */
/* How the system calls this CPU: "AMD EPYC 9B45"; elsewhere its number. At most n bytes. "": it does not. */
void cpu_model(char *text, size_t n);
const char *cpu_level_names(void); /* all of them, for messages */

#endif
