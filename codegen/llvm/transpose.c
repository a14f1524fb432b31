/* transpose.c - n vectors of n lanes transposed in registers.
 *
 * Within 128 bits, where machines interleave, blocks of 1, 2, 4 … elements of two rows are put side by side:
 *   a0 a1 a2 a3, b0 b1 b2 b3  ->  a0 b0 a1 b1, a2 b2 a3 b3
 * until each 128 bits hold one column of as many rows as they have elements. Then the 128-bit pieces themselves are transposed, by
 * taking the even and the odd ones of two vectors.
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/llvm/kemit.h"

#define MAX_ROWS KEMIT_TILE

static LVal shuffle(Emitter *e, LVal a, LVal b, const int *pick, int n) {
  LVal at[MAX_ROWS];
  for (int i = 0; i < n; i++)
    at[i] = emit_int(e->i32, pick[i]);
  return LLVMBuildShuffleVector(e->b, a, b, LLVMConstVector(at, (unsigned)n), "");
}

/* Blocks of `unit` elements of the low (or high) half of each `piece` elements of a and b, in turn. */
static LVal interleave(Emitter *e, LVal a, LVal b, int n, int piece, int unit, bool high) {
  int pick[MAX_ROWS];
  for (int i = 0; i < n; i++) {
    int p = i % piece, block = p / unit;
    pick[i] = i - p + block / 2 * unit + (high ? piece / 2 : 0) + p % unit + (block % 2 ? n : 0);
  }
  return shuffle(e, a, b, pick, n);
}

/* Every other piece of a, then of b. */
static LVal alternate(Emitter *e, LVal a, LVal b, int n, int piece, bool odd) {
  int pick[MAX_ROWS];
  for (int i = 0; i < n; i++) {
    int j = i % (n / 2);
    pick[i] = (2 * (j / piece) + odd) * piece + j % piece + (i < n / 2 ? 0 : n);
  }
  return shuffle(e, a, b, pick, n);
}

void emit_transpose(Emitter *e, LVal *row, int n, int bits) {
  LVal next[MAX_ROWS];
  int piece = 128 / bits < n ? 128 / bits : n, pieces = n / piece;
  for (int unit = 1; unit < piece; unit *= 2) {
    for (int i = 0; i < n; i++) { /* row i of this stage: of group i / unit, the columns that begin with c = i % unit */
      int group = i / unit, c = i % unit, to = group / 2 * 2 * unit + 2 * c;
      if (group % 2)
        continue;
      next[to] = interleave(e, row[i], row[i + unit], n, piece, unit, false);
      next[to + 1] = interleave(e, row[i], row[i + unit], n, piece, unit, true);
    }
    for (int i = 0; i < n; i++)
      row[i] = next[i];
  }
  for (int done = 1; done < pieces;
       done *= 2) { /* row[g * piece + c]: group g; of the columns q * piece + c, all or some */
    for (int c = 0; c < piece; c++)
      for (int g = 0; g < pieces; g++) {
        int group = g / done, d = g % done, to = group / 2 * 2 * done + d;
        if (group % 2)
          continue;
        LVal a = row[g * piece + c], b = row[(g + done) * piece + c];
        next[to * piece + c] = alternate(e, a, b, n, piece, false);
        next[(to + done) * piece + c] = alternate(e, a, b, n, piece, true);
      }
    for (int i = 0; i < n; i++)
      row[i] = next[i];
  }
}
