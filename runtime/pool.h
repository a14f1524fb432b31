/* pool.h - a pool of threads that share one piece of work at a time, cut into contiguous ranges.
 *
 * The partition is static: thread t of n gets parts [t*parts/n, (t+1)*parts/n), so what is computed where does not depend
 * on timing, and what is computed does not depend on n when parts are independent. Waiting threads spin some microseconds,
 * then sleep: an idle pool uses no CPU. A caller that finds the pool at work for another does its work alone.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_RUNTIME_POOL_H
#define SARD_RUNTIME_POOL_H

#include "support/ctx.h"

enum { POOL_MAX_THREADS = 256 };
typedef struct Pool Pool;

/* threads: how many work at once, the caller included; 1 starts none. Threads start when work first
 * wants them. ST_MEMORY. */
Status pool_create(Ctx *c, int threads, Pool **out);
/* Starts the others of `threads` threads now, in stacks of so many bytes from the pool's allocator; later none will start, if no
 * work wants more. ST_MEMORY: not all of them could. */
Status pool_start(Ctx *c, Pool *p, int threads, size_t stack);
/* No run may be going on. p may be NULL. */
void pool_destroy(Pool *p);
int pool_threads(const Pool *p);

/* Calls fn(arg, thread, begin, end) for ranges that cover 0..parts, at most one per thread, on at most `want` threads, and
 * returns when all are done. thread is below pool_threads(). p may be NULL: all in the caller's thread. */
void pool_run(Pool *p, int want, int64_t parts, void (*fn)(void *arg, int thread, int64_t begin, int64_t end),
              void *arg);

#endif
