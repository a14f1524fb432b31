/* decode.h - ONNX files as plain structs. Nothing behind this header sees protobuf types.
 *
 * Raw structs say what the file says: nothing is checked against the operators or resolved. Strings are 0-terminated,
 * valid UTF-8 without NUL, never NULL: what is absent is "". Lists of n elements; pointers may be NULL where n is 0.
 * Everything lives in the arena given to decode_…, except tensor data, which is borrowed from the file's bytes.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_FRONTEND_DECODE_H
#define SARD_FRONTEND_DECODE_H

#include "frontend/model.h"
#include "frontend/wire.h"

typedef struct RawGraph RawGraph;

typedef struct RawTensor {
  const char *name;
  int32_t dtype; /* TensorProto.DataType as in the file: may be anything */
  uint32_t ndim;
  const int64_t *dim;   /* as in the file: may be negative */
  bool external;        /* data_location is EXTERNAL: look in ext; otherwise in piece */
  const MetaEntry *ext; /* external_data: location, offset, length, checksum … */
  uint32_t next;
  const WirePiece *piece; /* the data, in file order */
  uint32_t npiece;
  const MetaEntry *meta;
  uint32_t nmeta;
} RawTensor;

typedef struct RawSparse {  /* SparseTensorProto */
  const RawTensor *values;  /* never NULL; its name is the sparse tensor's name */
  const RawTensor *indices; /* NULL: absent, right only when there are no values */
  const int64_t *dim;
  uint32_t ndim;
} RawSparse;

typedef enum { RD_UNKNOWN, RD_VALUE, RD_PARAM } RawDimKind;
typedef struct RawDim {
  uint8_t kind;      /* RawDimKind */
  int64_t value;     /* RD_VALUE: may be negative */
  const char *param; /* RD_PARAM: a name or an expression; may be "" */
} RawDim;

typedef enum { RT_NONE, RT_TENSOR, RT_SPARSE, RT_SEQUENCE, RT_MAP, RT_OPTIONAL, RT_OPAQUE } RawTypeKind;
typedef struct RawType {
  uint8_t kind;      /* RawTypeKind; RT_NONE: a TypeProto that says nothing */
  int32_t elem_type; /* tensor, sparse: DataType; map: the key's DataType; as in the file */
  bool has_shape;    /* tensor, sparse: false means unknown rank */
  uint32_t ndim;
  const RawDim *dim;
  const struct RawType *elem; /* sequence, optional: element; map: value; NULL: absent */
  const char *denotation;     /* of the TypeProto; of opaque types: "domain/name" */
} RawType;

typedef struct RawValueInfo {
  const char *name, *doc;
  const RawType *type; /* NULL: absent */
  const MetaEntry *meta;
  uint32_t nmeta;
} RawValueInfo;

typedef enum { /* AttributeProto.AttributeType */
               RA_UNDEFINED = 0,
               RA_FLOAT = 1,
               RA_INT = 2,
               RA_STRING = 3,
               RA_TENSOR = 4,
               RA_GRAPH = 5,
               RA_FLOATS = 6,
               RA_INTS = 7,
               RA_STRINGS = 8,
               RA_TENSORS = 9,
               RA_GRAPHS = 10,
               RA_SPARSE = 11,
               RA_SPARSES = 12,
               RA_TYPE = 13,
               RA_TYPES = 14,
} RawAttrType;

/* One attribute. Decoding made sure that type is one of RawAttrType, that the value of that type and no other is given
 * (a missing number or string is 0 or empty, as some writers leave zeros out; lists may be empty), and that a reference
 * (ref not "") has no value. Files older than the type field (type UNDEFINED) get the type of the value they hold. */
typedef struct RawAttr {
  const char *name;
  const char *ref; /* ref_attr_name: the function's attribute that gives the value; "" : own value */
  const char *doc;
  uint8_t type; /* RawAttrType */
  float f;
  int64_t i;
  Str s;      /* bytes: any content */
  uint32_t n; /* list types: elements in the list of that type */
  const float *floats;
  const int64_t *ints;
  const Str *strings;
  const RawTensor *tensor;      /* RA_TENSOR: one; RA_TENSORS: n */
  const RawGraph *const *graph; /* RA_GRAPH: one; RA_GRAPHS: n */
  const RawSparse *sparse;      /* RA_SPARSE: one; RA_SPARSES: n */
  const RawType *const *tp;     /* RA_TYPE: one; RA_TYPES: n */
} RawAttr;

typedef struct RawNode {
  const char *name, *op, *domain, *overload, *doc; /* domain as in the file: "ai.onnx" and "" are the same */
  const char *const *in;                           /* "": optional input absent */
  const char *const *out;                          /* "": output not wanted */
  const RawAttr *attr;
  const MetaEntry *meta;
  uint32_t nin, nout, nattr, nmeta;
  bool newest; /* made here, in the form that ops.def describes: no step of upgrade.h applies */
} RawNode;

struct RawGraph {
  const char *name, *doc;
  const RawNode *node;
  const RawTensor *init;
  const RawSparse *sparse;             /* sparse_initializer */
  const RawValueInfo *in, *out, *info; /* info: value_info */
  const MetaEntry *meta;
  uint32_t nnode, ninit, nsparse, nin, nout, ninfo, nmeta;
};

typedef struct RawFunction {
  const char *name, *domain, *overload, *doc;
  const char *const *in;
  const char *const *out;
  const char *const *attr;     /* names of attributes without default: must be given by the call */
  const RawAttr *attr_default; /* attribute_proto: attributes with default */
  const RawNode *node;
  const OpsetImport *opset;
  const RawValueInfo *info;
  const MetaEntry *meta;
  uint32_t nin, nout, nattr, ndefault, nnode, nopset, ninfo, nmeta;
} RawFunction;

typedef struct RawModel {
  int64_t ir_version, model_version; /* 0: absent */
  const char *producer, *producer_version, *domain, *doc;
  const RawGraph *graph; /* never NULL */
  const RawFunction *function;
  const OpsetImport *opset; /* domain as in the file */
  const MetaEntry *meta;
  uint32_t nfunction, nopset, nmeta;
} RawModel;

/* Decodes a ModelProto: bounded scan, protobuf-c over the compact copy, plain structs in a. data must outlive the
 * RawModel (tensor pieces point into it). ST_INVALID, ST_MEMORY (over o->max_bytes); a tensor segment is
 * ST_UNSUPPORTED. o may be NULL. */
Status decode_model(Ctx *c, Arena *a, const uint8_t *data, size_t n, const LoadOptions *o, RawModel **out);

/* Decodes a TensorProto that stands alone (test data, `--input NAME=FILE.pb`). */
Status decode_tensor(Ctx *c, Arena *a, const uint8_t *data, size_t n, RawTensor **out);

#endif
