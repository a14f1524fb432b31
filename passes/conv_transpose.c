/* conv_transpose.c - a ConvTranspose as Convs at the input's positions, for which there are products, and a shuffle of their channels.
 *
 * With stride s and dilation d, output s*q + r meets the taps t for which s divides r + begin - d*t. They are every s/g-th, g the
 * common divisor of s and d, from a first one on, and the input they meet is d/g in front of that of the tap before. So each phase r
 * is a convolution of J taps, the same input for all phases:
 *
 *   y[c, s*q + r] = sum over channels i and j < J   x[i, q - off - j*d/g] * w[i, c, first + j*s/g]
 *
 * Phases differ in how many taps they have: a tap of zeros would not be the same for infinite inputs. Those that have equally many
 * and begin at the same input on every axis are channels of one convolution; but of groups with few channels, if phases are few,
 * each is one of its own: single channels have a form that is better, and longer runs of channels are moved. Where that makes fewer
 * convolutions, phases are those of the output without its padding in front, which is cut off in the end. Where there is one
 * position it is a matrix product.
 * Needs: types inferred. SPDX-License-Identifier: Apache-2.0 */
#include "passes/rewrite.h"

#include "ops/eval/nn.h"

#include <string.h>

enum {
  MOST_AXES = 3,
  MOST_CONVS = 16,
  MOST_TAPS = INT16_MAX,
  MOST_STRIDE_DILATED = 1024,
  VECTOR = 16,       /* channels that fill one */
  USUAL_EXTENT = 64, /* of an axis, where only a run tells */
  JOIN_COST = 16     /* of an output that is put together with others, in products */
};

typedef struct Axis {
  int64_t s, d, k;   /* stride, dilation, taps */
  int64_t every, by; /* a phase's taps: one in `every`, `by` inputs apart */
  int64_t begin;     /* padding in front, less what is cut off */
  int64_t cut;       /* that: outputs in front of the first */
  int64_t more;      /* positions of the convolutions beyond those of the input */
} Axis;

typedef struct Deconv {
  Node *n;
  Value *x, *w, *bias;
  int axes;
  int64_t in, out, group; /* channels of a group at both ends */
  bool apart;             /* every phase is a convolution of its own */
  int64_t outer, inner;   /* channels of the convolutions: outer x phases x inner */
  Axis axis[MOST_AXES];
} Deconv;

/* A phase of an axis: its taps, and how far the input of the first one is in front of the position, negative: behind. */
typedef struct Phase {
  int64_t first, taps, off;
} Phase;

/* What the positions of an axis cost. */
typedef struct Work {
  int64_t extent;             /* of the input */
  int64_t channels, products; /* of the output; of an element of it */
} Work;

/* Phases of every axis that make one convolution. */
typedef struct Alike {
  int64_t first[MOST_AXES], count[MOST_AXES], all;
  Phase phase[MOST_AXES]; /* the first of them */
} Alike;

static bool f32_constant(const Value *v) { return v->konst && type_known(v) && v->type.dtype == DT_f32; }

static int64_t common_divisor(int64_t a, int64_t b) { return b ? common_divisor(b, a % b) : a; }

static int64_t ceil_of(int64_t a, int64_t b) { return a / b + (a % b > 0); }

/* --- phases --- */

static Phase phase_of(const Axis *a, int64_t r) {
  int64_t at = r + a->begin, t = (at % a->s + a->s) % a->s;
  if (a->d != 1)
    for (t = 0; t < a->every && (a->d * t - at) % a->s;)
      t++;
  if (t >= a->k || (a->d * t - at) % a->s)
    return (Phase){0};
  return (Phase){.first = t, .taps = (a->k - 1 - t) / a->every + 1, .off = (a->d * t - at) / a->s};
}

static int64_t margin(const Axis *a, const Phase *p) { return a->by * (p->taps - 1) + p->off; }

static bool alike(const Phase *a, const Phase *b) { return a->taps == b->taps && (!a->taps || a->off == b->off); }

/* How many phases from r on are alike. */
static int64_t run_of(const Axis *a, int64_t r) {
  Phase first = phase_of(a, r), next;
  for (int64_t end = r + 1; end < a->s; end++)
    if (next = phase_of(a, end), !alike(&first, &next))
      return end - r;
  return a->s - r;
}

