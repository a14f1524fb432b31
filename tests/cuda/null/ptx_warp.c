/* ptx_warp.c - what the threads of a warp do together: shuffles, matrices of shared memory, tensor cores (fragments as the chapters on
 * mma.m16n8k16, mma.m16n8k32 and ldmatrix of NVIDIA's PTX ISA lay them out); and copies in the background, which arrive no sooner than they are
 * waited for: until then there is garbage.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/cuda/null/ptx_run.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- shuffles --- */

static bool shuffle(Machine *m, Thread *warp, unsigned n, const Ins *x) {
  uint64_t from[WARP];
  for (unsigned i = 0; i < n; i++)
    from[i] = warp[i].state == ENDED ? 0xdeadbeef : ptx_get(&warp[i], &x->src[0]);
  for (unsigned i = 0; i < n; i++) {
    if (warp[i].state == ENDED)
      continue;
    unsigned which = (unsigned)ptx_get(&warp[i], &x->src[1]), other = x->index ? which & (WARP - 1) : i ^ which;
    if (other >= n)
      return ptx_fault(m, &warp[i], "a shuffle with a thread that is not there");
    warp[i].reg[x->dst[0].reg] = from[other];
  }
  return true;
}

/* --- matrices --- */

/* Rows of 16 bytes at the addresses that the threads give; element pair 2 (l % 4) of row l / 4 for thread l, or of column l / 4. */
static bool matrices(Machine *m, Thread *warp, const Ins *x) {
  uint16_t all[4][8][8];
  for (unsigned i = 0; i < WARP; i++) {
    uint64_t a = ptx_get(&warp[i], &x->src[0]) + x->src[0].value;
    const uint8_t *p = ptx_address(m, &warp[i], a, 16);
    if (!p)
      return false;
    if (a < SHARED_BASE || a >= LOCAL_BASE)
      return ptx_fault(m, &warp[i], "a matrix that is not in shared memory");
    memcpy(all[i / 8][i % 8], p, 16);
  }
  for (unsigned i = 0; i < WARP; i++)
    for (int k = 0; k < x->ndst; k++) {
      unsigned row = i / 4, col = i % 4 * 2;
      uint16_t low = x->trans ? all[k][col][row] : all[k][row][col];
      uint16_t high = x->trans ? all[k][col + 1][row] : all[k][row][col + 1];
      warp[i].reg[x->dst[k].reg] = (uint64_t)high << 16 | low;
    }
  return true;
}

/* Element i of the fragment in the operands from `first` on, two to a register. */
static double element(const Thread *t, const Ins *x, int first, int i) {
  uint64_t v = ptx_get(t, &x->src[first + i / 2]);
  return ptx_real(v >> (i % 2 ? 16 : 0) & 0xffff, x->from);
}

/* sum[16][8] = A[16][16] B[16][8] + C: exact products, f32 sums in order of k. */
static bool multiply(Thread *warp, const Ins *x) {
  double a[16][16], b[16][8];
  float sum[16][8];
  for (unsigned l = 0; l < WARP; l++) {
    unsigned group = l / 4, in = l % 4;
    for (unsigned i = 0; i < 8; i++)
      a[group + (i / 2 % 2 ? 8 : 0)][in * 2 + i % 2 + (i >= 4 ? 8 : 0)] = element(&warp[l], x, 0, (int)i);
    for (unsigned i = 0; i < 4; i++)
      b[in * 2 + i % 2 + (i >= 2 ? 8 : 0)][group] = element(&warp[l], x, 4, (int)i);
    for (unsigned i = 0; i < 4; i++)
      sum[group + (i >= 2 ? 8 : 0)][in * 2 + i % 2] = (float)ptx_real(ptx_get(&warp[l], &x->src[6 + i]), x->t);
  }
  for (int r = 0; r < 16; r++)
    for (int c = 0; c < 8; c++)
      for (int k = 0; k < 16; k++)
        sum[r][c] = (float)((double)sum[r][c] + a[r][k] * b[k][c]);
  for (unsigned l = 0; l < WARP; l++)
    for (unsigned i = 0; i < 4; i++)
      warp[l].reg[x->dst[i].reg] = ptx_bits((double)sum[l / 4 + (i >= 2 ? 8 : 0)][l % 4 * 2 + i % 2], x->t);
  return true;
}

/* Byte i of the fragment in the operands from `first` on. */
static int byte(const Thread *t, const Ins *x, int first, unsigned i, Type type) {
  uint8_t v = (uint8_t)(ptx_get(t, &x->src[first + (int)i / 4]) >> i % 4 * 8);
  return type.kind == 's' ? (int8_t)v : v;
}

