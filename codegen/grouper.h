/* grouper.h - what the files of grouping share: group.c (surveys, loops), anchors.c (products and attentions, which come first).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_CODEGEN_GROUPER_H
#define SARD_CODEGEN_GROUPER_H

#include "codegen/group.h"
#include "codegen/loop.h"

enum { MAX_INPUTS = 14, MAX_OUTPUTS = 4, MAX_SIDE = 4 };

typedef struct Info {
  uint32_t pos;  /* in the graph's order */
  uint32_t step; /* position of the first step that evaluates it; UINT32_MAX: none yet */
  LowerKind kind;
  bool host, timely; /* timely: its extents are known before it runs */
  bool fixed;        /* in a product's group, or an anchor: no loop group takes it */
  const char *why;
} Info;

typedef struct Grouper {
  Ctx *c;
  Arena *a;
  Graph *g;
  const GroupOptions *o;
  Groups *out;
  Info *info;     /* by Node.id */
  bool *needed;   /* by Value.id: read from memory by some step */
  bool *stored;   /* by Value.id: a group stores it */
  Map known;      /* symbols bound so far */
  Map teller;     /* symbol -> Value whose element it is */
  Map *kernels;   /* signature -> kernel index + 1 */
  Dim *wanted_if; /* by Value.id: where this is 0 the value is read by nobody, and need not be made; NULL: it must be */
  uint32_t *next_pos;
  struct Grouper *up; /* of the graph around this body, or NULL */
  Node **order;       /* by position */
  uint32_t norder;
} Grouper;

/* A set of nodes being collected. */
typedef struct Set {
  Node *node[LOOP_NODES];
  bool ident[LOOP_NODES]; /* evaluated at the result's own index, or at that of the row's elements */
  bool part[LOOP_NODES];  /* not all of its elements are asked for; as it is collected */
  uint32_t n;
  Node *core;
  Value *out[MAX_OUTPUTS + 1];
  uint32_t nout;
} Set;

static inline Info *info(Grouper *p, const Node *n) { return &p->info[n->id]; }
static inline bool elementwise(const Node *n) {
  return (op_info(n->op)->flags & OPF_ELEMENTWISE) != 0 || node_quantises_alike(n);
}

/* --- group.c --- */
int set_find(const Set *s, const Node *n); /* -1: not in it */
uint32_t set_inputs(const Set *s); /* buffers that its nodes read from outside; constants of one element are none */
const char *group_name(Grouper *p, const char *head, Node *const *node, uint32_t n); /* "add.mul.gelu" */
Unit *group_unit(Grouper *p, UnitKind kind, const char *name);
/* The group of a unit, with its kernel among those to compile; in, out and the rest are for the caller to fill in. */
Group *group_add(Grouper *p, Unit *u, Node *const *node, uint32_t n, Node *root);
bool group_knows(Grouper *p, Dim d);                      /* its symbols are among those known so far */
void group_need(Grouper *p, Value *const *v, uint32_t n); /* these are read from memory */

/* --- anchors.c --- */
/* A node as a product. */
typedef struct Operands {
  Value *a, *b;
  Node *behind; /* a Transpose that is part of the product: its result is the product's; or NULL */
  Product x;
  LoopAxes axes;
} Operands;
void group_anchors(Grouper *p);
/* These say why not in *why. MatMul (13), Gemm (13) of f32, on GPUs also of f16 and bf16; Conv (22) of the same. */
bool anchor_product(Grouper *p, const Node *n, Operands *o, const char **why);
bool anchor_conv(Grouper *p, const Node *n, Operands *o, const char **why);
bool anchor_nbits(Grouper *p, const Node *n, Operands *o, const char **why);
bool anchor_integer(Grouper *p, const Node *n, Operands *o, const char **why);
bool anchor_integer_conv(Grouper *p, const Node *n, Operands *o, const char **why);
bool anchor_bias_ok(const Node *n, const LoopAxes *axes); /* the third input of a Gemm can be read in an epilogue */
/* The longest run of element-by-element nodes behind those of the set that ends in one value. Returns how many of s->node
 * belong to it. */
uint32_t anchor_follow(Grouper *p, const LoopAxes *axes, Set *s);
const char *anchor_product_name(Grouper *p, const Product *x); /* "product.384x1536" */
const char *anchor_conv_name(Grouper *p, const Node *n, const Product *x);
const char *anchor_why_ends(const Set *s,
                            const Value *result); /* what stands behind a product and is not part of its epilogue */
uint32_t group_pack(Grouper *p, const Packed *x); /* its number in Groups.packed, of which it is the last */
void anchor_operands_end(Grouper *p, const Group *x, const char *why);

/* --- gpu_narrow.c --- */
/* What a product reads instead of its B. */
typedef struct GpuNarrow {
  Value *weight, *scale, *zero, *wide; /* zero: may be NULL; wide: B */
  ProductNarrow f;
} GpuNarrow;
bool gpu_narrow_of(Grouper *p, const Operands *o, GpuNarrow *x);
/* 0 where there are no more rows than code of ours multiplies, so that nobody reads the wide B. NULL: somebody else may. */
Dim gpu_narrow_wanted_if(Grouper *p, const Node *n, const GpuNarrow *x, Dim rows);

/* --- gpu_anchors.c --- */
/* Groups a product or convolution for a GPU, unless it is better as a loop. */
bool gpu_product_group(Grouper *p, Node *n);

#endif
