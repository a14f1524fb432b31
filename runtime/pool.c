/* pool.c - the thread pool: workers watch a gate, which lets them into one piece of work after another.
 *
 * The gate is one word: the generation of the work, whether it is open, how many workers are inside. The caller opens it,
 * works, closes it when nothing is left to take, and waits for those inside. A worker that the system does not run in time
 * finds it closed: nobody waits for it, the others have done its share.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/pool.h"

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

/* HELD_SPIN_NS: in the middle of a run. The next shared step is mostly some microseconds away, and waking a thread takes 50 us
 * in a virtual machine, more than such a step. Who loses the core for PREEMPTED_NS meanwhile shares it with other programs,
 * and is better off asleep for the next CALM_NS: the system lets those run first that have slept. */
enum { SPIN_NS = 20000, HELD_SPIN_NS = 1000000, PREEMPTED_NS = 100000, CALM_NS = 20000000 };
enum { MAX_THREADS = POOL_MAX_THREADS, STACK_ALIGN = 4096 };
/* Pieces of a thread's range, each of which any thread may take: what others wait for in the end is one of them. */
enum { PIECES = 16 };

/* The gate: generation << 32 | GATE_OPEN | workers inside. */
#define GATE_OPEN      (1u << 31)
#define GATE_INSIDE(g) ((uint32_t)(g) & (GATE_OPEN - 1))

typedef struct Work {
  void (*fn)(void *arg, int thread, int64_t begin, int64_t end);
  void *arg;
  int64_t parts;
  int threads; /* that take part, the caller included */
} Work;

typedef struct Taken {
  _Alignas(64) atomic_int pieces; /* of one thread's range */
} Taken;

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
  _Alignas(64) _Atomic uint64_t gate;
  _Alignas(64) atomic_int holders; /* runs under way */
  atomic_bool stop;
  Work work; /* changes while the gate is closed and nobody inside */
  Taken taken[MAX_THREADS];
};

typedef struct Start {
  Pool *p;
  int thread;
  uint64_t seen; /* the gate before the first work that is its own */
} Start;

static inline void relax(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

static int64_t split(int64_t n, int64_t i, int64_t of) { return (int64_t)((__int128)n * i / of); }

/* A thread's own range first, piece by piece, then what others have not come to yet. */
static void share(Pool *p, int thread) {
  const Work *w = &p->work;
  for (int k = 0; k < w->threads; k++) {
    int of = (thread + k) % w->threads, i;
    int64_t begin = split(w->parts, of, w->threads), n = split(w->parts, of + 1, w->threads) - begin;
    while ((i = atomic_fetch_add_explicit(&p->taken[of].pieces, 1, memory_order_relaxed)) < PIECES)
      if (split(n, i, PIECES) < split(n, i + 1, PIECES))
        w->fn(w->arg, thread, begin + split(n, i, PIECES), begin + split(n, i + 1, PIECES));
  }
}

/* How long to spin: a single run will want all threads again, several have work for each other's cores. */
static int64_t spin_ns(Pool *p) {
  return atomic_load_explicit(&p->holders, memory_order_relaxed) == 1 ? HELD_SPIN_NS : SPIN_NS;
}

static bool is_new(uint64_t gate, uint64_t seen) { return gate >> 32 != seen >> 32; }

/* Waits until the gate's generation is no longer the one `seen`: spinning first, asleep then. *calm: until when to sleep
 * rather than spin. */
static uint64_t next_generation(Pool *p, uint64_t seen, int64_t *calm) {
  uint64_t g;
  int64_t start = now_ns(), now = start, last;
  do {
    for (int i = 0; i < 64; i++) {
      if (is_new(g = atomic_load_explicit(&p->gate, memory_order_acquire), seen))
        return g;
      relax();
    }
    last = now, now = now_ns();
    if (now - last > PREEMPTED_NS)
      *calm = now + CALM_NS;
  } while (now - start < (now < *calm ? SPIN_NS : spin_ns(p)));
  pthread_mutex_lock(&p->lock);
  while (!is_new(g = atomic_load_explicit(&p->gate, memory_order_acquire), seen))
    pthread_cond_wait(&p->wake, &p->lock);
  pthread_mutex_unlock(&p->lock);
  return g;
}

/* False: the work is done already. *g: the gate, as far as is known. */
static bool enter(Pool *p, uint64_t *g) {
  while (*g & GATE_OPEN)
    if (atomic_compare_exchange_weak_explicit(&p->gate, g, *g + 1, memory_order_acquire, memory_order_acquire))
      return true;
  return false;
}

static void leave(Pool *p) {
  uint64_t g = atomic_fetch_sub_explicit(&p->gate, 1, memory_order_acq_rel) - 1;
  if (g & GATE_OPEN || GATE_INSIDE(g))
    return;
  pthread_mutex_lock(&p->lock);
  pthread_cond_signal(&p->done);
  pthread_mutex_unlock(&p->lock);
}

static void *worker(void *arg) {
  Start s = *(Start *)arg;
  Pool *p = s.p;
  int64_t calm = 0;
  alloc_put(p->alloc, arg, sizeof(Start));
  for (uint64_t seen = s.seen;;) {
    seen = next_generation(p, seen, &calm);
    if (atomic_load(&p->stop))
      return NULL;
    if (!enter(p, &seen))
      continue;
    if (s.thread < p->work.threads)
      share(p, s.thread);
    leave(p);
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
    *s = (Start){p, p->started + 1, atomic_load(&p->gate)};
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

/* The next generation. Nobody is inside. */
static void announce(Pool *p) {
  uint64_t g = atomic_load_explicit(&p->gate, memory_order_relaxed);
  pthread_mutex_lock(&p->lock);
  atomic_store_explicit(&p->gate, ((g >> 32) + 1) << 32 | GATE_OPEN, memory_order_release);
  pthread_cond_broadcast(&p->wake);
  pthread_mutex_unlock(&p->lock);
}

static bool all_left(Pool *p) { return !GATE_INSIDE(atomic_load_explicit(&p->gate, memory_order_acquire)); }

static void close_and_wait(Pool *p) {
  atomic_fetch_and_explicit(&p->gate, ~(uint64_t)GATE_OPEN, memory_order_acq_rel);
  int64_t start = now_ns();
  do
    for (int i = 0; i < 64; i++) {
      if (all_left(p))
        return;
      relax();
    }
  while (now_ns() - start < SPIN_NS);
  pthread_mutex_lock(&p->lock);
  while (!all_left(p))
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
  for (int i = 0; i < threads; i++)
    atomic_store_explicit(&p->taken[i].pieces, 0, memory_order_relaxed);
  announce(p);
  share(p, 0);
  close_and_wait(p);
  pthread_mutex_unlock(&p->owner);
}

void pool_hold(Pool *p) {
  if (p)
    atomic_fetch_add_explicit(&p->holders, 1, memory_order_relaxed);
}

void pool_release(Pool *p) {
  if (p)
    atomic_fetch_sub_explicit(&p->holders, 1, memory_order_relaxed);
}

int pool_share(const Pool *p, int threads) {
  int others = p ? atomic_load_explicit(&p->holders, memory_order_relaxed) - 1 : 0;
  int left = threads - (others > 0 ? others : 0);
  return left > 1 ? left : 1;
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