/* sum[16][8] = A[16][32] B[32][8] + C, as mma.m16n8k32 has it, modulo 2^32. */
static bool multiply_bytes(Thread *warp, const Ins *x) {
  int a[16][32], b[32][8];
  for (unsigned l = 0; l < WARP; l++) {
    unsigned group = l / 4, in = l % 4;
    for (unsigned i = 0; i < 16; i++)
      a[group + (i / 4 % 2 ? 8 : 0)][in * 4 + i % 4 + (i >= 8 ? 16 : 0)] = byte(&warp[l], x, 0, i, x->from);
    for (unsigned i = 0; i < 8; i++)
      b[in * 4 + i % 4 + (i >= 4 ? 16 : 0)][group] = byte(&warp[l], x, 4, i, x->second);
  }
  for (unsigned l = 0; l < WARP; l++)
    for (unsigned i = 0; i < 4; i++) {
      uint32_t sum = (uint32_t)ptx_get(&warp[l], &x->src[6 + i]);
      for (int k = 0; k < 32; k++)
        sum += (uint32_t)(a[l / 4 + (i >= 2 ? 8 : 0)][k] * b[k][l % 4 * 2 + i % 2]);
      warp[l].reg[x->dst[i].reg] = sum;
    }
  return true;
}

bool ptx_together(Machine *m, Thread *warp, unsigned n) {
  int at = -1;
  unsigned here = 0;
  for (unsigned i = 0; i < n; i++) {
    if (warp[i].state == ENDED)
      continue;
    if (warp[i].state != AT_WARP || (at >= 0 && warp[i].where != at))
      return ptx_fault(m, &warp[i], "the threads of a warp shuffle at different places");
    at = warp[i].where;
    here++;
  }
  const Ins *x = &m->k->ins[at];
  if (x->op != O_shfl && here != WARP)
    return ptx_fault(m, &warp[0], "%u threads, where a whole warp is needed", here);
  if (!(x->op == O_shfl       ? shuffle(m, warp, n, x)
        : x->op == O_ldmatrix ? matrices(m, warp, x)
        : x->from.bits == 8   ? multiply_bytes(warp, x)
                              : multiply(warp, x)))
    return false;
  for (unsigned i = 0; i < n; i++)
    warp[i].state = warp[i].state == ENDED ? ENDED : RUNS;
  return true;
}

/* --- copies --- */

static bool begin(Machine *m, Thread *t, const Ins *x) {
  uint64_t to = ptx_get(t, &x->src[0]) + x->src[0].value, from = ptx_get(t, &x->src[1]) + x->src[1].value,
           size = ptx_get(t, &x->src[2]);
  uint64_t bytes = x->nsrc > 3 ? (uint32_t)ptx_get(t, &x->src[3]) : size;
  uint8_t *p = ptx_address(m, t, to, (size_t)size);
  if (!p)
    return false;
  if (size != 16 || bytes > size || from % size)
    return ptx_fault(m, t, "a copy of %u bytes from %#llx", (unsigned)bytes, (unsigned long long)from);
  if (bytes && !ptx_address(m, t, from, (size_t)size))
    return false;
  memset(p, 0xee, (size_t)size);
  if (t->ncopy % 64 == 0)
    t->copy = realloc(t->copy, (size_t)(t->ncopy + 64) * sizeof *t->copy);
  t->copy[t->ncopy++] = (Pending){p, from, (size_t)bytes, (size_t)(size - bytes), t->group};
  return true;
}

/* Copies of all groups but the last `left`. */
static bool wait_for(Machine *m, Thread *t, int left) {
  int n = 0;
  for (int i = 0; i < t->ncopy; i++) {
    Pending *x = &t->copy[i];
    if (x->group >= t->group - left) {
      t->copy[n++] = *x;
      continue;
    }
    const uint8_t *p = x->bytes ? ptx_address(m, t, x->from, x->bytes) : NULL;
    if (x->bytes && !p)
      return false;
    if (p)
      memcpy(x->to, p, x->bytes);
    memset(x->to + x->bytes, 0, x->zeros);
  }
  t->ncopy = n;
  return true;
}

bool ptx_copies(Machine *m, Thread *t, const Ins *x) {
  if (x->copy == COPY_BEGIN)
    return begin(m, t, x);
  if (x->copy == COPY_END) {
    t->group++;
    return true;
  }
  return wait_for(m, t, (int)ptx_get(t, &x->src[0]));
}
