/* Wrong admin passwords: each address may guess a little, and then once a second; what it sends beyond that is not even
 * compared, so nothing is learnt from it. Counted per address, so that nobody's guesses hinder another's right
 * password. An address from which the right password came lately is compared always: behind a proxy that hides its
 * clients, where all have one address, a stranger shall not lock the operator out. In memory, per process. Any thread.
 */
#ifndef STATUS_GUESSES_H
#define STATUS_GUESSES_H

#include <netinet/in.h>
#include <pthread.h>
#include <stdbool.h>

#include "base/clock.h"

#define GUESSES_ADDRESSES 256                      /* kept; of more the one that was quiet for longest is forgotten */
#define GUESSES_AT_ONCE 10                         /* wrong ones that are compared before an address is slowed down */
#define GUESSES_EVERY_MS 1000                      /* one more each such time */
#define GUESSES_KNOWN_MS ((int64_t)15 * 60 * 1000) /* the right password was sent within this time */
#define GUESSES_LOG_MS 1000                        /* between two log lines about one address */

/* An IPv4 address, or an IPv6 network of 64 bits: who has one has all its addresses. */
struct guesses_key {
    unsigned char bytes[16];
};

struct guesses_address {
    struct guesses_key key;
    bool taken;
    moment seen;
    moment paid;   /* when the wrong ones so far are paid for, each with GUESSES_EVERY_MS */
    moment right;  /* the last right one; INT64_MIN / 2: none */
    moment logged; /* likewise, the last log line */
};

struct guesses {
    pthread_mutex_t lock;
    struct guesses_address at[GUESSES_ADDRESSES];
};

void guesses_init(struct guesses *guesses);
void guesses_free(struct guesses *guesses);

/* Whether a password from this address is to be compared at all. address is REMOTE_ADDR's text; NULL or nonsense: those
 * without an address count as one. */
bool guesses_may_try(struct guesses *guesses, const char *address, moment now);

/* It was the right one. */
void guesses_right(struct guesses *guesses, const char *address, moment now);

/* It was wrong; compared: else it was not looked at. Returns whether the log is to say so. */
bool guesses_wrong(struct guesses *guesses, const char *address, bool compared, moment now);

#endif