/* Runs of phases that are alike, or 0: some would begin behind the input's first. */
static int64_t runs_of(const Axis *a) {
  int64_t runs = 0;
  for (int64_t r = 0; r < a->s; r += run_of(a, r), runs++) {
    Phase p = phase_of(a, r);
    if (p.taps && margin(a, &p) < 0)
      return 0;
  }
  return runs;
}

/* Cuts off this much in front: the runs that are left. over: outputs beyond stride times inputs. */
static int64_t cut_off(Axis *a, int64_t begin, int64_t cut, int64_t over) {
  a->cut = cut, a->begin = begin - cut, a->more = ceil_of(over + cut, a->s);
  if (a->more < 0)
    a->more = 0; /* of one input the convolutions have a position, though the output may have none */
  for (int64_t r = 0; r < a->s; r++) {
    int64_t off = phase_of(a, r).off;
    a->more = off > a->more ? off : a->more;
  }
  return runs_of(a);
}

/* Cuts off as much in front as leaves the fewest runs; but nothing, where that computes more positions beyond those of the
 * input than putting runs together takes. Returns the number of runs. */
static int64_t align(Axis *a, int64_t over, const Work *w) {
  const int64_t begin = a->begin, cuts[] = {0, begin % a->s, begin};
  Axis best = *a;
  int64_t least = 0;
  for (size_t i = 0; i < countof(cuts); i++) {
    int64_t runs = cut_off(a, begin, cuts[i], over);
    bool waste = least && w->channels >= VECTOR && (a->more - best.more) * w->products > w->extent * JOIN_COST;
    if (runs && (!least || (runs < least && !waste)))
      least = runs, best = *a;
  }
  *a = best;
  return least;
}

/* --- which nodes --- */

static bool channels_of(Deconv *p) {
  const Type *w = &p->w->type;
  int64_t all;
  if (!dim_is_const(w->dim[0], &all) || !dim_is_const(w->dim[1], &p->out) || all <= 0 || all > INT32_MAX ||
      p->out <= 0 || p->out > INT32_MAX || all % p->group || !dim_is(p->x->type.dim[1], all))
    return false;
  p->in = all / p->group;
  return !__builtin_mul_overflow(p->out, p->group, &all) &&
         (!p->bias || (f32_constant(p->bias) && p->bias->type.rank == 1 && dim_is(p->bias->type.dim[0], all)));
}

/* Which convolutions there are; false: their channels would be too many. */
static bool order_of(Deconv *p) {
  int64_t phases = 1, all;
  bool unlike = true;
  for (int i = 0; i < p->axes; i++) {
    if (__builtin_mul_overflow(phases, p->axis[i].s, &phases))
      return false;
    unlike &= runs_of(&p->axis[i]) == p->axis[i].s;
  }
  p->apart = p->group > 1 && (unlike || (p->out < VECTOR && phases <= MOST_CONVS));
  p->outer = p->apart ? 1 : p->group, p->inner = p->group / p->outer * p->out;
  return !__builtin_mul_overflow(p->out * p->group, phases, &all) && all <= INT32_MAX;
}

/* The padding in front, which the extents tell where the attributes leave it open. */
static bool begin_of(Ctx *c, const ConvTransposeAttr *a, const WindowSpec *s, int i, Dim beyond, Axis *x) {
  int64_t total, more = a->output_padding.n ? a->output_padding.v[i] : 0;
  bool same = s->mode == PAD_SAME_UPPER || s->mode == PAD_SAME_LOWER;
  x->begin = s->mode == PAD_EXPLICIT ? s->begin[i] : 0;
  if (!a->output_shape.n && !same)
    return x->begin <= MOST_TAPS;
  Dim full = dim_const(c, (x->k - 1) * x->d + 1 - x->s + more);
  if (!dim_is_const(dim_sub(c, full, beyond), &total))
    return false;
  total = total > 0 ? total : 0;
  x->begin = s->mode == PAD_SAME_UPPER ? total / 2 : total - total / 2;
  return true;
}

