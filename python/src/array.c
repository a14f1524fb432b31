/* array.c - what a run has made: a result that owns the memory, arrays that lend it through the buffer protocol.
 * SPDX-License-Identifier: Apache-2.0 */
#include "native.h"

#include <stdlib.h>
#include <string.h>

typedef struct Result {
  PyObject_HEAD
  sard_result *r;
} Result;

typedef struct Array {
  PyObject_HEAD
  PyObject *result; /* keeps data alive */
  sard_tensor t;
  Py_ssize_t shape[SARD_MAX_RANK], stride[SARD_MAX_RANK]; /* bytes */
  Py_ssize_t bytes;
} Array;

/* The struct module's code of a dtype; NULL: it has none, and the memory is lent as bytes. */
static const char *format_of(sard_dtype t) {
  switch (t) {
  case SARD_F32: return "f";
  case SARD_F64: return "d";
  case SARD_F16: return "e";
  case SARD_I8: return "b";
  case SARD_U8: return "B";
  case SARD_I16: return "h";
  case SARD_U16: return "H";
  case SARD_I32: return "i";
  case SARD_U32: return "I";
  case SARD_I64: return "q";
  case SARD_U64: return "Q";
  case SARD_BOOL: return "?";
  case SARD_C64: return "Zf";
  case SARD_C128: return "Zd";
  default: return NULL;
  }
}

static void result_dealloc(PyObject *self) {
  PyTypeObject *t = Py_TYPE(self);
  sard_result_free(((Result *)self)->r);
  ((freefunc)PyType_GetSlot(t, Py_tp_free))(self);
  Py_DECREF(t);
}

PyObject *result_new(State *s, sard_result *r) {
  Result *x = (Result *)((allocfunc)PyType_GetSlot(s->result, Py_tp_alloc))(s->result, 0);
  if (!x) {
    sard_result_free(r);
    return NULL;
  }
  x->r = r;
  return (PyObject *)x;
}

static void array_dealloc(PyObject *self) {
  PyTypeObject *t = Py_TYPE(self);
  Py_XDECREF(((Array *)self)->result);
  ((freefunc)PyType_GetSlot(t, Py_tp_free))(self);
  Py_DECREF(t);
}

static int array_getbuffer(PyObject *self, Py_buffer *v, int flags) {
  Array *x = (Array *)self;
  const char *format = format_of(x->t.dtype);
  static char none;
  memset(v, 0, sizeof *v);
  v->obj = Py_NewRef(self);
  v->buf = x->bytes ? x->t.data : &none;
  v->len = x->bytes;
  v->itemsize = format ? sard_dtype_bits(x->t.dtype) / 8 : 1;
  v->ndim = format ? x->t.rank : 1;
  v->format = flags & PyBUF_FORMAT ? (char *)(uintptr_t)(format ? format : "B") : NULL;
  v->shape = format ? x->shape : &x->bytes;
  v->strides = flags & PyBUF_STRIDES && format ? x->stride : NULL;
  return 0;
}

static PyObject *array_new(State *s, PyObject *result, const sard_tensor *t) {
  Array *x = (Array *)((allocfunc)PyType_GetSlot(s->array, Py_tp_alloc))(s->array, 0);
  if (!x)
    return NULL;
  x->result = Py_NewRef(result), x->t = *t;
  x->bytes = (Py_ssize_t)sard_tensor_bytes(t);
  Py_ssize_t step = sard_dtype_bits(t->dtype) / 8;
  for (int k = t->rank; k-- > 0;) {
    x->shape[k] = (Py_ssize_t)t->dim[k], x->stride[k] = step;
    step *= x->shape[k] ? x->shape[k] : 1;
  }
  return (PyObject *)x;
}

static PyObject *shape_of(const sard_tensor *t) {
  PyObject *shape = PyTuple_New(t->rank);
  for (int k = 0; shape && k < t->rank; k++) {
    PyObject *d = PyLong_FromLongLong(t->dim[k]);
    if (!d || PyTuple_SetItem(shape, k, d))
      Py_CLEAR(shape);
  }
  return shape;
}

static PyObject *strings(State *s, const sard_tensor *t) {
  const sard_str *str = t->data;
  Py_ssize_t n = (Py_ssize_t)sard_tensor_count(t);
  PyObject *list = PyList_New(n), *shape = shape_of(t), *r = NULL;
  for (Py_ssize_t i = 0; list && i < n; i++) {
    PyObject *b = PyBytes_FromStringAndSize(str[i].ptr, (Py_ssize_t)str[i].len);
    if (!b || PyList_SetItem(list, i, b))
      Py_CLEAR(list);
  }
  if (list && shape)
    r = PyObject_CallFunctionObjArgs(s->to_strings, list, shape, NULL);
  Py_XDECREF(list);
  Py_XDECREF(shape);
  return r;
}

