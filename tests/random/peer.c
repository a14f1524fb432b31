/* peer.c - a graph judged by onnx.reference: as an ONNX model, with its inputs, what the evaluators make of it and by how much
 * that may be off, it goes to a process of onnx_reference.py, which answers with a line. One such process serves many graphs.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/random/onnx.h"
#include "tests/random/random.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LIMIT_S = 120 };

static struct {
  const char *command;
  pid_t pid;
  int to, from;
} peer;

void peer_open(const char *command) {
  int to[2], from[2];
  signal(SIGPIPE, SIG_IGN);
  if (pipe(to) || pipe(from))
    abort();
  fflush(NULL);
  peer.command = command;
  peer.pid = fork();
  if (!peer.pid) {
    dup2(to[0], 0), dup2(from[1], 1);
    close(to[0]), close(to[1]), close(from[0]), close(from[1]);
    execl("/bin/sh", "sh", "-c", command, (char *)NULL);
    _exit(127);
  }
  close(to[0]), close(from[1]);
  peer.to = to[1], peer.from = from[0];
}

void peer_close(void) {
  close(peer.to), close(peer.from);
  waitpid(peer.pid, NULL, 0);
}

/* --- the question: so many pieces, each behind its length --- */

typedef struct Question {
  Pb bytes;
  uint32_t pieces;
} Question;

static void add_piece(Question *q, Pb *piece) {
  uint32_t n = (uint32_t)piece->n;
  pb_put(&q->bytes, &n, sizeof n);
  pb_put(&q->bytes, piece->b, piece->n);
  pb_free(piece);
  q->pieces++;
}

static void add_tensor(Question *q, const char *name, const Tensor *t) {
  Pb p = {0};
  onnx_tensor(&p, name, t);
  add_piece(q, &p);
}

static void add_bounds(Question *q, const Oracle *o, uint32_t i) {
  Pb p = {0};
  for (int64_t k = 0, n = tensor_count(o->want[i]); k < n; k++) {
    double bound = oracle_bound(o, i, k);
    pb_put(&p, &bound, sizeof bound);
  }
  add_piece(q, &p);
}

static void add_values(Question *q, const Oracle *o, const Graph *g) {
  for (const Node *n = g->first; n; n = n->next)
    for (int i = 0; i < n->nout; i++)
      if (n->out[i] && o->value[n->out[i]->id])
        add_tensor(q, n->out[i]->name, o->value[n->out[i]->id]);
}

/* counts; the model; inputs; outputs, each with its bounds; the values inside. */
static Question ask(Arena *a, const Graph *g, const Oracle *o, Tensor *const *in) {
  Question q = {0};
  uint32_t counts[] = {g->nin, g->nout, oracle_steady(o)};
  Pb p = {0};
  pb_put(&p, counts, sizeof counts);
  add_piece(&q, &p);
  onnx_model(&p, a, g);
  add_piece(&q, &p);
  for (uint32_t i = 0; i < g->nin; i++)
    add_tensor(&q, g->in[i]->name, in[i]);
  for (uint32_t i = 0; i < g->nout; i++) {
    add_tensor(&q, g->out[i]->name, o->want[i]);
    add_bounds(&q, o, i);
  }
  add_values(&q, o, g);
  return q;
}

static bool send_all(int fd, const void *bytes, size_t n) {
  for (const char *p = bytes; n;) {
    ssize_t k = write(fd, p, n);
    if (k < 0 && errno != EINTR)
      return false;
    if (k > 0)
      p += k, n -= (size_t)k;
  }
  return true;
}

/* A line without its end; false: the process is gone. */
static bool read_line(char *line, size_t cap) {
  size_t n = 0;
  for (char ch; read(peer.from, &ch, 1) == 1;) {
    if (ch == '\n')
      return line[n] = 0, true;
    if (n + 1 < cap)
      line[n++] = ch;
  }
  return false;
}

/* --- the judgement --- */

typedef struct Case {
  const char *text;
  uint64_t seed;
  char *why;
  size_t cap;
  Verdict verdict;
} Case;

static Status bad(Case *k, Verdict v, const char *how, const char *what) {
  char text[1400];
  snprintf(text, sizeof text, "%s: %s", how, what);
  snprintf(k->why, k->cap, "%s", text);
  k->verdict = v;
  return ST_OK;
}

static Status by_peer(Ctx *c, void *arg) {
  Case *k = arg;
  Graph *g;
  Oracle o;
  char line[400];
  Arena *a = arena_create(c);
  if (random_read(c, k->text, &g))
    return bad(k, BROKEN, "as text", c->err.message);
  Tensor **in = random_inputs(c, a, g, k->seed);
  if (!in || !oracle_run(c, a, g, in, k->seed, &o))
    return bad(k, BROKEN, "evaluated node by node", c->err.message);
  Question q = ask(a, g, &o, in);
  bool sent = send_all(peer.to, &q.pieces, sizeof q.pieces) && send_all(peer.to, q.bytes.b, q.bytes.n);
  pb_free(&q.bytes);
  if (!sent || !read_line(line, sizeof line))
    return bad(k, BROKEN, "by onnx.reference", "its process is gone");
  /* `ok NODES SPARED`: so many nodes, of which it left some to the evaluators */
  if (!strncmp(line, "ok", 2))
    return snprintf(k->why, k->cap, "%s", line), ST_OK;
  return bad(k, !strncmp(line, "error", 5) ? BROKEN : DIFFERENT, "by onnx.reference", line);
}

Verdict judge_by_peer(const char *text, uint64_t seed, char *why, size_t cap) {
  Alloc alloc;
  Ctx c;
  Case k = {text, seed, why, cap, SAME};
  *why = 0;
  alarm(LIMIT_S);
  alloc_init_system(&alloc);
  ctx_open(&c, &alloc);
  if (ctx_protect(&c, by_peer, &k))
    bad(&k, BROKEN, "by onnx.reference", c.err.message);
  ctx_close(&c);
  alarm(0);
  return k.verdict;
}
