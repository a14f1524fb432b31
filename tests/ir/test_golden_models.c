/* test_golden_models.c - what the passes make of real exports: one golden dump per model, which every export of it must
 * give. The dump lists what the outputs need, from the inputs on, with numbers for names; the computation of attention
 * masks is left out (exporters differ there for good reasons) but where a case has dumps of its own for it; so is everything's origin. Large constants show as
 * hashes of their bytes. SARD_BLESS=1 writes the dump of the first export named. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#undef fail /* ctx.h has a function of that name */

#include "frontend/model.h"
#include "ops/ops.h"
#include "passes/pass.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define die(...) (print_error(__VA_ARGS__), print_error("\n"), _fail(__FILE__, __LINE__))

typedef struct Case {
  const char *model, *golden;
  const char *exports[5];
  bool masks; /* what computes masks is part of the dump */
} Case;

/* A copy of what the outputs need, depth first: the same for equal graphs, however their nodes are ordered. */
typedef struct Copy {
  Graph *to;
  Value **map; /* by value id */
  Value *mask;
  bool masks;
} Copy;

static Value *copy_value(Copy *k, Value *v);

static void copy_node(Copy *k, Node *n) {
  Value *in[64];
  assert_true(n->nin <= 64 && !n->body[0]);
  for (int i = 0; i < n->nin; i++) {
    bool mask = !k->masks && n->op == OP_Attention && i == 3 && n->in[3];
    if (mask && !k->mask)
      k->mask = graph_add_input(k->to, "mask", type_tensor(DT_none, -1, NULL)); /* some are bool, some float */
    in[i] = mask ? k->mask : n->in[i] ? copy_value(k, n->in[i]) : NULL;
  }
  Node *c = graph_add_node(k->to, NULL, n->op, n->nin, n->nout, n->attr, NULL);
  for (int i = 0; i < n->nin; i++)
    node_set_input(c, i, in[i]);
  for (int i = 0; i < n->nout; i++)
    if (n->out[i]) {
      c->out[i]->type = n->out[i]->type;
      k->map[n->out[i]->id] = c->out[i];
    } else {
      node_drop_output(c, i);
    }
}

static Value *copy_value(Copy *k, Value *v) {
  if (k->map[v->id])
    return k->map[v->id];
  if (v->konst)
    k->map[v->id] = graph_add_const(k->to, NULL, v->konst);
  else
    copy_node(k, v->def);
  return k->map[v->id];
}

static char *dump(Ctx *c, Graph *g, bool masks) {
  Copy k = {.to = graph_create(c, g->name), .masks = masks};
  StrBuf b;
  k.to->name = "model";
  k.map = arena_array(k.to->arena, Value *, *g->next_id);
  for (uint32_t i = 0; i < g->nin; i++)
    k.map[g->in[i]->id] = graph_add_input(k.to, g->in[i]->name, g->in[i]->type);
  for (uint32_t i = 0; i < g->nout; i++)
    graph_add_output(k.to, copy_value(&k, g->out[i]));
  buf_init(&b, k.to->arena);
  graph_print(&b, k.to, &(PrintOptions){.no_names = true});
  return b.text;
}

static char *read_text(const char *path) {
  FILE *f = fopen(path, "rb");
  if (!f)
    return NULL;
  fseek(f, 0, SEEK_END);
  size_t n = (size_t)ftell(f);
  rewind(f);
  char *t = malloc(n + 1);
  n = fread(t, 1, n, f);
  t[n] = 0;
  fclose(f);
  return t;
}

static int first_difference(const char *a, const char *b) {
  int line = 1;
  for (; *a && *a == *b; a++, b++)
    line += *a == '\n';
  return line;
}

typedef struct Job {
  const Case *k;
  const char *export;
} Job;

static Status one_export(Ctx *c, void *arg) {
  const Job *j = arg;
  char path[1024], golden[1024];
  Model *m;
  snprintf(path, sizeof path, "%s/models/fixtures/%s/%s/model.onnx", SOURCE_DIR, j->k->model, j->export);
  snprintf(golden, sizeof golden, "%s/ir/models/%s.txt", TEST_DIR, j->k->golden);
  if (model_load_file(c, path, NULL, &m) || passes_run(c, m->graph, &(PassOptions){.verify = true}))
    die("%s: %s (%s %s)", path, c->err.message, c->err.op, c->err.node);
  char *got = dump(c, m->graph, j->k->masks);
  if (getenv("SARD_BLESS") && j->export == j->k->exports[0]) {
    FILE *f = fopen(golden, "wb");
    assert_non_null(f);
    fputs(got, f);
    fclose(f);
  }
  char *want = read_text(golden);
  assert_non_null(want);
  if (strcmp(got, want))
    die("%s/%s differs from tests/ir/models/%s.txt in line %d:\n%s", j->k->model, j->export, j->k->golden,
        first_difference(got, want), getenv("SARD_SHOW") ? got : "(SARD_SHOW=1 prints it)");
  free(want);
  model_close(c, m);
  return ST_OK;
}

