/* upgrade.c - one table row per change that ONNX made to an operator, and the step that brings a node over it.
 *
 * A row says: before this opset the operator had another form. Rows of one operator run in the order of their opsets,
 * so a node of opset 1 passes through all of them. Changes that only add element types, or attributes whose default is
 * what was meant before, need no row. SPDX-License-Identifier: Apache-2.0 */
#include "frontend/upgrade.h"

#include "support/dtype.h"

#include <assert.h>
#include <string.h>

/* --- attributes --- */

static const RawAttr *find(const Upgrade *u, const char *name) {
  for (uint32_t i = 0; i < u->n.nattr; i++)
    if (!strcmp(u->n.attr[i].name, name))
      return &u->n.attr[i];
  return NULL;
}

/* Takes the attribute out of the node; NULL: it is not there. */
static const RawAttr *take(Upgrade *u, const char *name) {
  const RawAttr *t = find(u, name);
  if (!t)
    return NULL;
  RawAttr *rest = arena_array(u->a, RawAttr, u->n.nattr);
  uint32_t k = 0;
  for (uint32_t i = 0; i < u->n.nattr; i++)
    if (&u->n.attr[i] != t)
      rest[k++] = u->n.attr[i];
  u->n.attr = rest, u->n.nattr = k;
  return t;
}

static Status take_typed(Upgrade *u, const char *name, RawAttrType type, const RawAttr **t) {
  *t = take(u, name);
  if (*t && (*t)->type != type)
    return fail(u->c, ST_INVALID, "attribute '%s' has the wrong type", name);
  return ST_OK;
}

static void put(Upgrade *u, RawAttr t) {
  take(u, t.name);
  RawAttr *list = arena_array(u->a, RawAttr, (size_t)u->n.nattr + 1);
  if (u->n.nattr)
    memcpy(list, u->n.attr, u->n.nattr * sizeof *list);
  t.ref = t.doc = "";
  list[u->n.nattr++] = t;
  u->n.attr = list;
}

static RawAttr int_attr(const char *name, int64_t v) {
  return (RawAttr){.name = name, .ref = "", .doc = "", .type = RA_INT, .i = v};
}

static RawAttr str_attr(const char *name, const char *v) {
  return (RawAttr){.name = name, .ref = "", .doc = "", .type = RA_STRING, .s = str_of(v)};
}

static Status drop(Upgrade *u, const char *name) {
  take(u, name);
  return ST_OK;
}

/* --- names and nodes --- */

static const char *name_of(const Upgrade *u, uint32_t i) { /* of input i; "": absent */
  return i < u->n.nin ? u->n.in[i] : "";
}

static void set_inputs(Upgrade *u, uint32_t n, const char *const *in) {
  const char **list = arena_array(u->a, const char *, n);
  for (uint32_t i = 0; i < n; i++)
    list[i] = in[i];
  u->n.in = list, u->n.nin = n;
}

static void set_input(Upgrade *u, uint32_t i, const char *name) {
  uint32_t n = i < u->n.nin ? u->n.nin : i + 1;
  const char **list = arena_array(u->a, const char *, n);
  for (uint32_t k = 0; k < n; k++)
    list[k] = k == i ? name : name_of(u, k);
  u->n.in = list, u->n.nin = n;
}

static const char *fresh(Upgrade *u, const char *base) { return u->fresh(u->arg, base); }

RawNode raw_node(Upgrade *u, const char *op, const char *out, uint32_t nin, const char *const *in) {
  const char **o = arena_array(u->a, const char *, 1);
  o[0] = out;
  return (RawNode){.name = u->n.name,
                   .op = op,
                   .domain = "",
                   .overload = "",
                   .doc = "",
                   .in = nin ? arena_copy(u->a, in, nin * sizeof *in) : NULL,
                   .nin = nin,
                   .out = o,
                   .nout = 1,
                   .newest = true};
}

static RawNode make(Upgrade *u, const char *op, const char *out, uint32_t nin, const char *const *in, uint32_t nattr,
                    const RawAttr *attr) {
  RawNode n = raw_node(u, op, out, nin, in);
  n.attr = nattr ? arena_copy(u->a, attr, nattr * sizeof *attr) : NULL, n.nattr = nattr;
  return n;
}

#define NAMES(...)                                                                                                     \
  (sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *)), (const char *const[]) { __VA_ARGS__ }

static const char *put_before(Upgrade *u, const char *op, uint32_t nin, const char *const *in, uint32_t nattr,
                              const RawAttr *attr) {
  const char *out = fresh(u, u->n.nout ? u->n.out[0] : u->n.op);
  assert(u->nbefore < countof(u->before));
  u->before[u->nbefore++] = make(u, op, out, nin, in, nattr, attr);
  return out;
}

