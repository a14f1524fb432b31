/* describe.c - what the public API tells about a model: inputs, outputs, symbols, metadata, steps.
 * SPDX-License-Identifier: Apache-2.0 */
#include "api/internal.h"

#include <string.h>

size_t sard_input_count(const sard_model *m) { return m ? rt_count(m->program, SEC_INPUTS) : 0; }
size_t sard_output_count(const sard_model *m) { return m ? rt_count(m->program, SEC_OUTPUTS) : 0; }
size_t sard_step_count(const sard_model *m) { return m ? rt_count(m->program, SEC_STEPS) : 0; }

/* Those of the input shapes come first in a program; what inference made up follows. */
size_t sard_symbol_count(const sard_model *m) {
  uint32_t n = 0;
  while (m && n < rt_count(m->program, SEC_SYMBOLS) && rt_symbol(m->program, n)->of_input)
    n++;
  return n;
}

sard_status give_struct(void *to, size_t to_size, const void *from, size_t size) {
  if (to_size < sizeof(size_t))
    return SARD_ERROR_USAGE;
  memcpy((char *)to + sizeof(size_t), (const char *)from + sizeof(size_t),
         (to_size < size ? to_size : size) - sizeof(size_t));
  return SARD_OK;
}

static sard_status describe(const sard_model *m, const ProgPort *port, sard_io *out) {
  const ProgSlot *s = rt_slot(m->program, port->slot);
  sard_io io = {.name = rt_string(m->program, port->name),
                .kind = (sard_kind)s->vkind,
                .dtype = (sard_dtype)s->dtype,
                .rank = s->vkind == VK_TENSOR ? s->rank : -1,
                .optional = port->deflt != PROG_NONE};
  for (int k = 0; k < s->rank; k++)
    io.dim[k] = rt_const_dim(m->program, s, k);
  return give_struct(out, out->size, &io, sizeof io);
}

sard_status sard_input(const sard_model *m, size_t i, sard_io *io) {
  return i < sard_input_count(m) && io ? describe(m, rt_input(m->program, (uint32_t)i), io) : SARD_ERROR_USAGE;
}

sard_status sard_output(const sard_model *m, size_t i, sard_io *io) {
  return i < sard_output_count(m) && io ? describe(m, rt_output(m->program, (uint32_t)i), io) : SARD_ERROR_USAGE;
}

static const char *dim_name(const sard_model *m, const ProgPort *port, int axis) {
  const ProgSlot *s = rt_slot(m->program, port->slot);
  return axis >= 0 && axis < s->rank ? rt_string(m->program, rt_list(m->program, port->dim_text + (uint32_t)axis))
                                     : NULL;
}

const char *sard_input_dim_text(const sard_model *m, size_t i, int axis) {
  return i < sard_input_count(m) ? dim_name(m, rt_input(m->program, (uint32_t)i), axis) : NULL;
}

const char *sard_output_dim_text(const sard_model *m, size_t i, int axis) {
  return i < sard_output_count(m) ? dim_name(m, rt_output(m->program, (uint32_t)i), axis) : NULL;
}

bool sard_output_appends(const sard_model *m, size_t i, size_t *input, int *axis) {
  for (uint32_t k = 0; m && k < rt_count(m->program, SEC_APPENDS); k++) {
    const ProgAppend *x = rt_append(m->program, k);
    if (x->output != i)
      continue;
    *input = x->input, *axis = (int)x->axis;
    return true;
  }
  return false;
}

static int64_t port_index(const sard_model *m, SectionId sec, const char *name) {
  for (uint32_t i = 0; m && name && i < rt_count(m->program, sec); i++) {
    const ProgPort *p = sec == SEC_INPUTS ? rt_input(m->program, i) : rt_output(m->program, i);
    if (!strcmp(rt_string(m->program, p->name), name))
      return i;
  }
  return -1;
}

int64_t sard_input_index(const sard_model *m, const char *name) { return port_index(m, SEC_INPUTS, name); }
int64_t sard_output_index(const sard_model *m, const char *name) { return port_index(m, SEC_OUTPUTS, name); }

const char *sard_symbol_name(const sard_model *m, size_t i) {
  return i < sard_symbol_count(m) ? rt_string(m->program, rt_symbol(m->program, (uint32_t)i)->name) : NULL;
}

const char *sard_metadata_key(const sard_model *m, size_t i) {
  return m && i < rt_count(m->program, SEC_META) ? rt_string(m->program, rt_meta(m->program, (uint32_t)i)->key) : NULL;
}

const char *sard_metadata(const sard_model *m, const char *key) {
  for (uint32_t i = 0; m && key && i < rt_count(m->program, SEC_META); i++)
    if (!strcmp(rt_string(m->program, rt_meta(m->program, i)->key), key))
      return rt_string(m->program, rt_meta(m->program, i)->value);
  return NULL;
}

sard_step_kind step_kind(const RtProgram *p, const ProgStep *s) {
  const ProgKernel *k = rt_kernel(p, s);
  if (k)
    return rt_is_product(p, s) || k->object == PROG_NONE ? SARD_STEP_LIBRARY : SARD_STEP_COMPILED;
  return s->host || s->kind != STEP_EVAL ? SARD_STEP_HOST : SARD_STEP_REFERENCE;
}

sard_status sard_step_info(const sard_model *m, size_t i, sard_step *x) {
  if (i >= sard_step_count(m) || !x)
    return SARD_ERROR_USAGE;
  const ProgStep *s = rt_step(m->program, (uint32_t)i);
  const ProgOrigin *o = rt_origin(m->program, s->origin);
  const ProgKernel *k = rt_kernel(m->program, s);
  sard_step y = {.kind = step_kind(m->program, s),
                 .op = rt_string(m->program, s->op),
                 .node = rt_string(m->program, o->node),
                 .module = rt_string(m->program, o->module),
                 .source = rt_string(m->program, o->source),
                 .kernel = k ? rt_string(m->program, k->name) : "",
                 .more = o->nmore,
                 .tile = k ? rt_string(m->program, k->tile) : "",
                 .why = rt_string(m->program, s->why),
                 .copies = k && k->copies};
  return give_struct(x, x->size, &y, sizeof y);
}

const char *sard_step_more(const sard_model *m, size_t i, size_t k) {
  if (i >= sard_step_count(m))
    return NULL;
  const ProgOrigin *o = rt_origin(m->program, rt_step(m->program, (uint32_t)i)->origin);
  return k < o->nmore ? rt_string(m->program, rt_list(m->program, o->more + (uint32_t)k)) : NULL;
}

sard_status sard_model_graphs(const sard_model *m, sard_graphs *out) {
  RtGraphs g;
  if (!m || !out)
    return SARD_ERROR_USAGE;
  if (!rt_graphs(m->program, &g))
    return SARD_ERROR_UNSUPPORTED;
  sard_graphs x = {.on = !g.why,
                   .why = g.why ? g.why : "",
                   .step = g.step == PROG_NONE ? -1 : (int64_t)g.step,
                   .kernels = g.kernels,
                   .recorded = g.made,
                   .replayed = g.replayed,
                   .grows = g.grows};
  return give_struct(out, out->size, &x, sizeof x);
}

const char *sard_model_device(const sard_model *m) { return m ? m->device : NULL; }
const char *sard_model_device_code(const sard_model *m) { return m && m->device_code ? m->device_code : ""; }
const char *sard_model_precision(const sard_model *m) { return m ? rt_precision(m->program) : NULL; }
int sard_model_threads(const sard_model *m) { return m ? m->threads : 0; }
