/* test_random.c - random graphs in every way they can run: test_random [--peer COMMAND] [GRAPHS [FIRST SEED [NODES]]].
 *
 * Prints the smallest graph found for each that fails, as IR text, and the seed; `test_random 1 SEED` makes it again. Without
 * arguments the graphs of found/, each of which once failed, are run as well, and the table of operators is checked. With --peer
 * the graphs are judged by the process of a shell's command (peer.c; test_onnx.py gives it); with --print they are printed instead;
 * `test_random --run FILE SEED` judges the graph in a file and prints its kernels. SPDX-License-Identifier: Apache-2.0 */
#include "codegen/backend.h"
#include "tests/random/random.h"

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>

enum { GRAPHS = 150, NODES = 10, SHOWN = 12, FOUND_SEEDS = 4, TABLE_SEEDS = 200 };

typedef struct Wish {
  uint64_t seed;
  int nodes;
  OpId favourite;
  bool has_it;
  char *text; /* malloced */
} Wish;

static bool holds(const Graph *g, OpId op) {
  for (const Node *n = g->first; n; n = n->next)
    if (n->op == op || (n->body[0] && holds(n->body[0], op)) || (n->body[1] && holds(n->body[1], op)))
      return true;
  return false;
}

static Status make(Ctx *c, void *arg) {
  Wish *w = arg;
  StrBuf b;
  Graph *g = random_graph(c, w->seed, w->nodes, w->favourite);
  if (!g)
    return ST_OK;
  TRY(graph_verify(c, g));
  w->has_it = holds(g, w->favourite);
  buf_init(&b, arena_create(c));
  graph_print(&b, g, &(PrintOptions){.const_limit = 1 << 20});
  w->text = strdup(b.text);
  return ST_OK;
}

static char *make_text(uint64_t seed, int nodes, OpId favourite, bool *has_it) {
  Alloc alloc;
  Ctx c;
  Wish w = {.seed = seed, .nodes = nodes, .favourite = favourite};
  alloc_init_system(&alloc);
  ctx_open(&c, &alloc);
  if (ctx_protect(&c, make, &w))
    printf("seed %llu: no graph: %s\n", (unsigned long long)seed, c.err.message);
  ctx_close(&c);
  *has_it = w.has_it;
  return w.text;
}

/* How graphs are judged, and what onnx.reference left to the evaluators. */
static Judge *judged_by = judge;
static long nodes_seen, nodes_spared;

static bool run_one(uint64_t seed, bool quiet, const char *text) {
  char why[500];
  long seen = 0, spared = 0;
  Verdict v = judged_by(text, seed, why, sizeof why);
  if (v == SAME && sscanf(why, "ok %ld %ld", &seen, &spared) == 2)
    nodes_seen += seen, nodes_spared += spared;
  if (v == SAME)
    return true;
  char *small = quiet ? NULL : reduce(text, seed, v, judged_by);
  if (small && judged_by(small, seed, why, sizeof why) == SAME)
    snprintf(why, sizeof why, "not again");
  printf("seed %llu: %s\n%s\n", (unsigned long long)seed, why, small ? small : "");
  fflush(stdout);
  free(small);
  return false;
}

static void load_backend(void) { /* once, for all children */
  Alloc alloc;
  Ctx c;
  const EmitApi *api;
  alloc_init_system(&alloc);
  ctx_open(&c, &alloc);
  backend_load(&c, &api);
  ctx_close(&c);
}

static char text_of_file[1 << 20];

static bool read_file(const char *path) {
  FILE *f = fopen(path, "r");
  if (!f)
    return false;
  text_of_file[fread(text_of_file, 1, sizeof text_of_file - 1, f)] = 0;
  fclose(f);
  return true;
}

static int run_file(const char *path, uint64_t seed) {
  char why[500];
  if (!read_file(path))
    return perror(path), 2;
  setenv("RANDOM_KERNELS", "1", 1);
  Verdict v = judge(text_of_file, seed, why, sizeof why);
  printf("%s\n", v == SAME ? "same" : why);
  return v != SAME;
}

/* The graphs that once failed, made small: at the sizes of some seeds. */
static void run_found(long *passed, long *failed) {
  glob_t found;
  char why[500];
  if (glob(TEST_DIR "/random/found/*.ir", 0, NULL, &found))
    return;
  for (size_t i = 0; i < found.gl_pathc; i++)
    for (uint64_t seed = 1; seed <= FOUND_SEEDS; seed++) {
      Verdict v = read_file(found.gl_pathv[i]) ? judge(text_of_file, seed, why, sizeof why) : BROKEN;
      if (v != SAME)
        printf("%s with seed %d: %s\n", found.gl_pathv[i], (int)seed, why);
      ++*(v == SAME ? passed : failed);
    }
  globfree(&found);
}

/* Every operator is generated, or stands in the table with the reason why not. */
static void run_table(long *passed, long *failed) {
  const char *why;
  for (OpId op = 1; op < op_count(); op++) {
    bool made = false, generated = is_generated(op, &why);
    if (!generated && !why)
      printf("%s: neither generated nor in the table with a reason\n", op_info(op)->name);
    for (uint64_t seed = 1; generated && !made && seed <= TABLE_SEEDS; seed++)
      free(make_text(seed, NODES, op, &made));
    if (generated && !made)
      printf("%s: in none of %d graphs\n", op_info(op)->name, TABLE_SEEDS);
    ++*((generated ? made : why != NULL) ? passed : failed);
  }
}

int main(int argc, char **argv) {
  if (argc == 4 && !strcmp(argv[1], "--run"))
    return run_file(argv[2], strtoull(argv[3], NULL, 10));
  bool print = argc > 1 && !strcmp(argv[1], "--print");
  argc -= print, argv += print;
  if (argc > 2 && !strcmp(argv[1], "--peer")) {
    peer_open(argv[2]);
    judged_by = judge_by_peer;
    argc -= 2, argv += 2;
  }
  long n = argc > 1 ? atol(argv[1]) : GRAPHS, first = argc > 2 ? atol(argv[2]) : 1, passed = 0, failed = 0, none = 0;
  int nodes = argc > 3 ? atoi(argv[3]) : NODES;
  if (judged_by == judge && !backend_present()) {
    printf("this build has no code generator\n");
    return 77;
  }
  if (judged_by == judge)
    load_backend();
  if (argc < 2)
    run_found(&passed, &failed), run_table(&passed, &failed);
  for (long i = first; i < first + n; i++) {
    bool has_it;
    char *text = make_text((uint64_t)i, nodes, favourite_of((uint64_t)i), &has_it);
    if (text && print)
      printf("# seed %ld\n%s\n", i, text);
    else if (!text)
      none++;
    else if (run_one((uint64_t)i, failed >= SHOWN, text))
      passed++;
    else
      failed++;
    free(text);
  }
  if (judged_by == judge_by_peer) {
    peer_close();
    printf("%ld nodes, of which %ld are where onnx.reference is not to be asked\n", nodes_seen, nodes_spared);
  }
  printf("%ld graphs, %ld seeds gave none\n%ld passed, %ld failed, 0 skipped\n", passed + failed, none, passed, failed);
  return failed || none * 20 > n ? 1 : 0;
}
