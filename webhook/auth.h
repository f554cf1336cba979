/* Which source a request is for, and whether its write key is that source's. Pure but for memory at the start. */
#ifndef WEBHOOK_AUTH_H
#define WEBHOOK_AUTH_H

#include "base/clock.h"
#include "config/config.h"
#include "config/keyring.h"
#include "webhook/signature.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#define DIGEST_BYTES 32

/* SHA-256 of a write key: of equal length whatever the key's, so that comparing takes the same time. */
struct digest {
    unsigned char bytes[DIGEST_BYTES];
};

/* A source and what it accepts. Only read once it is made: any thread. */
struct source_auth {
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

struct auth_table {
    struct source_auth *at;
    size_t count;
    bool any_incomplete; /* or locked */
};

/* The write keys that a request carries: in the query, as Basic's user name, or both. */
struct request_keys {
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
bool auth_table_init(struct auth_table *table, const struct config *config);

/* The same with the keys that subscribe obtained; held may be NULL. */
bool auth_table_init_with(struct auth_table *table, const struct config *config, const struct keyring *held);

/* Says of the source at this place what signed_judge found (signed.h). */
void auth_table_judge(struct auth_table *table, size_t at, bool locked, const struct error *reason);

void auth_table_free(struct auth_table *table);

/* Adds a write key that a request carries; more than there is room for are not looked at. */
void request_keys_add(struct request_keys *keys, const char *write_key);

/* Whether one of the keys is one of this source's. All are compared, whatever matches. */
bool source_auth_accepts(const struct source_auth *auth, const struct request_keys *keys);

/* Chooses by the path ("/acme"; "" and "/v1/webhook" name none), else by the write key, else by the signature if there
 * is one, else the only source there is. *auth is set when CHOSEN. That it is chosen does not mean that it may
 * come in. */
enum choice auth_choose_source(const struct auth_table *table, const char *path, const struct request_keys *keys,
                               bool is_signed, const struct source_auth **auth);

/* ---- auth ---- */

/* One state of what is accepted; replaced whole when a key comes or goes. */
struct auth_snapshot {
    struct auth_table table;
    size_t users; /* under the auth's lock; that itself is one */
};

struct auth {
    const struct config *config;
    pthread_mutex_t lock; /* over all that follows but looked */
    struct auth_snapshot *current;
    struct keyring_look look;
    bool unread;           /* the keys could not be read when that was tried last */
    _Atomic moment looked; /* when the directory was looked at last */
};

/* config must outlive it. Returns false with the reason; then nothing is to be freed. */
bool auth_init(struct auth *auth, const struct config *config, struct error *why);

/* What is accepted now; looks for new keys at most once a second. Give it back with auth_release. Any thread. */
struct auth_snapshot *auth_acquire(struct auth *auth);
void auth_release(struct auth *auth, struct auth_snapshot *snapshot);

/* Looks for new keys at once: a request was about to be refused. Returns whether something else is accepted now. */
bool auth_refresh(struct auth *auth);

void auth_free(struct auth *auth);

#endif
