/* plan.h - from an optimised graph to a program: which steps run in which order, where each value lives and how long, which
 * steps work in place or are mere views, and the dim expressions the runtime evaluates once shapes are known.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_CODEGEN_PLAN_H
#define SARD_CODEGEN_PLAN_H

#include "codegen/group.h"

/* Memory that constants may borrow from: a mapped file, or the caller's model bytes. */
typedef struct PlanFile {
  const char *name;
  const uint8_t *base;
  size_t size;
} PlanFile;

/* A module of machine code, and where the kernels of Groups are in the modules. */
typedef struct PlanObject {
  Str code;
  const char *target; /* EmitTarget.cpu_level, or a GPU */
  Str ptx;            /* of kernels for GPUs */
  const char *ptx_target;
} PlanObject;
typedef struct PlanCode {
  uint32_t object; /* UINT32_MAX: not compiled */
  const char *symbol;
} PlanCode;

typedef struct PlanInput {
  const PlanFile *file;
  uint32_t nfile;
  const char *const *meta; /* key, value, key, value … */
  uint32_t nmeta;          /* pairs */
  const char *precision;   /* what to tell of it; NULL: "fp32" */
  const Groups *groups;    /* NULL: every node is a step of its own */
  const PlanObject *object;
  uint32_t nobject;
  const PlanCode *code; /* by Groups.kernel; NULL: nothing is compiled yet */
} PlanInput;

/* The program (runtime/program.h) for g, as bytes in arena a at an address aligned to PROG_ALIGN. Constants inside one of
 * the files are referred to by offset, others are copied in. */
Status plan_build(Ctx *c, Arena *a, Graph *g, const PlanInput *in, const uint8_t **program, size_t *size);

/* Is n a step that interprets its operator, element by element, when nodes are grouped so (NULL: none are)? */
bool plan_is_reference(const Groups *groups, const Node *n);

/* Hash of what a program's meaning depends on besides its bytes: the operator table and the record layout. */
uint64_t plan_build_id(void);

#endif