static PyObject *numpy_array(State *s, PyObject *result, const sard_tensor *t) {
  if (t->dtype == SARD_STRING)
    return strings(s, t);
  PyObject *x = array_new(s, result, t), *r = NULL;
  if (x && format_of(t->dtype)) {
    if (!s->asarray) {
      PyObject *np = PyImport_ImportModule("numpy");
      s->asarray = np ? PyObject_GetAttrString(np, "asarray") : NULL;
      Py_XDECREF(np);
    }
    r = s->asarray ? PyObject_CallFunctionObjArgs(s->asarray, x, NULL) : NULL;
  } else if (x) {
    PyObject *shape = shape_of(t);
    r = shape ? PyObject_CallFunction(s->from_array, "OiO", x, (int)t->dtype, shape) : NULL;
    Py_XDECREF(shape);
  }
  Py_XDECREF(x);
  return r;
}

static PyObject *value_of(State *s, PyObject *result, const sard_tensor *t);

static PyObject *list_of(State *s, PyObject *result, const sard_tensor *t) {
  PyObject *list = PyList_New((Py_ssize_t)t->nitem);
  for (int64_t k = 0; list && k < t->nitem; k++) {
    PyObject *x = value_of(s, result, &t->item[k]);
    if (!x || PyList_SetItem(list, (Py_ssize_t)k, x))
      Py_CLEAR(list);
  }
  return list;
}

/* A dict of the two lists of a map. */
static PyObject *dict_of(State *s, PyObject *result, const sard_tensor *t) {
  PyObject *part[2] = {NULL, NULL}, *dict = NULL;
  for (int i = 0; i < 2 && t->nitem == 2; i++) {
    PyObject *array = numpy_array(s, result, &t->item[i]);
    part[i] = array ? PyObject_CallMethod(array, "tolist", NULL) : NULL;
    Py_XDECREF(array);
  }
  if (part[0] && part[1])
    dict = PyDict_New();
  for (Py_ssize_t k = 0, n = dict ? PyList_Size(part[0]) : 0; dict && k < n; k++)
    if (PyDict_SetItem(dict, PyList_GetItem(part[0], k), PyList_GetItem(part[1], k)))
      Py_CLEAR(dict);
  Py_XDECREF(part[0]);
  Py_XDECREF(part[1]);
  return dict;
}

/* Arrays, lists for sequences, dicts for maps; an optional is its value, or None. */
static PyObject *value_of(State *s, PyObject *result, const sard_tensor *t) {
  switch (t->kind) {
  case SARD_KIND_SEQUENCE: return list_of(s, result, t);
  case SARD_KIND_MAP: return dict_of(s, result, t);
  case SARD_KIND_OPTIONAL: return t->nitem ? value_of(s, result, &t->item[0]) : Py_NewRef(Py_None);
  default: return numpy_array(s, result, t);
  }
}

/* --- outputs on the GPU --- */

typedef struct DeviceTensor {
  PyObject_HEAD
  PyObject *result; /* keeps the memory */
  size_t i;
  sard_tensor t;
} DeviceTensor;

static PyObject *device_tensor(State *s, PyObject *result, size_t i, const sard_tensor *t) {
  DeviceTensor *x = (DeviceTensor *)((allocfunc)PyType_GetSlot(s->device_tensor, Py_tp_alloc))(s->device_tensor, 0);
  if (x)
    x->result = Py_NewRef(result), x->i = i, x->t = *t;
  return (PyObject *)x;
}

static void device_tensor_dealloc(PyObject *self) {
  PyTypeObject *t = Py_TYPE(self);
  Py_XDECREF(((DeviceTensor *)self)->result);
  ((freefunc)PyType_GetSlot(t, Py_tp_free))(self);
  Py_DECREF(t);
}

/* A capsule that nobody took. Both forms of managed tensors have their deleter behind what differs (DLPack's specification). */
static void capsule_drop(PyObject *cap) {
  typedef struct Plain { char t[48]; void *context; void (*deleter)(void *); } Plain;
  typedef struct Versioned { uint32_t version[2]; void *context; void (*deleter)(void *); } Versioned;
  if (PyCapsule_IsValid(cap, "dltensor")) {
    Plain *p = PyCapsule_GetPointer(cap, "dltensor");
    p->deleter(p);
  } else if (PyCapsule_IsValid(cap, "dltensor_versioned")) {
    Versioned *p = PyCapsule_GetPointer(cap, "dltensor_versioned");
    p->deleter(p);
  }
}

