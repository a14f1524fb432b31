/* wire.h - a bounded look at protobuf bytes before a protobuf library sees them.
 *
 * The scan checks everything that could hurt the decoder behind it (nesting, counts, lengths, wire types, UTF-8, the
 * memory that decoding will take) and writes a compact copy of the message: unknown fields and fields nobody reads are
 * gone, and what a TensorProto holds as data is cut out into pieces that point into the original bytes. The data itself
 * is not touched: a mapped file of many gigabytes is scanned by reading its metadata pages alone.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_FRONTEND_WIRE_H
#define SARD_FRONTEND_WIRE_H

#include "support/arena.h"

#include <stdbool.h>
#include <stdint.h>

typedef enum {
#define MESSAGE(name, cost) WIRE_##name,
#include "frontend/wire.def"
  WIRE_COUNT
} WireMessage;

/* Data fields of TensorProto, by their field numbers. */
enum {
  TP_FLOAT_DATA = 4,
  TP_INT32_DATA = 5,
  TP_STRING_DATA = 6,
  TP_INT64_DATA = 7,
  TP_RAW_DATA = 9,
  TP_DOUBLE_DATA = 10,
  TP_UINT64_DATA = 11,
};

/* A stretch of a tensor's data in the scanned bytes. packed: the payload of one length-delimited field (raw_data, or
 * packed numbers). Not packed: a run of whole fields of this number, tags and string lengths included. */
typedef struct WirePiece {
  const uint8_t *ptr; /* borrowed from the scanned bytes */
  size_t len;
  uint8_t field; /* TP_* */
  bool packed;
} WirePiece;

typedef struct WireLimits {
  size_t max_bytes; /* of memory that decoding the message may take; 0: 1 GiB */
  bool strict;      /* unknown fields are refused instead of dropped */
} WireLimits;

enum { WIRE_MAX_DEPTH = 100 }; /* messages inside messages, as other protobuf parsers allow */

/* In the compact copy every TensorProto that has data ends with this fixed64 field: the index of its first piece, plus
 * the number of its pieces << 32. The scan drops a field of that number from the input, so it cannot be forged. */
enum { WIRE_PIECES_FIELD = 536870911 };

typedef struct WireScan {
  const uint8_t *bytes; /* the compact copy; in the arena */
  size_t n;
  const WirePiece *piece;
  uint32_t npiece;
  size_t cost; /* upper estimate of the bytes that decoding takes */
} WireScan;

/* Scans a message of the given type. ST_INVALID names offset and path ("ModelProto.graph.node[17].attribute[2]");
 * ST_MEMORY when decoding would take more than the limit, or much more than a message of n bytes can need. */
Status wire_scan(Ctx *c, Arena *a, WireMessage type, const uint8_t *data, size_t n, const WireLimits *l, WireScan *out);

/* Reads a varint at *p, before end, and moves *p behind it. False: cut short, or longer than 10 bytes. */
bool wire_varint(const uint8_t **p, const uint8_t *end, uint64_t *v);

#endif
