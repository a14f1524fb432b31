/* nodes.c - see nodes.h. SPDX-License-Identifier: Apache-2.0 */
#include "frontend/nodes.h"

#include <assert.h>
#include <string.h>

bool raw_has(const Upgrade *u, uint32_t i) { return i < u->n.nin && *u->n.in[i]; }
const char *raw_in(const Upgrade *u, uint32_t i) { return raw_has(u, i) ? u->n.in[i] : ""; }
const char *raw_out(const Upgrade *u, uint32_t i) { return i < u->n.nout ? u->n.out[i] : ""; }

const RawAttr *raw_find(const Upgrade *u, const char *name, RawAttrType type) {
  for (uint32_t i = 0; i < u->n.nattr; i++)
    if (!strcmp(u->n.attr[i].name, name) && u->n.attr[i].type == type)
      return &u->n.attr[i];
  return NULL;
}

float raw_float(const Upgrade *u, const char *name, float otherwise) {
  const RawAttr *t = raw_find(u, name, RA_FLOAT);
  return t ? t->f : otherwise;
}

int64_t raw_int(const Upgrade *u, const char *name, int64_t otherwise) {
  const RawAttr *t = raw_find(u, name, RA_INT);
  return t ? t->i : otherwise;
}

const Type *raw_type(const Upgrade *u, const char *name) {
  const Type *t = *name ? u->type(u->arg, name) : NULL;
  return t && t->kind == VK_TENSOR && t->rank >= 0 ? t : NULL;
}

Status raw_unsupported(Upgrade *u, const char *what) {
  return fail(u->c, ST_UNSUPPORTED, "%s of com.microsoft %s, which is not supported", u->n.op, what);
}

Status raw_refuse_inputs(Upgrade *u, uint32_t from, const char *what) {
  for (uint32_t i = from; i < u->n.nin; i++)
    if (raw_has(u, i))
      return raw_unsupported(u, what);
  return ST_OK;
}

Status raw_refuse_output(Upgrade *u, uint32_t i, const char *what) {
  return *raw_out(u, i) ? raw_unsupported(u, what) : ST_OK;
}

DType raw_dtype(const Upgrade *u, const char *name) {
  const Type *t = *name ? u->type(u->arg, name) : NULL;
  return t && t->kind == VK_TENSOR ? t->dtype : DT_none;
}

uint32_t raw_kept(const Upgrade *u, uint32_t n, const char *const *names, RawAttr *to) {
  uint32_t found = 0;
  for (uint32_t i = 0; i < n; i++)
    for (uint32_t k = 0; k < u->n.nattr; k++)
      if (!strcmp(u->n.attr[k].name, names[i])) {
        to[found++] = u->n.attr[k];
        break;
      }
  return found;
}

RawAttr raw_int_attr(const char *name, int64_t v) {
  return (RawAttr){.name = name, .ref = "", .doc = "", .type = RA_INT, .i = v};
}

RawAttr raw_float_attr(const char *name, float v) {
  return (RawAttr){.name = name, .ref = "", .doc = "", .type = RA_FLOAT, .f = v};
}

RawAttr raw_ints_attr(const char *name, uint32_t n, const int64_t *v) {
  return (RawAttr){.name = name, .ref = "", .doc = "", .type = RA_INTS, .n = n, .ints = v};
}

/* Lists of integers often lie with the function that makes the node. */
static const RawAttr *copied(Upgrade *u, uint32_t n, const RawAttr *attr) {
  RawAttr *a = n ? arena_copy(u->a, attr, n * sizeof *attr) : NULL;
  for (uint32_t i = 0; i < n; i++)
    if (a[i].type == RA_INTS)
      a[i].ints = arena_copy(u->a, a[i].ints, a[i].n * sizeof *a[i].ints);
  return a;
}

static RawNode make(Upgrade *u, const char *op, uint32_t nout, Names out, uint32_t nin, Names in, uint32_t nattr,
                    const RawAttr *attr) {
  return (RawNode){.name = u->n.name,
                   .op = op,
                   .domain = "",
                   .overload = "",
                   .doc = "",
                   .in = arena_copy(u->a, in, nin * sizeof *in),
                   .nin = nin,
                   .out = arena_copy(u->a, out, nout * sizeof *out),
                   .nout = nout,
                   .attr = copied(u, nattr, attr),
                   .nattr = nattr};
}

static const char *name_of(Upgrade *u) { return u->fresh(u->arg, u->n.nout ? u->n.out[0] : u->n.op); }

static RawNode *next_before(Upgrade *u) {
  assert(u->nbefore < countof(u->before));
  return &u->before[u->nbefore++];
}

