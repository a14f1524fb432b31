/* model.c - the type Model: loading, description, runs without the interpreter's lock, Ctrl-C.
 * SPDX-License-Identifier: Apache-2.0 */
#include "native.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

typedef struct Model {
  PyObject_HEAD
  sard_model *m;
  sard_env *env;   /* of its own when max_memory is given, else NULL */
  PyObject *bytes; /* what a model from memory reads */
  Py_buffer view;
  size_t nin, nout;
  sard_io *io; /* nin inputs, then nout outputs */
} Model;

static State *state_of(PyObject *self) { return state_of_type(Py_TYPE(self)); }

/* --- Ctrl-C: while the main thread is in a call, SIGINT also sets the call's cancel flag --- */

static volatile int cancel_flag;
static struct sigaction before;

static void on_interrupt(int sig, siginfo_t *info, void *context) {
  cancel_flag = 1;
  if (before.sa_flags & SA_SIGINFO)
    before.sa_sigaction(sig, info, context);
  else if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN)
    before.sa_handler(sig);
}

/* Handlers run in the main thread only, so only its calls are watched. */
static int in_main_thread(void) {
  static _Thread_local int known; /* 1: yes, 2: no */
  if (!known)
    known = getpid() == (pid_t)syscall(SYS_gettid) ? 1 : 2;
  return known == 1;
}

static int listens(const struct sigaction *a) {
  return a->sa_flags & SA_SIGINFO || (a->sa_handler != SIG_DFL && a->sa_handler != SIG_IGN);
}

/* The flag to hand to the call, or NULL: this is not the main thread, or nobody listens to SIGINT. */
static const volatile int *watch_interrupt(void) {
  static const struct sigaction ours = {.sa_sigaction = on_interrupt, .sa_flags = SA_SIGINFO | SA_ONSTACK};
  if (!in_main_thread())
    return NULL;
  cancel_flag = 0;
  if (sigaction(SIGINT, &ours, &before))
    return NULL;
  if (listens(&before))
    return &cancel_flag;
  sigaction(SIGINT, &before, NULL);
  return NULL;
}

/* Puts the handler back and lets Python handle what came. True: an exception is set. */
static int unwatch_interrupt(const volatile int *flag) {
  if (!flag)
    return 0;
  sigaction(SIGINT, &before, NULL);
  return *flag && PyErr_CheckSignals();
}

/* --- loading --- */

static int take_ports(Model *x) {
  x->nin = sard_input_count(x->m), x->nout = sard_output_count(x->m);
  x->io = calloc(x->nin + x->nout + 1, sizeof *x->io);
  if (!x->io) {
    PyErr_NoMemory();
    return -1;
  }
  for (size_t i = 0; i < x->nin + x->nout; i++)
    x->io[i] = (sard_io)SARD_IO_INIT;
  for (size_t i = 0; i < x->nin; i++)
    sard_input(x->m, i, &x->io[i]);
  for (size_t i = 0; i < x->nout; i++)
    sard_output(x->m, i, &x->io[x->nin + i]);
  return 0;
}

static void model_dealloc(PyObject *self) {
  Model *x = (Model *)self;
  PyTypeObject *t = Py_TYPE(self);
  sard_model_free(x->m);
  if (x->env)
    sard_env_free(x->env);
  if (x->view.obj)
    PyBuffer_Release(&x->view);
  free(x->io);
  ((freefunc)PyType_GetSlot(t, Py_tp_free))(self);
  Py_DECREF(t);
}

static int make_env(State *s, Model *x, Py_ssize_t max_memory) {
  sard_env_options o = SARD_ENV_OPTIONS_INIT;
  sard_error *err = NULL;
  if (max_memory <= 0)
    return 0;
  o.max_memory = (size_t)max_memory;
  sard_status st = sard_env_create(&o, &x->env, &err);
  if (st)
    raise_error(s, st, err);
  return st ? -1 : 0;
}

static int load(State *s, Model *x, const char *path, const char *dir, const sard_options *options) {
  sard_options o = *options;
  sard_error *err = NULL;
  sard_status st;
  o.cancel = watch_interrupt();
  Py_BEGIN_ALLOW_THREADS
  st = path ? sard_load_file(x->env, path, &o, &x->m, &err)
            : sard_load_bytes(x->env, x->view.buf, (size_t)x->view.len, dir, &o, &x->m, &err);
  Py_END_ALLOW_THREADS
  unwatch_interrupt(o.cancel);
  if (st)
    raise_error(s, st, err);
  else if (PyErr_Occurred())
    return -1;
  return st ? -1 : take_ports(x);
}

