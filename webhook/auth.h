/* Which source a request is for, and whether its write key is that source's. Pure but for memory at the start. */
#ifndef WEBHOOK_AUTH_H
#define WEBHOOK_AUTH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "config/config.h"
#include "config/keyring.h"
#include "webhook/signature.h"

#define DIGEST_BYTES 32

/* SHA-256 of a write key: of equal length whatever the key's, so that comparing takes the same time. */
struct digest {
    unsigned char bytes[DIGEST_BYTES];
};

/* A source and what it accepts. Only read once it is made: any thread. */
struct entrance {
    const struct source *source; /* borrowed */
    struct signers signers;      /* none: its write keys count instead */
    char (*held)[KEYRING_ID];    /* the subscriptions of the last held_count signers; "": none */
    size_t held_count;
    atomic_bool *used; /* of each of those: that it signed a request was noted */
    struct digest *write_keys;
    size_t write_keys_count;
    bool locked;         /* it had a signature key, and has none now: nothing comes in */
    bool incomplete;     /* not all of its keys are held */
    struct error reason; /* of both */
};

struct entrances {
    struct entrance *at;
    size_t count;
    bool any_incomplete; /* or locked */
};

/* The write keys that a request carries: in the query, as Basic's user name, or both. */
struct presented {
    struct digest at[2];
    size_t count;
};

enum choice {
    CHOSEN,
    CHOSEN_BY_SIGNATURE, /* several may be meant: the one whose key signs */
    CHOSEN_UNKNOWN,      /* the path names no source */
    CHOSEN_NONE,         /* several sources, and nothing to tell them by */
};

/* Prepares the sources of a configuration, which must outlive it. Returns false when memory is missing; then nothing
 * is to be freed. */
bool entrances_init(struct entrances *entrances, const struct config *config);

/* The same with the keys that subscribe obtained; held may be NULL. */
bool entrances_init_with(struct entrances *entrances, const struct config *config, const struct keyring *held);

/* Says of the source at this place what signed_judge found (signed.h). */
void entrances_judge(struct entrances *entrances, size_t at, bool locked, const struct error *reason);

void entrances_free(struct entrances *entrances);

/* Adds a write key that a request carries; more than there is room for are not looked at. */
void presented_add(struct presented *presented, const char *write_key);

/* Whether one of the keys presented is one of this source's. All are compared, whatever matches. */
bool entrance_takes(const struct entrance *entrance, const struct presented *presented);

/* Chooses by the path ("/acme"; "" and "/v1/webhook" name none), else by the write key, else by the signature if there
 * is one, else the only source there is. *entrance is set when CHOSEN. That it is chosen does not mean that it may
 * come in. */
enum choice choose_source(const struct entrances *entrances, const char *path, const struct presented *presented,
                          bool is_signed, const struct entrance **entrance);

#endif
