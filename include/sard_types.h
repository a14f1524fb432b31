/* sard_types.h - what the C API of Sard and the headers of compiled models share: status codes, tensors, inputs and outputs.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_TYPES_H
#define SARD_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A struct that is zero but for its first field, its size: what SARD_…_INIT stand for. */
#ifdef __cplusplus
#define SARD_INIT(T)                                                                                                   \
  [] {                                                                                                                 \
    T sard_init = T();                                                                                                 \
    sard_init.size = sizeof sard_init;                                                                                 \
    return sard_init;                                                                                                  \
  }()
#else
#define SARD_INIT(T)                                                                                                   \
  { .size = sizeof(T) }
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef enum sard_status {
  SARD_OK = 0,
  SARD_ERROR_USAGE = 2,       /* a wrong argument: unknown name, NULL, impossible option */
  SARD_ERROR_INVALID = 3,     /* the model or an input is not valid */
  SARD_ERROR_UNSUPPORTED = 4, /* valid, but not handled by this build or device */
  SARD_ERROR_MEMORY = 5,      /* over the byte budget, or out of memory */
  SARD_ERROR_DEVICE = 6,
  SARD_ERROR_IO = 7, /* a file could not be read or written */
  SARD_ERROR_CANCELLED = 8,
  SARD_ERROR_TIMEOUT = 9,
  SARD_ERROR_INTERNAL = 10 /* a bug in Sard */
} sard_status;

/* Element types; the values are ONNX's TensorProto.DataType. */
typedef enum sard_dtype {
  SARD_NONE = 0,
  SARD_F32 = 1,
  SARD_U8 = 2,
  SARD_I8 = 3,
  SARD_U16 = 4,
  SARD_I16 = 5,
  SARD_I32 = 6,
  SARD_I64 = 7,
  SARD_STRING = 8,
  SARD_BOOL = 9,
  SARD_F16 = 10,
  SARD_F64 = 11,
  SARD_U32 = 12,
  SARD_U64 = 13,
  SARD_C64 = 14,
  SARD_C128 = 15,
  SARD_BF16 = 16,
  SARD_F8E4M3FN = 17,
  SARD_F8E4M3FNUZ = 18,
  SARD_F8E5M2 = 19,
  SARD_F8E5M2FNUZ = 20,
  SARD_U4 = 21,
  SARD_I4 = 22,
  SARD_F4E2M1 = 23,
  SARD_F8E8M0 = 24,
  SARD_U2 = 25,
  SARD_I2 = 26,
  SARD_F6E2M3 = 27,
  SARD_F6E3M2 = 28
} sard_dtype;

#define SARD_MAX_RANK 16

/* A string element. Borrowed bytes, need not end in 0. */
typedef struct sard_str {
  const char *ptr;
  size_t len;
} sard_str;

typedef enum sard_kind { SARD_KIND_TENSOR, SARD_KIND_SEQUENCE, SARD_KIND_OPTIONAL, SARD_KIND_MAP } sard_kind;

/* A view of the caller's memory, or of an output's. Never owns data. Fields that a program does not use are zero. */
typedef struct sard_tensor {
  void *data; /* dtype's elements; SARD_STRING: an array of sard_str; types below 8 bits are packed */
  sard_dtype dtype;
  int32_t rank; /* 0 .. SARD_MAX_RANK */
  int64_t dim[SARD_MAX_RANK];
  int64_t stride[SARD_MAX_RANK]; /* in elements, not for types below 8 bits */
  bool strided;                  /* false: row-major without gaps, stride is not read */
  bool device;                   /* data is an address on the model's GPU, see sard_run_options.stream */
  sard_kind kind; /* a container: the fields above are not used; as an input it is copied before the run */
  const struct sard_tensor
      *item; /* its values: an optional has one or none; a map two lists of rank 1, keys and values */
  int64_t nitem;
} sard_tensor;

/* An input or output. dim[i] >= 0: fixed; -1: symbolic, and its name or expression is sard_io_dim_text. */
typedef struct sard_io {
  size_t size; /* SARD_IO_INIT */
  const char *name;
  sard_kind kind;
  sard_dtype dtype; /* SARD_NONE: not known before the run */
  int32_t rank;     /* -1: not known before the run */
  int64_t dim[SARD_MAX_RANK];
  bool optional; /* input with a default value in the model: need not be given */
} sard_io;
#define SARD_IO_INIT SARD_INIT(sard_io)

/* What a run made: its outputs. */
typedef struct sard_result sard_result;

/* --- models compiled ahead of time --- */

typedef struct sard_compiled sard_compiled; /* an instance of a compiled model */

typedef struct sard_compiled_options {
  size_t size;       /* SARD_COMPILED_OPTIONS_INIT */
  int threads;       /* of a run; 0: what the process may really use */
  size_t max_memory; /* bytes; 0: no limit */
  const char
      *weights; /* the file with weights, where they are in a file of their own; NULL: beside the library or program */
  void *(*alloc)(void *arg, size_t size, size_t align); /* NULL: the system's allocator. Called from any thread. */
  void (*free)(void *arg, void *p, size_t size);
  void *alloc_arg;
} sard_compiled_options;
#define SARD_COMPILED_OPTIONS_INIT SARD_INIT(sard_compiled_options)

/* What a compiled model can do, for programs that find it with dlopen: the symbol `sard_compiled_model` of a .so is a function
 * that returns this. The functions are those of its header, without their types; init_static or init is NULL. */
typedef struct sard_compiled_api {
  size_t size; /* of this struct in the build that made the model */
  const char *(*name)(void);
  sard_status (*init)(const sard_compiled_options *o, sard_compiled **out);
  sard_status (*init_static)(void *memory, size_t bytes, const sard_compiled_options *o, sard_compiled **out);
  void (*free)(sard_compiled *m);
  const char *(*error)(void);
  size_t (*input_count)(const sard_compiled *m);
  size_t (*output_count)(const sard_compiled *m);
  sard_status (*input)(const sard_compiled *m, size_t i, sard_io *io);
  sard_status (*output)(const sard_compiled *m, size_t i, sard_io *io);
  const char *(*input_dim_text)(const sard_compiled *m, size_t i, int axis);
  const char *(*output_dim_text)(const sard_compiled *m, size_t i, int axis);
  size_t (*symbol_count)(const sard_compiled *m);
  const char *(*symbol_name)(const sard_compiled *m, size_t i);
  sard_status (*call)(const sard_compiled *m, const sard_tensor *in, size_t n, sard_result **out);
  sard_status (*call_into)(const sard_compiled *m, const sard_tensor *in, size_t n, const sard_tensor *out,
                           size_t nout);
  sard_status (*result_tensor)(const sard_result *r, size_t i, sard_tensor *t);
  int64_t (*result_items)(const sard_result *r, size_t i);
  sard_status (*result_item)(const sard_result *r, size_t i, int64_t k, sard_tensor *t);
  void (*result_free)(sard_result *r);
  sard_status (*run)(const sard_compiled *m, const void *inputs, const void *outputs);
  sard_status (*output_shape)(const sard_compiled *m, const void *inputs, size_t output, int64_t *dim, int32_t *rank);
  size_t (*memory_peak)(const sard_compiled *m);
} sard_compiled_api;

#ifdef __cplusplus
}
#endif

#endif