static PyObject *model_new(PyTypeObject *type, PyObject *args, PyObject *kw) {
  static char *names[] = {"path", "data", "dir", "device", "threads", "max_memory", "timeout", "strict", "cache",
                           "allow_reference", "precision", NULL};
  PyObject *path = Py_None, *data = Py_None, *dir = Py_None, *path_bytes = NULL, *dir_bytes = NULL;
  sard_options o = SARD_OPTIONS_INIT;
  Py_ssize_t max_memory = 0;
  int strict = 0, allow_reference = 0;
  State *s = state_of_type(type);
  if (!s || !PyArg_ParseTupleAndKeywords(args, kw, "|OOOzindpzpz", names, &path, &data, &dir, &o.device, &o.threads, &max_memory,
                                         &o.timeout, &strict, &o.cache, &allow_reference, &o.precision))
    return NULL;
  o.strict = strict, o.allow_reference = allow_reference;
  Model *x = (Model *)((allocfunc)PyType_GetSlot(type, Py_tp_alloc))(type, 0);
  int bad = !x || make_env(s, x, max_memory) || (path != Py_None && !PyUnicode_FSConverter(path, &path_bytes)) ||
            (dir != Py_None && !PyUnicode_FSConverter(dir, &dir_bytes)) ||
            (path == Py_None && PyObject_GetBuffer(data, &x->view, PyBUF_SIMPLE)) ||
            load(s, x, path_bytes ? PyBytes_AsString(path_bytes) : NULL, dir_bytes ? PyBytes_AsString(dir_bytes) : NULL, &o);
  Py_XDECREF(path_bytes);
  Py_XDECREF(dir_bytes);
  if (bad)
    Py_CLEAR(x);
  return (PyObject *)x;
}

/* --- running --- */

typedef struct Times {
  sard_step_time *v;
  size_t n, cap;
} Times;

static void note_time(void *arg, const sard_step_time *t) {
  Times *x = arg;
  if (x->n == x->cap) {
    size_t cap = x->cap ? 2 * x->cap : 256;
    sard_step_time *v = realloc(x->v, cap * sizeof *v);
    if (!v)
      return; /* the profile ends here */
    x->v = v, x->cap = cap;
  }
  x->v[x->n++] = *t;
}

static PyObject *times_list(const Times *x) {
  PyObject *list = PyList_New((Py_ssize_t)x->n);
  for (size_t i = 0; list && i < x->n; i++) {
    const sard_step_time *t = &x->v[i];
    PyObject *row = Py_BuildValue("niiLLLL", (Py_ssize_t)t->step, t->depth, t->threads, (long long)t->start_ns,
                                  (long long)t->end_ns, (long long)t->flops, (long long)t->bytes);
    if (!row || PyList_SetItem(list, (Py_ssize_t)i, row))
      Py_CLEAR(list);
  }
  return list;
}

enum { FEW = 16 };

/* Objects of a list as feeds; how many were begun goes to *n. */
static int feed_all(State *s, PyObject *list, const sard_io *io, size_t count, const char *what, int writable, Feed *f, size_t *n) {
  for (*n = 0; *n < count;) {
    size_t i = (*n)++;
    if (feed_from(s, &f[i], PyList_GetItem(list, (Py_ssize_t)i), &io[i], what, writable))
      return -1;
  }
  return 0;
}

static PyObject *all_outputs(State *s, Model *x, sard_result *r) {
  PyObject *result = result_new(s, r), *list = result ? PyList_New((Py_ssize_t)x->nout) : NULL;
  for (size_t i = 0; list && i < x->nout; i++) {
    PyObject *y = result_output(s, result, i, x->io[x->nin + i].kind);
    if (!y || PyList_SetItem(list, (Py_ssize_t)i, y))
      Py_CLEAR(list);
  }
  Py_XDECREF(result);
  return list;
}

