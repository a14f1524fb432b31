/* libraries.c - the libraries that single operators need. CMake defines SARD_VERSION_… for those it found.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/eval/libraries.h"

#include "support/status.h"

#ifndef SARD_VERSION_PCRE2
#define SARD_VERSION_PCRE2 NULL
#endif
#ifndef SARD_VERSION_JPEG
#define SARD_VERSION_JPEG NULL
#endif
#ifndef SARD_VERSION_PNG
#define SARD_VERSION_PNG NULL
#endif
#ifndef SARD_VERSION_WEBP
#define SARD_VERSION_WEBP NULL
#endif
#ifndef SARD_VERSION_TIFF
#define SARD_VERSION_TIFF NULL
#endif
#ifndef SARD_VERSION_OPENJPEG
#define SARD_VERSION_OPENJPEG NULL
#endif

static const Library libraries[] = {
    {"pcre2", "RegexFullMatch", SARD_VERSION_PCRE2}, {"libjpeg-turbo", "JPEG images", SARD_VERSION_JPEG},
    {"libpng", "PNG images", SARD_VERSION_PNG},      {"libwebp", "WebP images", SARD_VERSION_WEBP},
    {"libtiff", "TIFF images", SARD_VERSION_TIFF},   {"openjpeg", "JPEG 2000 images", SARD_VERSION_OPENJPEG},
};

const Library *library_info(size_t i) { return i < countof(libraries) ? &libraries[i] : NULL; }
