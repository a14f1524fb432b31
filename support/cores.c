/* cores.c - affinity and cgroup limits, version 2 and 1.
 * SPDX-License-Identifier: Apache-2.0 */
#include "support/cores.h"

#include <fcntl.h>
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *read_small_file(Arena *a, const char *path) {
  enum { CAP = 65536 };
  char *text = arena_get(a, CAP, 1, 1);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  size_t n = 0;
  ssize_t k = 0;
  if (fd < 0)
    return NULL;
  while (n < CAP - 1 && (k = read(fd, text + n, CAP - 1 - n)) > 0)
    n += (size_t)k;
  close(fd);
  return k < 0 ? NULL : text;
}

/* The process's own group in the hierarchy of a controller ("" for version 2): "/user.slice/…". */
static const char *group_path(Arena *a, const char *root, const char *controller) {
  const char *text = read_small_file(a, arena_printf(a, "%s/proc/self/cgroup", root));
  for (const char *p = text; p && *p; p = strchr(p, '\n'), p += p != NULL) {
    const char *first = strchr(p, ':'), *second = first ? strchr(first + 1, ':') : NULL;
    if (!second)
      return NULL;
    size_t len = (size_t)(second - first - 1), n = strlen(controller);
    for (const char *q = first + 1; q <= second; q += strcspn(q, ",:") + 1) { /* names separated by commas */
      size_t m = strcspn(q, ",:");
      if ((!n && !len) || (n && m == n && !memcmp(q, controller, n)))
        return arena_strndup(a, second + 1, strcspn(second + 1, "\n"));
    }
  }
  return NULL;
}

/* Calls fn with the text of file in the process's group and every group above it. */
static void each_level(Arena *a, const char *root, const char *group, const char *file,
                       void (*fn)(const char *text, const char *dir, Arena *a, void *arg), void *arg) {
  char *path = arena_strdup(a, group ? group : "");
  for (;;) {
    size_t n = strlen(path);
    while (n && path[n - 1] == '/')
      path[--n] = 0;
    const char *dir = arena_printf(a, "%s%s", root, path);
    const char *text = read_small_file(a, arena_printf(a, "%s/%s", dir, file));
    if (text)
      fn(text, dir, a, arg);
    char *slash = strrchr(path, '/');
    if (!slash)
      return;
    *slash = 0;
  }
}

static void take_quota(double *least, double quota, double period) {
  if (quota > 0 && period > 0 && (*least <= 0 || quota / period < *least))
    *least = quota / period;
}

static void quota_v2(const char *text, const char *dir, Arena *a, void *arg) { /* "200000 100000" or "max 100000" */
  double quota = 0, period = 0;
  (void)dir, (void)a;
  if (sscanf(text, "%lf %lf", &quota, &period) == 2)
    take_quota(arg, quota, period);
}

static void quota_v1(const char *text, const char *dir, Arena *a, void *arg) {
  const char *period = read_small_file(a, arena_printf(a, "%s/cpu.cfs_period_us", dir));
  if (period)
    take_quota(arg, strtod(text, NULL), strtod(period, NULL));
}

static void memory_limit(const char *text, const char *dir, Arena *a, void *arg) {
  int64_t *least = arg, v = strtoll(text, NULL, 10);
  (void)dir, (void)a;
  if (v > 0 && v < (int64_t)1 << 60 && (*least < 0 || v < *least)) /* version 1 says "no limit" as 2^63 less a page */
    *least = v;
}

void cores_find(Arena *a, const char *root, Cores *out) {
  cpu_set_t set;
  *out = (Cores){.online = (int)sysconf(_SC_NPROCESSORS_ONLN)};
  if (out->online < 1)
    out->online = 1;
  out->affinity = sched_getaffinity(0, sizeof set, &set) ? out->online : CPU_COUNT(&set);
  each_level(a, arena_printf(a, "%s/sys/fs/cgroup", root), group_path(a, root, ""), "cpu.max", quota_v2, &out->quota);
  each_level(a, arena_printf(a, "%s/sys/fs/cgroup/cpu", root), group_path(a, root, "cpu"), "cpu.cfs_quota_us", quota_v1,
             &out->quota);
  out->usable = out->affinity;
  if (out->quota > 0 && ceil(out->quota) < out->usable)
    out->usable = (int)ceil(out->quota);
  if (out->usable < 1)
    out->usable = 1;
}

int64_t cgroup_memory_limit(Arena *a, const char *root) {
  int64_t least = -1;
  each_level(a, arena_printf(a, "%s/sys/fs/cgroup", root), group_path(a, root, ""), "memory.max", memory_limit, &least);
  each_level(a, arena_printf(a, "%s/sys/fs/cgroup/memory", root), group_path(a, root, "memory"),
             "memory.limit_in_bytes", memory_limit, &least);
  return least;
}