static const char *constant_ints(Upgrade *u, const int64_t *v, uint32_t n) {
  RawAttr t = {.name = "value_ints",
               .ref = "",
               .doc = "",
               .type = RA_INTS,
               .n = n,
               .ints = n ? arena_copy(u->a, v, n * sizeof *v) : NULL};
  return put_before(u, "Constant", 0, NULL, 1, &t);
}

static const char *constant_floats(Upgrade *u, const float *v, uint32_t n) {
  RawAttr t = {.name = "value_floats",
               .ref = "",
               .doc = "",
               .type = RA_FLOATS,
               .n = n,
               .floats = n ? arena_copy(u->a, v, n * sizeof *v) : NULL};
  return put_before(u, "Constant", 0, NULL, 1, &t);
}

/* A number of rank 0 with the element type of the named value. */
static const char *constant_like(Upgrade *u, float v, const char *like) {
  const Type *t = u->type(u->arg, like);
  RawAttr value = {.name = "value_float", .ref = "", .doc = "", .type = RA_FLOAT, .f = v};
  if (!t || t->kind != VK_TENSOR || !t->dtype) {
    const char *c = put_before(u, "Constant", 0, NULL, 1, &value);
    return put_before(u, "CastLike", NAMES(c, like), 0, NULL);
  }
  size_t size = 8;
  if (t->dtype == DT_f32 || dtype_kind(t->dtype) == DK_STRING || dtype_kind(t->dtype) == DK_COMPLEX ||
      !dtype_bytes(t->dtype, 1, &size) || size > 8)
    return put_before(u, "Constant", 0, NULL, 1, &value);
  WirePiece *p = arena_new(u->a, WirePiece);
  void *data = arena_get(u->keep, 1, 8, 8);
  elem_set_f64(t->dtype, data, 0, v);
  *p = (WirePiece){.ptr = data, .len = size, .field = TP_RAW_DATA, .packed = true};
  RawTensor *x = arena_new(u->a, RawTensor);
  *x = (RawTensor){.name = "", .dtype = t->dtype, .piece = p, .npiece = 1};
  value = (RawAttr){.name = "value", .ref = "", .doc = "", .type = RA_TENSOR, .tensor = x};
  return put_before(u, "Constant", 0, NULL, 1, &value);
}

/* Lets the node write to a new name; what comes after it makes the old one. Returns the new name. */
static const char *rename_output(Upgrade *u, uint32_t i, const char **old) {
  const char **list = arena_array(u->a, const char *, u->n.nout);
  memcpy(list, u->n.out, u->n.nout * sizeof *list);
  *old = list[i];
  list[i] = fresh(u, *old);
  u->n.out = list;
  return list[i];
}

/* Rank of a value; -1: not known. */
static int rank_of(const Upgrade *u, const char *name) {
  const Type *t = *name ? u->type(u->arg, name) : NULL;
  return t && t->kind == VK_TENSOR ? t->rank : -1;
}

static Status unsupported(Upgrade *u, const char *what) {
  return err_hint(u->c, fail(u->c, ST_UNSUPPORTED, "%s of opset %lld %s", u->n.op, (long long)u->opset, what),
                  "export the model with a newer opset");
}

/* --- steps --- */

static Status drop_consumed(Upgrade *u) { /* 1 -> 6: a hint about memory */
  return drop(u, "consumed_inputs");
}

/* axes, an attribute, becomes input 1. */
static Status axes_to_input(Upgrade *u) {
  const RawAttr *t;
  TRY(take_typed(u, "axes", RA_INTS, &t));
  if (t && t->n)
    set_input(u, 1, constant_ints(u, t->ints, t->n));
  else if (t && !strcmp(u->n.op, "Unsqueeze"))
    set_input(u, 1, constant_ints(u, NULL, 0));
  return ST_OK;
}

/* Before opset 7 shapes had to be equal, unless broadcast=1: then B is laid along A from `axis` on, or at its end. */
static Status explicit_broadcast(Upgrade *u) {
  const RawAttr *b, *t;
  TRY(take_typed(u, "broadcast", RA_INT, &b));
  TRY(take_typed(u, "axis", RA_INT, &t));
  if (!b || !b->i || !t || u->n.nin != 2)
    return ST_OK;
  int ra = rank_of(u, u->n.in[0]), rb = rank_of(u, u->n.in[1]);
  if (ra < 0 || rb < 0)
    return unsupported(u, "broadcasts along an axis of a value of unknown rank");
  int64_t axis = t->i < 0 ? t->i + ra : t->i, add = ra - axis - rb, axes[MAX_RANK];
  if (axis < 0 || axis > ra || add < 0)
    return fail(u->c, ST_INVALID, "B has %d dimensions and cannot be laid along axis %lld of A, which has %d", rb,
                (long long)t->i, ra);
  if (!add)
    return ST_OK;
  for (int64_t i = 0; i < add; i++)
    axes[i] = rb + i;
  const char *list = constant_ints(u, axes, (uint32_t)add);
  set_input(u, 1, put_before(u, "Unsqueeze", NAMES(u->n.in[1], list), 0, NULL));
  return ST_OK;
}

