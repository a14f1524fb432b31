/* feed.c - Python objects as tensors: the buffer protocol first, DLPack next (torch has no buffers), then whatever
 * numpy.asarray takes. Memory is borrowed; only what has no usable memory is copied, by sard/_convert.py.
 * SPDX-License-Identifier: Apache-2.0 */
#include "native.h"

#include <stdlib.h>
#include <string.h>

/* --- DLPack 1.x, as its specification lays it out --- */

typedef struct DLTensor {
  void *data;
  struct { int32_t type, id; } device;
  int32_t ndim;
  struct { uint8_t code, bits; uint16_t lanes; } dtype;
  int64_t *shape, *strides; /* in elements; strides NULL: dense */
  uint64_t byte_offset;
} DLTensor;

typedef struct DLManaged {
  DLTensor t;
  void *context;
  void (*deleter)(struct DLManaged *);
} DLManaged;

typedef struct DLVersioned {
  struct { uint32_t major, minor; } version;
  void *context;
  void (*deleter)(struct DLVersioned *);
  uint64_t flags; /* bit 0: read-only */
  DLTensor t;
} DLVersioned;

enum { DL_CUDA = 2, DL_READ_ONLY = 1 };

static int take_dl(State *s, Feed *f, const DLTensor *t, const char *what, const char *name) {
  sard_error *err = NULL;
  sard_status st = sard_from_dlpack(t, &f->t, &err);
  if (st)
    raise_status(s, st, "%s '%s': %s", what, name, sard_error_message(err));
  sard_error_free(err);
  return st ? -1 : 0;
}

/* Is it in a GPU's memory? What does not say is on the CPU. */
static int on_gpu(PyObject *obj) {
  PyObject *d = PyObject_CallMethod(obj, "__dlpack_device__", NULL);
  long type = 0, id = 0;
  if (d && !PyArg_ParseTuple(d, "ll", &type, &id))
    type = 0;
  Py_XDECREF(d);
  PyErr_Clear();
  return type == DL_CUDA;
}

/* __dlpack__ may be asked for the versioned form since DLPack 1.0; older producers know no such keyword. A GPU's memory is to be ready
 * for the stream that the run comes behind. */
static PyObject *call_dlpack(PyObject *obj, void *stream) {
  PyObject *m = PyObject_GetAttrString(obj, "__dlpack__");
  PyObject *args = PyTuple_New(0), *kw = Py_BuildValue("{s:(ii)}", "max_version", 1, 0), *r = NULL;
  PyObject *n = stream && on_gpu(obj) ? PyLong_FromVoidPtr(stream) : NULL;
  if (n && kw && PyDict_SetItemString(kw, "stream", n))
    Py_CLEAR(kw);
  if (m && args && kw)
    r = PyObject_Call(m, args, kw);
  if (m && args && kw && !r && PyErr_ExceptionMatches(PyExc_TypeError)) {
    PyErr_Clear();
    if (!PyDict_DelItemString(kw, "max_version"))
      r = PyObject_Call(m, args, kw);
  }
  Py_XDECREF(n);
  Py_XDECREF(m);
  Py_XDECREF(args);
  Py_XDECREF(kw);
  return r;
}

static int feed_dlpack(State *s, Feed *f, PyObject *obj, const char *what, const char *name, int writable) {
  PyObject *cap = call_dlpack(obj, f->stream);
  if (!cap)
    return -1;
  f->versioned = PyCapsule_IsValid(cap, "dltensor_versioned");
  const char *kind = f->versioned ? "dltensor_versioned" : "dltensor";
  void *p = PyCapsule_IsValid(cap, kind) ? PyCapsule_GetPointer(cap, kind) : NULL;
  if (!p || PyCapsule_SetName(cap, f->versioned ? "used_dltensor_versioned" : "used_dltensor")) {
    Py_DECREF(cap);
    PyErr_Clear();
    return raise_status(s, SARD_ERROR_USAGE, "%s '%s': its __dlpack__ gave no usable capsule (a capsule can be used once)",
                        what, name);
  }
  f->capsule = p; /* ours to delete from here on */
  Py_DECREF(cap);
  if (!f->versioned)
    return take_dl(s, f, &((DLManaged *)p)->t, what, name);
  DLVersioned *v = p;
  if (v->version.major != 1)
    return raise_status(s, SARD_ERROR_USAGE, "%s '%s': DLPack version %u is not known", what, name,
                        (unsigned)v->version.major);
  if (writable && v->flags & DL_READ_ONLY)
    return raise_status(s, SARD_ERROR_USAGE, "%s '%s' is read-only", what, name);
  return take_dl(s, f, &v->t, what, name);
}

/* --- buffers --- */