static void test_model(void **state) {
  const Case *k = *state;
  for (int i = 0; k->exports[i]; i++) {
    Alloc alloc;
    Ctx c;
    Job j = {k, k->exports[i]};
    alloc_init_system(&alloc);
    ctx_open(&c, &alloc);
    assert_int_equal(ctx_protect(&c, one_export, &j), ST_OK);
    ctx_close(&c);
  }
}

static Case cases[] = {
    {"bert_qa", "bert_qa", {"dynamo", "dynamo24", "ts14", "ts17"}},
    {"minilm", "minilm", {"dynamo", "dynamo24", "ts14", "ts17"}},
    {"vit", "vit", {"dynamo", "dynamo24", "ts14", "ts17"}},
    {"whisper_encoder", "whisper_encoder", {"dynamo", "dynamo24", "ts14", "ts17"}},
    {"encoder", "encoder", {"dynamo", "dynamo24"}},
    {"encoder", "encoder_ts", {"ts14", "ts17"}}, /* its sequence length is fixed */
    {"t5_encoder", "t5_encoder", {"dynamo", "dynamo24", "ts14", "ts17"}},
    {"t5_decoder", "t5_decoder", {"dynamo", "dynamo24", "ts14", "ts17"}},
    {"gpt2", "gpt2", {"dynamo", "dynamo24", "ts14", "ts17"}},
    {"llama", "llama", {"dynamo", "dynamo24", "ts14", "ts17"}},
    {"swin", "swin", {"dynamo", "dynamo24"}},
    {"swin", "swin_ts", {"ts14", "ts17"}}, /* ends in GlobalAveragePool where dynamo has ReduceMean */
    {"mistral", "mistral", {"dynamo", "dynamo24", "ts14", "ts17"}},
    {"mistral", "mistral_window", {"dynamo"}, .masks = true},
    {"mistral", "mistral_window_24", {"dynamo24"}, .masks = true},
    {"mistral", "mistral_window_ts", {"ts14", "ts17"}, .masks = true},
    {"deberta", "deberta", {"dynamo", "dynamo24", "ts14", "ts17"}},
    {"deberta", "deberta_positions", {"dynamo", "dynamo24", "ts17"}, .masks = true},
    {"deberta",
     "deberta_positions_ts14",
     {"ts14"},
     .masks = true}, /* normalises its embeddings of positions in other steps */
    {"resnet", "resnet", {"dynamo", "dynamo24"}},
    {"resnet", "resnet_ts", {"ts14", "ts17"}}, /* keeps BatchNormalization */
    {"mobilenet", "mobilenet", {"dynamo", "dynamo24"}},
    {"mobilenet", "mobilenet_ts", {"ts14", "ts17"}}, /* GlobalAveragePool; weights that were folded in another order */
    {"unet", "unet", {"dynamo", "dynamo24", "ts14", "ts17"}},
    {"segmentation", "segmentation", {"dynamo", "dynamo24"}},
    {"segmentation", "segmentation_ts", {"ts14", "ts17"}},
    {"xlnet", "xlnet", {"dynamo", "dynamo24", "ts14", "ts17"}},
    {"lstm_tagger", "lstm_tagger", {"dynamo", "dynamo24"}},
    {"lstm_tagger", "lstm_tagger_ts", {"ts14", "ts17"}},
    {"gru_tagger", "gru_tagger", {"dynamo", "dynamo24"}},
    {"gru_tagger", "gru_tagger_ts", {"ts14", "ts17"}},
};

int main(void) {
  struct CMUnitTest tests[countof(cases)];
  for (size_t i = 0; i < countof(cases); i++)
    tests[i] = (struct CMUnitTest){.name = cases[i].golden, .test_func = test_model, .initial_state = &cases[i]};
  return _cmocka_run_group_tests("golden models", tests, countof(cases), NULL, NULL);
}
