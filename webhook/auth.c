/* Which source a request is for: see auth.h. */
#include "webhook/auth.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>

static void take_digest(struct digest *digest, const char *write_key)
{
    SHA256((const unsigned char *)write_key, strlen(write_key), digest->bytes);
}

static bool is_of(const struct held_key *key, const struct source *source)
{
    return strcmp(key->source, source->name) == 0;
}

static size_t count_held(const struct keyring *held, const struct source *source)
{
    size_t count = 0;
    for (size_t i = 0; held != NULL && i < held->count; i++)
        count += is_of(&held->at[i], source);
    return count;
}

/* The configuration's keys, then those that subscribe obtained. */
static bool prepare_signers(struct entrance *entrance, const struct source *source, const struct keyring *held)
{
    size_t configured = source->signature_keys, more = count_held(held, source), at = configured;
    if (more == 0)
        return signers_init(&entrance->signers, source->signature_key, configured);
    struct signature_key *keys = calloc(configured + more, sizeof *keys);
    entrance->held = calloc(more, sizeof *entrance->held);
    entrance->used = calloc(more, sizeof *entrance->used);
    bool good = keys != NULL && entrance->held != NULL && entrance->used != NULL;
    for (size_t i = 0; good && i < configured; i++)
        keys[i] = source->signature_key[i];
    for (size_t i = 0; good && i < held->count; i++) {
        if (!is_of(&held->at[i], source))
            continue;
        memcpy(entrance->held[at - configured], held->at[i].subscription, KEYRING_ID);
        keys[at++] = (struct signature_key){held->at[i].bytes, KEYRING_BYTES};
    }
    entrance->held_count = more;
    good = good && signers_init(&entrance->signers, keys, configured + more);
    free(keys);
    return good;
}

static bool prepare(struct entrance *entrance, const struct source *source, const struct keyring *held)
{
    entrance->source = source;
    if (!prepare_signers(entrance, source, held))
        return false;
    if (source->write_key.count == 0)
        return true;
    entrance->write_keys = calloc(source->write_key.count, sizeof *entrance->write_keys);
    if (entrance->write_keys == NULL)
        return false;
    entrance->write_keys_count = source->write_key.count;
    for (size_t i = 0; i < source->write_key.count; i++)
        take_digest(&entrance->write_keys[i], source->write_key.at[i]);
    return true;
}

bool entrances_init(struct entrances *entrances, const struct config *config)
{
    return entrances_init_with(entrances, config, NULL);
}

bool entrances_init_with(struct entrances *entrances, const struct config *config, const struct keyring *held)
{
    *entrances = (struct entrances){0};
    if (config->sources == 0)
        return true;
    entrances->at = calloc(config->sources, sizeof *entrances->at);
    if (entrances->at == NULL)
        return false;
    entrances->count = config->sources;
    for (size_t i = 0; i < config->sources; i++) {
        if (!prepare(&entrances->at[i], &config->source[i], held)) {
            entrances_free(entrances);
            return false;
        }
    }
    return true;
}

void entrances_judge(struct entrances *entrances, size_t at, bool locked, const struct error *reason)
{
    entrances->at[at].locked = locked;
    entrances->at[at].incomplete = true;
    entrances->at[at].reason = *reason;
    entrances->any_incomplete = true;
}

void entrances_free(struct entrances *entrances)
{
    for (size_t i = 0; i < entrances->count; i++) {
        signers_free(&entrances->at[i].signers);
        free(entrances->at[i].write_keys);
        free(entrances->at[i].held);
        free(entrances->at[i].used);
    }
    free(entrances->at);
    *entrances = (struct entrances){0};
}

void presented_add(struct presented *presented, const char *write_key)
{
    if (*write_key == '\0' || presented->count == sizeof presented->at / sizeof *presented->at)
        return;
    take_digest(&presented->at[presented->count++], write_key);
}

bool entrance_takes(const struct entrance *entrance, const struct presented *presented)
{
    int taken = 0;
    for (size_t i = 0; i < entrance->write_keys_count; i++) {
        for (size_t k = 0; k < presented->count; k++)
            taken |= CRYPTO_memcmp(&entrance->write_keys[i], &presented->at[k], sizeof(struct digest)) == 0;
    }
    return taken;
}

static const struct entrance *find_by_name(const struct entrances *entrances, const char *name)
{
    for (size_t i = 0; i < entrances->count; i++) {
        if (strcmp(entrances->at[i].source->name, name) == 0)
            return &entrances->at[i];
    }
    return NULL;
}

static const struct entrance *find_by_write_key(const struct entrances *entrances, const struct presented *presented)
{
    const struct entrance *found = NULL;
    for (size_t i = 0; i < entrances->count; i++) {
        if (entrance_takes(&entrances->at[i], presented) && found == NULL)
            found = &entrances->at[i];
    }
    return found;
}

/* Whether any source takes signed requests. */
static bool any_signs(const struct entrances *entrances)
{
    for (size_t i = 0; i < entrances->count; i++) {
        if (entrances->at[i].signers.count > 0) /* NOLINT(clang-analyzer-core.NullDereference): count says so */
            return true;
    }
    return false;
}

static bool names_a_source(const char *path)
{
    return *path != '\0' && strcmp(path, "/v1/webhook") != 0;
}

enum choice choose_source(const struct entrances *entrances, const char *path, const struct presented *presented,
                          bool is_signed, const struct entrance **entrance)
{
    if (names_a_source(path)) {
        *entrance = path[0] == '/' ? find_by_name(entrances, path + 1) : NULL;
        return *entrance != NULL ? CHOSEN : CHOSEN_UNKNOWN;
    }
    *entrance = find_by_write_key(entrances, presented);
    if (*entrance != NULL)
        return CHOSEN;
    if (entrances->count == 1) {
        *entrance = &entrances->at[0];
        return CHOSEN;
    }
    return is_signed && any_signs(entrances) ? CHOSEN_BY_SIGNATURE : CHOSEN_NONE;
}
