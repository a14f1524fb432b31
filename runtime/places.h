/* places.h - where the values of a run on a device are: every cell has its host memory as in any run, and, once a kernel has
 * to do with it, memory of the device. Either may be out of date; it is brought up to date when it is read.
 *
 * The arena of the device mirrors that of the host. Memory is known by its host address, so that views and results in place need
 * no care. All but places_open may be called, and do nothing, in a run without a device; those that give addresses may not.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_RUNTIME_PLACES_H
#define SARD_RUNTIME_PLACES_H

#include "runtime/internal.h"

/* --- workspace.c: what runs leave on the device for the next: their stream, memory that only grows, graphs --- */

typedef struct WorkMemory {
  uint64_t at; /* 0: none yet */
  size_t bytes;
} WorkMemory;

typedef struct LooseMemory {
  WorkMemory m;
  bool used;
} LooseMemory;

/* A run that was recorded, and what it hangs on (graph.c). The arrays lie behind it. */
typedef struct DeviceGraph {
  size_t bytes;      /* of this block */
  void *graph;       /* the device's; NULL: such a run has been once, and was not recorded */
  uint64_t moves;    /* Workspace.moves when it was recorded */
  uint64_t used;     /* Workspace.clock */
  bool checks;       /* a kernel in it can fail */
  bool grows;        /* it is for all runs of a kind (grow.h) */
  int64_t *symbol;   /* nsymbol: the run's binding, or Growth.key */
  uint64_t *address; /* of values that are not the workspace's: what it reads, then the outputs */
  uint64_t *kept;    /* where values are that are read behind it */
} DeviceGraph;
enum { MOST_GRAPHS = 64 };

typedef struct Workspace {
  struct Workspace *next;
  void *stream;
  WorkMemory arena, scratch, errors, table; /* table: of what grows */
  WorkMemory *own; /* by slot: of values outside the arena, in runs that may become graphs */
  LooseMemory *loose;
  uint32_t nloose, room; /* room: of the array */
  uint64_t moves, clock; /* moves: how often memory was replaced by larger memory */
  bool recording;
  DeviceGraph *graph[MOST_GRAPHS];
} Workspace;

Status workspace_take(RtProgram *p, Ctx *c, Workspace **out);
void workspace_give(RtProgram *p, Workspace *w); /* for the next run */
void workspace_drop(RtProgram *p, Workspace *w); /* frees what it has */
/* At least so many bytes; what it had before is lost if it is too small. */
Status workspace_grow(RtProgram *p, Ctx *c, Workspace *w, WorkMemory *m, size_t bytes);
/* Memory until workspace_put. */
Status workspace_get(RtProgram *p, Ctx *c, Workspace *w, size_t bytes, WorkMemory *out);
void workspace_put(Workspace *w, uint64_t at);

/* --- graph.c --- */
Status graph_plan(Ctx *c, Arena *a, RtProgram *p);
void graph_drop(RtProgram *p, Workspace *w); /* all of them */
/* Does the host know the shape of a view that is said by that slot from the symbols alone? */
bool graph_stated(const RtProgram *p, uint32_t how);
/* The steps of the program: recorded or replayed, where they can be. */
Status graph_run(Frame *f);

/* --- places.c --- */
Status places_open(Frame *f);
/* When the run is over, or has failed. */
void places_close(Frame *f);
void *places_stream(const Frame *f);
Workspace *places_workspace(const Frame *f);
/* The address of the step's GpuError; can_fail: it is to be looked at. */
uint64_t places_error(Frame *f, uint32_t step, bool can_fail);
bool *places_checks(Frame *f); /* has a kernel been launched that can fail, and was not looked at? */
Status places_scratch(Frame *f, size_t bytes, uint64_t *address);
/* Everything that checks of kernels have found so far: ST_INVALID, with the step that *f->at is set to then. */
Status places_errors(Frame *f);
Status place_on_device(Frame *f, uint32_t slot, uint64_t *address); /* up to date there */
Status place_result(Frame *f, uint32_t slot, uint64_t *address);    /* about to be written there */
Status place_on_host(Frame *f, const Tensor *t);                    /* up to date here; containers: all items */
void place_written(Frame *f, const Tensor *t);                      /* has been written here */
void place_forget(Frame *f, const void *host);                      /* that memory is free */
/* The slot's value, as it is now, at an address of its own, for all later place_on_device of this run. */
Status place_feed(Frame *f, uint32_t slot, uint64_t *address);
/* The cell's value is at that address, and nowhere else. */
Status place_at(Frame *f, const Tensor *t, uint64_t address);
bool place_find(Frame *f, const Tensor *t, uint64_t *address); /* is it up to date on the device? */
/* Where the caller has memory on the device for that output, and kernels may write to it; else 0. */
uint64_t place_of_output(const Frame *f, uint32_t i);
/* Puts the output's value where the caller wants it on the device. */
Status place_output(Frame *f, uint32_t i, const Tensor *t);
/* An input on the device whose elements the program must know: a copy of it here. */
Status place_fetch(RtProgram *p, Ctx *c, Arena *a, const RtRunOptions *o, Tensor *t);

/* --- device_step.c --- */
Status device_load(Ctx *c, Arena *a, RtProgram *p); /* code and constants */
void device_unload(RtProgram *p);
Status device_step(Frame *f, const ProgStep *s, Arena *scratch, const int64_t *dim, const KernelWork *w);

#endif
