/* test_layout.c - random graphs: what is alive at the same time lies apart, the arena is packed well, and the values are right.
 * SPDX-License-Identifier: Apache-2.0 */
#include "api/internal.h"
#include "support/checked.h"
#include "tests/runtime/rig.h"

#include <stdlib.h>

enum { NODES = 60, ROUNDS = 200, N = 3, MAX_SIZE = 40 };

static uint32_t seed;
static uint32_t rnd(uint32_t n) {
  seed = seed * 1664525 + 1013904223;
  return (seed >> 8) % n;
}

/* Value i: size[i] * n floats; value 0 is the input. */
static int size[NODES + 1];
static float data[NODES + 1][MAX_SIZE * N];

static int find_same(int i, int s) {
  for (int tries = 0; tries < 8; tries++) {
    int j = (int)rnd((uint32_t)i);
    if (size[j] == s)
      return j;
  }
  return -1;
}

/* The graph as text, its values in data. Recent values are read more often than old ones, some are read much later. */
static void random_graph(char *text) {
  char *p = text;
  p += sprintf(p, "graph \"g\" {\nin %%v0 : f32[2*n]\nconst %%flat : i64[1] = {-1}\nconst %%two : i64[2] = {-1, 2}\n");
  size[0] = 2;
  for (int i = 1; i <= NODES; i++) {
    int a = rnd(3) ? i - 1 - (int)rnd(i < 4 ? 1 : 3) : (int)rnd((uint32_t)i), b = find_same(i, size[a]);
    int len = size[a] * N;
    size[i] = size[a];
    switch (rnd(5)) {
    case 0: /* a view of a view is a view of a */
      if (size[a] % 2 == 0) {
        p += sprintf(p, "%%w%d : f32[%d*n, 2] = Reshape(%%v%d, %%two)\n%%v%d : f32[%d*n] = Reshape(%%w%d, %%flat)\n", i,
                     size[a] / 2, a, i, size[a], i);
        memcpy(data[i], data[a], sizeof data[a]);
        break;
      } /* fall through */
    case 1:
      p += sprintf(p, "%%v%d : f32[%d*n] = Neg(%%v%d)\n", i, size[a], a);
      for (int k = 0; k < len; k++)
        data[i][k] = -data[a][k];
      break;
    case 2:
      if (b >= 0) {
        p += sprintf(p, "%%v%d : f32[%d*n] = Max(%%v%d, %%v%d)\n", i, size[a], a, b);
        for (int k = 0; k < len; k++)
          data[i][k] = data[a][k] > data[b][k] ? data[a][k] : data[b][k];
        break;
      } /* fall through */
    case 3:
      b = (int)rnd((uint32_t)i);
      if (size[a] + size[b] <= MAX_SIZE) {
        size[i] = size[a] + size[b];
        p += sprintf(p, "%%v%d : f32[%d*n] = Concat(%%v%d, %%v%d) {axis = 0}\n", i, size[i], a, b);
        memcpy(data[i], data[a], (size_t)len * sizeof(float));
        memcpy(data[i] + len, data[b], (size_t)(size[b] * N) * sizeof(float));
        break;
      } /* fall through */
    default:
      p += sprintf(p, "%%v%d : f32[%d*n] = Relu(%%v%d)\n", i, size[a], a);
      for (int k = 0; k < len; k++)
        data[i][k] = data[a][k] > 0 ? data[a][k] : 0;
    }
  }
  sprintf(p, "%%y : f32[%d*n] = Neg(%%v%d)\nout %%y, %%v%d, %%v%d\n}\n", size[NODES], NODES, NODES / 2, NODES / 3);
}

typedef struct Life {
  uint64_t offset, bytes;
  uint32_t first, last;
  bool is;
} Life;

static uint32_t root_of(const RtProgram *p, uint32_t s) {
  while (rt_slot(p, s)->base != PROG_NONE && rt_slot(p, s)->kind != SLOT_CONST)
    s = rt_slot(p, s)->base;
  return s;
}

/* Lifetimes worked out from the steps alone, not from what the plan says of them. */
static Life *lives(const RtProgram *p, Symbols *sym) {
  uint32_t n = rt_count(p, SEC_SLOTS);
  Life *life = calloc(n, sizeof *life);
  for (uint32_t i = 0; i < n; i++) {
    const ProgSlot *s = rt_slot(p, i);
    int64_t dim[MAX_RANK] = {0}, count = 0;
    size_t bytes = 0;
    if (s->kind != SLOT_ARENA || s->base != PROG_NONE)
      continue;
    if (!rt_symbols_dims(sym, s, dim))
      continue; /* not in the arena */
    assert_true(extent_ok(dim, s->rank, &count) && dtype_bytes(s->dtype, count, &bytes));
    life[i] = (Life){p->layouts->offset[i], bytes, UINT32_MAX, 0, true};
  }
  for (uint32_t t = 0; t < REC(p, SEC_REGIONS, ProgRegion)->nstep; t++) {
    const ProgStep *s = rt_step(p, t);
    for (uint32_t i = 0; i < s->nin + s->nout; i++) {
      uint32_t slot = rt_list(p, i < s->nin ? s->in + i : s->out + i - s->nin);
      Life *x = slot == PROG_NONE ? NULL : &life[root_of(p, slot)];
      if (!x || !x->is)
        continue;
      x->first = t < x->first ? t : x->first;
      x->last = t > x->last ? t : x->last;
    }
  }
  return life;
}

