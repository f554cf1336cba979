/* Choosing and authenticating sources: see auth.h. And their requests' signatures. */
#include "webhook/auth.h"

#include "base/log.h"
#include "base/sha256.h"
#include "base/text.h"
#include "kept/keys.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void take_digest(struct digest *digest, const char *write_key)
{
    sha256(write_key, strlen(write_key), digest->bytes);
}

/* Prepares the configuration's keys, then those that `subscribe` obtained. */
static bool prepare_signers(struct source_auth *auth, const struct source *source, const struct keyring *held)
{
    struct source_keys keys;
    if (!source_keys_list(&keys, source, held))
        return false;
    size_t more = keys.count - keys.configured;
    auth->held = calloc(more + 1, sizeof *auth->held);
    auth->used = calloc(more + 1, sizeof *auth->used);
    bool good = auth->held != NULL && auth->used != NULL && signers_init(&auth->signers, keys.at, keys.count);
    for (size_t i = 0; good && i < more; i++)
        snprintf(auth->held[i], KEYRING_ID, "%s", keys.subscription[keys.configured + i]);
    auth->held_count = good ? more : 0;
    source_keys_free(&keys);
    return good;
}

static bool prepare_source(struct source_auth *auth, const struct source *source, const struct keyring *held)
{
    auth->source = source;
    if (!prepare_signers(auth, source, held))
        return false;
    if (source->write_key.count == 0)
        return true;
    auth->write_keys = calloc(source->write_key.count, sizeof *auth->write_keys);
    if (auth->write_keys == NULL)
        return false;
    auth->write_keys_count = source->write_key.count;
    for (size_t i = 0; i < source->write_key.count; i++)
        take_digest(&auth->write_keys[i], source->write_key.at[i]);
    return true;
}

bool auth_table_init(struct auth_table *table, const struct config *config)
{
    return auth_table_init_with(table, config, NULL);
}

bool auth_table_init_with(struct auth_table *table, const struct config *config, const struct keyring *held)
{
    *table = (struct auth_table){0};
    if (config->sources == 0)
        return true;
    table->at = calloc(config->sources, sizeof *table->at);
    if (table->at == NULL)
        return false;
    table->count = config->sources;
    for (size_t i = 0; i < config->sources; i++) {
        if (!prepare_source(&table->at[i], &config->source[i], held)) {
            auth_table_free(table);
            return false;
        }
    }
    return true;
}

/* Stores the result of signed_judge (config/keyring.h) for the source at this index. */
static void auth_table_judge(struct auth_table *table, size_t at, bool locked, const struct error *reason)
{
    table->at[at].locked = locked;
    table->at[at].incomplete = true;
    table->at[at].reason = *reason;
    table->any_incomplete = true;
}

void auth_table_free(struct auth_table *table)
{
    for (size_t i = 0; i < table->count; i++) {
        signers_free(&table->at[i].signers);
        free(table->at[i].write_keys);
        free(table->at[i].held);
        free(table->at[i].used);
    }
    free(table->at);
    *table = (struct auth_table){0};
}

void request_keys_add(struct request_keys *keys, const char *write_key)
{
    if (*write_key == '\0' || keys->count == sizeof keys->at / sizeof *keys->at)
        return;
    take_digest(&keys->at[keys->count++], write_key);
}

bool source_auth_accepts(const struct source_auth *auth, const struct request_keys *keys)
{
    int taken = 0;
    for (size_t i = 0; i < auth->write_keys_count; i++) {
        for (size_t k = 0; k < keys->count; k++)
            taken |= secrets_equal(&auth->write_keys[i], &keys->at[k], sizeof(struct digest));
    }
    return taken;
}

static const struct source_auth *find_by_name(const struct auth_table *table, const char *name)
{
    for (size_t i = 0; i < table->count; i++) {
        if (strcmp(table->at[i].source->name, name) == 0)
            return &table->at[i];
    }
    return NULL;
}

static const struct source_auth *find_by_write_key(const struct auth_table *table, const struct request_keys *keys)
{
    const struct source_auth *found = NULL;
    for (size_t i = 0; i < table->count; i++) {
        if (source_auth_accepts(&table->at[i], keys) && found == NULL)
            found = &table->at[i];
    }
    return found;
}

/* Whether any source has signature keys. */
static bool any_signs(const struct auth_table *table)
{
    for (size_t i = 0; i < table->count; i++) {
        if (table->at[i].signers.count > 0) /* NOLINT(clang-analyzer-core.NullDereference): count says so */
            return true;
    }
    return false;
}

static bool names_a_source(const char *path)
{
    return *path != '\0' && strcmp(path, "/v1/webhook") != 0;
}

