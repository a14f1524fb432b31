/* session.h - the tool's use of the public API: load with the common options, describe, run.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_TOOLS_SESSION_H
#define SARD_TOOLS_SESSION_H

#include "include/sard.h"
#include "support/tensor.h"
#include "tools/tool.h"

/* An input or output as the model declares it. */
typedef struct Port {
  const char *name;
  ValueKind kind;
  DType dtype;           /* DT_none: not known */
  int rank;              /* -1: not known */
  int64_t dim[MAX_RANK]; /* -1: symbolic */
  const char *dim_text[MAX_RANK];
  bool optional;
  const char *type; /* "i64[batch,seq]" */
} Port;

typedef struct Session {
  Ctx *c;
  sard_env *env;
  sard_model *model;
  sard_result *result;
  const char *path;
  const char *device;
  size_t nin, nout;
  Port *in, *out;
  double load_ms, run_ms;
  const sard_compiled_api *api; /* runs go through the runtime inside a compiled library; NULL: through ours */
  sard_compiled *compiled;
  Cleanup cleanup;
} Session;

typedef struct SessionOptions {
  const char *device;    /* NULL: default */
  int threads;           /* 0: default */
  size_t max_memory;     /* 0: no limit */
  double timeout;        /* 0: none */
  const char *cache;     /* NULL: default */
  const char *precision; /* NULL: fp32 */
  bool strict, time_passes, allow_reference;
  bool quiet;       /* no warnings, without -v */
  bool own_runtime; /* the model is a compiled .so: run it there */
  const char *dump_after, *stop_after, *dump_kernel;
  Str bytes; /* of a model made from that in the file; ptr NULL: the file as it is */
  const struct Tuning *tuning; /* of a trial (api/tune.h); NULL: this CPU's */
} SessionOptions;

/* Loads a model. Freed when c fails or closes, or by session_close. */
Status session_open(Tool *t, const char *path, const SessionOptions *o, Session **out);
/* Runs it; in[i] == NULL: the input's default. Outputs (borrowed from the session until the next run) go to
 * out[0..nout). */
Status session_run(Tool *t, Session *s, const Tensor *const *in, double timeout, Tensor ***out);
/* The parts of session_run, for commands that run often: inputs as the API takes them, one run whose result is the caller's
 * to free (ms: how long it took; ro: NULL or what sard_run takes), and the outputs of a result (borrowed from it). */
const sard_tensor *session_feed(Tool *t, const Session *s, const Tensor *const *in);
Status session_call(Tool *t, Session *s, const sard_tensor *in, const sard_run_options *ro, sard_result **out,
                    double *ms);
/* The same with the outputs in the caller's memory, as sard_run_into takes it. */
Status session_call_into(Tool *t, Session *s, const sard_tensor *in, const sard_tensor *out, const sard_run_options *ro,
                         double *ms);
/* The memory of a run; an input without data tells its shape alone. */
Status session_plan(Tool *t, Session *s, const Tensor *const *in, sard_memory *out);
Status session_take(Tool *t, const Session *s, const sard_result *r, Tensor ***out);
/* The options of loading and running that a command line gives. */
SessionOptions session_options(const Options *o);
/* Compiles a model ahead of time, under the command line's limits. */
Status session_compile(Tool *t, const char *path, const char *out, sard_compile_options *o);
/* Stores all outputs by name. */
Status session_store(Tool *t, const Session *s, Tensor *const *out, const char *path);
void session_close(Session *s);
/* Steps by sard_step_kind. */
void session_steps(const Session *s, int64_t count[4]);
const char *step_kind_name(int kind);
/* On a GPU: whether runs are recorded as CUDA graphs, and how many were. A line, or `, "graphs": {…}`. */
void session_graphs(const Session *s, bool json, StrBuf *b);
const char *session_cache(const Session *s); /* "hit", "miss" or "off" */
/* ST_UNSUPPORTED, naming the first one, when a step would run as reference. */
Status session_refuse_reference(Session *s);

/* A name that the user gave for an input or output and that is none: the nearest, or the list of all. */
Status unknown_port(Ctx *c, const char *what, const char *name, const Port *port, size_t n);

#endif