/* Before opset 7 a slope of one dimension belongs to the channels, axis 1. */
static Status prelu_7(Upgrade *u) {
  if (u->n.nin != 2)
    return ST_OK;
  const Type *s = u->type(u->arg, u->n.in[1]);
  int rx = rank_of(u, u->n.in[0]), rs = rank_of(u, u->n.in[1]);
  if (rx < 0 || rs < 0)
    return unsupported(u, "has inputs of unknown rank");
  if (rs != 1 || rx < 3 || dim_is(s->dim[0], 1))
    return ST_OK;
  int64_t axes[MAX_RANK];
  for (int i = 0; i < rx - 2; i++)
    axes[i] = i + 1;
  const char *list = constant_ints(u, axes, (uint32_t)(rx - 2));
  set_input(u, 1, put_before(u, "Unsqueeze", NAMES(u->n.in[1], list), 0, NULL));
  return ST_OK;
}

static Status selu_6(Upgrade *u) { /* the defaults had fewer digits */
  static const struct {
    const char *name;
    float v;
  } was[] = {{"alpha", 1.6732f}, {"gamma", 1.0507f}};
  for (size_t i = 0; i < countof(was); i++)
    if (!find(u, was[i].name))
      put(u, (RawAttr){.name = was[i].name, .type = RA_FLOAT, .f = was[i].v});
  return ST_OK;
}

static Status cast_6(Upgrade *u) { /* `to` was the type's name */
  const RawAttr *t;
  TRY(take_typed(u, "to", RA_STRING, &t));
  if (!t)
    return ST_OK;
  for (int d = 1; d < DT_count; d++)
    if (dtype_valid(d) && str_is(t->s, dtype_onnx((DType)d))) {
      put(u, int_attr("to", d));
      return ST_OK;
    }
  return fail(u->c, ST_INVALID, "attribute 'to': '%.*s' is no element type", (int)(t->s.len < 64 ? t->s.len : 64),
              t->s.ptr ? t->s.ptr : "");
}

/* min and max become inputs. A bound left out was the largest float, which only infinities exceed: it stays out. */
static Status clip_11(Upgrade *u) {
  static const char *const name[] = {"min", "max"};
  const char *x = name_of(u, 0);
  for (uint32_t i = 0; i < 2; i++) {
    const RawAttr *t;
    TRY(take_typed(u, name[i], RA_FLOAT, &t));
    if (t)
      set_input(u, i + 1, constant_like(u, t->f, x));
  }
  return ST_OK;
}

/* A row of which only one extent can differ from 1 is that axis. True: the axis is set. */
static bool sole_axis(Upgrade *u, int rank, int64_t axis) {
  int k = -1, count = 0;
  if (rank < 1 || axis == rank)
    return false;
  axis += axis < 0 ? rank : 0;
  for (int i = (int)axis; i < rank; i++)
    if (!dim_is(u->type(u->arg, u->n.in[0])->dim[i], 1))
      k = i, count++;
  if (count == 1)
    put(u, int_attr("axis", k));
  return count == 1;
}

/* Before opset 13 the input was seen as a matrix: dimensions before `axis` are rows, the others columns, and a row was
 * normalised as a whole. The same as today where axis is the last; else through Flatten and Reshape. */
static Status softmax_13(Upgrade *u) {
  const RawAttr *t;
  TRY(take_typed(u, "axis", RA_INT, &t));
  int64_t axis = t ? t->i : 1;
  int rank = rank_of(u, name_of(u, 0));
  put(u, int_attr("axis", -1));
  if (axis == -1 || (rank >= 0 && axis == rank - 1) || u->n.nin != 1 || u->n.nout != 1)
    return ST_OK;
  if (rank >= 0 && (axis < -rank || axis > rank))
    return fail(u->c, ST_INVALID, "axis %lld is no axis of a value of %d dimensions", (long long)axis, rank);
  if (sole_axis(u, rank, axis))
    return ST_OK;
  RawAttr at = int_attr("axis", axis);
  const char *x = u->n.in[0], *y, *shape = put_before(u, "Shape", NAMES(x), 0, NULL);
  set_input(u, 0, put_before(u, "Flatten", NAMES(x), 1, &at));
  const char *flat = rename_output(u, 0, &y);
  u->after[u->nafter++] = make(u, "Reshape", y, NAMES(flat, shape), 0, NULL);
  return ST_OK;
}