const char *raw_put(Upgrade *u, const char *op, const char *out, uint32_t nin, Names in, uint32_t nattr,
                    const RawAttr *attr) {
  out = out && *out ? out : name_of(u);
  *next_before(u) = make(u, op, 1, &out, nin, in, nattr, attr);
  return out;
}

const char *raw_put_own(Upgrade *u, const char *op, uint32_t nin, Names in, uint32_t nattr, const RawAttr *attr) {
  const char *out = raw_put(u, op, NULL, nin, in, nattr, attr);
  u->before[u->nbefore - 1].domain = "sard";
  return out;
}

void raw_put_many(Upgrade *u, const char *op, uint32_t nout, const char **out, uint32_t nin, Names in, uint32_t nattr,
                  const RawAttr *attr) {
  for (uint32_t i = 0; i < nout; i++)
    out[i] = name_of(u);
  *next_before(u) = make(u, op, nout, out, nin, in, nattr, attr);
}

Status raw_become(Upgrade *u, const char *op, uint32_t nin, Names in, uint32_t nattr, const RawAttr *attr) {
  const char *out = raw_out(u, 0);
  u->n = make(u, op, 1, &out, nin, in, nattr, attr);
  return ST_OK;
}

Status raw_become_last(Upgrade *u) {
  const char *out = raw_out(u, 0);
  assert(u->nbefore);
  u->n = u->before[--u->nbefore];
  u->n.out = arena_copy(u->a, &out, sizeof out), u->n.nout = 1;
  return ST_OK;
}

const char *raw_ints(Upgrade *u, uint32_t n, const int64_t *v) {
  RawAttr value = raw_ints_attr("value_ints", n, v);
  return raw_put(u, "Constant", NULL, 0, NULL, 1, &value);
}

const char *raw_real(Upgrade *u, float v) {
  RawAttr value = raw_float_attr("value_float", v);
  return raw_put(u, "Constant", NULL, 0, NULL, 1, &value);
}

const char *raw_two(Upgrade *u, const char *op, const char *a, const char *b) {
  return raw_put(u, op, NULL, NAMES(a, b), 0, NULL);
}

const char *raw_cast(Upgrade *u, const char *x, DType to) {
  RawAttr attr = raw_int_attr("to", to);
  return raw_put(u, "Cast", NULL, NAMES(x), 1, &attr);
}

const char *raw_extent(Upgrade *u, const char *x, int64_t axis) {
  RawAttr attr[] = {raw_int_attr("start", axis), raw_int_attr("end", axis + 1)};
  return raw_put(u, "Shape", NULL, NAMES(x), 2, attr);
}

const char *raw_count(Upgrade *u, const char *n) {
  RawAttr zero = raw_int_attr("value_int", 0), one = raw_int_attr("value_int", 1);
  const char *from = raw_put(u, "Constant", NULL, 0, NULL, 1, &zero);
  const char *step = raw_put(u, "Constant", NULL, 0, NULL, 1, &one);
  return raw_put(u, "Range", NULL, NAMES(from, raw_put(u, "Squeeze", NULL, NAMES(n), 0, NULL), step), 0, NULL);
}

const char *raw_transpose(Upgrade *u, const char *x, uint32_t rank, const int64_t *perm) {
  RawAttr attr = raw_ints_attr("perm", rank, perm);
  return raw_put(u, "Transpose", NULL, NAMES(x), 1, &attr);
}

const char *raw_channels_first(Upgrade *u, const char *x, int rank) {
  int64_t perm[MAX_RANK] = {0, rank - 1};
  for (int i = 2; i < rank; i++)
    perm[i] = i - 1;
  return raw_transpose(u, x, (uint32_t)rank, perm);
}

const char *raw_channels_last(Upgrade *u, const char *x, int rank) {
  int64_t perm[MAX_RANK] = {0};
  for (int i = 1; i < rank; i++)
    perm[i] = i == rank - 1 ? 1 : i + 1;
  return raw_transpose(u, x, (uint32_t)rank, perm);
}

static const int64_t heads_first[] = {0, 2, 1, 3};

const char *raw_heads(Upgrade *u, const char *x, int64_t heads) {
  RawAttr perm = raw_ints_attr("perm", 4, heads_first);
  return raw_put(u, "Transpose", NULL, NAMES(raw_two(u, "Reshape", x, raw_ints(u, INTS(0, 0, heads, -1)))), 1, &perm);
}

Status raw_become_joined(Upgrade *u, const char *x) {
  RawAttr perm = raw_ints_attr("perm", 4, heads_first);
  const char *y = raw_put(u, "Transpose", NULL, NAMES(x), 1, &perm);
  return raw_become(u, "Reshape", NAMES(y, raw_ints(u, INTS(0, 0, -1))), 0, NULL);
}
