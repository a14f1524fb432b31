/* traffic.h - benchmark of many requests: of many shapes, and from two callers at once.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_BENCH_TRAFFIC_H
#define SARD_BENCH_TRAFFIC_H

/* model: a sentence encoder with input_ids, attention_mask and token_type_ids. */
void bench_traffic(const char *model);

#endif