static Status topk_10(Upgrade *u) { /* k becomes an input */
  const RawAttr *t;
  TRY(take_typed(u, "k", RA_INT, &t));
  if (!t)
    return fail(u->c, ST_INVALID, "attribute 'k' is missing");
  set_input(u, 1, constant_ints(u, &t->i, 1));
  return ST_OK;
}

static Status reshape_5(Upgrade *u) { /* shape becomes an input */
  const RawAttr *t;
  TRY(take_typed(u, "shape", RA_INTS, &t));
  if (!t)
    return fail(u->c, ST_INVALID, "attribute 'shape' is missing");
  set_input(u, 1, constant_ints(u, t->ints, t->n));
  return ST_OK;
}

static Status concat_4(Upgrade *u) { /* axis had a default */
  if (!find(u, "axis"))
    put(u, int_attr("axis", 1));
  return ST_OK;
}

static Status split_13(Upgrade *u) { /* split becomes an input, as it could be in opset 1 */
  const RawAttr *t;
  TRY(take_typed(u, "split", RA_INTS, &t));
  if (t)
    set_input(u, 1, constant_ints(u, t->ints, t->n));
  return ST_OK;
}

static Status split_18(Upgrade *u) { /* equal parts: as many as outputs; now said by num_outputs */
  if (!*name_of(u, 1) && !find(u, "num_outputs"))
    put(u, int_attr("num_outputs", u->n.nout));
  return ST_OK;
}

static Status slice_10(Upgrade *u) { /* starts, ends and axes become inputs */
  static const char *const name[] = {"starts", "ends", "axes"};
  for (uint32_t i = 0; i < 3; i++) {
    const RawAttr *t;
    TRY(take_typed(u, name[i], RA_INTS, &t));
    if (!t && i < 2)
      return fail(u->c, ST_INVALID, "attribute '%s' is missing", name[i]);
    if (t)
      set_input(u, i + 1, constant_ints(u, t->ints, t->n));
  }
  return ST_OK;
}

static Status tile_6(Upgrade *u) { /* (input, tiles, axis), both numbers, become (input, repeats per dimension) */
  int rank = rank_of(u, name_of(u, 0));
  const Tensor *axis = u->n.nin == 3 ? u->konst(u->arg, u->n.in[2]) : NULL;
  if (rank < 1 || !axis || tensor_count(axis) != 1 || dtype_bits(axis->dtype) < 8 || dtype_bits(axis->dtype) > 64)
    return unsupported(u, "has an input of unknown rank or an axis that is not constant");
  char raw[8] __attribute__((aligned(8))); /* the data may be unaligned */
  memcpy(raw, axis->data, (size_t)dtype_bits(axis->dtype) / 8);
  int64_t a = (int64_t)elem_i64(axis->dtype, raw, 0), one[MAX_RANK], flat = 1;
  if (dtype_is_float(axis->dtype)) {
    double d = elem_f64(axis->dtype, raw, 0);
    a = d >= -MAX_RANK && d <= MAX_RANK ? (int64_t)d : MAX_RANK + 1;
  }
  if (a < -rank || a >= rank)
    return fail(u->c, ST_INVALID, "axis %lld is no axis of a value of %d dimensions", (long long)a, rank);
  a += a < 0 ? rank : 0;
  for (int i = 0; i < rank; i++)
    one[i] = 1;
  RawAttr to = int_attr("to", DT_i64), along = int_attr("axis", 0);
  const char *tiles = put_before(u, "Cast", NAMES(u->n.in[1]), 1, &to);
  const char *shape = constant_ints(u, &flat, 1);
  tiles = put_before(u, "Reshape", NAMES(tiles, shape), 0, NULL);
  const char *head = constant_ints(u, one, (uint32_t)a), *tail = constant_ints(u, one, (uint32_t)(rank - 1 - a));
  const char *repeats = put_before(u, "Concat", NAMES(head, tiles, tail), 1, &along);
  set_inputs(u, NAMES(u->n.in[0], repeats));
  return ST_OK;
}

static Status pad_2(Upgrade *u) {
  const RawAttr *t;
  TRY(take_typed(u, "paddings", RA_INTS, &t));
  if (t) {
    RawAttr pads = *t;
    pads.name = "pads";
    put(u, pads);
  }
  return ST_OK;
}

static Status pad_11(Upgrade *u) { /* pads and value become inputs */
  const RawAttr *t, *v;
  TRY(take_typed(u, "pads", RA_INTS, &t));
  TRY(take_typed(u, "value", RA_FLOAT, &v));
  if (!t)
    return fail(u->c, ST_INVALID, "attribute 'pads' is missing");
  set_input(u, 1, constant_ints(u, t->ints, t->n));
  if (v && v->f != 0)
    set_input(u, 2, constant_like(u, v->f, u->n.in[0]));
  return ST_OK;
}

