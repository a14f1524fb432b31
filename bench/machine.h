/* machine.h - what the machine could do at best: measured, not looked up.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_BENCH_MACHINE_H
#define SARD_BENCH_MACHINE_H

#include <stdint.h>

/* CPU time of the calling thread: what runs beside it is not counted. */
int64_t machine_thread_ns(void);
void machine_print_cpu(void);
/* GFLOP/s of f32 multiply-adds in the registers of that level, of one thread or of two side by side. */
double machine_peak(const char *level, int threads);
/* Gop/s of the multiply-adds that products of 8-bit integers are made of at that level: vpdpbusd, or pmaddwd and an addition. */
double machine_integer_peak(const char *level, int threads);
/* GB/s of reading 256 MB with the loads of that level, by one thread or by two side by side. */
double machine_bandwidth(const char *level, int threads);

/* Seconds of CPU that fn(arg) takes: the best of several readings over at least 0.3 s. */
double machine_best_seconds(void (*fn)(void *), void *arg);
/* Seconds that fn(first) and fn(second) take side by side, on two threads, by the clock: the best of several readings. */
double machine_best_pair(void (*fn)(void *), void *first, void *second);

#endif
