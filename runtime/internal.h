/* internal.h - what the runtime's files share: the loaded program, symbol values, the frame of a run.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_RUNTIME_INTERNAL_H
#define SARD_RUNTIME_INTERNAL_H

#include "ops/eval/eval.h"
#include "runtime/device.h"
#include "runtime/object.h"
#include "runtime/runtime.h"

#include <pthread.h>

typedef struct Growth Growth; /* grow.h */

/* Offsets of the arena slots for one binding of the symbols. */
typedef struct Layout {
  struct Layout *next;
  size_t bytes;     /* of this block */
  uint32_t users;   /* runs that use it now; guarded by the program's lock */
  uint64_t arena;   /* bytes the run's arena needs */
  int64_t *symbol;  /* the binding: nsymbol values; unbound: INT64_MIN */
  uint64_t *offset; /* nslot; UINT64_MAX: not in the arena */
} Layout;

/* Memory of a run that has ended, for the next. */
typedef struct Spare {
  void *mem;
  size_t bytes;
  uint32_t loose; /* runs in a row that needed less than half of it */
} Spare;
enum { SPARE_ARENA, SPARE_SCRATCH, SPARES };

struct RtProgram {
  const ProgHeader *h;
  const uint8_t *base;
  Alloc *alloc;
  Tensor **konst;          /* by slot: constants, else NULL */
  OpId *op;                /* by step */
  void **attr;             /* by step */
  RtCode **code;           /* by object */
  KernelFn *fn;            /* by kernel; NULL: not compiled */
  RtDevice *device;        /* kernels run there; NULL: here */
  void **module;           /* by object, on the device */
  bool by_driver;          /* the driver has compiled PTX: there was no machine code for the device */
  void **function;         /* by kernel, on the device */
  void ***more;            /* by kernel: its further functions */
  uint64_t *device_const;  /* by slot: where the constant is on the device */
  uint64_t device_weights; /* the block they lie in */
  struct GraphPlan *graphs;
  struct GrowPlan *grows; /* NULL: nothing does */
  struct Workspace *workspaces; /* of no run; guarded by lock */
  int lanes;                    /* 32-bit lanes of the vectors that the code uses: for estimates */
  pthread_mutex_t lock;
  Layout *layouts; /* newest first; guarded by lock, a published layout never changes */
  uint32_t nlayout;
  Spare spare[SPARES]; /* guarded by lock */
};

#define REC(p, sec, T) ((const T *)(const void *)((p)->base + (p)->h->section[sec].offset))

/* --- verify.c --- */
static inline int step_bodies(const ProgStep *s) {
  return s->kind == STEP_IF ? 2 : s->kind == STEP_LOOP || s->kind == STEP_SCAN ? 1 : 0;
}
/* Indices and lists were checked before, the structure they make is checked here. */
bool program_structure_ok(const RtProgram *p, Arena *scratch);

/* --- symbols.c: values of symbols and expressions in one run --- */
typedef struct Symbols {
  const RtProgram *p;
  int64_t *value; /* by symbol; UNBOUND */
  uint32_t *from; /* by symbol: input << 8 | axis it was bound from, for messages; PROG_NONE */
  int64_t *memo;  /* by expression */
  uint32_t *memo_epoch;
  uint32_t epoch;
} Symbols;
#define UNBOUND INT64_MIN

void rt_symbols_init(Symbols *s, const RtProgram *p, Arena *a);
void rt_symbols_bind(Symbols *s, uint32_t sym, int64_t v);
/* To what tensor t says at `place` (ProgStep.binds), if it has such a place. */
void rt_symbols_bind_from(Symbols *s, uint32_t sym, uint32_t place, const Tensor *t);
void rt_symbols_forget(Symbols *s, uint32_t sym);
/* False: unbound symbol, overflow, division by zero, extents that do not broadcast. */
bool rt_symbols_eval(Symbols *s, uint32_t expr, int64_t *v);
/* All dims of a slot; false as above or when the rank is not known. */
bool rt_symbols_dims(Symbols *s, const ProgSlot *slot, int64_t *dim);
/* Checks the inputs against their declared types and binds what their shapes tell. */
Status rt_symbols_from_inputs(Symbols *s, Ctx *c, const Tensor *const *in);

/* --- append.c --- */
/* Binds the symbols that say how caches lie in memory; those of the input shapes are bound. room, out: NULL if all are dense. */
Status appends_bind(Symbols *s, Ctx *c, const RtRoom *room, const Tensor *const *in, const RtOutput *out);

/* --- layout.c --- */
/* To be given back. growth: NULL, or the slots have room for all runs of its kind. */
Status layout_get(RtProgram *p, Ctx *c, Symbols *s, Growth *growth, Layout **out);
void layout_put(RtProgram *p, Layout *l);

/* --- spare.c: the working memory of runs, which the next run takes over. Fresh pages cost more than most steps. --- */
/* which: SPARE_…; *got >= bytes, aligned to PROG_ALIGN; not zeroed. */
void *spare_get(RtProgram *p, Ctx *c, int which, size_t bytes, size_t *got);
void spare_put(RtProgram *p, int which, void *mem, size_t bytes, size_t needed); /* needed: of `bytes`, by the run */
void spare_drop(RtProgram *p);

