/* pool.c - the thread pool: one generation counter that workers watch, one counter of those still at work.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/pool.h"

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

enum { SPIN_NS = 20000, MAX_THREADS = POOL_MAX_THREADS, STACK_ALIGN = 4096 };

typedef struct Work {
  void (*fn)(void *arg, int thread, int64_t begin, int64_t end);
  void *arg;
  int64_t parts;
  int threads; /* that take part, the caller included */
} Work;

struct Pool {
  Alloc *alloc;
  int threads;
  pid_t pid;   /* threads do not survive a fork: a child starts its own */
  int started; /* workers that exist */
  pthread_t id[MAX_THREADS];
  size_t stack_bytes; /* of the threads' own stacks; 0: the system's */
  void *stack[MAX_THREADS];
  pthread_mutex_t owner; /* held by the caller whose work is being done */
  pthread_mutex_t lock;  /* guards sleeping and waking */
  pthread_cond_t wake, done;
  _Alignas(64) atomic_uint generation; /* changes when there is new work, or the end */
  _Alignas(64) atomic_int left;        /* workers that have not finished this generation's work */
  atomic_bool stop;
  Work work;
};

typedef struct Start {
  Pool *p;
  int thread;
  unsigned seen; /* the generation before the first that is its own */
} Start;

static inline void relax(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

static void share(const Work *w, int thread) {
  int64_t begin = (int64_t)((__int128)w->parts * thread / w->threads);
  int64_t end = (int64_t)((__int128)w->parts * (thread + 1) / w->threads);
  if (begin < end)
    w->fn(w->arg, thread, begin, end);
}

/* Waits until the generation is no longer `seen`: spinning first, asleep then. */
static unsigned next_generation(Pool *p, unsigned seen) {
  unsigned g;
  int64_t until = now_ns() + SPIN_NS;
  do
    for (int i = 0; i < 64; i++) {
      if ((g = atomic_load_explicit(&p->generation, memory_order_acquire)) != seen)
        return g;
      relax();
    }
  while (now_ns() < until);
  pthread_mutex_lock(&p->lock);
  while ((g = atomic_load_explicit(&p->generation, memory_order_acquire)) == seen)
    pthread_cond_wait(&p->wake, &p->lock);
  pthread_mutex_unlock(&p->lock);
  return g;
}

static void finish_share(Pool *p) {
  if (atomic_fetch_sub_explicit(&p->left, 1, memory_order_acq_rel) == 1) {
    pthread_mutex_lock(&p->lock);
    pthread_cond_signal(&p->done);
    pthread_mutex_unlock(&p->lock);
  }
}

static void *worker(void *arg) {
  Start s = *(Start *)arg;
  Pool *p = s.p;
  alloc_put(p->alloc, arg, sizeof(Start));
  for (unsigned seen = s.seen;;) {
    seen = next_generation(p, seen);
    if (atomic_load(&p->stop))
      return NULL;
    if (s.thread < p->work.threads)
      share(&p->work, s.thread);
    finish_share(p);
  }
}

Status pool_create(Ctx *c, int threads, Pool **out) {
  threads = threads < 1 ? 1 : threads > MAX_THREADS ? MAX_THREADS : threads;
  Pool *p = alloc_get(c->alloc, sizeof *p, _Alignof(Pool));
  if (!p)
    return fail(c, ST_MEMORY, "out of memory for a thread pool");
  memset(p, 0, sizeof *p);
  p->alloc = c->alloc, p->threads = threads, p->pid = getpid();
  pthread_mutex_init(&p->owner, NULL);
  pthread_mutex_init(&p->lock, NULL);
  pthread_cond_init(&p->wake, NULL);
  pthread_cond_init(&p->done, NULL);
  *out = p;
  return ST_OK;
}

static int create_thread(Pool *p, pthread_t *id, Start *s) {
  pthread_attr_t attr;
  int failed = pthread_attr_init(&attr);
  if (!failed && p->stack_bytes)
    failed = pthread_attr_setstack(&attr, p->stack[p->started], p->stack_bytes);
  failed = failed ? failed : pthread_create(id, &attr, worker, s);
  pthread_attr_destroy(&attr);
  return failed;
}

static bool start_worker(Pool *p) {
  void **stack = &p->stack[p->started];
  Start *s = alloc_get(p->alloc, sizeof *s, _Alignof(Start));
  if (p->stack_bytes)
    *stack = alloc_get(p->alloc, p->stack_bytes, STACK_ALIGN);
  if (s && (!p->stack_bytes || *stack)) {
    *s = (Start){p, p->started + 1, atomic_load(&p->generation)};
    if (!create_thread(p, &p->id[p->started], s)) {
      p->started++;
      return true;
    }
  }
  alloc_put(p->alloc, *stack, p->stack_bytes);
  *stack = NULL;
  alloc_put(p->alloc, s, sizeof *s);
  return false;
}

/* Starts the workers with all signals blocked, so that handlers run in the program's own threads. A worker that cannot
 * start leaves the pool smaller. */
static void start_workers(Pool *p, int want) {
  sigset_t all, old;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &old);
  while (p->started < want && start_worker(p))
    ;
  pthread_sigmask(SIG_SETMASK, &old, NULL);
}

