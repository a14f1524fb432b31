/* model.h - an ONNX file as a graph: what the frontend hands to the passes.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_FRONTEND_MODEL_H
#define SARD_FRONTEND_MODEL_H

#include "ir/graph.h"
#include "support/file.h"

typedef struct MetaEntry {
  const char *key, *value;
} MetaEntry;

typedef struct OpsetImport {
  const char *domain; /* "": ai.onnx */
  int64_t version;
} OpsetImport;

typedef struct Model {
  Arena *arena; /* the graph's arena: owns everything here */
  Graph *graph;
  const char *path; /* NULL: from memory */
  int64_t ir_version;
  const char *producer, *producer_version, *domain, *doc;
  int64_t model_version;
  OpsetImport *opset;
  uint32_t nopset;
  MetaEntry *meta; /* metadata_props */
  uint32_t nmeta;
  const uint8_t *bytes; /* the protobuf: weights in it are borrowed from here */
  size_t nbytes;
  Mapped **file; /* mapped files; file[0] is the model itself when it came from a path */
  uint32_t nfile;
} Model;

/* A symbolic dimension fixed when the model is imported. */
typedef struct DimBinding {
  const char *name;
  int64_t value;
  bool used; /* set by import: the model has such a dimension */
} DimBinding;

typedef struct LoadOptions {
  bool strict;        /* refuse hard-linked external data and unknown fields */
  size_t max_bytes;   /* of protobuf metadata decoded into memory, weights excluded; 0: 1 GiB */
  uint32_t max_nodes; /* after inlining functions, bodies included; 0: 2,000,000 */
  bool no_infer;      /* no type inference, for inspection: an operator that is not known, or whose old or new form
                            is not, becomes a node of OP_none with Origin.op; types are those that the file declares */
  DimBinding *bind;   /* nbind of them */
  uint32_t nbind;
} LoadOptions;

/* Reads a model: bounded scan, protobuf-c, opset upgrade, functions inlined, types inferred. Weights are spans of the
 * mapped files. On success the model (arena, mappings) is registered with c until model_close. o may be NULL. */
Status model_load_file(Ctx *c, const char *path, const LoadOptions *o, Model **out);
/* data must live as long as the model; dir NULL: external data is refused. */
Status model_load_bytes(Ctx *c, const void *data, size_t n, const char *dir, const LoadOptions *o, Model **out);
void model_close(Ctx *c, Model *m); /* unmaps, frees the graph */

/* What tells a model apart without importing it. */
typedef struct ModelId {
  uint64_t hash[2];   /* of the graph, of where its data lies and of small data; from memory: of all bytes */
  bool holds_weights; /* the file has data that the hash leaves out: the file's identity stands for it */
  Mapped *file;       /* the model's; NULL: from memory */
  const char *dir;    /* of external data; NULL: none */
} ModelId;

/* path, or data and dir as above. Reads the graph's pages alone; nothing but the scan's bounds is checked. */
Status model_identify(Ctx *c, Arena *a, const char *path, const void *data, size_t n, const char *dir,
                      const LoadOptions *o, ModelId *out);
/* Maps n files of external data by the names that the model gives them, judged as import judges them. path NULL: a model
 * from memory. */
Status model_map_weights(Ctx *c, Arena *a, const char *path, const char *dir, const LoadOptions *o,
                         const char *const *name, uint32_t n, Mapped **out);
/* The directory that a path's file is in. */
const char *model_directory(Arena *a, const char *path);

#endif
