/* zip.h - zip archives of stored or deflated files, also above 4 GB (APPNOTE.TXT 6.3, sections 4.3 to 4.5). Nothing else that an archive
 * may have is read: encryption, several disks, bytes in front of it. Over zlib and not libzip, whose libcrypto takes a process 1.5 MB.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_TOOLS_ZIP_H
#define SARD_TOOLS_ZIP_H

#include "tools/files.h"

typedef struct ZipEntry {
  const char *name; /* UTF-8 */
  uint64_t at;      /* of its local header, bytes into the file */
  uint64_t packed, size;
  uint32_t crc, method;
} ZipEntry;

typedef struct Zip {
  const char *path; /* borrowed */
  int fd;
  uint64_t bytes; /* of the file */
  ZipEntry *entry;
  size_t n;
  Cleanup cleanup;
} Zip;

/* Opens an archive for reading and checks its directory; open until zip_close or until the work fails. ST_INVALID: it is damaged,
 * or uses what is not read. */
Status zip_open(Ctx *c, Arena *a, const char *path, Zip **out);
void zip_close(Ctx *c, Zip *z);
/* The i-th file, of entry[i].size bytes, to p; its sum is checked. */
Status zip_read(Ctx *c, Zip *z, size_t i, uint8_t *p);

/* An archive being written: entry grows, `bytes` is what f has so far. */
typedef struct ZipWriter {
  OutFile *f; /* borrowed */
  uint64_t bytes;
  ZipEntry *entry; /* room for all */
  size_t n;
} ZipWriter;

/* Stores a file of two parts, dated 1980-01-01: the same contents give the same archive. */
Status zip_put(Ctx *c, ZipWriter *w, const char *name, Str head, Str data);
/* The directory, behind all files. */
Status zip_finish(Ctx *c, ZipWriter *w);

#endif
