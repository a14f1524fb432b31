/* onnx.h - a graph as the bytes of an ONNX model. SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_TESTS_RANDOM_ONNX_H
#define SARD_TESTS_RANDOM_ONNX_H

#include "ir/graph.h"
#include "tests/frontend/pb.h"

void onnx_model(Pb *p, Arena *a, const Graph *g);           /* ModelProto, appended to p; values must have names */
void onnx_tensor(Pb *p, const char *name, const Tensor *t); /* TensorProto */

#endif
