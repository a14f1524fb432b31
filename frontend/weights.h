/* weights.h - from a tensor of the file to a Tensor: data in the model's bytes, in typed fields, or in other files.
 *
 * Raw data is borrowed from the mapped file at whatever alignment it has, and is not read here. Typed fields are
 * borrowed where the bytes are those of the tensor (float_data of f32 …), else converted into the model's arena.
 * External data is looked for beside the model, or beside the file that the model's path is a symbolic link to;
 * whatever the name leads to, the file that was opened must be a regular file in one of those directories.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_FRONTEND_WEIGHTS_H
#define SARD_FRONTEND_WEIGHTS_H

#include "frontend/decode.h"

typedef struct Weights Weights;

/* For the tensors of m, whose arena and bytes are set. External files are mapped once each and appended to m->file.
 * dir: the directory of external data; NULL: it is refused. When m->path is set, the directory of its real path counts
 * too. Registered with c until weights_close. o may be NULL. */
Status weights_open(Ctx *c, Model *m, const char *dir, const LoadOptions *o, Weights **out);
/* Closes the directories; tensors made and files mapped stay with the model. */
void weights_close(Weights *w);

/* The tensor in the model's arena. ST_INVALID names the tensor: unknown dtype, dims negative, overflowing or not
 * matching the data, bad location. ST_UNSUPPORTED: rank above MAX_RANK. ST_IO: no such file. */
Status weights_tensor(Weights *w, const RawTensor *t, const Tensor **out);
/* The same for a sparse tensor, made dense (linear indices [NNZ] or coordinates [NNZ, rank], ascending, unique). */
Status weights_sparse(Weights *w, const RawSparse *s, const Tensor **out);

/* Maps one file of external data by its name, once per file: what weights_tensor does for a tensor's location. */
Status weights_file(Weights *w, const char *name, Mapped **out);

/* A tensor whose data is not external, outside any model; borrows from the bytes t was decoded from. */
Status weights_plain(Ctx *c, Arena *a, const RawTensor *t, const Tensor **out);

#endif