/* The call itself: into bound memory when out is not NULL, else for a result. */
static int call(State *s, Model *x, const sard_tensor *in, const sard_tensor *out, sard_run_options *o, sard_result **r) {
  sard_error *err = NULL;
  sard_status st;
  o->cancel = watch_interrupt();
  Py_BEGIN_ALLOW_THREADS
  st = out ? sard_run_into(x->m, in, x->nin, out, x->nout, o, &err) : sard_run(x->m, in, x->nin, o, r, &err);
  Py_END_ALLOW_THREADS
  if (unwatch_interrupt(o->cancel) && !st) { /* it came too late to stop the run */
    sard_result_free(*r);
    return -1;
  }
  if (st)
    raise_error(s, st, err);
  return st ? -1 : 0;
}

/* run(inputs: list in order (None: default), outputs: None or list of writable memory (None: not wanted), timeout: float,
 * profile: bool, and perhaps stream: int (CU_STREAM_LEGACY), on_device: bool (False)) -> list of arrays, or None for bound outputs;
 * with profile a pair of that and the list of step times. */
static PyObject *model_run(PyObject *self, PyObject *const *arg, Py_ssize_t narg) {
  Model *x = (Model *)self;
  State *s = state_of(self);
  if ((narg != 4 && narg != 6) || !PyList_Check(arg[0]) || (size_t)PyList_Size(arg[0]) != x->nin ||
      (arg[1] != Py_None && (!PyList_Check(arg[1]) || (size_t)PyList_Size(arg[1]) != x->nout))) {
    PyErr_SetString(PyExc_TypeError, "run(inputs, outputs, timeout, profile, stream, on_device): a list entry per input and output");
    return NULL;
  }
  int bound = arg[1] != Py_None, profile = PyObject_IsTrue(arg[3]), there = narg == 6 ? PyObject_IsTrue(arg[5]) : 0;
  size_t total = x->nin + (bound ? x->nout : 0), done[2] = {0, 0};
  Feed few[FEW], *feed = total <= FEW ? few : malloc(total * sizeof *feed);
  sard_tensor few_t[FEW], *t = total <= FEW ? few_t : malloc(total * sizeof *t);
  sard_run_options o = SARD_RUN_OPTIONS_INIT;
  Times times = {0};
  sard_result *r = NULL;
  PyObject *y = NULL;
  if (!feed || !t) {
    PyErr_NoMemory();
    goto done;
  }
  o.timeout = PyFloat_AsDouble(arg[2]);
  o.outputs_on_device = there > 0;
  if (PyErr_Occurred() || profile < 0 || there < 0)
    goto done;
  if (sard_model_graphs(x->m, &(sard_graphs)SARD_GRAPHS_INIT) == SARD_OK) /* on a GPU */
    o.stream = narg == 6 ? PyLong_AsVoidPtr(arg[4]) : (void *)1;
  if (PyErr_Occurred())
    goto done;
  for (size_t i = 0; i < total; i++)
    feed[i].stream = o.stream;
  if (profile)
    o.profile = note_time, o.profile_arg = &times;
  if (feed_all(s, arg[0], x->io, x->nin, "input", 0, feed, &done[0]) ||
      (bound && feed_all(s, arg[1], x->io + x->nin, x->nout, "output", 1, feed + x->nin, &done[1])))
    goto done;
  for (size_t i = 0; i < total; i++)
    t[i] = feed[i].t;
  if (call(s, x, t, bound ? t + x->nin : NULL, &o, &r))
    goto done;
  y = bound ? Py_NewRef(Py_None) : all_outputs(s, x, r);
  if (y && profile) {
    PyObject *list = times_list(&times), *pair = list ? PyTuple_Pack(2, y, list) : NULL;
    Py_XDECREF(list);
    Py_DECREF(y);
    y = pair;
  }
done:
  for (size_t i = 0; i < done[0]; i++)
    feed_clear(&feed[i]);
  for (size_t i = 0; i < done[1]; i++)
    feed_clear(&feed[x->nin + i]);
  free(times.v);
  if (feed != few)
    free(feed);
  if (t != few_t)
    free(t);
  return y;
}

/* --- description --- */

static PyObject *dims_of(const Model *x, int output, size_t i, const sard_io *io) {
  PyObject *dims = PyTuple_New(io->rank < 0 ? 0 : io->rank);
  for (int k = 0; dims && k < io->rank; k++) {
    const char *name = output ? sard_output_dim_text(x->m, i, k) : sard_input_dim_text(x->m, i, k);
    PyObject *d = io->dim[k] >= 0 ? PyLong_FromLongLong(io->dim[k]) : PyUnicode_FromString(name && *name ? name : "?");
    if (!d || PyTuple_SetItem(dims, k, d))
      Py_CLEAR(dims);
  }
  return dims;
}

