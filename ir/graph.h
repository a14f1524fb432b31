/* graph.h - the graph IR: values, the nodes that make them, and graphs of nodes in topological order.
 *
 * A value is defined once: by a node, as a graph input, or as a constant (konst). Nodes form a list in execution order.
 * Bodies of If, Loop and Scan are graphs in the same arena; their nodes may use values of the enclosing graphs.
 * Everything lives in the graph's arena and is freed with it.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_IR_GRAPH_H
#define SARD_IR_GRAPH_H

#include "ir/op.h"
#include "support/dim.h"
#include "support/tensor.h"

/* What is known of a value before the run. */
typedef struct Type {
  uint8_t kind; /* ValueKind */
  DType dtype;  /* DT_none: not known. Containers: see elem */
  int8_t rank;  /* -1: not known */
  Dim dim[MAX_RANK];
  const struct Type
      *elem; /* sequence and optional: element type, NULL: not known; map: value type, dtype is the key's */
} Type;

typedef struct Node Node;
typedef struct Graph Graph;
typedef struct Value Value;

/* `present` is `past` and behind its rows, on `axis`, new ones; a graph output and a graph input. The caller may keep both in
 * one memory with room for more rows: then the rows of past are not written again. How many rows there is room for, and how
 * many are copied, is known in a run only: symbols of their own. */
typedef struct Append {
  Value *past, *present;
  int axis;
  Dim past_room, present_room; /* rows in memory, those of the tensor included; for dense tensors their number */
  Dim copied;                  /* rows of past that are written to present: all, or none */
} Append;

/* One use of a value: input `slot` of `node`, or, when node is NULL, output `slot` of `graph`. */
typedef struct Use {
  Node *node;
  Graph *graph;
  uint32_t slot;
  struct Use *next, **at; /* *at is this use */
} Use;

struct Value {
  const char *name; /* as in the model, unique within nested graphs; made up when the model has none */
  Type type;
  Node *def;            /* NULL: graph input or constant */
  uint16_t index;       /* which output of def */
  bool is_input;        /* a graph input */
  const Tensor *konst;  /* constant, or NULL; data may be a borrowed, unaligned piece of a mapped file */
  const Tensor *deflt;  /* graph input: its value when the caller gives none, or NULL; data as of konst */
  const Type *declared; /* the type as the file states it, or NULL */
  const Dim *content; /* integer tensors of at most MAX_CONTENT elements: their elements as dim expressions, or NULL */
  uint32_t told;      /* content is so many symbols of this value's own, which its data tell in a run; 0: it is not */
  Use *uses;
  uint32_t nout;        /* uses that are graph outputs */
  uint64_t hash;        /* of a constant's bytes, 0: not worked out yet; one parsed from `#hash` keeps that */
  uint32_t id;          /* unique in the outermost graph */
  const Append *append; /* what it is the past or the present of, or NULL: codegen/append.c */
  uint32_t varies;      /* input of a Loop or Scan body: bit k: extent k changes from trip to trip; VARIES_RANK */
};

#define VARIES_RANK (1u << 31)
enum { MAX_CONTENT = 256, MAX_ORIGINS = 64 };

/* Where a node came from. A fused node has several, the root first. */
typedef struct Origin {
  const char *node;   /* ONNX node name, or "#17" by position when it has none */
  const char *op;     /* operator as in the file, e.g. "com.microsoft.BiasGelu" */
  const char *module; /* exporter's module path ("encoder.layer.3"), or NULL */
  const char *klass;  /* exporter's class hierarchy, innermost, or NULL */
  const char *source; /* "model.py:88, in forward", or NULL */
  uint32_t index;     /* position in the file */
  uint32_t nmore;
  const struct Origin **more; /* the others that were fused in */
} Origin;

struct Node {
  OpId op;
  uint16_t nin, nout;
  Value **in;           /* in[i] == NULL: optional input absent */
  Value **out;          /* out[i] == NULL: optional output not wanted */
  Use **use;            /* of in[i] */
  void *attr;           /* struct of op_info(op)->attrs, or NULL */
  Graph *body[2];       /* If: then, else; Loop, Scan: body */
  const Origin *origin; /* never NULL */
  Graph *graph;
  Node *prev, *next;
  uint32_t id;
};

struct Graph {
  Arena *arena;
  Ctx *c;
  const char *name;
  Graph *up;   /* enclosing graph of a body, or NULL */
  Node *owner; /* node whose body this is, or NULL */
  Node *first, *last;
  Value **in, **out;
  Use **use; /* of out[i] */
  uint32_t nin, nout;
  uint32_t *next_id;    /* shared with the bodies */
  uint8_t underscores;  /* in front of the number in a made-up name; no other name is of that form */
  uint64_t typed;       /* body: hash of the outer types it was last inferred from; 0: never (ops/control.c) */
  uint32_t dims_before; /* body: symbols with a larger id were made inside */
  bool impossible;      /* branch of an If: a node in it fails for the types it sees, so that only the run may tell */
};

