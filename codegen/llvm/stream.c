/* stream.c - which outputs of a kernel vectors go to past the caches: those larger than they are, which no cache keeps until they
 * are read, not read by the kernel itself, and stored to in one place or by whole rows: single elements would bring back what has
 * just left. Stores of one thread to one address keep their order, past the caches or not.
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/llvm/kemit.h"

#define B (k->e->b)

enum { STREAM_BYTES = 16 << 20 }; /* half of what the L3 of a core complex often has */

static bool expr_reads(const KExpr *x, const KBuf *b) {
  if (!x)
    return false;
  if (x->kind == KE_LOAD && x->buf == b)
    return true;
  for (int i = 0; i < 3; i++)
    if (expr_reads(x->arg[i], b))
      return true;
  for (int i = 0; x->kind == KE_LOAD && i < x->buf->rank; i++)
    if (expr_reads(x->index[i], b))
      return true;
  return false;
}

static bool reads(const KStmt *s, const KBuf *b) {
  for (; s; s = s->next) {
    if (expr_reads(s->value, b) || reads(s->body, b))
      return true;
    for (int i = 0; s->kind == KS_STORE && i < s->buf->rank; i++)
      if (expr_reads(s->index[i], b))
        return true;
  }
  return false;
}

static int stores(const KStmt *s, const KBuf *b) {
  int n = 0;
  for (; s; s = s->next)
    n += (s->kind == KS_STORE && s->buf == b) + stores(s->body, b);
  return n;
}

/* … of those the ones that are made by vectors, along rows. */
static int vector_stores(const KStmt *s, const KBuf *b) {
  int n = 0;
  for (; s; s = s->next)
    n += s->kind == KS_FOR && s->loop == KL_VECTOR ? stores(s->body, b) : vector_stores(s->body, b);
  return n;
}

void kemit_find_large(KEmit *k) {
  Emitter *e = k->e;
  k->large = arena_array(e->a, LVal, k->k->nbuf);
  for (uint32_t i = k->k->nin; e->bits >= 256 && i < k->k->nio; i++) {
    const KBuf *b = k->k->buf[i];
    int all = stores(k->k->body, b);
    if (!b->rank || reads(k->k->body, b) || (all > 1 && vector_stores(k->k->body, b) < all))
      continue;
    LVal size = LLVMBuildMul(B, k->stride[i][0], kemit_dim(k, b->dim[0]), "");
    size = LLVMBuildMul(B, size, emit_int(e->i64, dtype_bits(b->dtype) / 8), "");
    LVal large = LLVMBuildICmp(B, LLVMIntSGE, size, emit_int(e->i64, STREAM_BYTES), "");
    k->large[i] = LLVMIsAConstantInt(large) && !LLVMConstIntGetZExtValue(large) ? NULL : large;
  }
}