static bool axes_of(Match *m, Deconv *p) {
  const ConvTransposeAttr *a = ATTR(p->n, ConvTranspose);
  const WindowAttr wa = {a->auto_pad, a->kernel_shape, a->pads, a->strides, a->dilations, false};
  const Type *x = &p->x->type, *y = &p->n->out[0]->type;
  int64_t runs = 1, over, some;
  Work work = {.channels = p->out};
  WindowSpec s;
  if (window_spec(m->c, &wa, p->axes, &s))
    return false;
  for (int i = 0; i < p->axes; i++) {
    Axis *t = &p->axis[i];
    *t = (Axis){.s = s.stride[i], .d = s.dilation[i]};
    Dim beyond = dim_sub(m->c, y->dim[i + 2], dim_mul(m->c, x->dim[i + 2], dim_const(m->c, t->s)));
    if (dim_is(x->dim[i + 2], 0) || !dim_is_const(p->w->type.dim[i + 2], &t->k) || t->k < 1 || t->k > MOST_TAPS ||
        t->s > MOST_TAPS || t->d > MOST_TAPS || (t->d > 1 && t->s > MOST_STRIDE_DILATED) ||
        !dim_is_const(beyond, &over) || !begin_of(m->c, a, &s, i, beyond, t))
      return false;
    t->by = t->d / common_divisor(t->s, t->d), t->every = t->s / common_divisor(t->s, t->d);
    work.products = p->in * (t->k / t->s + 1);
    work.extent = !dim_is_const(x->dim[i + 2], &some) ? USUAL_EXTENT : some < INT32_MAX ? some : INT32_MAX;
    some = align(t, over, &work);
    if (!some || some > MOST_CONVS || (runs *= some) > MOST_CONVS)
      return false;
  }
  return true;
}

static bool deconv_of(Match *m, Deconv *p) {
  Node *n = m->root;
  const Value *y = n->out[0];
  *p = (Deconv){.n = n,
                .x = n->in[0],
                .w = n->in[1],
                .bias = n->nin > 2 ? n->in[2] : NULL,
                .group = ATTR(n, ConvTranspose)->group};
  p->axes = p->x->type.rank - 2;
  return type_known(p->x) && p->x->type.dtype == DT_f32 && f32_constant(p->w) && p->w->type.rank == p->x->type.rank &&
         type_known(y) && p->group >= 1 && p->axes >= 1 && p->axes <= MOST_AXES && channels_of(p) && axes_of(m, p) &&
         order_of(p) && dims_bound(m->g, y->type.dim, p->axes + 2, p->x) &&
         dims_bound(m->g, p->x->type.dim, p->axes + 2, p->x);
}

/* --- one convolution --- */

/* The taps of some phases along an axis, each phase's from the last to the first. */
static Value *taps_of(Match *m, Value *w, int axis, const Axis *a, int64_t r, int64_t count, int64_t taps) {
  int64_t *at = arena_array(m->g->arena, int64_t, (size_t)(taps * count));
  GatherAttr along = {.axis = axis};
  for (int64_t i = 0; i < count; i++)
    for (int64_t j = 0, first = phase_of(a, r + i).first; j < taps; j++)
      at[j * count + i] = first + (taps - 1 - j) * a->every;
  return EMIT(m, Gather, &along, w, const_ints(m, at, taps * count));
}

/* [groups * in, out, taps …] -> [groups * phases * out, in, J …] */
static Value *weight(Match *m, const Deconv *p, const Alike *of) {
  int64_t perm[MAX_RANK] = {0};
  Dim apart[MAX_RANK], joint[MAX_RANK];
  int n = p->axes;
  Value *w = p->w;
  apart[0] = dim_const(m->c, p->group), apart[1] = joint[1] = dim_const(m->c, p->in);
  apart[2] = dim_const(m->c, p->out), joint[0] = dim_const(m->c, p->group * of->all * p->out);
  perm[n + 1] = 2, perm[n + 2] = 1;
  for (int i = 0; i < n; i++) {
    int64_t taps = of->phase[i].taps;
    w = taps_of(m, w, 2 + i, &p->axis[i], of->first[i], of->count[i], taps);
    apart[3 + 2 * i] = joint[2 + i] = dim_const(m->c, taps), apart[4 + 2 * i] = dim_const(m->c, of->count[i]);
    perm[1 + i] = 4 + 2 * i, perm[n + 3 + i] = 3 + 2 * i;
  }
  w = reshape_to(m, w, apart, 3 + 2 * n);
  return reshape_to(m, transpose_by(m, w, perm, 3 + 2 * n), joint, 2 + n);
}

