/* ctx.h - the context of one thread's work: its error, its allocator, its dim table, its limits.
 *
 * An error is a Status returned up the stack; what a person needs to know about it is written into ctx->err by fail()
 * and enriched on the way up by the err_ functions. Running out of memory is the one error that does not travel by
 * return value: arenas (arena.h) never return NULL, they unwind to the nearest ctx_protect, which frees everything
 * registered since and returns ST_MEMORY. Only ctx.c uses setjmp.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_SUPPORT_CTX_H
#define SARD_SUPPORT_CTX_H

#include "support/alloc.h"
#include "support/status.h"

#include <stdarg.h>
#include <stdint.h>

typedef struct Ctx Ctx;

/* What went wrong, in fields that tools and callers can use; an empty string: not known. */
typedef struct Err {
  Status kind;
  char message[1024]; /* the reason, with shapes and names; printable UTF-8 only */
  char file[512];     /* model or data file */
  char node[256];     /* ONNX node name, or "#17" */
  char op[96];        /* operator, e.g. "MatMul" or "com.microsoft.BiasGelu" */
  char module[256];   /* exporter's module path, e.g. "encoder.layer.3.attention.self" */
  char source[256];   /* the user's source line, e.g. "model.py:88, in forward" */
  char hint[512];     /* what to do about it */
} Err;

/* The node that is being worked on: running out of memory names it. Borrowed strings; NULL: not known. */
typedef struct NodePlace {
  const char *node, *op, *module, *source;
} NodePlace;

typedef struct Cleanup {
  void (*fn)(void *arg);
  void *arg;
  struct Cleanup *up;
} Cleanup;

struct Ctx {
  Alloc *alloc;             /* borrowed */
  struct Records *records;  /* borrowed: what arenas take their memory from; NULL: from alloc */
  Err err;                  /* valid after a function returned non-zero */
  struct DimTable *dims;    /* interned dim expressions; created on first use */
  Cleanup *cleanups;        /* newest first; run by ctx_protect on failure, by ctx_close in the end */
  struct Guard *guard;      /* innermost ctx_protect */
  const atomic_int *cancel; /* borrowed, may be NULL: non-zero stops the work */
  int64_t deadline_ns;      /* CLOCK_MONOTONIC; 0: none */
  NodePlace place;              /* ctx_protect leaves it as it was */
  void (*log)(void *arg, int level, const char *text); /* may be NULL; level 0 warning, 1 info, 2 debug */
  void *log_arg;
};

void ctx_open(Ctx *c, Alloc *alloc);
/* Runs the remaining cleanups. */
void ctx_close(Ctx *c);

/* Calls fn(c, arg). On failure (returned, or memory ran out anywhere below) runs the cleanups registered inside, newest
 * first, and returns the status. On success what was registered inside stays registered with the Ctx. */
Status ctx_protect(Ctx *c, Status (*fn)(Ctx *c, void *arg), void *arg);

/* cleanup is storage that lives as long as its registration. */
void ctx_on_failure(Ctx *c, Cleanup *cleanup, void (*fn)(void *), void *arg);
void ctx_forget(Ctx *c, Cleanup *cleanup);

/* Unwinds to the nearest ctx_protect with ST_MEMORY. wanted: bytes asked for. */
NORETURN void ctx_out_of_memory(Ctx *c, size_t wanted);

/* ST_OK, ST_CANCELLED or ST_TIMEOUT. Called at every loop back edge and step. */
Status ctx_poll(Ctx *c);

/* Sets kind and message, clears the other fields, returns kind: `return fail(c, ST_INVALID, "…")`. Control characters and
 * invalid UTF-8 (names come from strangers' files) are escaped as \xNN. */
Status fail(Ctx *c, Status kind, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* As fail, when the error comes from an errno. */
Status fail_errno(Ctx *c, const char *what, const char *path);
/* Each fills its field if it is still empty, and returns kind, so that `return err_hint(c, fail(…), "…")` reads well. */
Status err_hint(Ctx *c, Status kind, const char *fmt, ...) PRINTF_LIKE(3, 4);
Status err_file(Ctx *c, Status kind, const char *file);
Status err_node(Ctx *c, Status kind, const char *node, const char *op, const char *module, const char *source);
/* Puts "text: " before the message, for context that has no field of its own. */
Status err_note(Ctx *c, Status kind, const char *fmt, ...) PRINTF_LIKE(3, 4);

void ctx_log(Ctx *c, int level, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* Copies at most cap-1 bytes of src to dst, escaping what a terminal should not see and line ends: the text stays one line.
 * Returns dst. */
char *escape_text(char *dst, size_t cap, const char *src, size_t n);

/* CLOCK_MONOTONIC in nanoseconds. */
int64_t now_ns(void);

#endif