enum choice auth_choose_source(const struct auth_table *table, const char *path, const struct request_keys *keys,
                               bool is_signed, const struct source_auth **auth)
{
    if (names_a_source(path)) {
        *auth = path[0] == '/' ? find_by_name(table, path + 1) : NULL;
        return *auth != NULL ? CHOSEN : CHOSEN_UNKNOWN;
    }
    *auth = find_by_write_key(table, keys);
    if (*auth != NULL)
        return CHOSEN;
    if (table->count == 1) {
        *auth = &table->at[0];
        return CHOSEN;
    }
    return is_signed && any_signs(table) ? CHOSEN_BY_SIGNATURE : CHOSEN_NONE;
}

/* ---- The table, renewed when a key comes or goes: see auth.h. ---- */

#define LOOK_MS 1000

static void release_snapshot(struct auth_snapshot *snapshot)
{
    if (snapshot == NULL || --snapshot->users > 0)
        return;
    auth_table_free(&snapshot->table);
    free(snapshot);
}

/* Records that the source has keys, before any request is accepted by them: the record outlives the keys. */
static void note_keys(const struct config *config, const struct source_auth *auth)
{
    const char *source = auth->source->name;
    struct error why = {0};
    bool noted = signed_note(config->state_dir, source, NULL, &why);
    for (size_t i = 0; noted && i < auth->held_count; i++)
        noted = signed_note(config->state_dir, source, auth->held[i], &why);
    if (!noted)
        log_write(LEVEL_WARN, "msg=not_noted source=%s reason=\"%s\"", source, why.text);
}

/* Marks sources with missing keys. A source with keys in the snapshot before counts as having had one, whatever is
 * recorded. */
static void judge_keys(struct auth_snapshot *snapshot, const struct auth_snapshot *before, const struct config *config,
                       const struct keyring *held, const struct error *unread)
{
    for (size_t i = 0; i < snapshot->table.count; i++) {
        struct source_auth *auth = &snapshot->table.at[i];
        const struct source_auth *old = before == NULL ? NULL : &before->table.at[i];
        struct error words = {0};
        if (old != NULL && (old->signers.count > 0 || old->locked))
            signed_note(config->state_dir, auth->source->name, NULL, NULL);
        bool unnoted;
        enum signed_state state = signed_judge(config, auth->source, held, unread, &unnoted, &words);
        if (unnoted)
            note_keys(config, auth);
        if (state == SIGNED_NEVER && old != NULL && !auth->source->signature_none &&
            (old->signers.count > 0 || old->locked)) {
            error_set(&words, "source %s had a signature key, and the state directory is gone", auth->source->name);
            state = SIGNED_LOST;
        }
        if (state == SIGNED_PART || state == SIGNED_LOST)
            auth_table_judge(&snapshot->table, i, state == SIGNED_LOST, &words);
        if (state == SIGNED_LOST)
            log_write(LEVEL_ERROR, "msg=source_locked source=%s reason=\"%s\"", auth->source->name, words.text);
    }
}

/* Builds a snapshot from the current keys. *whole: they could be read; if not, they accept nothing. NULL with the
 * reason when out of memory. */
static struct auth_snapshot *read_snapshot(const struct config *config, const struct auth_snapshot *before, bool *whole,
                                           struct error *why)
{
    struct keyring held;
    struct error unread = {0};
    *whole = kept_keys_read(config, &held, &unread);
    struct auth_snapshot *snapshot = calloc(1, sizeof *snapshot);
    if (snapshot == NULL || !auth_table_init_with(&snapshot->table, config, *whole ? &held : NULL)) {
        error_set(why, "out of memory");
        free(snapshot);
        snapshot = NULL;
    } else {
        snapshot->users = 1;
        judge_keys(snapshot, before, config, *whole ? &held : NULL, &unread);
    }
    keyring_free(&held);
    return snapshot;
}

bool auth_init(struct auth *auth, const struct config *config, struct error *why)
{
    *auth = (struct auth){.config = config};
    keyring_changed(config->state_dir, &auth->look); /* before reading, so that later changes are noticed */
    bool whole;
    auth->current = read_snapshot(config, NULL, &whole, why);
    if (auth->current == NULL)
        return false;
    if (!whole)
        auth->look = (struct keyring_look){.there = false}; /* tried again, though the directory does not change */
    pthread_mutex_init(&auth->lock, NULL);
    atomic_init(&auth->looked, clock_now());
    return true;
}

/* Replaces the snapshot. A read error changes nothing if keys were read before. With the lock held. */
static bool replace_snapshot(struct auth *auth)
{
    struct error why;
    bool whole;
    struct auth_snapshot *fresh = read_snapshot(auth->config, auth->current, &whole, &why);
    if (fresh != NULL && whole) {
        release_snapshot(auth->current);
        auth->current = fresh;
        auth->unread = false;
        return true;
    }
    if (!auth->unread)
        log_write(LEVEL_ERROR, "msg=keys_not_read state_dir=\"%s\" advice=\"those that are known stay in use\"",
                  auth->config->state_dir);
    auth->unread = true;
    release_snapshot(fresh);
    return false;
}