static PyObject *ports(const Model *x, int output) {
  size_t n = output ? x->nout : x->nin;
  PyObject *list = PyList_New((Py_ssize_t)n);
  for (size_t i = 0; list && i < n; i++) {
    const sard_io *io = &x->io[output ? x->nin + i : i];
    PyObject *row = Py_BuildValue("siiiiN", io->name, (int)io->kind, (int)io->dtype, (int)io->rank, (int)io->optional,
                                  dims_of(x, output, i, io));
    if (!row || PyList_SetItem(list, (Py_ssize_t)i, row))
      Py_CLEAR(list);
  }
  return list;
}

static PyObject *model_inputs(PyObject *self, PyObject *none) {
  (void)none;
  return ports((Model *)self, 0);
}

static PyObject *model_outputs(PyObject *self, PyObject *none) {
  (void)none;
  return ports((Model *)self, 1);
}

static PyObject *model_caches(PyObject *self, PyObject *none) {
  const Model *x = (Model *)self;
  PyObject *list = PyList_New(0);
  size_t input;
  int axis;
  (void)none;
  for (size_t i = 0; list && i < x->nout; i++) {
    if (!sard_output_appends(x->m, i, &input, &axis))
      continue;
    PyObject *row = Py_BuildValue("ssi", x->io[input].name, x->io[x->nin + i].name, axis);
    if (!row || PyList_Append(list, row))
      Py_CLEAR(list);
    Py_XDECREF(row);
  }
  return list;
}

static PyObject *model_metadata(PyObject *self, PyObject *none) {
  const sard_model *m = ((Model *)self)->m;
  PyObject *d = PyDict_New();
  const char *key;
  (void)none;
  for (size_t i = 0; d && (key = sard_metadata_key(m, i)); i++) {
    PyObject *v = PyUnicode_FromString(sard_metadata(m, key));
    if (!v || PyDict_SetItemString(d, key, v))
      Py_CLEAR(d);
    Py_XDECREF(v);
  }
  return d;
}

static PyObject *model_symbols(PyObject *self, PyObject *none) {
  const sard_model *m = ((Model *)self)->m;
  size_t n = sard_symbol_count(m);
  PyObject *list = PyList_New((Py_ssize_t)n);
  (void)none;
  for (size_t i = 0; list && i < n; i++) {
    PyObject *v = PyUnicode_FromString(sard_symbol_name(m, i));
    if (!v || PyList_SetItem(list, (Py_ssize_t)i, v))
      Py_CLEAR(list);
  }
  return list;
}

static PyObject *more_nodes(const sard_model *m, size_t step, size_t n) {
  PyObject *list = PyList_New((Py_ssize_t)n);
  for (size_t i = 0; list && i < n; i++) {
    const char *name = sard_step_more(m, step, i);
    PyObject *v = PyUnicode_FromString(name ? name : "");
    if (!v || PyList_SetItem(list, (Py_ssize_t)i, v))
      Py_CLEAR(list);
  }
  return list;
}

static PyObject *model_steps(PyObject *self, PyObject *none) {
  static const char *const kinds[] = {"compiled", "library", "host", "reference"};
  const sard_model *m = ((Model *)self)->m;
  size_t n = sard_step_count(m);
  PyObject *list = PyList_New((Py_ssize_t)n);
  (void)none;
  for (size_t i = 0; list && i < n; i++) {
    sard_step x = SARD_STEP_INIT;
    sard_step_info(m, i, &x);
    PyObject *row =
        Py_BuildValue("{s:s,s:s,s:s,s:s,s:s,s:O,s:s,s:s,s:s,s:N}", "kind", kinds[x.kind], "op", x.op, "kernel", x.kernel, "tile",
                      x.tile, "why", x.why, "copies", x.copies ? Py_True : Py_False, "node", x.node, "module", x.module,
                      "source", x.source, "fused", more_nodes(m, i, x.more));
    if (!row || PyList_SetItem(list, (Py_ssize_t)i, row))
      Py_CLEAR(list);
  }
  return list;
}

