/* file.h - files mapped read-only, and reading without trusting what is read.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_SUPPORT_FILE_H
#define SARD_SUPPORT_FILE_H

#include "support/arena.h"

#include <stdbool.h>
#include <stdint.h>

/* A mapping and what identified the file when it was mapped. */
typedef struct Mapped {
  const char *path;    /* as opened; in the arena given to map_open */
  const uint8_t *base; /* NULL for an empty file */
  size_t size;
  uint64_t dev, ino;
  int64_t mtime_ns, ctime_ns;
  int fd; /* kept open so that truncation can be seen */
  Cleanup cleanup;
} Mapped;

/* Maps a regular file (ST_IO otherwise, with the reason; a FIFO or device is refused without blocking). The mapping is
 * registered with the arena's context and lives until map_close. */
Status map_open(Ctx *c, Arena *a, const char *path, Mapped **out);
/* The same for an open descriptor, which the mapping then owns. */
Status map_fd(Ctx *c, Arena *a, int fd, const char *path, Mapped **out);
void map_close(Ctx *c, Mapped *m);
/* The mapping lives on in *to (its path still borrowed from the old arena) with the same context; from must not be used again. */
void map_move(Ctx *c, Mapped *from, Mapped *to);
/* Asks for huge pages, where the file's content lies in memory so (see put in runtime/cache.c). */
void map_huge(const Mapped *m);
/* Lets go of the pages that reading has brought in. What is read again comes from the file. */
void map_forget(const Mapped *m);
/* ST_INVALID when the file has become shorter than the mapping: reading it would raise SIGBUS. */
Status map_check(Ctx *c, const Mapped *m);

#endif
