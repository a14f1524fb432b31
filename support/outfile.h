/* outfile.h - files out, that appear complete or not at all.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_SUPPORT_OUTFILE_H
#define SARD_SUPPORT_OUTFILE_H

#include "support/arena.h"

/* A file being written under a temporary name beside its own. Removed again if the work fails before file_commit. */
typedef struct OutFile {
  const char *path, *temp;
  int fd;               /* of temp; -1 once closed */
  struct OutFile *next; /* for the caller */
  Cleanup cleanup;
} OutFile;

/* ST_IO when path exists and is no regular file, or its folder cannot be written. The OutFile lives in a. */
Status file_begin(Ctx *c, Arena *a, const char *path, OutFile **out);
Status file_put(Ctx *c, OutFile *f, const void *p, size_t n);
/* Gives the file its name. */
Status file_commit(Ctx *c, OutFile *f);
/* It may be executed by whoever may read it. */
Status file_executable(Ctx *c, OutFile *f);

#endif
