/* onnx.c - a graph as an ONNX model, and tensors as TensorProto: what the random graphs are handed to onnx.reference as.
 * Operators are in their newest form (ops.def), so attributes and names are those of the graph. SPDX-License-Identifier: Apache-2.0 */
#include "tests/random/onnx.h"

#include "ops/ops.h"

/* Field numbers of onnx.proto. */
enum { MODEL_IR = 1, MODEL_GRAPH = 7, MODEL_OPSET = 8, OPSET_DOMAIN = 1, OPSET_VERSION = 2 };
enum { GRAPH_NODE = 1, GRAPH_NAME = 2, GRAPH_INITIALIZER = 5, GRAPH_INPUT = 11, GRAPH_OUTPUT = 12 };
enum { NODE_INPUT = 1, NODE_OUTPUT = 2, NODE_NAME = 3, NODE_OP = 4, NODE_ATTRIBUTE = 5, NODE_DOMAIN = 7 };
enum { TENSOR_DIMS = 1, TENSOR_TYPE = 2, TENSOR_NAME = 8, TENSOR_RAW = 9 };
enum { ATTR_NAME = 1, ATTR_F = 2, ATTR_I = 3, ATTR_S = 4, ATTR_T = 5, ATTR_G = 6, ATTR_FLOATS = 7, ATTR_INTS = 8 };
enum { ATTR_STRINGS = 9, ATTR_TYPE = 20 };
enum { TYPE_FLOAT = 1, TYPE_INT, TYPE_STRING, TYPE_TENSOR, TYPE_GRAPH, TYPE_FLOATS, TYPE_INTS, TYPE_STRINGS };
enum { IR_VERSION = 14, OPSET = 28 };

void onnx_tensor(Pb *p, const char *name, const Tensor *t) {
  for (int i = 0; i < t->rank; i++)
    pb_int(p, TENSOR_DIMS, t->dim[i]);
  pb_int(p, TENSOR_TYPE, t->dtype);
  pb_str(p, TENSOR_NAME, name);
  pb_bytes(p, TENSOR_RAW, t->data, tensor_bytes(t));
}

static void add_attribute(Pb *node, const AttrField *f, const void *attr) {
  static const int type[] = {
      [AK_INT] = TYPE_INT,       [AK_FLOAT] = TYPE_FLOAT,  [AK_STR] = TYPE_STRING,    [AK_INTS] = TYPE_INTS,
      [AK_FLOATS] = TYPE_FLOATS, [AK_STRS] = TYPE_STRINGS, [AK_TENSOR] = TYPE_TENSOR, [AK_DIMS] = TYPE_INTS};
  Pb a = {0}, t = {0};
  pb_str(&a, ATTR_NAME, f->name);
  pb_int(&a, ATTR_TYPE, type[f->kind]);
  switch (f->kind) {
  case AK_INT: pb_int(&a, ATTR_I, ATTR_GET(int64_t, attr, f)); break;
  case AK_FLOAT: pb_f32(&a, ATTR_F, ATTR_GET(float, attr, f)); break;
  case AK_STR: pb_bytes(&a, ATTR_S, ATTR_GET(Str, attr, f).ptr, ATTR_GET(Str, attr, f).len); break;
  case AK_INTS:
    for (int64_t i = 0; i < ATTR_GET(Ints, attr, f).n; i++)
      pb_int(&a, ATTR_INTS, ATTR_GET(Ints, attr, f).v[i]);
    break;
  case AK_FLOATS:
    for (int64_t i = 0; i < ATTR_GET(Floats, attr, f).n; i++)
      pb_f32(&a, ATTR_FLOATS, ATTR_GET(Floats, attr, f).v[i]);
    break;
  case AK_STRS:
    for (int64_t i = 0; i < ATTR_GET(Strs, attr, f).n; i++)
      pb_bytes(&a, ATTR_STRINGS, ATTR_GET(Strs, attr, f).v[i].ptr, ATTR_GET(Strs, attr, f).v[i].len);
    break;
  case AK_TENSOR:
    onnx_tensor(&t, "", ATTR_GET(Tensor *, attr, f));
    pb_msg(&a, ATTR_T, &t);
    break;
  case AK_DIMS: assert(!"no operator of ONNX has these");
  }
  pb_msg(node, NODE_ATTRIBUTE, &a);
}

static void add_graph(Pb *p, const Graph *g);

