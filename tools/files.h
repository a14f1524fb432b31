/* files.h - whole files in.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_TOOLS_FILES_H
#define SARD_TOOLS_FILES_H

#include "support/outfile.h"
#include "support/str.h"

/* The bytes of a file, pipe or FIFO, in arena a, aligned to 64 and followed by a 0 that is not counted. */
Status file_read(Ctx *c, Arena *a, const char *path, Str *out);

bool has_suffix(const char *s, const char *suffix); /* ASCII case is ignored */

#endif