static PyObject *model_about(PyObject *self, PyObject *none) {
  static const char *const states[] = {"off", "hit", "miss"};
  const sard_model *m = ((Model *)self)->m;
  sard_times t = sard_model_times(m);
  (void)none;
  return Py_BuildValue("{s:s,s:s,s:i,s:s,s:d,s:d,s:d}", "device", sard_model_device(m), "precision",
                       sard_model_precision(m), "threads", sard_model_threads(m), "cache",
                       states[sard_model_cache(m)], "import_ms", t.import_ms, "passes_ms", t.passes_ms, "compile_ms",
                       t.compile_ms);
}

static PyObject *shape_tuple(const int64_t *dim, int32_t rank) {
  PyObject *t = PyTuple_New(rank);
  for (int k = 0; t && k < rank; k++) {
    PyObject *d = PyLong_FromLongLong(dim[k]);
    if (!d || PyTuple_SetItem(t, k, d))
      Py_CLEAR(t);
  }
  return t;
}

static int take_shapes(Model *x, PyObject *list, sard_tensor *t) {
  for (size_t i = 0; i < x->nin; i++) {
    PyObject *shape = PySequence_Tuple(PyList_GetItem(list, (Py_ssize_t)i));
    Py_ssize_t n = shape ? PyTuple_Size(shape) : -1;
    if (n > SARD_MAX_RANK)
      PyErr_Format(PyExc_ValueError, "shape %zu has %zd dimensions; %d are the most", i, n, SARD_MAX_RANK);
    t[i] = (sard_tensor){.dtype = x->io[i].dtype ? x->io[i].dtype : SARD_F32, .rank = (int32_t)n};
    for (Py_ssize_t k = 0; k < n && k < SARD_MAX_RANK; k++)
      t[i].dim[k] = PyLong_AsLongLong(PyTuple_GetItem(shape, k));
    Py_XDECREF(shape);
    if (PyErr_Occurred())
      return -1;
  }
  return 0;
}

/* output_shape(i, shapes: a list entry per input) -> tuple */
static PyObject *model_output_shape(PyObject *self, PyObject *args) {
  Model *x = (Model *)self;
  State *s = state_of(self);
  Py_ssize_t i;
  PyObject *list, *y = NULL;
  if (!PyArg_ParseTuple(args, "nO!", &i, &PyList_Type, &list))
    return NULL;
  if ((size_t)PyList_Size(list) != x->nin || i < 0 || (size_t)i >= x->nout) {
    PyErr_SetString(PyExc_ValueError, "output_shape: a shape per input, and an output there is");
    return NULL;
  }
  sard_tensor *t = calloc(x->nin + 1, sizeof *t);
  int64_t dim[SARD_MAX_RANK];
  int32_t rank;
  sard_error *err = NULL;
  if (!t)
    PyErr_NoMemory();
  else if (!take_shapes(x, list, t)) {
    sard_status st = sard_output_shape(x->m, (size_t)i, t, x->nin, dim, &rank, &err);
    y = st ? raise_error(s, st, err) : shape_tuple(dim, rank);
  }
  free(t);
  return y;
}

/* An array tells its elements as well, a tuple or list is a shape; None: the default of the model. */
static int take_plan_input(State *s, const Model *x, size_t i, PyObject *obj, Feed *f) {
  if (obj != Py_None && !PyTuple_Check(obj) && !PyList_Check(obj))
    return feed_from(s, f, obj, &x->io[i], "input", 0);
  memset(f, 0, sizeof *f);
  f->t.kind = x->io[i].kind;
  if (obj == Py_None || f->t.kind != SARD_KIND_TENSOR)
    return 0;
  Py_ssize_t n = PySequence_Size(obj);
  if (n > SARD_MAX_RANK)
    return raise_status(s, SARD_ERROR_USAGE, "input '%s' has %zd dimensions; %d are the most", x->io[i].name, n,
                        SARD_MAX_RANK);
  f->t.dtype = x->io[i].dtype ? x->io[i].dtype : SARD_F32, f->t.rank = (int32_t)n;
  for (Py_ssize_t k = 0; k < n && !PyErr_Occurred(); k++) {
    PyObject *d = PySequence_GetItem(obj, k);
    f->t.dim[k] = d ? PyLong_AsLongLong(d) : -1;
    Py_XDECREF(d);
  }
  return PyErr_Occurred() ? -1 : 0;
}

