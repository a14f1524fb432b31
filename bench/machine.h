/* machine.h - what the machine could do at best: measured, not looked up.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_BENCH_MACHINE_H
#define SARD_BENCH_MACHINE_H

#include <stdint.h>

/* CPU time of the calling thread: what runs beside it is not counted. */
int64_t machine_thread_ns(void);
void machine_print_cpu(void);
double machine_peak(const char *level); /* GFLOP/s of f32 multiply-adds in the registers of that level, one thread */
double machine_bandwidth(int threads);  /* GB/s of reading memory well beyond the caches, all threads together */

/* Seconds of CPU that fn(arg) takes: the best of several readings over at least 0.3 s. */
double machine_best_seconds(void (*fn)(void *), void *arg);
/* Seconds that fn(first) and fn(second) take side by side, on two threads, by the clock: the best of several readings. */
double machine_best_pair(void (*fn)(void *), void *first, void *second);

#endif