static Value *bias(Match *m, const Deconv *p, const Alike *of) {
  Dim group = dim_const(m->c, p->group), out = dim_const(m->c, p->out), all = dim_const(m->c, of->all);
  Value *b = reshape_to(m, p->bias, (Dim[]){group, dim_const(m->c, 1), out}, 3);
  b = EMIT(m, Expand, NULL, b, dims_value(m, (Dim[]){group, all, out}, 3));
  return reshape_to(m, b, (Dim[]){dim_const(m->c, p->group * of->all * p->out)}, 1);
}

/* [N, Q …, channels] with the channels as these axes. */
static Value *channels_as(Match *m, Value *z, int axes, int n, const int64_t *channels) {
  Dim d[MAX_RANK];
  memcpy(d, z->type.dim, sizeof d);
  for (int i = 0; i < n; i++)
    d[1 + axes + i] = dim_const(m->c, channels[i]);
  return reshape_to(m, z, d, 1 + axes + n);
}

/* Phases without taps: [N, Q …, channels]. */
static Value *untouched(Match *m, const Deconv *p, const Alike *of) {
  Dim d[MAX_RANK];
  int n = p->axes;
  d[0] = p->x->type.dim[0], d[n + 1] = dim_const(m->c, p->group * of->all * p->out);
  for (int i = 0; i < n; i++)
    d[1 + i] = dim_add(m->c, p->x->type.dim[2 + i], dim_const(m->c, p->axis[i].more));
  return EMIT(m, Expand, NULL, p->bias ? bias(m, p, of) : const_like(m, 0, DT_f32), dims_value(m, d, n + 2));
}

/* [N, Q …, channels] of some phases */
static Value *convolved(Match *m, const Deconv *p, const Alike *of) {
  int64_t *pads = arena_array(m->g->arena, int64_t, 2u * MOST_AXES), *by = arena_array(m->g->arena, int64_t, MOST_AXES);
  int64_t last[MAX_RANK] = {0};
  int n = p->axes;
  last[n + 1] = 1;
  for (int i = 0; i < n; i++) {
    const Axis *a = &p->axis[i];
    const Phase *f = &of->phase[i];
    if (!f->taps)
      return untouched(m, p, of);
    pads[i] = margin(a, f), pads[n + i] = a->more - f->off, by[i] = a->by, last[1 + i] = 2 + i;
  }
  ConvAttr attr = {.auto_pad = str_of("NOTSET"), .group = p->group, .pads = {pads, 2 * n}, .dilations = {by, n}};
  Value *w = weight(m, p, of), *z;
  z = p->bias ? EMIT(m, Conv, &attr, p->x, w, bias(m, p, of)) : EMIT(m, Conv, &attr, p->x, w);
  return transpose_by(m, z, last, n + 2);
}

/* --- all of them --- */

/* The parts, outer x before x their phases x inner channels each, as one. */
static Value *joined(Match *m, const Deconv *p, int64_t before, Value **part, int n) {
  int at = p->axes + 1;
  int64_t outer = p->outer * before, all = 0, channels;
  ConcatAttr attr = {.axis = at + (outer > 1)};
  for (int i = 0; i < n; i++) {
    dim_is_const(part[i]->type.dim[at], &channels), all += channels;
    if (outer > 1)
      part[i] = channels_as(m, part[i], p->axes, 2, (int64_t[]){outer, channels / outer});
  }
  return channels_as(m, emit(m, OP_Concat, &attr, n, part), p->axes, 1, &all);
}

/* All phases of the axes from the i-th on, of those that `of` says of the axes in front: [N, Q …, channels]. */
static Value *phases(Match *m, const Deconv *p, int i, Alike of) {
  Value *part[MOST_CONVS];
  int n = 0;
  if (i >= p->axes || i >= MOST_AXES)
    return convolved(m, p, &of);
  const Axis *a = &p->axis[i];
  const int64_t before = of.all;
  for (int64_t r = 0; r < a->s; r += of.count[i]) {
    of.first[i] = r, of.count[i] = p->apart ? 1 : run_of(a, r), of.phase[i] = phase_of(a, r);
    of.all = before * of.count[i];
    Value *some = phases(m, p, i + 1, of);
    Node *inner = p->outer * of.all == 1 ? def_of(some, OP_Concat) : NULL; /* its parts are parts of this one */
    for (int k = 0; k < (inner ? inner->nin : 1); k++)
      part[n++] = inner ? inner->in[k] : some;
  }
  return n > 1 ? joined(m, p, before, part, n) : part[0];
}

