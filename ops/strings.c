/* strings.c - inference of operators on strings: StringConcat, RegexFullMatch, StringNormalizer, StringSplit, TfIdfVectorizer.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/content.h"
#include "ops/ops.h"

/* What stays of [C] or [1, C] depends on the strings. */
Status string_normalizer_infer(Infer *x) {
  int rank;
  if (!in_rank(x, 0, &rank))
    return ST_OK;
  if (rank != 1 && rank != 2)
    return infer_fail(x, "the input must be of shape [C] or [1, C]");
  Dim dim[2] = {dim_const(x->c, 1), dim_const(x->c, 1)};
  if (rank == 2)
    TRY(same_dim(x, in_dim(x, 0, 0), dim[0], "the first extent", NULL));
  dim[rank - 1] = run_dim(x, 0, rank, rank - 1, "words");
  set_out(x, 0, DT_none, rank, dim);
  return ST_OK;
}

Status string_split_infer(Infer *x) {
  int rank;
  Dim dim[MAX_RANK + 1];
  if (!in_rank(x, 0, &rank))
    return ST_OK;
  if (rank >= MAX_RANK)
    return infer_fail(x, "rank %d leaves no room for another axis", rank);
  for (int i = 0; i < rank; i++)
    dim[i] = in_dim(x, 0, i);
  dim[rank] = run_dim(x, 0, rank + 1, rank, "parts");
  set_out(x, 0, DT_none, rank + 1, dim);
  set_out(x, 1, DT_none, rank, dim);
  return ST_OK;
}

Status tfidf_infer(Infer *x) {
  const TfIdfVectorizerAttr *a = ATTR(x->n, TfIdfVectorizer);
  int64_t size = 0;
  int rank;
  for (int64_t i = 0; i < a->ngram_indexes.n; i++)
    size = a->ngram_indexes.v[i] >= size && a->ngram_indexes.v[i] < INT64_MAX ? a->ngram_indexes.v[i] + 1 : size;
  if (!in_rank(x, 0, &rank))
    return ST_OK;
  if (rank > 2)
    return infer_fail(x, "the input must be of shape [C] or [N, C]");
  Dim dim[2] = {dim_const(x->c, size), dim_const(x->c, size)};
  if (rank == 2)
    dim[0] = in_dim(x, 0, 0);
  set_out(x, 0, DT_none, rank == 2 ? 2 : 1, dim);
  return ST_OK;
}
