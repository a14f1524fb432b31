/* suppress.c - lowering of Suppress (sard): the boxes of a class that NonMaxSuppression keeps, best first.
 *
 *     for i in order { if box i is not dead and scores enough { keep it; for all boxes k { dead[k] |= overlaps(i, k) } } }
 *
 * What a box rules out is marked when it is kept, in one loop over all boxes; so the work is boxes * (1 + kept).
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/lower.h"

enum { BOXES, SCORES, ORDER, MOST, IOU, SCORE };

static KExpr *num(Lower *x, int64_t v) { return lower_index_const(x, v); }

static bool suppress_can(Ctx *c, const Node *n, const char **why) {
  const Type *boxes = &n->in[BOXES]->type, *scores = &n->in[SCORES]->type;
  (void)c;
  *why = "boxes, scores and their order of different extents";
  for (int i = MOST; i < n->nin; i++)
    if (n->in[i] && n->in[i]->type.rank != 0)
      return false;
  return boxes->rank == 3 && scores->rank == 3 && n->in[ORDER]->type.rank == 3 && boxes->dim[0] == scores->dim[0] &&
         boxes->dim[1] == scores->dim[2] && dim_is(boxes->dim[2], 4) && same_dims(scores, &n->in[ORDER]->type);
}

typedef struct Box {
  KExpr *lo[2], *hi[2], *area;
} Box;

/* Box `at` of image b: two opposite corners in any order, or the centre and the size. */
static Status read_box(Lower *x, const Node *n, KExpr *b, KExpr *at, Box *box) {
  bool centre = ATTR(n, NonMaxSuppression)->center_point_box != 0;
  KExpr *v[4];
  for (int i = 0; i < 4; i++) {
    TRY(lower_read(x, n->in[BOXES], (KExpr *[]){b, at, num(x, i)}, &v[i]));
    v[i] = lower_now(x, "v", v[i]);
  }
  for (int i = 0; i < 2; i++) {
    KExpr *p = v[i], *q = v[i + 2];
    if (centre) {
      KExpr *half = k_div(x, v[i + 2], k_num(x, v[i], 2));
      box->lo[i] = k_sub(x, v[i], half), box->hi[i] = k_add(x, v[i], half);
    } else {
      KExpr *up = k_bin(x, KOP_lt, p, q);
      box->lo[i] = ke_select(x->k, up, p, q), box->hi[i] = ke_select(x->k, up, q, p);
    }
    box->lo[i] = lower_now(x, "lo", box->lo[i]), box->hi[i] = lower_now(x, "hi", box->hi[i]);
  }
  box->area = k_mul(x, k_sub(x, box->hi[0], box->lo[0]), k_sub(x, box->hi[1], box->lo[1]));
  box->area = lower_now(x, "area", box->area);
  return ST_OK;
}

/* Is what two boxes share more than the threshold of what they cover? */
static KExpr *overlap(Lower *x, const Box *a, const Box *b, KExpr *threshold) {
  KExpr *side[2], *yes = NULL, *zero = k_num(x, a->area, 0);
  for (int i = 0; i < 2; i++) {
    KExpr *lo = k_bin(x, KOP_max, a->lo[i], b->lo[i]), *hi = k_bin(x, KOP_min, a->hi[i], b->hi[i]);
    KExpr *some = k_bin(x, KOP_lt, lo, hi);
    side[i] = k_sub(x, hi, lo);
    yes = yes ? k_bin(x, KOP_and, yes, some) : some;
  }
  KExpr *area = lower_now(x, "shared", k_mul(x, side[0], side[1]));
  KExpr *both = lower_now(x, "both", k_sub(x, k_add(x, a->area, b->area), area));
  KExpr *positive[] = {area, a->area, b->area, both};
  for (int i = 0; i < 4; i++)
    yes = k_bin(x, KOP_and, yes, k_bin(x, KOP_lt, zero, positive[i]));
  return k_bin(x, KOP_and, yes, k_bin(x, KOP_lt, threshold, k_div(x, area, both)));
}

