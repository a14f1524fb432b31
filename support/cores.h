/* cores.h - what the process may really use of the machine: affinity and cgroup limits.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_SUPPORT_CORES_H
#define SARD_SUPPORT_CORES_H

#include "support/arena.h"

typedef struct Cores {
  int online, affinity;
  double quota; /* cores' worth of time per period; 0: no limit */
  int usable;   /* the least of them, at least 1 */
} Cores;

/* root: what stands before /proc and /sys; "" for the machine itself (tests give a directory). */
void cores_find(Arena *a, const char *root, Cores *out);
int64_t cgroup_memory_limit(Arena *a, const char *root); /* bytes; -1: none */
/* A file of /proc or /sys as text (at most 64 KB); NULL when it cannot be read. */
const char *read_small_file(Arena *a, const char *path);

#endif
