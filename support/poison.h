/* poison.h - memory that is ours but nobody's yet: the address sanitizer reports who touches it.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_SUPPORT_POISON_H
#define SARD_SUPPORT_POISON_H

#if defined(__SANITIZE_ADDRESS__)
#define SARD_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SARD_ASAN 1
#endif
#endif
#ifdef SARD_ASAN
#include <sanitizer/asan_interface.h>
#define POISON(p, n)   ASAN_POISON_MEMORY_REGION(p, n)
#define UNPOISON(p, n) ASAN_UNPOISON_MEMORY_REGION(p, n)
#define REDZONE        16
#else
#define POISON(p, n)   ((void)(p))
#define UNPOISON(p, n) ((void)(p))
#define REDZONE        0
#endif

#endif