/* [N, Q …, outer * s … * inner] -> [N, s * Q …, outer * inner]: runs of channels are moved. */
static Value *shuffle(Match *m, const Deconv *p, Value *z) {
  int64_t perm[MAX_RANK] = {0}, channels[MOST_AXES + 2];
  Dim joint[MAX_RANK];
  int n = p->axes, k = 0, more = p->outer > 1;
  joint[0] = z->type.dim[0], joint[n + 1] = dim_const(m->c, p->group * p->out);
  if (more)
    channels[k++] = p->outer;
  for (int i = 0; i < n; i++) {
    joint[1 + i] = dim_mul(m->c, z->type.dim[1 + i], dim_const(m->c, p->axis[i].s));
    channels[k++] = p->axis[i].s, perm[1 + 2 * i] = 1 + i, perm[2 + 2 * i] = n + 1 + more + i;
  }
  channels[k++] = p->inner;
  if (more)
    perm[2 * n + 1] = n + 1;
  perm[2 * n + 1 + more] = 2 * n + 1 + more;
  z = transpose_by(m, channels_as(m, z, n, k, channels), perm, 1 + n + k);
  return reshape_to(m, z, joint, 2 + n);
}

/* y without what it has beyond the output, with the channels first again. */
static Value *cut(Match *m, const Deconv *p, Value *y) {
  const Type *want = &p->n->out[0]->type;
  int64_t axis[MOST_AXES], begin[MOST_AXES], first[MAX_RANK] = {0, p->axes + 1};
  Dim end[MOST_AXES];
  bool whole = true;
  for (int i = 0; i < p->axes; i++) {
    axis[i] = i + 1, begin[i] = p->axis[i].cut, end[i] = dim_add(m->c, want->dim[i + 2], dim_const(m->c, begin[i]));
    first[2 + i] = i + 1, whole &= y->type.dim[1 + i] == want->dim[2 + i];
  }
  if (!whole)
    y = EMIT(m, Slice, NULL, y, const_ints(m, begin, p->axes), dims_value(m, end, p->axes),
             const_ints(m, axis, p->axes));
  return transpose_by(m, y, first, p->axes + 2);
}

/* Of an image of one position every output has one tap: a matrix product. */
static bool is_product(const Deconv *p) {
  const Type *y = &p->n->out[0]->type;
  for (int i = 0; i < p->axes; i++)
    if (!dim_is(p->x->type.dim[2 + i], 1) || p->axis[i].d != 1 || p->axis[i].begin || p->axis[i].cut ||
        !dim_is(y->dim[2 + i], p->axis[i].k))
      return false;
  return p->group == 1;
}

static Value *product(Match *m, const Deconv *p) {
  const Type *y = &p->n->out[0]->type;
  Dim each[MAX_RANK] = {dim_const(m->c, p->out)}, in = dim_const(m->c, p->in);
  for (int i = 0; i < p->axes; i++)
    each[1 + i] = dim_const(m->c, 1);
  Value *b = p->bias ? reshape_to(m, p->bias, each, 1 + p->axes) : NULL, *z;
  Dim all = type_count(m->c, &p->w->type), columns = dim_div(m->c, all, in);
  z = reshape_to(m, p->x, (Dim[]){y->dim[0], in}, 2);
  z = EMIT(m, MatMul, NULL, z, reshape_to(m, p->w, (Dim[]){in, columns}, 2));
  if (b) {
    b = EMIT(m, Expand, NULL, b, dims_value(m, y->dim + 1, 1 + p->axes));
    z = EMIT(m, Add, NULL, z, reshape_to(m, b, &columns, 1));
  }
  return reshape_to(m, z, y->dim, 2 + p->axes);
}

static Value *as_conv(Match *m) {
  Deconv p;
  if (!deconv_of(m, &p))
    return NULL;
  if (is_product(&p))
    return product(m, &p);
  return cut(m, &p, shuffle(m, &p, phases(m, &p, 0, (Alike){.all = 1})));
}

static const Rule rules[] = {{"conv transpose", OPERATOR(ConvTranspose), as_conv}};

Status pass_conv_transpose(Ctx *c, Graph *g) { return rewrite(c, g, rules, countof(rules)); }
