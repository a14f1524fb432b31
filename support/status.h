/* status.h - what a function returns: 0, or the kind of error; the message lives in the Ctx (ctx.h).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_SUPPORT_STATUS_H
#define SARD_SUPPORT_STATUS_H

typedef int Status;

/* The values equal the public SARD_ERROR_* of include/sard.h (asserted in api/sard.c). */
enum {
  ST_OK = 0,
  ST_USAGE = 2,       /* the caller asked for something that makes no sense */
  ST_INVALID = 3,     /* bad model, bad input, bad file */
  ST_UNSUPPORTED = 4, /* valid, but not handled here */
  ST_MEMORY = 5,      /* over the byte budget, or the allocator said no */
  ST_DEVICE = 6,      /* no such device, or it failed */
  ST_IO = 7,          /* the operating system said no; errno's text is in the message */
  ST_CANCELLED = 8,   /* the cancel flag was raised */
  ST_TIMEOUT = 9,     /* the deadline has passed */
  ST_INTERNAL = 10,   /* our bug, found by a check of our own */
};

/* The only control-flow macro of the project: hand an error up. */
#define TRY(e)                                                                                                         \
  do {                                                                                                                 \
    Status try_status_ = (e);                                                                                          \
    if (try_status_)                                                                                                   \
      return try_status_;                                                                                              \
  } while (0)

#define countof(a) (sizeof(a) / sizeof((a)[0]))

#if defined(__GNUC__)
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))
#define NORETURN               __attribute__((noreturn))
#else
#define PRINTF_LIKE(fmt, args)
#define NORETURN
#endif

#endif
