/* tokenizer.h - text to token ids: the BERT family's WordPiece, read from a Hugging Face tokenizer.json.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_TOOLS_TOKENIZER_H
#define SARD_TOOLS_TOKENIZER_H

#include "support/arena.h"

#include <stdint.h>

typedef struct Tokenizer Tokenizer;

enum { TOKEN_IDS, TOKEN_MASK, TOKEN_TYPES, TOKEN_LISTS };

/* n texts, padded to the longest of them: row-major n x len. */
typedef struct TokenBatch {
  int64_t n, len;
  int64_t *list[TOKEN_LISTS];
} TokenBatch;

/* Handles: BertNormalizer, BertPreTokenizer, WordPiece, TemplateProcessing or BertProcessing, added tokens, truncation
 * and padding direction. ST_UNSUPPORTED names any other type; ST_INVALID: the file is damaged. */
Status tokenizer_load(Ctx *c, Arena *a, const char *path, Tokenizer **out);
/* The texts must be UTF-8 (ST_USAGE otherwise). */
Status tokenizer_encode(const Tokenizer *k, const char *const *text, uint32_t n, TokenBatch *out);

#endif