static PyObject *plan_dict(const sard_memory *p) {
  return Py_BuildValue("{s:L,s:L,s:L,s:L,s:L,s:L,s:L,s:L,s:L,s:s,s:L,s:L,s:L}", "weights_mapped",
                       (long long)p->weights_mapped, "weights_packed", (long long)p->weights_packed, "weights_own",
                       (long long)p->weights_own, "arena", (long long)p->arena, "apart", (long long)p->apart, "scratch",
                       (long long)p->scratch, "outputs", (long long)p->outputs, "peak", (long long)p->peak, "peak_step",
                       (long long)p->peak_step, "largest", p->largest, "largest_bytes", (long long)p->largest_bytes,
                       "unknown", (long long)p->unknown, "unknown_step", (long long)p->unknown_step);
}

/* plan(inputs: a list entry per input) -> dict */
static PyObject *model_plan(PyObject *self, PyObject *list) {
  Model *x = (Model *)self;
  State *s = state_of(self);
  sard_memory p = SARD_MEMORY_INIT;
  sard_error *err = NULL;
  PyObject *y = NULL;
  size_t done = 0;
  if (!PyList_Check(list) || (size_t)PyList_Size(list) != x->nin) {
    PyErr_SetString(PyExc_ValueError, "plan: an entry per input");
    return NULL;
  }
  Feed *feed = calloc(x->nin + 1, sizeof *feed);
  sard_tensor *t = calloc(x->nin + 1, sizeof *t);
  int bad = !feed || !t;
  if (bad)
    PyErr_NoMemory();
  while (!bad && done < x->nin) {
    bad = take_plan_input(s, x, done, PyList_GetItem(list, (Py_ssize_t)done), &feed[done]);
    t[done] = feed[done].t, done++;
  }
  if (!bad) {
    sard_status st = sard_plan(x->m, t, x->nin, &p, &err);
    y = st ? raise_error(s, st, err) : plan_dict(&p);
  }
  for (size_t i = 0; feed && i < done; i++)
    feed_clear(&feed[i]);
  free(feed);
  free(t);
  return y;
}

static PyObject *model_release(PyObject *self, PyObject *none) {
  (void)none;
  Py_BEGIN_ALLOW_THREADS
  sard_release(((Model *)self)->m);
  Py_END_ALLOW_THREADS
  return Py_NewRef(Py_None);
}

/* graphs() -> dict, or None on a CPU */
static PyObject *model_graphs(PyObject *self, PyObject *none) {
  sard_graphs g = SARD_GRAPHS_INIT;
  (void)none;
  if (sard_model_graphs(((Model *)self)->m, &g))
    return Py_NewRef(Py_None);
  return Py_BuildValue("{s:O,s:s,s:L,s:L,s:L,s:L,s:L}", "on", g.on ? Py_True : Py_False, "why", g.why, "step", (long long)g.step, "kernels",
                       (long long)g.kernels, "recorded", (long long)g.recorded, "replayed", (long long)g.replayed,
                       "grows", (long long)g.grows);
}

static PyMethodDef methods[] = {
    {"run", (PyCFunction)(void (*)(void))model_run, METH_FASTCALL, "run(inputs, outputs, timeout, profile, stream, on_device)"},
    {"inputs", model_inputs, METH_NOARGS, "[(name, kind, dtype, rank, optional, dims)]"},
    {"outputs", model_outputs, METH_NOARGS, "[(name, kind, dtype, rank, optional, dims)]"},
    {"caches", model_caches, METH_NOARGS, "[(input, output, axis)]"},
    {"metadata", model_metadata, METH_NOARGS, "The model's metadata_props."},
    {"symbols", model_symbols, METH_NOARGS, "Names of the input shapes' symbols."},
    {"steps", model_steps, METH_NOARGS, "The steps of the program, in order of execution."},
    {"about", model_about, METH_NOARGS, "Device, threads, the cache's part, and how long loading took."},
    {"release", model_release, METH_NOARGS, "Gives back what runs have left."},
    {"graphs", model_graphs, METH_NOARGS, "Whether runs are CUDA graphs."},
    {"plan", model_plan, METH_O, "plan(inputs)"},
    {"output_shape", model_output_shape, METH_VARARGS, "output_shape(i, shapes)"},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_new, model_new}, {Py_tp_dealloc, model_dealloc}, {Py_tp_methods, methods}, {Py_tp_doc, "See sard.Model."}, {0, NULL}};
PyType_Spec model_spec = {"sard._native.Model", sizeof(Model), 0, Py_TPFLAGS_DEFAULT, slots};