static Status lp_pool_2(Upgrade *u) { /* p was a float */
  const RawAttr *t;
  TRY(take_typed(u, "p", RA_FLOAT, &t));
  if (!t)
    return ST_OK;
  if (!(t->f >= 1 && t->f <= 1000) || t->f != (float)(int)t->f)
    return unsupported(u, "has a norm p that is not an integer");
  put(u, int_attr("p", (int64_t)t->f));
  return ST_OK;
}

/* --- resizing --- */

static Status upsample_7(Upgrade *u) { /* two scales become a list */
  const RawAttr *h, *w;
  TRY(take_typed(u, "height_scale", RA_FLOAT, &h));
  TRY(take_typed(u, "width_scale", RA_FLOAT, &w));
  if (!h || !w)
    return fail(u->c, ST_INVALID, "attributes 'height_scale' and 'width_scale' are needed");
  float scale[4] = {1, 1, h->f, w->f};
  put(u, (RawAttr){.name = "scales", .type = RA_FLOATS, .n = 4, .floats = arena_copy(u->a, scale, sizeof scale)});
  const RawAttr *mode = find(u, "mode");
  if (mode && str_is(mode->s, "bilinear"))
    put(u, str_attr("mode", "linear"));
  return ST_OK;
}

static Status upsample_9(Upgrade *u) { /* scales become an input */
  const RawAttr *t;
  TRY(take_typed(u, "scales", RA_FLOATS, &t));
  if (!t)
    return fail(u->c, ST_INVALID, "attribute 'scales' is missing");
  set_input(u, 1, constant_floats(u, t->floats, t->n));
  return ST_OK;
}

/* Opset 10 rounded down when it enlarged and up when it shrank ("nearest"), and aligned the left edges. */
static Status resize_11(Upgrade *u) {
  const char *nearest = "floor", *scales = name_of(u, 1);
  const Tensor *t = *scales ? u->konst(u->arg, scales) : NULL;
  int64_t up = 0, down = 0, n = t && t->dtype == DT_f32 ? tensor_count(t) : 0;
  for (int64_t i = 0; i < n; i++) {
    float s;
    memcpy(&s, (const char *)t->data + 4 * i, 4);
    up += s > 1, down += s < 1;
  }
  const RawAttr *mode = find(u, "mode");
  if (up && down && (!mode || str_is(mode->s, "nearest")))
    return unsupported(u, "enlarges one dimension and shrinks another");
  if (!n)
    ctx_log(u->c, 0, "%s '%s' of opset %lld: the scales are not constant; taken to enlarge", u->n.op, u->n.name,
            (long long)u->opset);
  put(u, str_attr("coordinate_transformation_mode", "asymmetric"));
  put(u, str_attr("nearest_mode", down ? "ceil" : nearest));
  set_inputs(u, NAMES(name_of(u, 0), "", scales));
  return ST_OK;
}

static Status upsample_10(Upgrade *u) {
  u->n.op = "Resize";
  return resize_11(u);
}

/* Exporters write empty constants for what is not given; that is what absent inputs are for. */
static Status resize_empty(Upgrade *u) {
  for (uint32_t i = 1; i < u->n.nin; i++) {
    const Tensor *t = *u->n.in[i] ? u->konst(u->arg, u->n.in[i]) : NULL;
    if (t && t->kind == VK_TENSOR && !tensor_count(t))
      set_input(u, i, "");
  }
  return ST_OK;
}

static Status grid_sample_20(Upgrade *u) { /* modes lost their prefix */
  const RawAttr *t = find(u, "mode");
  if (t && str_is(t->s, "bilinear"))
    put(u, str_attr("mode", "linear"));
  else if (t && str_is(t->s, "bicubic"))
    put(u, str_attr("mode", "cubic"));
  return ST_OK;
}

static Status roi_align_16(Upgrade *u) { /* pixels were points: no shift by half a pixel */
  put(u, str_attr("coordinate_transformation_mode", "output_half_pixel"));
  return ST_OK;
}

static Status scatter_11(Upgrade *u) {
  u->n.op = "ScatterElements";
  return ST_OK;
}

/* --- norms --- */

static uint32_t wanted_outputs(const Upgrade *u) {
  uint32_t n = u->n.nout;
  while (n && !*u->n.out[n - 1])
    n--;
  return n;
}

/* is_test=0, the default, meant: with the statistics of the batch. */
static Status batch_norm_7(Upgrade *u) {
  const RawAttr *t;
  TRY(take_typed(u, "is_test", RA_INT, &t));
  if (!t || !t->i)
    put(u, int_attr("training_mode", 1));
  return ST_OK;
}

/* spatial=0: mean, variance, scale and bias per element of a sample, not per channel. y = (x - m) / sqrt(v + e) * s + b
 */