/* The dtype that a struct format and item size stand for; SARD_NONE: none. *swapped: of the other byte order. */
static sard_dtype format_dtype(const char *f, Py_ssize_t size, int *swapped) {
  f = f ? f : "B";
  *swapped = (*f == '>' || *f == '!') && size > 1;
  if (*f == '@' || *f == '=' || *f == '<' || *f == '>' || *f == '!')
    f++;
  if (!strcmp(f, "Zf"))
    return SARD_C64;
  if (!strcmp(f, "Zd"))
    return SARD_C128;
  if (!*f || f[1])
    return SARD_NONE;
  static const sard_dtype sint[9] = {0, SARD_I8, SARD_I16, 0, SARD_I32, 0, 0, 0, SARD_I64};
  static const sard_dtype uint[9] = {0, SARD_U8, SARD_U16, 0, SARD_U32, 0, 0, 0, SARD_U64};
  if (size < 1 || size > 8)
    return SARD_NONE;
  switch (*f) {
  case '?': return SARD_BOOL;
  case 'e': return SARD_F16;
  case 'f': return SARD_F32;
  case 'd': return SARD_F64;
  case 'b': case 'h': case 'i': case 'l': case 'q': return sint[size];
  case 'B': case 'H': case 'I': case 'L': case 'Q': return uint[size];
  default: return SARD_NONE;
  }
}

/* 0: taken; 1: not usable as it is, numpy may help; -1: an exception. */
static int feed_buffer(State *s, Feed *f, PyObject *obj, const char *what, const char *name, int writable) {
  int swapped;
  if (PyObject_GetBuffer(obj, &f->view, (writable ? PyBUF_WRITABLE : 0) | PyBUF_STRIDES | PyBUF_FORMAT)) {
    f->view.obj = NULL;
    if (writable) {
      PyErr_Clear();
      return raise_status(s, SARD_ERROR_USAGE, "%s '%s' is memory that cannot be written to", what, name);
    }
    PyErr_Clear(); /* a dtype that buffers cannot name */
    return 1;
  }
  const Py_buffer *v = &f->view;
  sard_dtype t = format_dtype(v->format, v->itemsize, &swapped);
  if (swapped)
    return raise_status(s, SARD_ERROR_USAGE, "%s '%s' is big-endian: pass x.astype(x.dtype.newbyteorder('='))", what, name);
  if (!t || v->ndim > SARD_MAX_RANK)
    return 1;
  f->t = (sard_tensor){.data = v->buf, .dtype = t, .rank = v->ndim};
  for (int k = 0; k < v->ndim; k++) {
    f->t.dim[k] = v->shape ? v->shape[k] : v->len / v->itemsize;
    if (!v->strides)
      continue;
    if (v->strides[k] % v->itemsize)
      return writable ? raise_status(s, SARD_ERROR_USAGE, "%s '%s' has strides that are no multiples of its elements", what, name)
                      : 1;
    f->t.stride[k] = v->strides[k] / v->itemsize, f->t.strided = true;
  }
  if (v->buf && (uintptr_t)v->buf % (size_t)(v->itemsize > 8 ? 8 : v->itemsize)) /* elements are read as such */
    return writable ? raise_status(s, SARD_ERROR_USAGE, "%s '%s' is not aligned to its elements", what, name) : 1;
  return 0;
}

/* --- what numpy makes of it --- */

static int take_strings(Feed *f, PyObject *list) {
  Py_ssize_t n = PyList_Size(list);
  f->str = n >= 0 ? calloc((size_t)n + 1, sizeof *f->str) : NULL;
  if (!f->str) {
    if (!PyErr_Occurred())
      PyErr_NoMemory();
    return -1;
  }
  f->owner = Py_NewRef(list);
  f->t.data = f->str;
  for (Py_ssize_t i = 0; i < n; i++) {
    char *p;
    Py_ssize_t len;
    if (PyBytes_AsStringAndSize(PyList_GetItem(list, i), &p, &len))
      return -1;
    f->str[i] = (sard_str){p, (size_t)len};
  }
  return 0;
}

static int take_shape(State *s, Feed *f, PyObject *shape, const char *what, const char *name) {
  Py_ssize_t n = PyTuple_Size(shape);
  if (n < 0 || n > SARD_MAX_RANK)
    return n < 0 ? -1 : raise_status(s, SARD_ERROR_USAGE, "%s '%s' has %zd dimensions; %d are the most", what, name, n, SARD_MAX_RANK);
  f->t.rank = (int32_t)n, f->t.strided = false;
  for (Py_ssize_t k = 0; k < n; k++)
    f->t.dim[k] = PyLong_AsLongLong(PyTuple_GetItem(shape, k));
  return PyErr_Occurred() ? -1 : 0;
}

static int take_bytes(State *s, Feed *f, PyObject *buf, const char *what, const char *name) {
  if (f->view.obj)
    PyBuffer_Release(&f->view);
  if (PyObject_GetBuffer(buf, &f->view, PyBUF_SIMPLE)) {
    f->view.obj = NULL;
    return -1;
  }
  f->t.data = f->view.buf;
  int64_t want = sard_tensor_bytes(&f->t);
  return want < 0 || want > f->view.len
             ? raise_status(s, SARD_ERROR_INTERNAL, "%s '%s' is shorter than its shape says", what, name)
             : 0;
}

