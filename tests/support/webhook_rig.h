/* What tests of a webhook's authentication share: a configuration of one source or two, a directory for keys, requests
 * that are posted to it in this process, and a count in place of a queue. What cannot be had is a CUnit failure. */
#ifndef TESTS_SUPPORT_WEBHOOK_RIG_H
#define TESTS_SUPPORT_WEBHOOK_RIG_H

#include "config/keyring.h"
#include "tests/support/temporary.h"
#include "webhook/webhook.h"

#define WEBHOOK_RIG_BODY "{\"event\":{}}"

/* Must not move between begin and end. */
struct webhook_rig {
    char directory[PATH_SIZE];
    char names[2][8];
    char write_key[8];
    char *write_keys[1];
    struct source source[2]; /* acme, with the write key "wk", and beta, with none */
    struct config config;
    struct webhook *webhook;
    int stored;      /* events that were taken */
    char said[2048]; /* the last answer's body */
};

/* Makes the configuration, with so many of the sources, and its state directory. */
void webhook_rig_begin(struct webhook_rig *rig, size_t sources);

/* Makes the webhook, or makes it anew, as a restart does. */
void webhook_rig_start(struct webhook_rig *rig);

void webhook_rig_end(struct webhook_rig *rig);

/* Posts a body, signed with a key in hexadecimal digits (NULL: not), and with the write key or without. Returns the
 * status. */
int webhook_rig_post(struct webhook_rig *rig, const char *key, bool with_write_key, const char *body);

/* Stores a key that a subscription of the source obtained, in hexadecimal digits. */
void webhook_rig_store_key(const struct webhook_rig *rig, const char *source, const char *subscription,
                           const char *hex);

/* As a machine of several that share a queue: says what it counts, and hears what the others have said. */
void webhook_rig_exchange(const struct webhook_rig *rig);

/* All say, then all hear. */
void webhook_rig_exchange_all(const struct webhook_rig *rigs, size_t count);

#endif