/* Of the newest layout. Steps inside bodies count at their owner, as values they read live there: only region 0 is walked. */
static void check_layout(const RtProgram *p, double *ratio) {
  uint32_t n = rt_count(p, SEC_SLOTS);
  Alloc alloc;
  Ctx c;
  alloc_init_system(&alloc);
  ctx_open(&c, &alloc);
  Symbols sym;
  rt_symbols_init(&sym, p, arena_create(&c));
  for (uint32_t i = 0; i < rt_count(p, SEC_SYMBOLS); i++)
    if (p->layouts->symbol[i] != UNBOUND)
      rt_symbols_bind(&sym, i, p->layouts->symbol[i]);
  Life *life = lives(p, &sym);
  uint64_t most = 0;
  for (uint32_t t = 0; t < REC(p, SEC_REGIONS, ProgRegion)->nstep; t++) {
    uint64_t sum = 0;
    for (uint32_t i = 0; i < n; i++)
      if (life[i].is && life[i].first <= t && t <= life[i].last)
        sum += (life[i].bytes + PROG_ALIGN - 1) / PROG_ALIGN * PROG_ALIGN;
    most = sum > most ? sum : most;
  }
  for (uint32_t i = 0; i < n; i++)
    for (uint32_t j = 0; j < i; j++)
      if (life[i].is && life[j].is && life[i].first <= life[j].last && life[j].first <= life[i].last)
        assert_true(life[i].offset + life[i].bytes <= life[j].offset ||
                    life[j].offset + life[j].bytes <= life[i].offset);
  assert_true(p->layouts->arena >= most);
  *ratio = most ? (double)p->layouts->arena / (double)most : 1;
  free(life);
  ctx_close(&c);
}

static void test_random_graphs(void **state) {
  static char text[20000];
  double sum = 0, worst = 0;
  (void)state;
  for (int round = 0; round < ROUNDS; round++) {
    Rig k;
    seed = 1000 + (uint32_t)round;
    for (int i = 0; i < 2 * N; i++)
      data[0][i] = (float)i * (i % 2 ? -1.5f : 1);
    random_graph(text);
    rig_open(&k, text);
    rig_feed(&k, DT_f32, SHAPE(2 * N), data[0]);
    rig_run(&k);
    float y[MAX_SIZE * N];
    for (int i = 0; i < size[NODES] * N; i++)
      y[i] = -data[NODES][i];
    const float *want[] = {y, data[NODES / 2], data[NODES / 3]};
    int count[] = {size[NODES], size[NODES / 2], size[NODES / 3]};
    for (int o = 0; o < 3; o++) {
      assert_int_equal(tensor_count(&k.out[o].t), count[o] * N);
      for (int i = 0; i < count[o] * N; i++)
        if (((float *)k.out[o].t.data)[i] != want[o][i]) {
          print_error("round %d, output %d, element %d\n%s", round, o, i, text);
          fail_msg("a wrong value");
        }
    }
    double ratio;
    check_layout(k.p, &ratio);
    sum += ratio, worst = ratio > worst ? ratio : worst;
    rig_close(&k);
  }
  print_message("arena over largest live sum: %.3f on average, %.3f at worst\n", sum / ROUNDS, worst);
  assert_true(sum / ROUNDS <= 1.1 && worst <= 1.3);
}

/* Real models, symbolic extents 4, all inputs ones. */
static void test_fixtures(void **state) {
  static const char *const name[] = {"bert_qa/dynamo", "bert_qa/ts17",     "encoder/dynamo",    "gpt2/dynamo",
                                     "llama/ts17",     "swin/dynamo24",    "resnet/dynamo",     "unet/ts17",
                                     "vit/ts14",       "mobilenet/dynamo", "t5_encoder/dynamo", "whisper_encoder/ts17"};
  double worst = 0;
  int n = 0;
  (void)state;
  for (size_t i = 0; i < countof(name); i++) {
    char path[512];
    sard_model *m;
    sard_result *r;
    sard_error *err = NULL;
    snprintf(path, sizeof path, "%s/models/fixtures/%s/model.onnx", SOURCE_DIR, name[i]);
    if (sard_load_file(NULL, path, NULL, &m, &err)) {
      print_error("%s\n", sard_error_text(err));
      fail_msg("cannot load");
    }
    sard_tensor in[32] = {{0}};
    for (size_t j = 0; j < sard_input_count(m); j++) {
      sard_io io = SARD_IO_INIT;
      sard_input(m, j, &io);
      in[j] = (sard_tensor){.dtype = io.dtype, .rank = io.rank};
      for (int k = 0; k < io.rank; k++)
        in[j].dim[k] = io.dim[k] >= 0                                   ? io.dim[k]
                       : !strcmp(sard_input_dim_text(m, j, k), "total") ? 8
                                                                        : 4; /* past + seq */
      in[j].data = calloc(1, (size_t)sard_tensor_bytes(&in[j]) + 1);
    }
    if (!sard_run(m, in, sard_input_count(m), NULL, &r, &err)) {
      double ratio;
      check_layout(m->program, &ratio);
      print_message("%-24s %.3f of %llu KiB\n", name[i], ratio, (unsigned long long)m->program->layouts->arena >> 10);
      worst = ratio > worst ? ratio : worst, n++;
      sard_result_free(r);
    } else {
      print_message("%-24s %s\n", name[i], sard_error_text(err));
      sard_error_free(err);
    }
    for (size_t j = 0; j < sard_input_count(m); j++)
      free(in[j].data);
    sard_model_free(m);
  }
  assert_true(n == (int)countof(name) && worst <= 1.3);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_random_graphs), cmocka_unit_test(test_fixtures)};
  return cmocka_run_group_tests_name("layout", tests, NULL, NULL);
}
