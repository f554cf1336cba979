/* Determines which source a request is for, and authenticates it by write key. Also keeps the table of accepted keys up
 * to date. */
#ifndef WEBHOOK_AUTH_H
#define WEBHOOK_AUTH_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/sha256.h"
#include "config/config.h"
#include "config/keyring.h"

/* ---- signatures: Close's signature: hex(HMAC-SHA256(key, timestamp + raw body)), in the headers close-sig-hash and
 * close-sig-timestamp. Pure: no clock, no I/O. ---- */

#define SIGNATURE_BYTES SHA256_BYTES

/* The prepared keys of one source. Immutable once prepared: any thread. */
struct signers {
    struct hmac *keyed; /* one per key, copied for each request */
    size_t count;
};

/* The signature headers of a request. */
struct signature {
    const char *timestamp; /* the header's text, borrowed */
    int64_t seconds;       /* the same as Unix time */
    unsigned char hash[SIGNATURE_BYTES];
};

enum signature_result {
    SIGNATURE_GOOD,
    SIGNATURE_WRONG,
};

/* Prepares the keys. Returns false when memory is out; then nothing needs freeing. */
bool signers_init(struct signers *signers, const struct signature_key *keys, size_t count);

void signers_free(struct signers *signers);

/* Parses a timestamp: digits only, at most 15, so that its milliseconds fit. Returns false otherwise. */
bool signature_read_timestamp(struct signature *signature, const char *text);

/* Parses a hash: 64 hexadecimal digits. Returns false otherwise. */
bool signature_read_hash(struct signature *signature, const char *text);

/* The timestamp's age in milliseconds at now_ms (Unix time); negative for a timestamp in the future. */
int64_t signature_age_ms(const struct signature *signature, int64_t now_ms);

/* Whether the absolute age is within the tolerance. */
bool signature_is_current(const struct signature *signature, int64_t now_ms, int64_t tolerance_ms);

/* Checks whether one of the keys made this signature over the raw body; *which (may be NULL): the first that did, when
 * SIGNATURE_GOOD. Constant time: all keys are always tried. */
enum signature_result signature_find(const struct signature *signature, const struct signers *signers, const char *body,
                                     size_t length, size_t *which);

/* Makes the signature over the raw body with this timestamp's text. */
void signature_sign(const struct signature_key *key, const char *timestamp, const char *body, size_t length,
                    unsigned char hash[static SIGNATURE_BYTES]);

/* As signature_find, without telling which key. */
enum signature_result signature_check(const struct signature *signature, const struct signers *signers,
                                      const char *body, size_t length);

/* ---- sources ---- */

/* SHA-256 of a write key: the same length for all keys, so comparisons take constant time. */
struct digest {
    unsigned char bytes[SHA256_BYTES];
};

/* A source and its keys. Immutable once prepared: any thread. */
struct source_auth {
    const struct source *source; /* borrowed */
    struct signers signers;      /* empty: the write keys count instead */
    char (*held)[KEYRING_ID];    /* subscription ids of the last held_count signers; "": none */
    size_t held_count;
    atomic_bool *used; /* one per held key: its first use was recorded */
    struct digest *write_keys;
    size_t write_keys_count;
    bool locked;         /* had a signature key and has none now: every request is refused */
    bool incomplete;     /* some keys are missing */
    struct error reason; /* reason for locked or incomplete */
};

struct auth_table {
    struct source_auth *at;
    size_t count;
    bool any_incomplete; /* a source is incomplete or locked */
};

/* The write keys in a request: from the query, from the user name of HTTP Basic, or both. */
struct request_keys {
    struct digest at[2];
    size_t count;
};

enum choice {
    CHOSEN,
    CHOSEN_BY_SIGNATURE, /* several candidates: the signature decides */
    CHOSEN_UNKNOWN,      /* the path names an unknown source */
    CHOSEN_NONE,         /* several sources, and the request identifies none */
};

/* Prepares the sources of a configuration, which must outlive the table. Returns false when out of memory; then nothing
 * needs freeing. */
bool auth_table_init(struct auth_table *table, const struct config *config);

/* As auth_table_init, with the keys that `subscribe` obtained; held may be NULL. */
bool auth_table_init_with(struct auth_table *table, const struct config *config, const struct keyring *held);

void auth_table_free(struct auth_table *table);

/* Adds a write key of a request; keys beyond the array's size are ignored. */
void request_keys_add(struct request_keys *keys, const char *write_key);

/* Whether one of the keys is a write key of this source. Constant time: all are compared in any case. */
bool source_auth_accepts(const struct source_auth *auth, const struct request_keys *keys);

/* Chooses a source by the path ("/acme"; "" and "/v1/webhook" name none), else by write key, else by signature if there
 * is one, else the only source. *auth is set when CHOSEN. The request is not authenticated yet. */
enum choice auth_choose_source(const struct auth_table *table, const char *path, const struct request_keys *keys,
                               bool is_signed, const struct source_auth **auth);

/* ---- auth ---- */

/* An immutable snapshot of the accepted keys; replaced as a whole when keys change. */
struct auth_snapshot {
    struct auth_table table;
    size_t users; /* reference count, under the auth's lock; includes the auth's own */
};

struct auth {
    const struct config *config;
    pthread_mutex_t lock; /* protects the members below except looked */
    struct auth_snapshot *current;
    struct keyring_look look;
    bool unread;           /* the last attempt to read the keys failed */
    _Atomic moment looked; /* when the directory was last checked */
};

/* config must outlive it. Returns false with the reason; then nothing needs freeing. */
bool auth_init(struct auth *auth, const struct config *config, struct error *why);

/* Returns the current snapshot; checks for new keys at most once a second. Release with auth_release. Any thread. */
struct auth_snapshot *auth_acquire(struct auth *auth);
void auth_release(struct auth *auth, struct auth_snapshot *snapshot);

/* Checks for new keys at once, before a request is refused. Returns whether the snapshot was replaced. */
bool auth_refresh(struct auth *auth);

void auth_free(struct auth *auth);

#endif