static void add_body(Pb *node, const char *name, const Graph *body) {
  Pb a = {0}, g = {0};
  pb_str(&a, ATTR_NAME, name);
  pb_int(&a, ATTR_TYPE, TYPE_GRAPH);
  add_graph(&g, body);
  pb_msg(&a, ATTR_G, &g);
  pb_msg(node, NODE_ATTRIBUTE, &a);
}

static void add_node(Pb *g, const Node *n) {
  const OpInfo *info = op_info(n->op);
  Pb p = {0};
  for (int i = 0; i < n->nin; i++)
    pb_str(&p, NODE_INPUT, n->in[i] ? n->in[i]->name : "");
  for (int i = 0; i < n->nout; i++)
    pb_str(&p, NODE_OUTPUT, n->out[i] ? n->out[i]->name : "");
  pb_str(&p, NODE_OP, info->name);
  pb_str(&p, NODE_DOMAIN, info->domain);
  for (const AttrField *f = info->attrs->field; f && f->name && n->attr; f++)
    if (!attr_is_default(f, n->attr))
      add_attribute(&p, f, n->attr);
  for (int i = 0; i < 2; i++)
    if (n->body[i])
      add_body(&p, n->op != OP_If ? "body" : i ? "else_branch" : "then_branch", n->body[i]);
  pb_msg(g, GRAPH_NODE, &p);
}

/* ValueInfoProto */
static void add_port(Pb *g, uint32_t field, const Value *v) {
  Pb info = {0}, type = {0}, tensor = {0}, shape = {0};
  pb_int(&tensor, 1, v->type.dtype);
  for (int i = 0; i < v->type.rank; i++) {
    Pb dim = {0};
    int64_t size;
    if (dim_is_const(v->type.dim[i], &size))
      pb_int(&dim, 1, size);
    else if (v->type.dim[i]->kind == DIM_SYM)
      pb_str(&dim, 2, v->type.dim[i]->name);
    pb_msg(&shape, 1, &dim);
  }
  if (v->type.rank >= 0)
    pb_msg(&tensor, 2, &shape);
  pb_msg(&type, 1, &tensor);
  pb_str(&info, 1, v->name);
  pb_msg(&info, 2, &type);
  pb_msg(g, field, &info);
}

static void add_graph(Pb *p, const Graph *g) {
  for (const Node *n = g->first; n; n = n->next)
    add_node(p, n);
  pb_str(p, GRAPH_NAME, g->name && *g->name ? g->name : "graph");
  for (uint32_t i = 0; i < g->nin; i++)
    add_port(p, GRAPH_INPUT, g->in[i]);
  for (uint32_t i = 0; i < g->nout; i++)
    add_port(p, GRAPH_OUTPUT, g->out[i]);
}

static void add_constant(Pb *p, bool *done, const Value *v) {
  Pb t = {0};
  if (!v || !v->konst || done[v->id])
    return;
  done[v->id] = true;
  onnx_tensor(&t, v->name, v->konst);
  pb_msg(p, GRAPH_INITIALIZER, &t);
}

/* The constants that g and its bodies read, as initializers of the outermost graph. */
static void add_constants(Pb *p, bool *done, const Graph *g) {
  for (const Node *n = g->first; n; n = n->next) {
    for (int i = 0; i < n->nin; i++)
      add_constant(p, done, n->in[i]);
    for (int i = 0; i < 2; i++)
      if (n->body[i])
        add_constants(p, done, n->body[i]);
  }
  for (uint32_t i = 0; i < g->nout; i++)
    add_constant(p, done, g->out[i]);
}

void onnx_model(Pb *p, Arena *a, const Graph *g) {
  static const struct {
    const char *domain;
    int version;
  } opset[] = {{"", OPSET}, {"ai.onnx.ml", 5}, {"ai.onnx.preview.training", 1}};
  Pb graph = {0};
  pb_int(p, MODEL_IR, IR_VERSION);
  for (size_t i = 0; i < sizeof opset / sizeof *opset; i++) {
    Pb o = {0};
    pb_str(&o, OPSET_DOMAIN, opset[i].domain);
    pb_int(&o, OPSET_VERSION, opset[i].version);
    pb_msg(p, MODEL_OPSET, &o);
  }
  add_graph(&graph, g);
  add_constants(&graph, arena_array(a, bool, *g->next_id), g);
  pb_msg(p, MODEL_GRAPH, &graph);
}