static Status batch_norm_9(Upgrade *u) {
  const RawAttr *sp, *e;
  TRY(take_typed(u, "spatial", RA_INT, &sp));
  if (!sp || sp->i)
    return ST_OK;
  const RawAttr *train = find(u, "training_mode");
  if (u->n.nin != 5 || wanted_outputs(u) != 1 || (train && train->i))
    return unsupported(u, "with spatial=0 is supported for inference only");
  TRY(take_typed(u, "epsilon", RA_FLOAT, &e));
  const char *x = u->n.in[0], *scale = u->n.in[1], *bias = u->n.in[2], *mean = u->n.in[3], *var = u->n.in[4];
  const char *eps = constant_like(u, e ? e->f : 1e-5f, var);
  const char *sd = put_before(u, "Add", NAMES(var, eps), 0, NULL);
  sd = put_before(u, "Sqrt", NAMES(sd), 0, NULL);
  const char *y = put_before(u, "Sub", NAMES(x, mean), 0, NULL);
  y = put_before(u, "Div", NAMES(y, sd), 0, NULL);
  y = put_before(u, "Mul", NAMES(y, scale), 0, NULL);
  u->n = make(u, "Add", u->n.out[0], NAMES(y, bias), 0, NULL);
  return ST_OK;
}

/* Mean and population variance of the batch under these names ("": not wanted), which were outputs 3 and 4. */
static Status batch_statistics(Upgrade *u, const char *mean, const char *var) {
  int rank = rank_of(u, name_of(u, 0));
  int64_t axes[MAX_RANK] = {0};
  RawAttr drop_axes = int_attr("keepdims", 0);
  if (rank < 1)
    return unsupported(u, "is asked for the saved statistics of a value of unknown rank");
  for (int i = 2; i < rank; i++)
    axes[i - 1] = i;
  const char *x = u->n.in[0], *list = constant_ints(u, axes, rank > 1 ? (uint32_t)rank - 1 : 1);
  const char *d = put_before(u, "ReduceMean", NAMES(x, list), 0, NULL);
  d = put_before(u, "Sub", NAMES(x, d), 0, NULL);
  d = put_before(u, "Mul", NAMES(d, d), 0, NULL);
  if (*mean)
    u->after[u->nafter++] = make(u, "ReduceMean", mean, NAMES(x, list), 1, &drop_axes);
  if (*var)
    u->after[u->nafter++] = make(u, "ReduceMean", var, NAMES(d, list), 1, &drop_axes);
  return ST_OK;
}

static Status batch_norm_14(Upgrade *u) { /* outputs 1 to 4 asked for training */
  uint32_t n = wanted_outputs(u);
  if (n <= 1)
    return ST_OK;
  put(u, int_attr("training_mode", 1));
  if (n > 3)
    TRY(batch_statistics(u, u->n.out[3], n > 4 ? u->n.out[4] : ""));
  u->n.nout = n < 3 ? n : 3;
  return ST_OK;
}

/* scale and bias had one entry per group, now one per channel: each entry repeated C / G times. */
static Status group_norm_21(Upgrade *u) {
  const RawAttr *t = find(u, "num_groups");
  if (!t || t->type != RA_INT || t->i < 1 || u->n.nin != 3)
    return ST_OK; /* the check of attributes and inputs will tell */
  RawAttr range[2] = {int_attr("start", 1), int_attr("end", 2)}, along = int_attr("axis", 0);
  int64_t one = 1, rest = -1;
  const char *x = u->n.in[0], *groups = constant_ints(u, &t->i, 1), *axis = constant_ints(u, &one, 1);
  const char *each = put_before(u, "Shape", NAMES(x), 2, range);
  each = put_before(u, "Div", NAMES(each, groups), 0, NULL);
  const char *shape = put_before(u, "Concat", NAMES(groups, each), 1, &along), *flat = constant_ints(u, &rest, 1);
  for (uint32_t i = 1; i < 3; i++) {
    const char *v = put_before(u, "Unsqueeze", NAMES(u->n.in[i], axis), 0, NULL);
    v = put_before(u, "Expand", NAMES(v, shape), 0, NULL);
    set_input(u, i, put_before(u, "Reshape", NAMES(v, flat), 0, NULL));
  }
  return ST_OK;
}

/* --- dropout, recurrent layers --- */

static Status drop_is_test(Upgrade *u) { /* a run is a test */
  return drop(u, "is_test");
}

/* Before opset 10 the mask had the type of the data. */
static Status dropout_10(Upgrade *u) {
  const char *mask;
  if (wanted_outputs(u) < 2 || !u->n.nin)
    return ST_OK;
  const char *b = rename_output(u, 1, &mask);
  u->after[u->nafter++] = make(u, "CastLike", mask, NAMES(b, u->n.in[0]), 0, NULL);
  return ST_OK;
}

static Status dropout_12(Upgrade *u) { /* the ratio matters in training only */
  return drop(u, "ratio");
}