/* Box `at` is kept: what it overlaps is dead. */
static Status rule_out(Lower *x, const Node *n, KExpr *b, KExpr *at, KExpr *iou, KBuf *dead) {
  Box mine, other;
  KCursor behind;
  TRY(read_box(x, n, b, at, &mine));
  KExpr *k = lower_open(x, "k", n->in[BOXES]->type.dim[1], &behind);
  TRY(read_box(x, n, b, k, &other));
  ks_store(&x->at, dead, &k, k_bin(x, KOP_or, ke_load(x->k, dead, &k), overlap(x, &other, &mine, iou)));
  lower_close(x, 1, behind);
  return ST_OK;
}

/* Class c of image b. */
static Status select_class(Lower *x, const Node *n, KExpr *b, KExpr *c, KBuf *rows, KBuf *dead) {
  Dim boxes = n->in[BOXES]->type.dim[1];
  KCursor behind, here;
  KExpr *most, *iou, *least = NULL, *at, *score;
  TRY(lower_read(x, n->in[MOST], NULL, &most));
  TRY(lower_read(x, n->in[IOU], NULL, &iou));
  if (n->nin > SCORE && n->in[SCORE])
    TRY(lower_read(x, n->in[SCORE], NULL, &least));
  most = lower_once(x, "most", most), iou = lower_once(x, "iou", iou),
  least = least ? lower_once(x, "least", least) : NULL;
  KExpr *fits = k_bin(x, KOP_and, k_bin(x, KOP_le, k_num(x, iou, 0), iou), k_bin(x, KOP_le, iou, k_num(x, iou, 1)));
  ks_check(&x->at, fits, num(x, 0))->text = "iou_threshold is not in [0, 1]";
  KExpr *k = lower_open(x, "k", boxes, &behind);
  ks_store(&x->at, dead, &k, ke_int(x->k, DT_bool, 0));
  ks_store(&x->at, rows, (KExpr *[]){b, c, k}, num(x, -1));
  lower_close(x, 1, behind);
  KVar *kept = lower_acc(x, "kept", num(x, 0));
  KExpr *i = lower_open_ordered(x, "i", boxes, &behind);
  TRY(lower_read(x, n->in[ORDER], (KExpr *[]){b, c, i}, &at));
  TRY(lower_checked_index(x, lower_now(x, "at", at), 2, boxes, &at));
  TRY(lower_read(x, n->in[SCORES], (KExpr *[]){b, c, at}, &score));
  score = lower_now(x, "score", score);
  KExpr *good = k_un(x, KOP_not, k_bin(x, KOP_or, k_un(x, KOP_isnan, score), ke_load(x->k, dead, &at)));
  good = k_bin(x, KOP_and, good, k_bin(x, KOP_lt, ke_var(x->k, kept), most));
  if (least)
    good = k_bin(x, KOP_and, good, k_bin(x, KOP_lt, least, score));
  lower_if(x, lower_now(x, "good", good), &here);
  ks_store(&x->at, rows, (KExpr *[]){b, c, lower_now(x, "place", ke_var(x->k, kept))}, at);
  TRY(rule_out(x, n, b, at, iou, dead));
  ks_update(&x->at, kept, KOP_add, num(x, 1));
  lower_close(x, 1, here);
  lower_close(x, 1, behind);
  return ST_OK;
}

static Status suppress(Lower *x, const Node *n, KBuf *const *out) {
  const Type *scores = &n->in[SCORES]->type;
  KBuf *dead = kernel_add_temp(x->k, "dead", DT_bool, 1, &scores->dim[2]);
  KCursor behind;
  KExpr *b = lower_open(x, "b", scores->dim[0], &behind), *c = lower_open(x, "c", scores->dim[1], NULL);
  TRY(select_class(x, n, b, c, out[0], dead));
  lower_close(x, 2, behind);
  return ST_OK;
}
const Lowering suppress_lower = {LOWER_NEST, .can = suppress_can, .nest = suppress};