Status pool_start(Ctx *c, Pool *p, int threads, size_t stack) {
  int want = (threads < p->threads ? threads : p->threads) - 1;
  p->stack_bytes = (stack + STACK_ALIGN - 1) / STACK_ALIGN * STACK_ALIGN;
  start_workers(p, want);
  return p->started < want ? fail(c, ST_MEMORY, "out of memory for the stacks of %d threads", want) : ST_OK;
}

static void announce(Pool *p) {
  pthread_mutex_lock(&p->lock);
  atomic_fetch_add_explicit(&p->generation, 1, memory_order_release);
  pthread_cond_broadcast(&p->wake);
  pthread_mutex_unlock(&p->lock);
}

static void wait_for_workers(Pool *p) {
  int64_t until = now_ns() + SPIN_NS;
  do
    for (int i = 0; i < 64; i++) {
      if (!atomic_load_explicit(&p->left, memory_order_acquire))
        return;
      relax();
    }
  while (now_ns() < until);
  pthread_mutex_lock(&p->lock);
  while (atomic_load_explicit(&p->left, memory_order_acquire))
    pthread_cond_wait(&p->done, &p->lock);
  pthread_mutex_unlock(&p->lock);
}

void pool_run(Pool *p, int want, int64_t parts, void (*fn)(void *arg, int thread, int64_t begin, int64_t end),
              void *arg) {
  if (parts <= 0)
    return;
  if (!p || p->threads < 2 || want < 2 || parts < 2 || p->pid != getpid() || pthread_mutex_trylock(&p->owner)) {
    fn(arg, 0, 0, parts);
    return;
  }
  int most = want < p->threads ? want : p->threads;
  most = most > parts ? (int)parts : most;
  if (p->started < most - 1)
    start_workers(p, most - 1);
  int threads = p->started + 1;
  threads = threads > want ? want : threads;
  threads = threads > parts ? (int)parts : threads;
  p->work = (Work){fn, arg, parts, threads};
  atomic_store_explicit(&p->left, p->started, memory_order_release);
  announce(p);
  share(&p->work, 0);
  wait_for_workers(p);
  pthread_mutex_unlock(&p->owner);
}

int pool_threads(const Pool *p) { return p ? p->threads : 1; }

void pool_destroy(Pool *p) {
  if (!p)
    return;
  if (p->pid == getpid() && p->started) {
    atomic_store(&p->stop, true);
    announce(p);
    for (int i = 0; i < p->started; i++)
      pthread_join(p->id[i], NULL), alloc_put(p->alloc, p->stack[i], p->stack_bytes);
  }
  pthread_mutex_destroy(&p->owner);
  pthread_mutex_destroy(&p->lock);
  pthread_cond_destroy(&p->wake);
  pthread_cond_destroy(&p->done);
  alloc_put(p->alloc, p, sizeof *p);
}
