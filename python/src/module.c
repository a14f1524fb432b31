/* module.c - the extension module sard._native: its state, and errors as exceptions.
 * SPDX-License-Identifier: Apache-2.0 */
#include "native.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static struct PyModuleDef definition;

State *state_of_type(PyTypeObject *t) {
  PyObject *m = PyType_GetModule(t);
  return m ? PyModule_GetState(m) : NULL;
}

static PyObject *text(const char *s) { return PyUnicode_DecodeUTF8(s, (Py_ssize_t)strlen(s), "backslashreplace"); }

/* Sets the exception that _errors.make builds of the parts. */
static void raise_parts(State *s, sard_status st, const char *const part[8]) {
  PyObject *list = PyTuple_New(8);
  for (int i = 0; list && i < 8; i++) {
    PyObject *u = text(part[i]);
    if (!u || PyTuple_SetItem(list, i, u))
      Py_CLEAR(list);
  }
  PyObject *e = list ? PyObject_CallFunction(s->make_error, "iO", (int)st, list) : NULL;
  if (e)
    PyErr_SetObject((PyObject *)Py_TYPE(e), e);
  Py_XDECREF(e);
  Py_XDECREF(list);
}

void *raise_error(State *s, sard_status st, sard_error *err) {
  const char *part[8] = {sard_error_text(err),   sard_error_message(err), sard_error_file(err),   sard_error_node(err),
                         sard_error_op(err),     sard_error_module(err),  sard_error_source(err), sard_error_hint(err)};
  if (!PyErr_Occurred()) /* a KeyboardInterrupt says more than "cancelled" */
    raise_parts(s, st, part);
  sard_error_free(err);
  return NULL;
}

int raise_status(State *s, sard_status st, const char *fmt, ...) {
  char buf[512];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(buf, sizeof buf, fmt, ap);
  va_end(ap);
  const char *part[8] = {buf, buf, "", "", "", "", "", ""};
  raise_parts(s, st, part);
  return -1;
}

/* --- functions --- */

static PyObject *version(PyObject *m, PyObject *none) {
  (void)m, (void)none;
  return text(sard_version_string());
}

static PyObject *device_available(PyObject *m, PyObject *name) {
  (void)m;
  PyObject *bytes = PyUnicode_AsUTF8String(name);
  const char *s = bytes ? PyBytes_AsString(bytes) : NULL;
  PyObject *r = s ? PyBool_FromLong(sard_device_available(s)) : NULL;
  Py_XDECREF(bytes);
  return r;
}

static PyObject *dtype_name(PyObject *m, PyObject *code) {
  (void)m;
  long v = PyLong_AsLong(code);
  return v == -1 && PyErr_Occurred() ? NULL : text(sard_dtype_name((sard_dtype)v));
}

/* Bytes that the default environment's models and runs hold now, and the most at once. */
static PyObject *memory(PyObject *m, PyObject *none) {
  size_t used, peak;
  (void)m, (void)none;
  sard_env_memory(NULL, &used, &peak);
  return Py_BuildValue("nn", (Py_ssize_t)used, (Py_ssize_t)peak);
}

static PyMethodDef functions[] = {
    {"version", version, METH_NOARGS, "The library's version, as text."},
    {"device_available", device_available, METH_O, "Can models be loaded for this device here?"},
    {"dtype_name", dtype_name, METH_O, "Sard's name of an ONNX element type number: 1 -> 'f32'."},
    {"memory", memory, METH_NOARGS, "(bytes in use, the most at once) of the default environment."},
    {NULL, NULL, 0, NULL},
};

/* --- the module --- */

static int take(PyObject *from, const char *name, PyObject **to) {
  *to = PyObject_GetAttrString(from, name);
  return *to ? 0 : -1;
}

static int add_type(PyObject *m, PyType_Spec *spec, PyTypeObject **out) {
  *out = (PyTypeObject *)PyType_FromModuleAndSpec(m, spec, NULL);
  return *out ? PyModule_AddType(m, *out) : -1;
}

static int module_exec(PyObject *m) {
  State *s = PyModule_GetState(m);
  PyObject *errors = PyImport_ImportModule("sard._errors"), *convert = PyImport_ImportModule("sard._convert");
  int bad = !errors || !convert || take(errors, "make", &s->make_error) || take(errors, "wrong_type", &s->wrong_type) ||
            take(convert, "to_buffer", &s->to_buffer) || take(convert, "from_array", &s->from_array) ||
            take(convert, "to_strings", &s->to_strings) || take(convert, "map_lists", &s->map_lists) || add_type(m, &model_spec, &s->model) ||
            add_type(m, &result_spec, &s->result) || add_type(m, &array_spec, &s->array) ||
            add_type(m, &device_tensor_spec, &s->device_tensor);
  Py_XDECREF(errors);
  Py_XDECREF(convert);
  return bad ? -1 : 0;
}

static int module_traverse(PyObject *m, visitproc visit, void *arg) {
  State *s = PyModule_GetState(m);
  Py_VISIT(s->model);
  Py_VISIT(s->result);
  Py_VISIT(s->array);
  Py_VISIT(s->device_tensor);
  Py_VISIT(s->make_error);
  Py_VISIT(s->wrong_type);
  Py_VISIT(s->to_buffer);
  Py_VISIT(s->from_array);
  Py_VISIT(s->to_strings);
  Py_VISIT(s->map_lists);
  Py_VISIT(s->asarray);
  return 0;
}

static int module_clear(PyObject *m) {
  State *s = PyModule_GetState(m);
  Py_CLEAR(s->model);
  Py_CLEAR(s->result);
  Py_CLEAR(s->array);
  Py_CLEAR(s->device_tensor);
  Py_CLEAR(s->make_error);
  Py_CLEAR(s->wrong_type);
  Py_CLEAR(s->to_buffer);
  Py_CLEAR(s->from_array);
  Py_CLEAR(s->to_strings);
  Py_CLEAR(s->map_lists);
  Py_CLEAR(s->asarray);
  return 0;
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, module_exec}, {0, NULL}};
static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_native", "The C part of sard.", sizeof(State), functions, slots, module_traverse, module_clear,
    NULL};

PyMODINIT_FUNC PyInit__native(void) { return PyModuleDef_Init(&definition); }
