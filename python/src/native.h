/* native.h - what the files of the extension module share. CPython's limited API of 3.11: one binary for every later version.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_PYTHON_NATIVE_H
#define SARD_PYTHON_NATIVE_H

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>

#include <sard.h>

/* What the module holds; one per interpreter. */
typedef struct State {
  PyTypeObject *model, *result, *array, *device_tensor;
  PyObject *make_error; /* sard._errors.make(status, parts) -> exception */
  PyObject *wrong_type; /* sard._errors.wrong_type(input, dtype given, dtype wanted) -> exception */
  PyObject *to_buffer;  /* sard._convert.to_buffer(object, dtype or 0) -> (buffer or list of bytes, dtype, shape) */
  PyObject *from_array; /* sard._convert.from_array(Array, dtype, shape) -> numpy array of a type buffers cannot name */
  PyObject *to_strings; /* sard._convert.to_strings(list of bytes, shape) -> numpy array */
  PyObject *map_lists;  /* sard._convert.map_lists(dict) -> [keys, values] as arrays */
  PyObject *asarray;    /* numpy.asarray; NULL until it is needed */
} State;

State *state_of_type(PyTypeObject *t);

/* --- module.c: errors --- */
/* Raises what a failed call has left, and frees it. Always returns NULL. */
void *raise_error(State *s, sard_status st, sard_error *err);
/* Raises an error of ours, with the status's exception type. Always returns -1. */
int raise_status(State *s, sard_status st, const char *fmt, ...);

/* --- feed.c: Python objects as tensors --- */
typedef struct Feed {
  sard_tensor t;
  void *stream; /* set before feed_from: where memory of a GPU is to be ready */
  Py_buffer view; /* view.obj: held */
  PyObject *owner;
  void *capsule; /* DLPack's managed tensor, to be deleted */
  int versioned;
  sard_str *str;
  sard_tensor *item;
  struct Feed *feed; /* of the items */
  size_t nitem;
} Feed;

/* obj as the input (or the memory of the output) that io describes, without a copy where its memory is usable. None: absent.
 * what: "input" or "output". -1: an exception is set; feed_clear is to be called in any case. */
int feed_from(State *s, Feed *f, PyObject *obj, const sard_io *io, const char *what, int writable);
void feed_clear(Feed *f);

/* --- array.c: results as buffers --- */
extern PyType_Spec result_spec, array_spec, device_tensor_spec;
PyObject *result_new(State *s, sard_result *r); /* takes r over */
/* The i-th output, which the model declares to be of that kind, as a numpy array that keeps the result alive, or a DeviceTensor if it
 * was left on the GPU; containers as Python's, items of items included. */
PyObject *result_output(State *s, PyObject *result, size_t i, sard_kind kind);

/* --- model.c --- */
extern PyType_Spec model_spec;

#endif