static Status gru_3(Upgrade *u) { /* the default was misspelt in the standard, so writers spelt it that way */
  const RawAttr *t = find(u, "direction");
  if (t && str_is(t->s, "foward"))
    put(u, str_attr("direction", "forward"));
  return ST_OK;
}

static Status rnn_7(Upgrade *u) { /* said whether the first output is wanted, as its name does */
  return drop(u, "output_sequence");
}

static Status gemm_7(Upgrade *u) { /* C is broadcast whenever its shape needs it */
  return drop(u, "broadcast");
}

/* --- signals, random numbers --- */

static Status dft_20(Upgrade *u) { /* axis becomes an input; it was 1 */
  const RawAttr *t;
  TRY(take_typed(u, "axis", RA_INT, &t));
  RawAttr value = {.name = "value_int", .ref = "", .doc = "", .type = RA_INT, .i = t ? t->i : 1};
  set_input(u, 2, put_before(u, "Constant", 0, NULL, 1, &value));
  return ST_OK;
}

/* A node without a seed gets one from its name: nodes differ, runs and sessions do not. 24 bits, exact as a float (FNV-1a). */
static Status seed_from_name(Upgrade *u) {
  uint32_t h = 2166136261u;
  if (find(u, "seed"))
    return ST_OK;
  for (const char *s = u->n.nout ? u->n.out[0] : ""; *s; s++)
    h = (h ^ (uint8_t)*s) * 16777619u;
  h = (h >> 8) ^ (h & 0xff);
  if (!strcmp(u->n.op, "Dropout"))
    put(u, int_attr("seed", h));
  else
    put(u, (RawAttr){.name = "seed", .type = RA_FLOAT, .f = (float)h});
  return ST_OK;
}

/* Of an optional without an element; whoever asks for it gets none. */
static Status drop_type(Upgrade *u) { return drop(u, "type"); }

/* ai.onnx.ml 1: strings are numbered by their place in classes_strings, or numbers are named by it. */
static Status label_encoder_2(Upgrade *u) {
  const RawAttr *t;
  const Type *in = u->n.nin ? u->type(u->arg, u->n.in[0]) : NULL;
  TRY(take_typed(u, "classes_strings", RA_STRINGS, &t));
  if (!t)
    return fail(u->c, ST_INVALID, "attribute 'classes_strings' is missing");
  if (!in || in->kind != VK_TENSOR || !in->dtype)
    return unsupported(u, "has an input of unknown type");
  int64_t *number = arena_array(u->a, int64_t, t->n);
  for (uint32_t i = 0; i < t->n; i++)
    number[i] = i;
  RawAttr ints = {.type = RA_INTS, .n = t->n, .ints = number}, strings = *t;
  ints.name = in->dtype == DT_str ? "values_int64s" : "keys_int64s";
  strings.name = in->dtype == DT_str ? "keys_strings" : "values_strings";
  put(u, ints);
  put(u, strings);
  return ST_OK;
}

/* --- the table --- */

typedef struct Row {
  const char *op;
  int opset; /* the first that has the newer form; ALWAYS: whatever the opset says */
  Status (*step)(Upgrade *u);
} Row;

enum { ALWAYS = 0 };

