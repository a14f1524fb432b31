/* cache.h - the compile cache: a directory with one file per compiled program, which holds the program, its machine code and
 * the weights packed for it. Bytes and files only: what a program is kept under and what it depends on, the caller says.
 *
 * An entry is found by its key, believed when its hash holds and it belongs to this user, and mapped: packed weights are
 * read when they are used. Entries appear whole (a temporary name, fsync, rename), and are never changed afterwards, so a
 * mapping stays good whatever other processes do. None of this can make a run fail: what goes wrong is for the log.
 *
 *   header | files, strings | sums of blocks | program | packed weights, on a page of their own
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_RUNTIME_CACHE_H
#define SARD_RUNTIME_CACHE_H

#include "support/file.h"

typedef struct CacheKey {
  uint64_t h[2];
} CacheKey;

/* What an entry depends on besides its key, in the order of the program's files, tools last. */
typedef enum {
  CACHE_MODEL,   /* the model's own file */
  CACHE_WEIGHTS, /* external data, by its name in the model */
  CACHE_MEMORY,  /* the caller's bytes: the key says what is in them */
  CACHE_TOOL,    /* a library that made the code, by its path */
} CacheFileKind;
typedef struct CacheFile {
  CacheFileKind kind;
  const char *name;
  uint64_t dev, ino, size; /* what identified it; CACHE_MEMORY: size alone */
  int64_t mtime_ns, ctime_ns;
} CacheFile;

typedef struct CacheContent {
  CacheKey key;
  const char *model; /* what `sard cache list` shows: a path, "" for a model from memory */
  const char *about; /* device and CPU level or GPU */
  const CacheFile *file;
  uint32_t nfile;
  const uint8_t *image; /* the program, aligned to PROG_ALIGN */
  size_t size;
  const uint8_t *packed; /* its last file, aligned to 64; NULL: none */
  size_t packed_size;
  int64_t written_ns; /* set by the writing: CLOCK_REALTIME */
} CacheContent;

typedef struct Cache Cache;

/* The directory that a caller's option means, in arena a: `option` itself; without one, what the environment variable SARD_CACHE
 * says, else $XDG_CACHE_HOME/sard, else $HOME/.cache/sard. NULL: no cache, because "off" says so or nothing names one. */
const char *cache_directory(Arena *a, const char *option);
/* The most bytes that a directory's entries take: what the environment variable SARD_CACHE_SIZE says ("500M", "20G"), else 10 GB. */
uint64_t cache_limit(void);
/* The i-th directory of the environment variable SARD_CACHE_SHARED, which names some with ':' between; NULL: there is none. */
const char *cache_shared(Arena *a, int i);
/* Opens it, made with mode 0700 if it is not there and `make` says so. ST_INVALID: it is another user's, or others may write
 * to it; ST_IO: it cannot be had. Registered with the arena's context. */
Status cache_open(Ctx *c, Arena *a, const char *path, bool make, Cache **out);
/* One to look into only: it and its entries may belong to root, too. */
Status cache_open_shared(Ctx *c, Arena *a, const char *path, Cache **out);
void cache_close(Cache *d);

/* The entry of that key, mapped: *x borrows from *map, which belongs to c. *map NULL: there is none. ST_INVALID: there is
 * one that cannot be used (damaged, cut short, of another format, another user's), with the reason. */
Status cache_find(Ctx *c, Arena *a, const Cache *d, const CacheKey *key, Mapped **map, CacheContent *x);

/* Writing: prepared in arena a, which must live until then, and so must the bytes of x; done later, in any thread, without
 * memory of its own. c->err says why it failed; nothing is left behind then. */
typedef struct CacheWrite CacheWrite;
CacheWrite *cache_prepare(Arena *a, const Cache *d, const CacheContent *x);
/* Then removes entries, those first whose last use is longest ago, until all together are within cache_limit. */
Status cache_write(Ctx *c, CacheWrite *w);

/* --- what `sard cache` does --- */
typedef struct CacheInfo {
  const char *name; /* of the file */
  uint64_t bytes;
  const char *model, *about; /* "" when the entry cannot be read */
  int64_t written_ns;
  const char *problem; /* NULL: none was found */
} CacheInfo;
/* Calls fn for every entry; all: checks the sums of packed weights too. */
Status cache_each(Ctx *c, const Cache *d, bool all, Status (*fn)(void *arg, const CacheInfo *x), void *arg);
/* Removes every entry, and what interrupted writers left. */
Status cache_clear(Ctx *c, const Cache *d, uint32_t *entries, uint64_t *bytes);

#endif
