/* Close's signature of a webhook. */
#ifndef TESTS_SUPPORT_SIGNATURE_H
#define TESTS_SUPPORT_SIGNATURE_H

#include <stdint.h>

#include "tests/support/slice.h"

/* The two headers, whole lines as client_request takes them. */
struct signature {
    char hash[96];
    char timestamp[64];
};

/* Signs a body with a key given as hex digits, at a unix time in seconds (0: now). */
struct signature signature_make(const char *key_hex, struct slice body, int64_t unix_seconds);

#endif
