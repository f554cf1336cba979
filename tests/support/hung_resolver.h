/* A resolver that hangs: /etc/resolv.conf names a server that takes questions and never answers. In a mount namespace
 * of this thread's own, which its children get; root only. */
#ifndef TESTS_SUPPORT_HUNG_RESOLVER_H
#define TESTS_SUPPORT_HUNG_RESOLVER_H

#include <stdbool.h>
#include <stdint.h>

#include "tests/support/temporary.h"

struct hung_resolver {
    char directory[PATH_SIZE];
    int socket; /* gets the questions */
    bool mounted;
};

/* A name that only this resolver could know. */
#define HUNG_NAME "data-plane.example"

/* A lookup hangs for so many seconds, 30 at most. Whether it worked is a CUnit assertion. Stop it in either case. */
bool hung_resolver_start(struct hung_resolver *resolver, unsigned seconds);

/* Forgets the questions so far. */
void hung_resolver_forget(const struct hung_resolver *resolver);

/* Waits for a question. Returns false when there is none for the milliseconds. */
bool hung_resolver_wait_asked(const struct hung_resolver *resolver, int64_t ms);

void hung_resolver_stop(struct hung_resolver *resolver);

#endif