/* In order of operators; of one operator in order of opsets. A step that renames the operator is its last. */
static const Row rows[] = {
    {"Abs", 6, drop_consumed},
    {"Add", 6, drop_consumed},
    {"Add", 7, explicit_broadcast},
    {"And", 7, explicit_broadcast},
    {"BatchNormalization", 6, drop_consumed},
    {"BatchNormalization", 7, batch_norm_7},
    {"BatchNormalization", 9, batch_norm_9},
    {"BatchNormalization", 14, batch_norm_14},
    {"Bernoulli", ALWAYS, seed_from_name},
    {"Cast", 6, cast_6},
    {"Ceil", 6, drop_consumed},
    {"Clip", 6, drop_consumed},
    {"Clip", 11, clip_11},
    {"Concat", 4, concat_4},
    {"DFT", 20, dft_20},
    {"Div", 6, drop_consumed},
    {"Div", 7, explicit_broadcast},
    {"Dropout", 6, drop_consumed},
    {"Dropout", 7, drop_is_test},
    {"Dropout", 10, dropout_10},
    {"Dropout", 12, dropout_12},
    {"Dropout", ALWAYS, seed_from_name},
    {"Elu", 6, drop_consumed},
    {"Equal", 7, explicit_broadcast},
    {"Exp", 6, drop_consumed},
    {"Floor", 6, drop_consumed},
    {"GRU", 3, gru_3},
    {"GRU", 7, rnn_7},
    {"Gemm", 7, gemm_7},
    {"GlobalLpPool", 2, lp_pool_2},
    {"Greater", 7, explicit_broadcast},
    {"GridSample", 20, grid_sample_20},
    {"GroupNormalization", 21, group_norm_21},
    {"HardSigmoid", 6, drop_consumed},
    {"Hardmax", 13, softmax_13},
    {"InstanceNormalization", 6, drop_consumed},
    {"LSTM", 7, rnn_7},
    {"LabelEncoder", 2, label_encoder_2},
    {"LeakyRelu", 6, drop_consumed},
    {"Less", 7, explicit_broadcast},
    {"Log", 6, drop_consumed},
    {"LogSoftmax", 13, softmax_13},
    {"LpPool", 2, lp_pool_2},
    {"Max", 6, drop_consumed},
    {"Mean", 6, drop_consumed},
    {"Min", 6, drop_consumed},
    {"Mul", 6, drop_consumed},
    {"Mul", 7, explicit_broadcast},
    {"Multinomial", ALWAYS, seed_from_name},
    {"Neg", 6, drop_consumed},
    {"Optional", ALWAYS, drop_type},
    {"Or", 7, explicit_broadcast},
    {"PRelu", 6, drop_consumed},
    {"PRelu", 7, prelu_7},
    {"Pad", 2, pad_2},
    {"Pad", 11, pad_11},
    {"Pow", 7, explicit_broadcast},
    {"RNN", 7, rnn_7},
    {"RandomNormal", ALWAYS, seed_from_name},
    {"RandomNormalLike", ALWAYS, seed_from_name},
    {"RandomUniform", ALWAYS, seed_from_name},
    {"RandomUniformLike", ALWAYS, seed_from_name},
    {"Reciprocal", 6, drop_consumed},
    {"ReduceL1", 18, axes_to_input},
    {"ReduceL2", 18, axes_to_input},
    {"ReduceLogSum", 18, axes_to_input},
    {"ReduceLogSumExp", 18, axes_to_input},
    {"ReduceMax", 18, axes_to_input},
    {"ReduceMean", 18, axes_to_input},
    {"ReduceMin", 18, axes_to_input},
    {"ReduceProd", 18, axes_to_input},
    {"ReduceSum", 13, axes_to_input},
    {"ReduceSumSquare", 18, axes_to_input},
    {"Relu", 6, drop_consumed},
    {"Reshape", 5, drop_consumed},
    {"Reshape", 5, reshape_5},
    {"Resize", ALWAYS, resize_empty},
    {"Resize", 11, resize_11},
    {"RoiAlign", 16, roi_align_16},
    {"Scan", 9, batched_scan},
    {"Scatter", ALWAYS, scatter_11},
    {"Selu", 6, drop_consumed},
    {"Selu", 6, selu_6},
    {"SequenceMap", ALWAYS, sequence_map},
    {"Sigmoid", 6, drop_consumed},
    {"Slice", 10, slice_10},
    {"Softmax", 13, softmax_13},
    {"Split", 13, split_13},
    {"Split", 18, split_18},
    {"Sqrt", 6, drop_consumed},
    {"Squeeze", 13, axes_to_input},
    {"Sub", 6, drop_consumed},
    {"Sub", 7, explicit_broadcast},
    {"Sum", 6, drop_consumed},
    {"Tanh", 6, drop_consumed},
    {"Tile", 6, tile_6},
    {"TopK", 10, topk_10},
    {"Unsqueeze", 13, axes_to_input},
    {"Upsample", 7, upsample_7},
    {"Upsample", 9, upsample_9},
    {"Upsample", ALWAYS, upsample_10},
    {"Xor", 7, explicit_broadcast},
};

bool upgrade_info(uint32_t i, const char **op, int *opset) {
  if (i >= countof(rows))
    return false;
  *op = rows[i].op, *opset = rows[i].opset;
  return true;
}

/* The first row of the operator, or one of another. */
static size_t first_row(const char *op) {
  size_t lo = 0, hi = countof(rows);
  while (lo < hi) {
    size_t mid = (lo + hi) / 2;
    if (strcmp(rows[mid].op, op) < 0)
      lo = mid + 1;
    else
      hi = mid;
  }
  return lo;
}

static bool applies(const Row *r, int64_t opset) { return opset < r->opset || r->opset == ALWAYS; }

bool upgrade_wanted(const char *op, int64_t opset) {
  for (size_t i = first_row(op); i < countof(rows) && !strcmp(rows[i].op, op); i++)
    if (applies(&rows[i], opset))
      return true;
  return false;
}

Status upgrade_node(Upgrade *u, int64_t opset) {
  const char *op = u->n.op; /* a step may change it */
  u->opset = opset;
  for (size_t i = first_row(op); i < countof(rows) && !strcmp(rows[i].op, op); i++)
    if (applies(&rows[i], opset))
      TRY(rows[i].step(u));
  return ST_OK;
}
