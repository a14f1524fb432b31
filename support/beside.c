/* beside.c - finding and loading files of this build.
 * SPDX-License-Identifier: Apache-2.0 */
#include "support/beside.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef SARD_LIBDIR
#define SARD_LIBDIR "/usr/local/lib" /* where it is installed */
#endif
#ifndef SARD_LIBDIR_NAME
#define SARD_LIBDIR_NAME "lib" /* the same, below the prefix */
#endif

enum { PLACES = 4 };

bool beside_own(char *path) {
  Dl_info info;
  static const char here;
  if (!dladdr(&here, &info) || !info.dli_fname)
    return false;
  return strchr(info.dli_fname, '/') ? realpath(info.dli_fname, path) : realpath("/proc/self/exe", path);
}

static bool own_directory(char dir[PATH_MAX]) {
  if (!beside_own(dir))
    return false;
  *strrchr(dir, '/') = 0;
  return true;
}

/* Where a file of this build may be, in order of preference; an empty string: no such place. */
static void places(const char *name, char path[PLACES][PATH_MAX + 64]) {
  const char *dir = secure_getenv("SARD_CODEGEN_DIR");
  char own[PATH_MAX];
  memset(path, 0, PLACES * (PATH_MAX + 64));
  if (dir && strlen(dir) < PATH_MAX)
    snprintf(path[0], PATH_MAX + 64, "%s/%s", dir, name);
  if (own_directory(own)) {
    snprintf(path[1], PATH_MAX + 64, "%s/%s", own, name);
    snprintf(path[2], PATH_MAX + 64, "%s/../%s/%s", own, SARD_LIBDIR_NAME, name);
  }
  snprintf(path[3], PATH_MAX + 64, "%s/%s", SARD_LIBDIR, name);
}

bool beside_find(const char *name, char *found) {
  char path[PLACES][PATH_MAX + 64];
  places(name, path);
  for (int i = 0; i < PLACES; i++)
    if (path[i][0] && !access(path[i], R_OK) && strlen(path[i]) < PATH_MAX) {
      strcpy(found, path[i]);
      return true;
    }
  return false;
}

static Status missing(Ctx *c, const Beside *b) {
  char path[PLACES][PATH_MAX + 64];
  places(b->name, path);
  return err_hint(c, fail(c, ST_UNSUPPORTED, "%s %s was not found", b->what, b->name), "%s; looked for %s and %s",
                  b->hint, path[1], path[3]);
}

Status beside_load(Ctx *c, const Beside *b, const void **table) {
  char path[PATH_MAX];
  if (!beside_find(b->name, path))
    return missing(c, b);
  void *lib = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!lib) {
    const char *why = dlerror();
    return fail(c, ST_UNSUPPORTED, "%s does not load: %s", b->what, why ? why : path);
  }
  union {
    void *p;
    const void *(*fn)(void);
  } u = {.p = dlsym(lib, b->symbol)};
  const uint64_t *build = u.p ? u.fn() : NULL;
  if (!build || *build != b->build) {
    dlclose(lib);
    return fail(c, ST_UNSUPPORTED, "%s %s belongs to another build of sard", b->what, path);
  }
  *table = build;
  return ST_OK;
}