static int feed_converted(State *s, Feed *f, PyObject *obj, const sard_io *io, const char *what) {
  PyObject *r = PyObject_CallFunction(s->to_buffer, "Oi", obj, (int)io->dtype), *buf, *shape;
  int dtype, bad = -1;
  if (r && PyArg_ParseTuple(r, "OiO!", &buf, &dtype, &PyTuple_Type, &shape)) {
    f->t = (sard_tensor){.dtype = (sard_dtype)dtype};
    bad = take_shape(s, f, shape, what, io->name);
    if (!bad)
      bad = dtype == SARD_STRING ? take_strings(f, buf) : take_bytes(s, f, buf, what, io->name);
  }
  Py_XDECREF(r);
  return bad;
}

/* --- any input --- */

/* What an item of a container is: a dict is a map, a list in an optional a sequence. */
static sard_kind item_kind(sard_kind of, PyObject *obj) {
  if (of != SARD_KIND_MAP && PyDict_Check(obj))
    return SARD_KIND_MAP;
  return of == SARD_KIND_OPTIONAL && (PyList_Check(obj) || PyTuple_Check(obj)) ? SARD_KIND_SEQUENCE : SARD_KIND_TENSOR;
}

static PyObject *items_of(State *s, PyObject *obj, const sard_io *io, const char *what) {
  if (io->kind == SARD_KIND_SEQUENCE)
    return PySequence_List(obj);
  if (io->kind == SARD_KIND_OPTIONAL)
    return Py_BuildValue("[O]", obj);
  if (PyDict_Check(obj))
    return PyObject_CallFunctionObjArgs(s->map_lists, obj, NULL);
  raise_status(s, SARD_ERROR_USAGE, "%s '%s' is a map: pass a dict", what, io->name);
  return NULL;
}

static int feed_items(State *s, Feed *f, PyObject *obj, const sard_io *io, const char *what) {
  f->t = (sard_tensor){.kind = io->kind};
  if (obj == Py_None)
    return 0; /* an empty optional */
  PyObject *list = items_of(s, obj, io, what);
  Py_ssize_t n = list ? PyList_Size(list) : -1;
  if (n < 0)
    return -1;
  f->owner = list;
  f->item = calloc((size_t)n + 1, sizeof *f->item);
  f->feed = calloc((size_t)n + 1, sizeof *f->feed);
  if (!f->item || !f->feed) {
    PyErr_NoMemory();
    return -1;
  }
  for (f->nitem = 0; f->nitem < (size_t)n; f->nitem++) {
    sard_io of = *io;
    of.kind = item_kind(io->kind, PyList_GetItem(list, (Py_ssize_t)f->nitem));
    if (io->kind == SARD_KIND_MAP || of.kind == SARD_KIND_MAP)
      of.dtype = SARD_NONE; /* keys and values have types of their own */
    if (feed_from(s, &f->feed[f->nitem], PyList_GetItem(list, (Py_ssize_t)f->nitem), &of, what, 0)) {
      feed_clear(&f->feed[f->nitem]);
      return -1;
    }
    f->item[f->nitem] = f->feed[f->nitem].t;
  }
  f->t.item = f->item, f->t.nitem = (int64_t)n;
  return 0;
}

static int feed_tensor(State *s, Feed *f, PyObject *obj, const sard_io *io, const char *what, int writable) {
  int r = 1;
  if (PyObject_CheckBuffer(obj) && !PyBytes_Check(obj))
    r = feed_buffer(s, f, obj, what, io->name, writable);
  else if (PyObject_HasAttrString(obj, "__dlpack__"))
    r = feed_dlpack(s, f, obj, what, io->name, writable);
  if (r != 1)
    return r;
  if (writable)
    return raise_status(s, SARD_ERROR_USAGE, "%s '%s' must be an array or tensor whose memory can be written to", what, io->name);
  return feed_converted(s, f, obj, io, what);
}

int feed_from(State *s, Feed *f, PyObject *obj, const sard_io *io, const char *what, int writable) {
  *f = (Feed){.stream = f->stream};
  if (io->kind != SARD_KIND_TENSOR)
    return feed_items(s, f, obj, io, what);
  if (obj == Py_None)
    return 0;
  if (feed_tensor(s, f, obj, io, what, writable))
    return -1;
  if (io->dtype && f->t.dtype != io->dtype) {
    PyObject *e = PyObject_CallFunction(s->wrong_type, "ssii", what, io->name, (int)f->t.dtype, (int)io->dtype);
    if (e)
      PyErr_SetObject((PyObject *)Py_TYPE(e), e);
    Py_XDECREF(e);
    return -1;
  }
  return 0;
}

void feed_clear(Feed *f) {
  if (f->view.obj)
    PyBuffer_Release(&f->view);
  if (f->capsule && f->versioned && ((DLVersioned *)f->capsule)->deleter)
    ((DLVersioned *)f->capsule)->deleter(f->capsule);
  else if (f->capsule && !f->versioned && ((DLManaged *)f->capsule)->deleter)
    ((DLManaged *)f->capsule)->deleter(f->capsule);
  for (size_t i = 0; i < f->nitem; i++)
    feed_clear(&f->feed[i]);
  free(f->str);
  free(f->item);
  free(f->feed);
  Py_XDECREF(f->owner);
  memset(f, 0, sizeof *f);
}
