/* svm.h - the kernels of support vector machines by name.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_OPS_EVAL_SVM_H
#define SARD_OPS_EVAL_SVM_H

#include "ops/eval/eval.h"

typedef enum { SVM_LINEAR, SVM_POLY, SVM_RBF, SVM_SIGMOID, SVM_KERNELS } SvmKernel;
bool svm_kernel_by_name(Str name, SvmKernel *k); /* false: there is none */

#endif
