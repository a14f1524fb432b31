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
  enum { MOST = INT32_MAX / 8 }; /* columns are counted, in bytes, by 32 bits */
  return t->dk <= MOST && t->dv <= MOST && t->heads / t->kv_heads <= INT32_MAX;
}

/* K and V of a tile are in shared memory side by side: 2 bytes an element, and 16 behind each row. One warp alone has fewer keys: it
 * copies all of them, and has P twice. Where it goes through them twice it has fewer still, for its registers. */
static int keys_of(const Attention *t, const GpuAttention *g, int rows) {
  int64_t most = t->dk > g->width ? t->dk : g->width;
  if (!half(t))
    return 64;
  if (rows == GA_FEW_ROWS)
    return most <= (g->twice ? 80 : 128) ? 32 : 16;
  return most <= 128 ? 64 : 32;
}

/* f32: so that the sums of a thread fit into its registers. Tensor cores: a warp for each 16 rows. */
static int threads_of(const Attention *t, int width, int rows) {
  return half(t) ? 2 * rows : rows == MANY_ROWS && width > 128 ? 256 : 128;
}

/* Columns of O for a block: as many for each, in whole warps, so that 16 bytes and 16 columns of tensor cores are of one block. Going
 * through keys twice takes registers on tensor cores, and so does a K that comes in slices. */
static void cut_columns(const Attention *t, GpuAttention *g) {
  int loops = !half(t) ? 0 : g->twice + (t->dk > GPU_ATTENTION_COLUMNS);
  int most = GPU_ATTENTION_COLUMNS >> loops;
  g->passes = (t->dv + most - 1) / most;
  g->width = (int)(g->passes == 1 ? t->dv : ((t->dv + g->passes - 1) / g->passes + 31) / 32 * 32);
  g->passes = (t->dv + g->width - 1) / g->width;
}

static Dim num(Ctx *c, int64_t v) { return dim_const(c, v); }

static void add_stage(GpuAttention *g, GpuAttentionStage s) {
  if (!dim_is(s.parts, 0))
    g->stage[g->nstage++] = s;
}

static void plan(Ctx *c, const Attention *t, GpuAttention *g) {
  *g = (GpuAttention){
      .group = t->heads / t->kv_heads, .splits = num(c, 1), .chunk = num(c, LEAST), .partials = num(c, 0)};
  g->twice = t->soft || t->scores == SCORES_WEIGHTS;
  cut_columns(t, g);
  int keys = keys_of(t, g, MANY_ROWS), few_keys = keys_of(t, g, GA_FEW_ROWS);
  Dim one = num(c, 1), rows = dim_mul(c, t->q_len, num(c, g->group));
  Dim heads = dim_mul(c, t->batch, num(c, t->kv_heads));
  Dim many = dim_min(c, one, dim_div(c, rows, num(c, GA_FEW_ROWS + 1))); /* 1: there are more rows than a few; else 0 */
  Dim few = dim_mul(c, dim_sub(c, one, many), dim_min(c, one, rows)), blocks = dim_mul(c, heads, num(c, g->passes));
  int64_t length;
  if (g->twice)
    g->chunk = t->kv_len;
  else if (!dim_is_const(t->kv_len, &length) || length > LEAST) {
    Dim each = dim_ceildiv(c, dim_mul(c, heads, t->kv_len), num(c, (int64_t)BLOCKS * few_keys));
    g->chunk = dim_mul(c, num(c, few_keys), dim_max(c, num(c, LEAST / few_keys), each));
    g->splits = dim_max(c, one, dim_ceildiv(c, t->kv_len, g->chunk));
  }
  add_stage(
      g, (GpuAttentionStage){.form = GA_MANY,
                             .rows = MANY_ROWS,
                             .keys = keys,
                             .threads = threads_of(t, g->width, MANY_ROWS),
                             .parts = dim_mul(c, many, dim_mul(c, blocks, dim_ceildiv(c, rows, num(c, MANY_ROWS))))});
  add_stage(g, (GpuAttentionStage){.form = GA_FEW,
                                   .rows = GA_FEW_ROWS,
                                   .keys = few_keys,
                                   .threads = threads_of(t, g->width, GA_FEW_ROWS),
                                   .parts = dim_mul(c, few, dim_mul(c, blocks, g->splits))});
  Dim split = dim_min(c, one, dim_sub(c, g->splits, one));
  add_stage(g, (GpuAttentionStage){.form = GA_COMBINE,
                                   .rows = GA_FEW_ROWS,
                                   .keys = few_keys,
                                   .threads = (g->width + 31) / 32 * 32,
                                   .parts = dim_mul(c, dim_mul(c, few, split), dim_mul(c, blocks, rows))});
  if (!dim_is(g->splits, 1)) /* a tile of rows for each head and split; passes have columns of it each */
    g->partials = dim_mul(c, few, dim_mul(c, heads, g->splits));
  if (!g->nstage) /* nothing is ever to be done; still something is compiled */
    g->stage[g->nstage++] =
        (GpuAttentionStage){GA_MANY, MANY_ROWS, keys, threads_of(t, g->width, MANY_ROWS), num(c, 0)};
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
  for (int i = 1; i < g->nstage; i++)
    u->more[i - 1] = (UnitStage){g->stage[i].parts, num(c, g->stage[i].threads)};
  u->scratch = dim_mul(c, g->partials, num(c, 4 * gpu_attention_partial(t, GA_FEW_ROWS)));
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
  if (g->passes > 1)
    buf_printf(&b, ", %lld times %d columns", (long long)g->passes, g->width);
  if (g->twice)
    buf_puts(&b, ", keys twice");
  if (half(t))
    buf_puts(&b, ", tensor cores");
  return b.text;
}
