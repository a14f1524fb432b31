/* libraries.h - the libraries that single operators need, and which of them this build has.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_OPS_EVAL_LIBRARIES_H
#define SARD_OPS_EVAL_LIBRARIES_H

#include <stddef.h>

typedef struct Library {
  const char *name, *what; /* "libpng", "PNG images" */
  const char *version;     /* of the headers at build time; NULL: this build does without */
} Library;

const Library *library_info(size_t i); /* NULL at the end */

#endif
