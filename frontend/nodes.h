/* nodes.h - reading a node on its way to another form, and making those that take its place.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_FRONTEND_NODES_H
#define SARD_FRONTEND_NODES_H

#include "frontend/upgrade.h"

/* --- the node --- */
bool raw_has(const Upgrade *u, uint32_t i); /* is there an input i? */
const char *raw_in(const Upgrade *u, uint32_t i);
const char *raw_out(const Upgrade *u, uint32_t i);
const RawAttr *raw_find(const Upgrade *u, const char *name, RawAttrType type); /* NULL: not there */
float raw_float(const Upgrade *u, const char *name, float otherwise);
int64_t raw_int(const Upgrade *u, const char *name, int64_t otherwise);
/* The type of a value if it is a tensor of known rank, else NULL. */
const Type *raw_type(const Upgrade *u, const char *name);

/* "OP of com.microsoft WHAT, which is not supported" */
Status raw_unsupported(Upgrade *u, const char *what);
Status raw_refuse_inputs(Upgrade *u, uint32_t from, const char *what);
Status raw_refuse_output(Upgrade *u, uint32_t i, const char *what);
DType raw_dtype(const Upgrade *u, const char *name); /* DT_none: not known */
/* Those of the node's attributes that are called so; how many there are. */
uint32_t raw_kept(const Upgrade *u, uint32_t n, const char *const *names, RawAttr *to);

/* --- nodes made here --- */
RawAttr raw_int_attr(const char *name, int64_t v);
RawAttr raw_float_attr(const char *name, float v);
RawAttr raw_ints_attr(const char *name, uint32_t n,
                      const int64_t *v); /* v is copied by whoever makes the node's data */

typedef const char *const *Names;
#define NAMES(...)                                                                                                     \
  (uint32_t)(sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *)), (const char *const[]) { __VA_ARGS__ }

/* A node before; its output, under the name `out` or one of its own (NULL, ""). */
const char *raw_put(Upgrade *u, const char *op, const char *out, uint32_t nin, Names in, uint32_t nattr,
                    const RawAttr *attr);
/* The same of domain sard, under a name of its own. */
const char *raw_put_own(Upgrade *u, const char *op, uint32_t nin, Names in, uint32_t nattr, const RawAttr *attr);
/* The same with several outputs, all under names of their own, which are written to `out`. */
void raw_put_many(Upgrade *u, const char *op, uint32_t nout, const char **out, uint32_t nin, Names in, uint32_t nattr,
                  const RawAttr *attr);
/* The node itself becomes this one, with its first output. */
Status raw_become(Upgrade *u, const char *op, uint32_t nin, Names in, uint32_t nattr, const RawAttr *attr);
Status raw_become_last(Upgrade *u); /* the last of the nodes before */

/* Constants: a list, a number. */
const char *raw_ints(Upgrade *u, uint32_t n, const int64_t *v);
#define INTS(...)                                                                                                      \
  (uint32_t)(sizeof((const int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (const int64_t[]) { __VA_ARGS__ }
const char *raw_real(Upgrade *u, float v);
/* Shorthands over raw_put. */
const char *raw_two(Upgrade *u, const char *op, const char *a, const char *b);
const char *raw_cast(Upgrade *u, const char *x, DType to);
const char *raw_extent(Upgrade *u, const char *x, int64_t axis); /* i64[1] */
const char *raw_count(Upgrade *u, const char *n);                /* 0 … n-1, of i64[1] */
const char *raw_transpose(Upgrade *u, const char *x, uint32_t rank, const int64_t *perm);
/* [N, …, C] as [N, C, …], and back; rank at most MAX_RANK. */
const char *raw_channels_first(Upgrade *u, const char *x, int rank);
const char *raw_channels_last(Upgrade *u, const char *x, int rank);
/* [b, s, heads * d] as [b, heads, s, d], and back under the name `out`. */
const char *raw_heads(Upgrade *u, const char *x, int64_t heads);
Status raw_become_joined(Upgrade *u, const char *x);

#endif