/* --- frame.c: where the values of one run are --- */
typedef struct Buf Buf; /* counted memory */

typedef enum { CELL_EMPTY, CELL_STATIC, CELL_ARENA, CELL_BUF, CELL_KEEP } CellState;
typedef struct Cell {
  Tensor t;
  uint8_t state; /* CellState: whose memory it is: the caller's or a constant, the arena, buf, the keep arena */
  Buf *buf;
} Cell;

/* What a kernel step was expected to do, for profiles. */
typedef struct KernelCost {
  int64_t flops, bytes;
  int threads; /* that took part */
} KernelCost;

/* What a kernel step comes to for the present values of the symbols. */
typedef struct KernelWork {
  int64_t parts;          /* 0: nothing to do */
  double ns;              /* an estimate */
  size_t stride, scratch; /* bytes of working memory per thread, and of all; SIZE_MAX: more than there can be */
  KernelCost cost;
} KernelWork;

typedef struct Places Places;
typedef struct Frame {
  RtProgram *p;
  Ctx *c;
  Symbols sym;
  Layout *layout;
  Growth *growth; /* grow.h; NULL: nothing grows */
  uint8_t *arena;
  size_t arena_bytes; /* as allocated */
  const RtRunOptions *o;
  uint8_t *scratch;                     /* of kernels, by thread */
  size_t scratch_bytes, scratch_needed; /* as allocated; what the steps so far have asked for */
  int depth;                            /* bodies around the step under way */
  Cell *cell;                           /* by slot */
  Arena *keep;                          /* lives as long as the outputs */
  Arena *run;                           /* freed at the end of the run */
  Arena *idle;                          /* working memory for the next step, or NULL */
  Buf *bufs;                            /* all live ones */
  Recycler *recycler;                   /* where they come from; may be NULL */
  Cleanup cleanup;
  RtOutput *out;       /* by output */
  uint32_t *out_of;    /* by slot: output number, or PROG_NONE */
  Places *places;      /* NULL: no device (places.h) */
  bool in_graph;       /* the run is recorded or replayed, or may be the next time (graph.c) */
  bool ahead;          /* a step runs ahead of its turn: its results must not lie in the arena */
  bool done;           /* everything went well */
  KernelCost cost;     /* of the last kernel step */
  const ProgStep **at; /* borrowed: the innermost step under way, NULL between steps */
  uint32_t *blame;     /* borrowed: the origin of the node in that step that failed, or PROG_NONE */
} Frame;

Status frame_init(Frame *f, RtProgram *p, Ctx *c, const RtRunOptions *o, RtOutput *out, uint32_t nout);
void frame_finish(Frame *f); /* frees the arena and every buffer that no output holds */
void cell_clear(Frame *f, Cell *x);
void cell_share(Frame *f, Cell *dst, const Cell *src); /* the same memory, counted */
/* As cell_share, but memory of the arena is copied: for values that outlive their step's interval. */
Status cell_export(Frame *f, Cell *dst, const Cell *src);
/* A fresh buffer-backed tensor. Dims are checked. */
Status cell_alloc(Frame *f, Cell *x, DType t, int rank, const int64_t *dim);
/* Memory for what a step computes into a slot: the caller's, the arena's, or a buffer. */
Status slot_alloc(Frame *f, uint32_t slot, DType t, int rank, const int64_t *dim, Tensor **out);

/* Is that the type of the memory that the caller gave for the result? */
bool output_fits(const RtOutput *o, DType t, int rank, const int64_t *dim);

/* The memory of src under another shape with as many elements of as many bits, for a view. */
Status slot_share(Frame *f, uint32_t slot, const Cell *src, DType t, int rank, const int64_t *dim, Tensor **out);

/* --- exec.c, control.c --- */
Status run_step(Frame *f, uint32_t index);
Status run_region(Frame *f, uint32_t region);
const Tensor *aligned(Arena *scratch, const Tensor *t); /* a copy of t if its elements are not aligned */
Status no_value(Frame *f, uint32_t slot);
Status kernel_step(Frame *f, const ProgStep *s, Arena *scratch); /* kernel_step.c */
Status kernel_needs(Frame *f, const ProgStep *s);                /* does what its call takes for granted hold? */
/* Check n of the step's kernel failed for this number. */
Status kernel_check_failed(Frame *f, const ProgStep *s, uint32_t n, int64_t number);
/* False: it cannot be computed (yet). */
bool kernel_work(Symbols *s, const ProgStep *step, const RtRunOptions *o, KernelWork *w);
/* The inputs with defaults filled in, and what their shapes and elements tell bound. Inputs without data tell no elements. */
Status run_bind(RtProgram *p, Ctx *c, Arena *a, const Tensor *in, uint32_t nin, Symbols *s, const Tensor ***list);
Status run_if(Frame *f, const ProgStep *s);
Status run_loop(Frame *f, const ProgStep *s);
Status run_scan(Frame *f, const ProgStep *s, const ScanAttr *attr);
void region_enter(Frame *f, const ProgRegion *r); /* clears what an earlier trip left, symbols too */
void region_bind(Frame *f, const ProgRegion *r);  /* symbols that the body's inputs tell */

#endif