bool auth_refresh(struct auth *auth)
{
    bool renewed = false;
    if (auth->config->state_dir == NULL)
        return false;
    pthread_mutex_lock(&auth->lock);
    atomic_store(&auth->looked, clock_now());
    struct keyring_look look = auth->look;
    if (keyring_changed(auth->config->state_dir, &look)) {
        renewed = replace_snapshot(auth);
        if (renewed)
            auth->look = look;
    }
    pthread_mutex_unlock(&auth->lock);
    return renewed;
}

struct auth_snapshot *auth_acquire(struct auth *auth)
{
    moment now = clock_now();
    moment looked = atomic_load(&auth->looked);
    if (now - looked >= LOOK_MS && atomic_compare_exchange_strong(&auth->looked, &looked, now))
        auth_refresh(auth);
    pthread_mutex_lock(&auth->lock);
    struct auth_snapshot *snapshot = auth->current;
    snapshot->users++;
    pthread_mutex_unlock(&auth->lock);
    return snapshot;
}

void auth_release(struct auth *auth, struct auth_snapshot *snapshot)
{
    pthread_mutex_lock(&auth->lock);
    release_snapshot(snapshot);
    pthread_mutex_unlock(&auth->lock);
}

void auth_free(struct auth *auth)
{
    release_snapshot(auth->current);
    pthread_mutex_destroy(&auth->lock);
}

/* ---- signatures ---- */

#define TIMESTAMP_DIGITS 15

bool signers_init(struct signers *signers, const struct signature_key *keys, size_t count)
{
    *signers = (struct signers){0};
    if (count == 0)
        return true;
    signers->keyed = calloc(count, sizeof *signers->keyed);
    if (signers->keyed == NULL)
        return false;
    signers->count = count;
    for (size_t i = 0; i < count; i++)
        hmac_begin(&signers->keyed[i], keys[i].bytes, keys[i].length);
    return true;
}

void signers_free(struct signers *signers)
{
    if (signers->keyed != NULL)
        explicit_bzero(signers->keyed, signers->count * sizeof *signers->keyed);
    free(signers->keyed);
    *signers = (struct signers){0};
}

bool signature_read_timestamp(struct signature *signature, const char *text)
{
    size_t digits = strspn(text, "0123456789");
    if (digits == 0 || digits > TIMESTAMP_DIGITS || text[digits] != '\0')
        return false;
    signature->timestamp = text;
    signature->seconds = strtoll(text, NULL, 10);
    return true;
}

bool signature_read_hash(struct signature *signature, const char *text)
{
    return strlen(text) == 2 * SIGNATURE_BYTES && text_hex_decode(text, 2 * SIGNATURE_BYTES, signature->hash);
}

int64_t signature_age_ms(const struct signature *signature, int64_t now_ms)
{
    return now_ms - signature->seconds * 1000;
}

bool signature_is_current(const struct signature *signature, int64_t now_ms, int64_t tolerance_ms)
{
    int64_t age = signature_age_ms(signature, now_ms);
    return age <= tolerance_ms && -age <= tolerance_ms;
}

/* keyed is a copy, which is cheaper than setting the key again, and threads share nothing. */
static void sign(struct hmac keyed, const char *timestamp, const char *body, size_t length,
                 unsigned char hash[static SIGNATURE_BYTES])
{
    hmac_add(&keyed, timestamp, strlen(timestamp));
    hmac_add(&keyed, body, length);
    hmac_end(&keyed, hash);
}

enum signature_result signature_find(const struct signature *signature, const struct signers *signers, const char *body,
                                     size_t length, size_t *which)
{
    int good = 0;
    size_t found = 0;
    for (size_t i = signers->count; i-- > 0;) {
        unsigned char hash[SIGNATURE_BYTES];
        sign(signers->keyed[i], signature->timestamp, body, length, hash);
        int matches = secrets_equal(hash, signature->hash, SIGNATURE_BYTES);
        found = matches ? i : found;
        good |= matches;
    }
    if (which != NULL)
        *which = found;
    return good ? SIGNATURE_GOOD : SIGNATURE_WRONG;
}

enum signature_result signature_check(const struct signature *signature, const struct signers *signers,
                                      const char *body, size_t length)
{
    return signature_find(signature, signers, body, length, NULL);
}

void signature_sign(const struct signature_key *key, const char *timestamp, const char *body, size_t length,
                    unsigned char hash[static SIGNATURE_BYTES])
{
    struct hmac keyed;
    hmac_begin(&keyed, key->bytes, key->length);
    sign(keyed, timestamp, body, length, hash);
    explicit_bzero(&keyed, sizeof keyed);
}
