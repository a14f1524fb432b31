/* decode.c - protobuf-c over the compact copy, then its structs into ours. The one file that sees protobuf types.
 *
 * The scan of wire.c has bounded nesting and sizes before we come here, so the recursion below is at most as deep as
 * WIRE_MAX_DEPTH. Memory of protobuf-c comes from an arena; text and number lists of the raw structs borrow from it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "frontend/decode.h"

#include "onnx.pb-c.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

/* What wire.def charges for a message covers what both structs take. */
#define COST_COVERS(message, pb, raw)                                                                                  \
  static_assert(COST_##message >= sizeof(pb) + (raw), "wire.def charges too little for " #message)
enum {
#define MESSAGE(name, cost) COST_##name = cost,
#include "frontend/wire.def"
};
enum { PIECES_NOTE = sizeof(ProtobufCMessageUnknownField) + 8 };
COST_COVERS(ModelProto, Onnx__ModelProto, sizeof(RawModel));
COST_COVERS(OperatorSetIdProto, Onnx__OperatorSetIdProto, sizeof(OpsetImport));
COST_COVERS(StringStringEntryProto, Onnx__StringStringEntryProto, sizeof(MetaEntry));
COST_COVERS(GraphProto, Onnx__GraphProto, sizeof(RawGraph) + sizeof(RawGraph *));
COST_COVERS(NodeProto, Onnx__NodeProto, sizeof(RawNode));
COST_COVERS(AttributeProto, Onnx__AttributeProto, sizeof(RawAttr));
COST_COVERS(TensorProto, Onnx__TensorProto, sizeof(RawTensor) + PIECES_NOTE);
COST_COVERS(TensorProto_Segment, Onnx__TensorProto__Segment, 0);
COST_COVERS(SparseTensorProto, Onnx__SparseTensorProto, sizeof(RawSparse));
COST_COVERS(ValueInfoProto, Onnx__ValueInfoProto, sizeof(RawValueInfo));
COST_COVERS(TypeProto, Onnx__TypeProto, sizeof(RawType) + sizeof(RawType *));
COST_COVERS(TypeProto_Tensor, Onnx__TypeProto__Tensor, 0);
COST_COVERS(TypeProto_SparseTensor, Onnx__TypeProto__SparseTensor, 0);
COST_COVERS(TypeProto_Sequence, Onnx__TypeProto__Sequence, 0);
COST_COVERS(TypeProto_Map, Onnx__TypeProto__Map, 0);
COST_COVERS(TypeProto_Optional, Onnx__TypeProto__Optional, 0);
COST_COVERS(TypeProto_Opaque, Onnx__TypeProto__Opaque, 2);
COST_COVERS(TensorShapeProto, Onnx__TensorShapeProto, 0);
COST_COVERS(TensorShapeProto_Dimension, Onnx__TensorShapeProto__Dimension, sizeof(RawDim));
COST_COVERS(FunctionProto, Onnx__FunctionProto, sizeof(RawFunction));

typedef struct Decode {
  Ctx *c;
  Arena *a;
  const WireScan *scan;
} Decode;

static void *pb_alloc(void *arena, size_t n) {
  return arena_get(arena, n, 1, 8); /* unwinds when there is no more: protobuf-c holds nothing but arena memory */
}

static void pb_free(void *arena, void *p) { (void)arena, (void)p; }

static const char *text(const char *s) { return s ? s : ""; }

static const char *const *texts(char **s) { return (const char *const *)s; }

static const MetaEntry *entries(Decode *d, Onnx__StringStringEntryProto **p, size_t n) {
  MetaEntry *m = arena_array(d->a, MetaEntry, n);
  for (size_t i = 0; i < n; i++)
    m[i] = (MetaEntry){text(p[i]->key), text(p[i]->value)};
  return m;
}

static const OpsetImport *opsets(Decode *d, Onnx__OperatorSetIdProto **p, size_t n) {
  OpsetImport *o = arena_array(d->a, OpsetImport, n);
  for (size_t i = 0; i < n; i++)
    o[i] = (OpsetImport){text(p[i]->domain), p[i]->has_version ? p[i]->version : 0};
  return o;
}

/* --- tensors --- */

/* The pieces that the scan noted in the tensor's one unknown field. */
static void find_pieces(Decode *d, const ProtobufCMessage *m, RawTensor *t) {
  for (unsigned i = 0; i < m->n_unknown_fields; i++) {
    const ProtobufCMessageUnknownField *u = &m->unknown_fields[i];
    if (u->tag != WIRE_PIECES_FIELD || u->len != 8)
      continue;
    uint64_t v = 0;
    for (int k = 7; k >= 0; k--)
      v = v << 8 | u->data[k];
    uint32_t first = (uint32_t)v;
    t->npiece = (uint32_t)(v >> 32);
    assert((uint64_t)first + t->npiece <= d->scan->npiece);
    t->piece = d->scan->piece + first;
  }
}

static Status tensor(Decode *d, const Onnx__TensorProto *p, RawTensor *t) {
  *t = (RawTensor){.name = text(p->name),
                   .dtype = p->has_data_type ? p->data_type : 0,
                   .ndim = (uint32_t)p->n_dims,
                   .dim = p->dims,
                   .external = p->has_data_location && p->data_location == ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL,
                   .ext = entries(d, p->external_data, p->n_external_data),
                   .next = (uint32_t)p->n_external_data,
                   .meta = entries(d, p->metadata_props, p->n_metadata_props),
                   .nmeta = (uint32_t)p->n_metadata_props};
  if (p->segment)
    return fail(d->c, ST_UNSUPPORTED, "tensor '%s' is one segment of a larger tensor: segments are not supported",
                t->name);
  if (p->has_data_location && p->data_location != ONNX__TENSOR_PROTO__DATA_LOCATION__DEFAULT && !t->external)
    return fail(d->c, ST_INVALID, "tensor '%s' has the unknown data location %d", t->name, (int)p->data_location);
  find_pieces(d, &p->base, t);
  return ST_OK;
}

static Status tensors(Decode *d, Onnx__TensorProto **p, size_t n, const RawTensor **out) {
  RawTensor *t = arena_array(d->a, RawTensor, n);
  *out = t;
  for (size_t i = 0; i < n; i++)
    TRY(tensor(d, p[i], &t[i]));
  return ST_OK;
}

static Status sparses(Decode *d, Onnx__SparseTensorProto **p, size_t n, const RawSparse **out) {
  RawSparse *s = arena_array(d->a, RawSparse, n);
  *out = s;
  for (size_t i = 0; i < n; i++) {
    s[i] = (RawSparse){.dim = p[i]->dims, .ndim = (uint32_t)p[i]->n_dims};
    if (!p[i]->values)
      return fail(d->c, ST_INVALID, "a sparse tensor has no values");
    TRY(tensors(d, &p[i]->values, 1, &s[i].values));
    if (p[i]->indices)
      TRY(tensors(d, &p[i]->indices, 1, &s[i].indices));
  }
  return ST_OK;
}

/* --- types --- */

static const RawType *type(Decode *d, const Onnx__TypeProto *p);

static void shape(Decode *d, const Onnx__TensorShapeProto *p, RawType *t) {
  if (!p)
    return;
  RawDim *dim = arena_array(d->a, RawDim, p->n_dim);
  for (size_t i = 0; i < p->n_dim; i++) {
    const Onnx__TensorShapeProto__Dimension *e = p->dim[i];
    dim[i].param = "";
    if (e->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE)
      dim[i].kind = RD_VALUE, dim[i].value = e->dim_value;
    else if (e->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM)
      dim[i].kind = RD_PARAM, dim[i].param = text(e->dim_param);
  }
  t->has_shape = true, t->dim = dim, t->ndim = (uint32_t)p->n_dim;
}

static const RawType *type(Decode *d, const Onnx__TypeProto *p) {
  if (!p)
    return NULL;
  RawType *t = arena_new(d->a, RawType);
  t->denotation = text(p->denotation);
  switch (p->value_case) {
  case ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE:
    t->kind = RT_TENSOR, t->elem_type = p->tensor_type->elem_type;
    shape(d, p->tensor_type->shape, t);
    break;
  case ONNX__TYPE_PROTO__VALUE_SPARSE_TENSOR_TYPE:
    t->kind = RT_SPARSE, t->elem_type = p->sparse_tensor_type->elem_type;
    shape(d, p->sparse_tensor_type->shape, t);
    break;
  case ONNX__TYPE_PROTO__VALUE_SEQUENCE_TYPE:
    t->kind = RT_SEQUENCE, t->elem = type(d, p->sequence_type->elem_type);
    break;
  case ONNX__TYPE_PROTO__VALUE_OPTIONAL_TYPE:
    t->kind = RT_OPTIONAL, t->elem = type(d, p->optional_type->elem_type);
    break;
  case ONNX__TYPE_PROTO__VALUE_MAP_TYPE:
    t->kind = RT_MAP, t->elem_type = p->map_type->key_type, t->elem = type(d, p->map_type->value_type);
    break;
  case ONNX__TYPE_PROTO__VALUE_OPAQUE_TYPE:
    t->kind = RT_OPAQUE;
    t->denotation = arena_printf(d->a, "%s/%s", text(p->opaque_type->domain), text(p->opaque_type->name));
    break;
  default: break;
  }
  return t;
}

static const RawType *const *types(Decode *d, Onnx__TypeProto **p, size_t n) {
  const RawType **t = arena_array(d->a, const RawType *, n);
  for (size_t i = 0; i < n; i++)
    t[i] = type(d, p[i]);
  return t;
}

static const RawValueInfo *infos(Decode *d, Onnx__ValueInfoProto **p, size_t n) {
  RawValueInfo *v = arena_array(d->a, RawValueInfo, n);
  for (size_t i = 0; i < n; i++)
    v[i] = (RawValueInfo){.name = text(p[i]->name),
                          .doc = text(p[i]->doc_string),
                          .type = type(d, p[i]->type),
                          .meta = entries(d, p[i]->metadata_props, p[i]->n_metadata_props),
                          .nmeta = (uint32_t)p[i]->n_metadata_props};
  return v;
}

/* --- attributes --- */

static Status graph(Decode *d, const Onnx__GraphProto *p, const RawGraph **out);

static const char *const type_name[] = {
    [RA_UNDEFINED] = "UNDEFINED",    [RA_FLOAT] = "FLOAT",     [RA_INT] = "INT",
    [RA_STRING] = "STRING",          [RA_TENSOR] = "TENSOR",   [RA_GRAPH] = "GRAPH",
    [RA_FLOATS] = "FLOATS",          [RA_INTS] = "INTS",       [RA_STRINGS] = "STRINGS",
    [RA_TENSORS] = "TENSORS",        [RA_GRAPHS] = "GRAPHS",   [RA_SPARSE] = "SPARSE_TENSOR",
    [RA_SPARSES] = "SPARSE_TENSORS", [RA_TYPE] = "TYPE_PROTO", [RA_TYPES] = "TYPE_PROTOS",
};

#define BIT(t) (1u << (t))
/* A value of one of these types must be there; others may be left out by writers that skip zeros and empty lists. */
enum { NEEDS_VALUE = BIT(RA_TENSOR) | BIT(RA_GRAPH) | BIT(RA_SPARSE) | BIT(RA_TYPE) };

/* The types of the values that the attribute holds, as bits. */
static unsigned values_given(const Onnx__AttributeProto *p) {
  return (p->has_f ? BIT(RA_FLOAT) : 0) | (p->has_i ? BIT(RA_INT) : 0) | (p->has_s ? BIT(RA_STRING) : 0) |
         (p->t ? BIT(RA_TENSOR) : 0) | (p->g ? BIT(RA_GRAPH) : 0) | (p->sparse_tensor ? BIT(RA_SPARSE) : 0) |
         (p->tp ? BIT(RA_TYPE) : 0) | (p->n_floats ? BIT(RA_FLOATS) : 0) | (p->n_ints ? BIT(RA_INTS) : 0) |
         (p->n_strings ? BIT(RA_STRINGS) : 0) | (p->n_tensors ? BIT(RA_TENSORS) : 0) |
         (p->n_graphs ? BIT(RA_GRAPHS) : 0) | (p->n_sparse_tensors ? BIT(RA_SPARSES) : 0) |
         (p->n_type_protos ? BIT(RA_TYPES) : 0);
}

/* Decides the type and checks that the values agree with it. */
static Status attr_type(Decode *d, const Onnx__AttributeProto *p, RawAttr *a) {
  unsigned given = values_given(p), kind = p->has_type ? (unsigned)p->type : RA_UNDEFINED;
  if (kind >= countof(type_name))
    return fail(d->c, ST_INVALID, "attribute '%s' has the unknown type %d", a->name, (int)p->type);
  if (*a->ref) {
    if (given)
      return fail(d->c, ST_INVALID, "attribute '%s' has a value and also refers to '%s'", a->name, a->ref);
    a->type = (uint8_t)kind;
    return ST_OK;
  }
  unsigned lowest = given ? (unsigned)__builtin_ctz(given) : 0;
  if (kind == RA_UNDEFINED && (!given || given != BIT(lowest)))
    return fail(d->c, ST_INVALID, "attribute '%s' has no type and %s", a->name,
                given ? "values of several types" : "no value");
  if (kind == RA_UNDEFINED)
    kind = lowest;
  if (given & ~BIT(kind))
    return fail(d->c, ST_INVALID, "attribute '%s' is declared %s but holds %s", a->name, type_name[kind],
                type_name[__builtin_ctz(given & ~BIT(kind))]);
  if ((NEEDS_VALUE & BIT(kind)) && !given)
    return fail(d->c, ST_INVALID, "attribute '%s' is declared %s but holds no value", a->name, type_name[kind]);
  a->type = (uint8_t)kind;
  return ST_OK;
}

static const Str *strs(Decode *d, const ProtobufCBinaryData *p, size_t n) {
  Str *s = arena_array(d->a, Str, n);
  for (size_t i = 0; i < n; i++)
    s[i] = (Str){(const char *)p[i].data, p[i].len};
  return s;
}

static Status graphs(Decode *d, Onnx__GraphProto **p, size_t n, const RawGraph *const **out) {
  const RawGraph **g = arena_array(d->a, const RawGraph *, n);
  *out = g;
  for (size_t i = 0; i < n; i++)
    TRY(graph(d, p[i], &g[i]));
  return ST_OK;
}

static Status attr_value(Decode *d, Onnx__AttributeProto *p, RawAttr *a) {
  switch ((RawAttrType)a->type) {
  case RA_UNDEFINED: break;
  case RA_FLOAT: a->f = p->f; break;
  case RA_INT: a->i = p->i; break;
  case RA_STRING: a->s = (Str){(const char *)p->s.data, p->s.len}; break;
  case RA_TENSOR: return tensors(d, &p->t, 1, &a->tensor);
  case RA_GRAPH: return graphs(d, &p->g, 1, &a->graph);
  case RA_SPARSE: return sparses(d, &p->sparse_tensor, 1, &a->sparse);
  case RA_TYPE: a->tp = types(d, &p->tp, 1); break;
  case RA_FLOATS: a->floats = p->floats, a->n = (uint32_t)p->n_floats; break;
  case RA_INTS: a->ints = p->ints, a->n = (uint32_t)p->n_ints; break;
  case RA_STRINGS: a->strings = strs(d, p->strings, p->n_strings), a->n = (uint32_t)p->n_strings; break;
  case RA_TENSORS: a->n = (uint32_t)p->n_tensors; return tensors(d, p->tensors, p->n_tensors, &a->tensor);
  case RA_GRAPHS: a->n = (uint32_t)p->n_graphs; return graphs(d, p->graphs, p->n_graphs, &a->graph);
  case RA_SPARSES:
    a->n = (uint32_t)p->n_sparse_tensors;
    return sparses(d, p->sparse_tensors, p->n_sparse_tensors, &a->sparse);
  case RA_TYPES: a->tp = types(d, p->type_protos, p->n_type_protos), a->n = (uint32_t)p->n_type_protos; break;
  }
  return ST_OK;
}

static Status attrs(Decode *d, Onnx__AttributeProto **p, size_t n, const RawAttr **out) {
  RawAttr *a = arena_array(d->a, RawAttr, n);
  *out = a;
  for (size_t i = 0; i < n; i++) {
    a[i] = (RawAttr){.name = text(p[i]->name), .ref = text(p[i]->ref_attr_name), .doc = text(p[i]->doc_string)};
    TRY(attr_type(d, p[i], &a[i]));
    if (!*a[i].ref)
      TRY(attr_value(d, p[i], &a[i]));
  }
  return ST_OK;
}

/* --- nodes, graphs, functions --- */

/* Names a node in an error from below, unless one further in has done so. */
static Status in_node(Decode *d, Status st, const RawNode *n, size_t index) {
  if (!st)
    return ST_OK;
  char place[32];
  snprintf(place, sizeof place, "#%zu", index);
  return err_node(d->c, st, *n->name ? n->name : place, n->op, NULL, NULL);
}

static Status nodes(Decode *d, Onnx__NodeProto **p, size_t n, const RawNode **out) {
  RawNode *x = arena_array(d->a, RawNode, n);
  *out = x;
  for (size_t i = 0; i < n; i++) {
    x[i] = (RawNode){.name = text(p[i]->name),
                     .op = text(p[i]->op_type),
                     .domain = text(p[i]->domain),
                     .overload = text(p[i]->overload),
                     .doc = text(p[i]->doc_string),
                     .in = texts(p[i]->input),
                     .out = texts(p[i]->output),
                     .meta = entries(d, p[i]->metadata_props, p[i]->n_metadata_props),
                     .nin = (uint32_t)p[i]->n_input,
                     .nout = (uint32_t)p[i]->n_output,
                     .nattr = (uint32_t)p[i]->n_attribute,
                     .nmeta = (uint32_t)p[i]->n_metadata_props};
    TRY(in_node(d, attrs(d, p[i]->attribute, p[i]->n_attribute, &x[i].attr), &x[i], i));
  }
  return ST_OK;
}

static Status graph(Decode *d, const Onnx__GraphProto *p, const RawGraph **out) {
  RawGraph *g = arena_new(d->a, RawGraph);
  *g = (RawGraph){.name = text(p->name),
                  .doc = text(p->doc_string),
                  .in = infos(d, p->input, p->n_input),
                  .out = infos(d, p->output, p->n_output),
                  .info = infos(d, p->value_info, p->n_value_info),
                  .meta = entries(d, p->metadata_props, p->n_metadata_props),
                  .nnode = (uint32_t)p->n_node,
                  .ninit = (uint32_t)p->n_initializer,
                  .nsparse = (uint32_t)p->n_sparse_initializer,
                  .nin = (uint32_t)p->n_input,
                  .nout = (uint32_t)p->n_output,
                  .ninfo = (uint32_t)p->n_value_info,
                  .nmeta = (uint32_t)p->n_metadata_props};
  *out = g;
  TRY(tensors(d, p->initializer, p->n_initializer, &g->init));
  TRY(sparses(d, p->sparse_initializer, p->n_sparse_initializer, &g->sparse));
  return nodes(d, p->node, p->n_node, &g->node);
}

static Status functions(Decode *d, Onnx__FunctionProto **p, size_t n, const RawFunction **out) {
  RawFunction *f = arena_array(d->a, RawFunction, n);
  *out = f;
  for (size_t i = 0; i < n; i++) {
    f[i] = (RawFunction){.name = text(p[i]->name),
                         .domain = text(p[i]->domain),
                         .overload = text(p[i]->overload),
                         .doc = text(p[i]->doc_string),
                         .in = texts(p[i]->input),
                         .out = texts(p[i]->output),
                         .attr = texts(p[i]->attribute),
                         .opset = opsets(d, p[i]->opset_import, p[i]->n_opset_import),
                         .info = infos(d, p[i]->value_info, p[i]->n_value_info),
                         .meta = entries(d, p[i]->metadata_props, p[i]->n_metadata_props),
                         .nin = (uint32_t)p[i]->n_input,
                         .nout = (uint32_t)p[i]->n_output,
                         .nattr = (uint32_t)p[i]->n_attribute,
                         .ndefault = (uint32_t)p[i]->n_attribute_proto,
                         .nnode = (uint32_t)p[i]->n_node,
                         .nopset = (uint32_t)p[i]->n_opset_import,
                         .ninfo = (uint32_t)p[i]->n_value_info,
                         .nmeta = (uint32_t)p[i]->n_metadata_props};
    Status st = attrs(d, p[i]->attribute_proto, p[i]->n_attribute_proto, &f[i].attr_default);
    if (!st)
      st = nodes(d, p[i]->node, p[i]->n_node, &f[i].node);
    if (st)
      return err_note(d->c, st, "in function '%s'", f[i].name);
  }
  return ST_OK;
}

static Status no_model(Ctx *c, Status st) {
  return err_hint(c, st, "make sure that the file is an ONNX model and was copied completely");
}

static Status model(Decode *d, const Onnx__ModelProto *p, RawModel **out) {
  if (!p->graph)
    return no_model(d->c, fail(d->c, ST_INVALID, "the model has no graph"));
  RawModel *m = arena_new(d->a, RawModel);
  *m = (RawModel){.ir_version = p->has_ir_version ? p->ir_version : 0,
                  .model_version = p->has_model_version ? p->model_version : 0,
                  .producer = text(p->producer_name),
                  .producer_version = text(p->producer_version),
                  .domain = text(p->domain),
                  .doc = text(p->doc_string),
                  .opset = opsets(d, p->opset_import, p->n_opset_import),
                  .meta = entries(d, p->metadata_props, p->n_metadata_props),
                  .nfunction = (uint32_t)p->n_functions,
                  .nopset = (uint32_t)p->n_opset_import,
                  .nmeta = (uint32_t)p->n_metadata_props};
  *out = m;
  TRY(graph(d, p->graph, &m->graph));
  return functions(d, p->functions, p->n_functions, &m->function);
}

/* --- entry points --- */

/* Scans and unpacks; the pieces go to d->a, the compact copy is freed here. */
static Status unpack(Decode *d, WireMessage kind, const ProtobufCMessageDescriptor *desc, const uint8_t *data, size_t n,
                     const WireLimits *limits, WireScan *scan, ProtobufCMessage **out) {
  Arena *tmp = arena_create(d->c);
  TRY(wire_scan(d->c, tmp, kind, data, n, limits, scan));
  scan->piece = arena_copy(d->a, scan->piece, scan->npiece * sizeof(WirePiece));
  ProtobufCAllocator alloc = {.alloc = pb_alloc, .free = pb_free, .allocator_data = d->a};
  *out = protobuf_c_message_unpack(desc, &alloc, scan->n, scan->bytes);
  arena_destroy(tmp);
  scan->bytes = NULL;
  d->scan = scan;
  return *out ? ST_OK : fail(d->c, ST_INVALID, "damaged protobuf: the decoder refuses it");
}

Status decode_model(Ctx *c, Arena *a, const uint8_t *data, size_t n, const LoadOptions *o, RawModel **out) {
  WireLimits limits = {.max_bytes = o ? o->max_bytes : 0, .strict = o && o->strict};
  WireScan scan;
  Decode d = {.c = c, .a = a};
  ProtobufCMessage *m;
  if (!n)
    return no_model(c, fail(c, ST_INVALID, "the model is empty"));
  Status st = unpack(&d, WIRE_ModelProto, &onnx__model_proto__descriptor, data, n, &limits, &scan, &m);
  if (st)
    return st == ST_INVALID ? no_model(c, st) : st;
  return model(&d, (const Onnx__ModelProto *)m, out);
}

Status decode_tensor(Ctx *c, Arena *a, const uint8_t *data, size_t n, RawTensor **out) {
  WireScan scan;
  Decode d = {.c = c, .a = a};
  ProtobufCMessage *m;
  *out = arena_new(a, RawTensor);
  TRY(unpack(&d, WIRE_TensorProto, &onnx__tensor_proto__descriptor, data, n, NULL, &scan, &m));
  return tensor(&d, (const Onnx__TensorProto *)m, *out);
}