/* --- types --- */
Type type_tensor(DType t, int rank, Dim const *dim); /* rank -1: dim may be NULL */
Type type_of_tensor(Ctx *c, const Tensor *t);
bool type_equal(const Type *a, const Type *b);
bool type_is_static(const Type *t);           /* tensor, known dtype and rank, all dims constant */
Dim type_count(Ctx *c, const Type *t);        /* product of the dims; rank must be known */
Dim value_rows(const Value *v, int axis);     /* the extent of an axis in memory: that of the type, or Append's room */
const char *type_text(Ctx *c, const Type *t); /* "f32[batch,384]", "f32[*]" for unknown rank, "?" */
void type_print(StrBuf *b, const Type *t);

/* --- building --- */
Graph *graph_create(Ctx *c, const char *name); /* owns a new arena */
Graph *graph_create_body(Node *owner, int which, const char *name);
void graph_destroy(Graph *g); /* the outermost one */

Value *graph_add_input(Graph *g, const char *name, Type t);
void graph_add_output(Graph *g, Value *v);
void graph_drop_outputs(Graph *g); /* all of them: a body that is taken apart */
/* A constant; t and its data must live as long as the graph (mapped file, or its arena). name may be NULL. */
Value *graph_add_const(Graph *g, const char *name, const Tensor *t);
/* A node before `before` (NULL: at the end) with absent inputs and fresh unnamed outputs. attr NULL: defaults. */
Node *graph_add_node(Graph *g, Node *before, OpId op, int nin, int nout, const void *attr, const Origin *origin);
/* The same with inputs given and one output, the common case of a rewrite; returns that output. */
Value *graph_emit(Graph *g, Node *before, OpId op, const void *attr, const Origin *origin, int nin, Value *const *in);
void node_set_input(Node *n, int i, Value *v); /* v NULL: absent */
void node_set_inputs(Node *n, int nin, Value *const *in);
void node_drop_output(Node *n, int i);        /* must be unused */
Value *node_add_output(Node *n);              /* one more, fresh and unnamed */
void node_move_before(Node *n, Node *before); /* same graph, or from a body into an enclosing one */
void node_remove(Node *n);                    /* outputs must be unused */
void value_replace(Value *old,
                   Value *by); /* every use, graph outputs included; keeps old's name when by has none of its own */
void value_rename(Value *v, const char *name);
/* A made-up name. */
const char *graph_name(Graph *g, uint32_t id);
/* How many underscores a name of the made-up form has, `__7`; 0: it is not of that form, or has more than 63. */
int name_made_up(const char *name);

/* --- asking --- */
bool value_is_output(const Value *v);
int value_use_count(const Value *v);   /* graph outputs count */
Node *value_sole_user(const Value *v); /* the one node that uses it once, if it is no graph output; else NULL */
/* Gives a small integer tensor whose elements nothing tells before the run symbols for them: content, told. */
void value_tell(Ctx *c, Value *v);
bool graph_encloses(const Graph *outer, const Graph *inner); /* or equal */
uint32_t graph_node_count(const Graph *g, bool nested);
/* Elements of a constant integer value; false: not a constant of integers. */
bool value_ints(const Value *v, const int64_t **elem, int64_t *n, Arena *scratch);
/* The value of a constant of one element (any numeric dtype). */
bool value_scalar(const Value *v, double *x);

Origin *origin_new(Graph *g, const char *node, const char *op, uint32_t index);
const Origin *origin_merge(Graph *g, const Origin *root, const Origin *const *more, uint32_t n);
/* Fills c->err's node fields from the origin; returns st. */
Status err_origin(Ctx *c, Status st, const Origin *o);

/* From here to where c->place is what is returned again, the node from o is worked on. */
NodePlace origin_enter(Ctx *c, const Origin *o);

double const_elem(const Tensor *t, int64_t i); /* element i of a numeric constant, whose data may be unaligned */
uint64_t value_hash(Value *v);                 /* of a constant's bytes, never 0 (print.c) */

/* --- whole graphs (verify.c, print.c, parse.c) --- */
/* Checks every invariant stated above: definitions before uses, use lists, arity, types present, names. ST_INTERNAL. */
Status graph_verify(Ctx *c, Graph *g);

typedef struct PrintOptions {
  bool origins;  /* `@ "node" "module" "source"` behind each node */
  bool no_names; /* %0, %1 … instead of the model's names: what golden dumps compare */
  bool no_types;
  int const_limit; /* constants of more elements are printed as type and hash; 0: 16 */
} PrintOptions;
/* The text form:
 *   graph "name" {
 *     dim batch = 1..64                                 symbols whose range is known; an open end: `1..`
 *     in %x : f32[batch, 384]
 *     const %s : f32[2] = {1, 2}                        or `= #0123456789abcdef`
 *     %y : f32[batch, 384] = LayerNormalization(%x, %s) {axis = -1} @ "node" "module" "source" + "fused in" _ _
 *     %a, _ : f32[2], _ = Split(%s, _) {num_outputs = 2}
 *     %r : f32[2] = If(%c) body "then" { … } body "else" { … }
 *     out %y, %r
 *   }
 * A name that holds other characters than letters, digits and `_./-` is quoted: %"a b". `#` to the end of a line is a
 * comment where no constant's hash is expected. A constant stands before the first outermost node that needs it. */
void graph_print(StrBuf *b, const Graph *g, const PrintOptions *o); /* o NULL: defaults */
/* Reads what graph_print writes (constants printed as a hash become a fixed pattern seeded by the hash). */
Status graph_parse(Ctx *c, const char *text, size_t n, const char *file, Graph **out);

#endif
