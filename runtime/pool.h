/* pool.h - a pool of threads that share one piece of work at a time, cut into contiguous ranges.
 *
 * Thread t of n gets parts [t*parts/n, (t+1)*parts/n), in pieces; one that is done takes pieces of others that have not come to
 * them. So a thread finds in its cache what it wrote before, and none waits for one that the system does not run. Parts do not
 * depend on each other, so what is computed depends on neither n nor timing. Waiting threads spin some microseconds, in the
 * middle of a run up to a millisecond, then sleep: an idle pool uses no CPU. A caller that finds the pool at work for another
 * does its work alone.
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

/* Calls fn(arg, thread, begin, end) for ranges that cover 0..parts, on at most `want` threads, and returns when all are done.
 * thread is below pool_threads(); a thread may get several ranges, in no order. p may be NULL: all in the caller's thread. */
void pool_run(Pool *p, int want, int64_t parts, void (*fn)(void *arg, int thread, int64_t begin, int64_t end),
              void *arg);

/* Around a run, whose steps call pool_run one soon after another. p may be NULL. */
void pool_hold(Pool *p);
void pool_release(Pool *p);
/* How many of `threads` threads a run may use now: every other run under way has a core to itself, the one that the pool works
 * for has the rest. At least 1. p may be NULL. */
int pool_share(const Pool *p, int threads);

#endif
