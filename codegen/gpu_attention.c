/* gpu_attention.c - the plan of attention on GPUs.
 *
 * Tiles are chosen so that everything shared fits into the 48 KiB that a block may have without asking (codegen/llvm/gpu_mma.c and
 * gpu_fma.c say what lies there), and what one thread holds into 255 registers.
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/gpu_attention.h"

/* BLOCKS: what few rows are split into at most, about: some for each of an H100's 132 multiprocessors. LEAST: keys that are worth a
 * block. */
enum { MANY_ROWS = 64, BLOCKS = 528, LEAST = 128 };

static bool half(const Attention *t) { return t->type == DT_f16 || t->type == DT_bf16; }

bool gpu_attention_fits(const Attention *t) {
  return t->dk <= GPU_ATTENTION_DIMS && t->dv <= GPU_ATTENTION_DIMS && t->heads / t->kv_heads <= INT32_MAX;
}

/* K and V of a tile are in shared memory side by side: 2 bytes an element, and 16 behind each row. One warp alone has fewer keys: it
 * copies all of them, and has P twice. */
static int keys_of(const Attention *t, int rows) {
  int64_t most = t->dk > t->dv ? t->dk : t->dv;
  return !half(t) ? 64 : (most <= 128 ? 64 : 32) / (rows == GA_FEW_ROWS ? 2 : 1);
}

/* f32: so that the sums of a thread fit into its registers. Tensor cores: a warp for each 16 rows. */
static int threads_of(const Attention *t, int rows) {
  return half(t) ? 2 * rows : rows == MANY_ROWS && t->dv > 128 ? 256 : 128;
}

static Dim num(Ctx *c, int64_t v) { return dim_const(c, v); }

static void add_stage(GpuAttention *g, GpuAttentionStage s) {
  if (!dim_is(s.parts, 0))
    g->stage[g->nstage++] = s;
}

static void plan(Ctx *c, const Attention *t, GpuAttention *g) {
  int keys = keys_of(t, MANY_ROWS), few_keys = keys_of(t, GA_FEW_ROWS);
  *g = (GpuAttention){.group = t->heads / t->kv_heads, .splits = num(c, 1), .chunk = num(c, LEAST)};
  Dim one = num(c, 1), rows = dim_mul(c, t->q_len, num(c, g->group));
  Dim heads = dim_mul(c, t->batch, num(c, t->kv_heads));
  Dim many = dim_min(c, one, dim_div(c, rows, num(c, GA_FEW_ROWS + 1))); /* 1: there are more rows than a few; else 0 */
  Dim few = dim_mul(c, dim_sub(c, one, many), dim_min(c, one, rows));
  int64_t length;
  if (!dim_is_const(t->kv_len, &length) || length > LEAST) {
    Dim each = dim_ceildiv(c, dim_mul(c, heads, t->kv_len), num(c, (int64_t)BLOCKS * few_keys));
    g->chunk = dim_mul(c, num(c, few_keys), dim_max(c, num(c, LEAST / few_keys), each));
    g->splits = dim_max(c, one, dim_ceildiv(c, t->kv_len, g->chunk));
  }
  add_stage(g,
            (GpuAttentionStage){.form = GA_MANY,
                                .rows = MANY_ROWS,
                                .keys = keys,
                                .threads = threads_of(t, MANY_ROWS),
                                .parts = dim_mul(c, many, dim_mul(c, heads, dim_ceildiv(c, rows, num(c, MANY_ROWS))))});
  add_stage(g, (GpuAttentionStage){.form = GA_FEW,
                                   .rows = GA_FEW_ROWS,
                                   .keys = few_keys,
                                   .threads = threads_of(t, GA_FEW_ROWS),
                                   .parts = dim_mul(c, few, dim_mul(c, heads, g->splits))});
  Dim split = dim_min(c, one, dim_sub(c, g->splits, one));
  add_stage(g, (GpuAttentionStage){.form = GA_COMBINE,
                                   .rows = GA_FEW_ROWS,
                                   .keys = few_keys,
                                   .threads = (int)((t->dv + 31) / 32 * 32),
                                   .parts = dim_mul(c, dim_mul(c, few, split), dim_mul(c, heads, rows))});
  if (!g->nstage) /* nothing is ever to be done; still something is compiled */
    g->stage[g->nstage++] = (GpuAttentionStage){GA_MANY, MANY_ROWS, keys, threads_of(t, MANY_ROWS), num(c, 0)};
}

void gpu_attention_schedule(Ctx *c, Arena *a, Unit *u) {
  Attention *t = &u->attention;
  GpuAttention *g = arena_new(a, GpuAttention);
  if (t->causal)
    t->right = t->has_right && t->right < 0 ? t->right : 0, t->has_right = true;
  plan(c, t, g);
  t->gpu = g;
  u->parts = g->stage[0].parts, u->threads = num(c, g->stage[0].threads);
  u->nmore = (uint32_t)g->nstage - 1;
  u->more = arena_array(a, UnitStage, u->nmore + 1u);
  u->scratch = num(c, 0);
  for (int i = 0; i < g->nstage; i++) {
    const GpuAttentionStage *s = &g->stage[i];
    if (i)
      u->more[i - 1] = (UnitStage){s->parts, num(c, s->threads)};
    if (s->form == GA_FEW && !dim_is(g->splits, 1))
      u->scratch = dim_mul(c, s->parts, num(c, 4 * gpu_attention_partial(t, s->rows)));
  }
  int64_t size = half(t) ? 2 : 4;
  Dim heads = dim_mul(c, t->batch, num(c, t->heads)), pairs = dim_mul(c, heads, dim_mul(c, t->q_len, t->kv_len));
  u->flops = dim_mul(c, num(c, 2 * (t->dk + t->dv)), pairs);
  Dim q = dim_mul(c, dim_mul(c, heads, t->q_len), num(c, size * (t->dk + t->dv)));
  Dim kv = dim_mul(c, dim_mul(c, t->batch, t->kv_len), num(c, size * t->kv_heads * (t->dk + t->dv)));
  u->bytes = dim_add(c, q, kv);
}

const char *gpu_attention_text(Arena *a, const Attention *t) {
  const GpuAttention *g = t->gpu;
  StrBuf b;
  buf_init(&b, a);
  for (int i = 0; i < g->nstage; i++)
    if (g->stage[i].form != GA_COMBINE)
      buf_printf(&b, "%s%d rows x %d keys", b.len ? " or " : "", g->stage[i].rows, g->stage[i].keys);
  if (!dim_is(g->splits, 1))
    buf_puts(&b, " of a split");
  if (half(t))
    buf_puts(&b, ", tensor cores");
  return b.text;
}
