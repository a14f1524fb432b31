/* group.h - which nodes are computed together: from an optimised graph to units (codegen/unit.h), one per kernel step.
 *
 * A group is a connected set of nodes of one graph (the outermost, or a body of control flow) that one unit computes: a loop kernel with everything inlined
 * that only it needs, or a product or an attention with the element-by-element work behind it. What is in no group is a step
 * of its own: a reference step, or host work (shape arithmetic, control flow, text, file formats).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_CODEGEN_GROUP_H
#define SARD_CODEGEN_GROUP_H

#include "codegen/unit.h"
#include "ops/lower.h"

typedef struct Group {
  uint32_t index;
  Unit *unit;
  Node *root;  /* the last of its nodes: where its step stands */
  Node **node; /* in graph order */
  uint32_t nnode;
  Value **in; /* the unit's inputs, in order; constants among them */
  uint32_t nin;
  Value **out; /* the unit's outputs, in order */
  uint32_t nout;
  uint32_t in_place;    /* bit i: the kernel reads input i only at the element it writes, and before it writes it */
  uint32_t kernel;      /* Groups.kernel */
  uint32_t packed;      /* Groups.packed: what input 1 reads instead of in[1]; UINT32_MAX: nothing */
  const Origin *origin; /* of all its nodes, the root first */
  const Need *need;     /* what the kernel takes for granted of numbers that data tell */
  uint32_t nneed;
  const char *signature; /* unit_signature */
  const Dim *dim;        /* KernelArgs.dim */
  uint32_t ndim;
} Group;

/* What became of a node, for `sard explain`. */
typedef struct NodeFate {
  Group *group;    /* NULL: a step of its own, a host step, or gone */
  bool host;       /* on the CPU by nature */
  bool gone;       /* needs no step: nobody reads its values from memory */
  const char *why; /* one line: why it is in no group, or why the group whose root it is ends there; "" */
} NodeFate;

/* A constant operand B of products, to be packed into a memory of its own: product_pack(product_plan(product, level), k, n,
 * trans, taps, value->konst->data, memory + offset, …), or nbits_pack, or on GPUs gpu_weight_pack. [k, n], or [n, k] when trans. */
typedef struct Packed {
  const Value *value;
  const Value *scale, *zero; /* of few bits: what goes with it; zero: may be NULL */
  const Product *product;    /* the first that uses it */
  int64_t k, n;
  bool trans;
  int64_t taps;          /* product_pack */
  uint64_t offset, size; /* bytes in the packed memory; offsets are multiples of 64 */
} Packed;

typedef struct Groups {
  Group **group; /* in step order */
  uint32_t n;
  const Unit **kernel; /* what is to be compiled: one unit per different signature */
  uint32_t nkernel;
  Packed *packed;
  uint32_t npacked;
  uint64_t packed_size;  /* bytes of all of them */
  NodeFate *fate;        /* by Node.id */
  const char *cpu_level; /* what it was made for */
  const Dim *growing;    /* GPUs: symbols that are another number in each run (codegen/growing.h) */
  uint32_t ngrowing;
} Groups;

typedef struct GroupOptions {
  const char *cpu_level;       /* support/cpu.h: what the loops are scheduled for */
  bool pack;                   /* constant operands B of products are packed for that level */
  const struct Tuning *tuning; /* of products (codegen/tuning.h); NULL: none */
} GroupOptions;

/* Groups of g, the outermost graph, and of the bodies in it, in arena a. The graph is not changed. */
Status group_graph(Ctx *c, Arena *a, Graph *g, const GroupOptions *o, Groups **out);

/* Shape arithmetic, control flow, text, containers and file formats: on the CPU by nature. */
bool node_is_host(const Node *n);
/* An operator with a generator of its own (products, convolutions, attention), which other nodes join as its epilogue. */
bool op_is_anchor(OpId op);

#endif