/* __dlpack__(stream, max_version, dl_device, copy): what the run wrote is there, so that any stream may read it. */
static PyObject *device_tensor_dlpack(PyObject *self, PyObject *args, PyObject *kw) {
  static char *names[] = {"stream", "max_version", "dl_device", "copy", NULL};
  PyObject *stream = Py_None, *version = Py_None, *device = Py_None, *copy = Py_None;
  DeviceTensor *x = (DeviceTensor *)self;
  State *s = state_of_type(Py_TYPE(self));
  long major = 0, minor = 0, type = 2, id = 0;
  sard_error *err = NULL;
  void *managed;
  if (!PyArg_ParseTupleAndKeywords(args, kw, "|$OOOO", names, &stream, &version, &device, &copy) ||
      (version != Py_None && !PyArg_ParseTuple(version, "ll", &major, &minor)) ||
      (device != Py_None && !PyArg_ParseTuple(device, "ll", &type, &id)))
    return NULL;
  if (type != 2 || id || copy == Py_True) {
    PyErr_SetString(PyExc_BufferError, "an output on GPU 0 can only be lent there, as it is");
    return NULL;
  }
  sard_status st = sard_result_dlpack(((Result *)x->result)->r, x->i, major >= 1, &managed, &err);
  if (st)
    return raise_error(s, st, err);
  return PyCapsule_New(managed, major >= 1 ? "dltensor_versioned" : "dltensor", capsule_drop);
}

static PyObject *device_tensor_device(PyObject *self, PyObject *none) {
  (void)self, (void)none;
  return Py_BuildValue("ii", 2, 0);
}

static PyObject *device_tensor_shape(PyObject *self, void *none) {
  (void)none;
  return shape_of(&((DeviceTensor *)self)->t);
}

static PyObject *device_tensor_dtype(PyObject *self, void *none) {
  (void)none;
  return PyUnicode_FromString(sard_dtype_name(((DeviceTensor *)self)->t.dtype));
}

static PyMethodDef device_tensor_methods[] = {
    {"__dlpack__", (PyCFunction)(void (*)(void))device_tensor_dlpack, METH_VARARGS | METH_KEYWORDS, "The tensor as a DLPack capsule."},
    {"__dlpack_device__", device_tensor_device, METH_NOARGS, "(kDLCUDA, 0)"},
    {NULL, NULL, 0, NULL}};
static PyGetSetDef device_tensor_getset[] = {{"shape", device_tensor_shape, NULL, "A tuple.", NULL},
                                             {"dtype", device_tensor_dtype, NULL, "Sard's name of the element type, \"f16\".", NULL},
                                             {NULL, NULL, NULL, NULL, NULL}};
static PyType_Slot device_tensor_slots[] = {
    {Py_tp_dealloc, device_tensor_dealloc},
    {Py_tp_methods, device_tensor_methods},
    {Py_tp_getset, device_tensor_getset},
    {Py_tp_doc, "An output in the GPU's memory, for torch.from_dlpack or cupy.from_dlpack, or as an input of another run."},
    {0, NULL}};
PyType_Spec device_tensor_spec = {"sard._native.DeviceTensor", sizeof(DeviceTensor), 0,
                                  Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, device_tensor_slots};

/* --- any output --- */

PyObject *result_output(State *s, PyObject *result, size_t i, sard_kind kind) {
  sard_result *r = ((Result *)result)->r;
  sard_tensor t;
  int64_t n = sard_result_items(r, i);
  if (n < 0 && sard_result_tensor(r, i, &t))
    return raise_error(s, SARD_ERROR_INTERNAL, NULL);
  if (n < 0)
    return t.device ? device_tensor(s, result, i, &t) : numpy_array(s, result, &t);
  sard_tensor *item = calloc((size_t)n + 1, sizeof *item);
  if (!item)
    return PyErr_NoMemory();
  for (int64_t k = 0; k < n; k++)
    sard_result_item(r, i, k, &item[k]);
  t = (sard_tensor){.kind = kind == SARD_KIND_TENSOR ? SARD_KIND_SEQUENCE : kind, .item = item, .nitem = n};
  PyObject *y = value_of(s, result, &t);
  free(item);
  return y;
}

static PyType_Slot result_slots[] = {{Py_tp_dealloc, result_dealloc}, {0, NULL}};
PyType_Spec result_spec = {"sard._native.Result", sizeof(Result), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
                           result_slots};

static PyType_Slot array_slots[] = {
    {Py_tp_dealloc, array_dealloc},
    {Py_bf_getbuffer, array_getbuffer},
    {Py_tp_doc, "Memory of a run's output, for numpy.asarray or memoryview. Writable; nobody else reads it."},
    {0, NULL}};
PyType_Spec array_spec = {"sard._native.Array", sizeof(Array), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
                          array_slots};
