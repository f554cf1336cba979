/* Making a subscription: see closeapi.h. Before Close is asked to create one, a note of it is written; it is removed
 * when the signature key is safe. Whoever finds a note looks in Close for subscriptions whose key nobody has. */
#include "closeapi/closeapi.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/files.h"
#include "base/log.h"
#include "base/text.h"
#include "closeapi/subscriptions.h"
#include "config/config.h"
#include "kept/kept.h"
#include "kept/keys.h"

#define PENDING "pending"   /* the note of a subscription that is about to be made */
#define ROTATING "rotating" /* the note of a rotation that is not over */
#define TRIES 3
#define STALE_MS 3600000 /* older notes: somebody else may have the key of what is in Close by now */
#define LATE_MS 2000     /* until a request whose answer was lost has taken effect */

/* Whether the id is in the note's list of subscriptions that existed before. */
static bool note_lists_id(const char *note, const char *id)
{
    char before[SUBSCRIPTIONS_MOST * (KEYRING_ID + 1) + 1];
    files_value(note, "before", before, sizeof before);
    size_t length = strlen(id);
    for (const char *at = before; (at = strstr(at, id)) != NULL; at += length) {
        if ((at == before || at[-1] == ' ') && (at[length] == ' ' || at[length] == '\0'))
            return true;
    }
    return false;
}

#define NOTE_BYTES 12000
#define NOTE_ROOM 5000 /* of it left free behind the list */

/* Prints the list of subscriptions of an address that are there before the new one. Returns how much is printed. */
static size_t print_before(const struct subscribing *work, const char *url, char text[static NOTE_BYTES], size_t at)
{
    at += (size_t)snprintf(text + at, NOTE_BYTES - at, "before =");
    for (size_t i = 0; i < work->list->count && at < NOTE_BYTES - NOTE_ROOM; i++) {
        if (subscription_same_url(work->list->at[i].url, url))
            at += (size_t)snprintf(text + at, NOTE_BYTES - at, " %s", work->list->at[i].id);
    }
    if (text[at - 1] == '=')
        text[at++] = ' ';
    text[at++] = '\n';
    text[at] = '\0';
    return at;
}

/* Writes the note. It is padded, so that there is room for the key on the disk when the note is gone. */
static bool pending_note_write(const struct subscribing *work, const char *url, struct error *why)
{
    char text[NOTE_BYTES];
    size_t at =
        (size_t)snprintf(text, sizeof text, "started_ms = %lld\nurl = %.2000s\n", (long long)clock_unix_ms(), url);
    at = print_before(work, url, text, at);
    at += (size_t)snprintf(text + at, sizeof text - at, "room = ");
    memset(text + at, '.', 4096);
    memcpy(text + at + 4096, "\n", 2);
    return kept_put(work->lock, work->directory, PENDING, text, why);
}

static bool is_key_of_anyone(const struct subscribing *work, const char *id)
{
    struct keyring held;
    bool found = false;
    if (!kept_keys_read(work->config, &held, NULL))
        return true; /* rather leave too many alone than remove one that is in use */
    for (size_t i = 0; i < held.count; i++)
        found = found || strcmp(held.at[i].subscription, id) == 0;
    keyring_free(&held);
    return found;
}

/* Stores the signature key of a subscription in which Close shows it. */
static bool subscribe_store_key(const struct subscribing *work, const struct subscription *subscription,
                                int64_t date_ms, const char *url, struct error *why)
{
    struct held_key key = {.created_ms = date_ms > 0 ? date_ms : clock_unix_ms()};
    snprintf(key.source, sizeof key.source, "%s", work->source->name);
    snprintf(key.subscription, sizeof key.subscription, "%s", subscription->id);
    return kept_key_store(work->config, &key, subscription->signature_key, url, why);
}

/* Of all subscriptions in the list that the note is about and whose key is not held here: stores the key where Close
 * shows it, else removes the subscription, unless somebody else may have its key. taken: gets the id of one whose key
 * was stored; NULL: all are to be removed. */
static enum close_result subscribe_sweep(const struct subscribing *work, const struct subscriptions *list,
                                         const char *note, char *taken, bool *changed, struct error *why)
{
    char url[2100], line[OWN_COMMAND];
    enum close_result result = CLOSE_DONE;
    int64_t age_ms = clock_unix_ms() - files_number(note, "started_ms", 0);
    /* a later process: one of the configuration's keys may be the missing one, copied from Close's pages */
    bool is_later = taken != NULL && list == work->list;
    bool stale = age_ms < 0 || age_ms > STALE_MS || (is_later && work->source->signature_keys > 0);
    files_value(note, "url", url, sizeof url);
    for (size_t i = 0; i < list->count && result == CLOSE_DONE; i++) {
        const struct subscription *one = &list->at[i];
        if (!subscription_same_url(one->url, url) || note_lists_id(note, one->id) || is_key_of_anyone(work, one->id))
            continue;
        if (stale) {
            log_write(LEVEL_WARN,
                      "msg=subscription_without_key source=%s subscription=%s advice=\"if nobody has its key, remove "
                      "it: %s\"",
                      work->source->name, one->id,
                      own_command(line, work->config, work->source->name, "unsubscribe %s", one->id));
            continue;
        }
        *changed = true;
        if (taken != NULL && taken[0] == '\0' && one->signature_key[0] != '\0' &&
            subscribe_store_key(work, one, list->date_ms, url, why)) {
            snprintf(taken, KEYRING_ID, "%s", one->id);
            log_write(LEVEL_INFO, "msg=key_taken_over source=%s subscription=%s", work->source->name, one->id);
            continue;
        }
        result = subscriptions_delete(work->client, one->id, why);
        if (result == CLOSE_DONE)
            log_write(LEVEL_WARN, "msg=subscription_without_key_removed source=%s subscription=%s", work->source->name,
                      one->id);
    }
    return result;
}

/* Does that for the note, if there is one, and removes the note. */
static enum close_result subscribe_clear_note(const struct subscribing *work, char *taken, bool *changed,
                                              struct error *why)
{
    bool missing;
    keyring_tidy(work->config->state_dir);
    *changed = false;
    char *note = files_read(work->directory, PENDING, &missing, why);
    if (note == NULL)
        return missing ? CLOSE_DONE : CLOSE_FAILED;
    enum close_result result = subscribe_sweep(work, work->list, note, taken, changed, why);
    files_free(note);
    if (result == CLOSE_DONE && !kept_remove(work->lock, work->directory, PENDING, why))
        result = CLOSE_FAILED;
    return result;
}

/* Whether a subscription that has a mark of a signed delivery (config/keyring.h) still exists in Close, or its key is
 * held here. */
static bool is_subscription_there(const void *context, const char *id)
{
    const struct subscribing *work = context;
    return subscriptions_find(work->list, id) != NULL || is_key_of_anyone(work, id);
}

/* The subscription that a rotation has made, although its note says only that it was about to: it has the address of
 * the old one, was not there before, and its key is held here. NULL: there is none. */
static const struct held_key *find_successor(const struct subscribing *work, const struct keyring *held,
                                             const char *note)
{
    char url[2100];
    files_value(note, "url", url, sizeof url);
    for (size_t i = 0; i < held->count; i++) {
        const struct subscription *one = subscriptions_find(work->list, held->at[i].subscription);
        if (one != NULL && strcmp(held->at[i].source, work->source->name) == 0 &&
            subscription_same_url(one->url, url) && !note_lists_id(note, one->id))
            return &held->at[i];
    }
    return NULL;
}

/* A rotation that was interrupted between its two subscriptions goes on, or, without a second one, is forgotten. */
static bool rotation_recover(const struct subscribing *work, struct error *why)
{
    struct rotation rotation;
    struct keyring held;
    bool missing, good;
    char *note = files_read(work->directory, ROTATING, &missing, why);
    if (note == NULL)
        return missing;
    if (rotation_read(work->directory, &rotation) || !files_value(note, "from", rotation.from, sizeof rotation.from)) {
        files_free(note);
        return true;
    }
    good = kept_keys_read(work->config, &held, why);
    if (good) {
        const struct held_key *successor = find_successor(work, &held, note);
        if (successor == NULL) {
            good = kept_remove(work->lock, work->directory, ROTATING, why);
        } else {
            snprintf(rotation.to, sizeof rotation.to, "%s", successor->subscription);
            rotation.created_us = successor->created_ms * 1000;
            good = rotation_write(work->lock, work->directory, &rotation, why);
        }
        keyring_free(&held);
    }
    files_free(note);
    return good;
}

enum close_result subscribe_recover(const struct subscribing *work, bool *changed, struct error *why)
{
    char taken[KEYRING_ID] = "";
    enum close_result result = subscribe_clear_note(work, taken, changed, why);
    if (result == CLOSE_DONE && !rotation_recover(work, why))
        return CLOSE_FAILED;
    if (result == CLOSE_DONE &&
        !signed_retain(work->config->state_dir, work->source->name, is_subscription_there, work, why))
        return CLOSE_FAILED;
    return result;
}

/* ---- creating one ---- */

/* The answer was lost: looks in Close for what was created. id is set when its key could be stored. */
static enum close_result subscribe_find_made(const struct subscribing *work, char id[static KEYRING_ID],
                                             int64_t *created_ms, struct error *why)
{
    struct subscriptions list;
    const struct timespec late = {.tv_sec = LATE_MS / 1000};
    bool changed = false;
    nanosleep(&late, NULL);
    char *note = files_read(work->directory, PENDING, NULL, why);
    if (note == NULL)
        return CLOSE_FAILED;
    enum close_result result = subscriptions_list(work->client, &list, why);
    if (result == CLOSE_DONE) {
        result = subscribe_sweep(work, &list, note, id, &changed, why);
        *created_ms = list.date_ms;
        subscriptions_free(&list);
    }
    files_free(note);
    return result;
}

/* Close has created it: stores the key, or removes the subscription, which nobody could use without. */
static enum close_result subscribe_keep_made(const struct subscribing *work, const struct subscriptions *made,
                                             const char *url, char id[static KEYRING_ID], int64_t *created_ms,
                                             struct error *why)
{
    const struct subscription *one = &made->at[0];
    struct error failed = {0};
    if (one->signature_key[0] == '\0')
        error_set(&failed, "Close gave no signature_key with the new subscription");
    else if (subscribe_store_key(work, one, made->date_ms, url, &failed)) {
        snprintf(id, KEYRING_ID, "%s", one->id);
        *created_ms = made->date_ms;
        return CLOSE_DONE;
    }
    enum close_result result = subscriptions_delete(work->client, one->id, why);
    if (result == CLOSE_DONE) {
        struct error kept; /* the step that failed may be one behind which the file is there */
        kept_key_remove(work->config, work->source->name, one->id, &kept);
        error_set(why, "%.300s: the subscription was removed in Close again", failed.text);
    } else {
        error_prefix(why, "%.150s, and the new subscription %s could not be removed in Close: ", failed.text, one->id);
    }
    return result == CLOSE_DONE ? CLOSE_REFUSED : CLOSE_INDETERMINATE;
}

/* Removes subscriptions that may have been created twice when an answer was lost, and the note. */
static enum close_result subscribe_tidy_up(const struct subscribing *work, struct error *why)
{
    struct subscriptions list;
    bool changed;
    enum close_result result = subscriptions_list(work->client, &list, why);
    if (result != CLOSE_DONE)
        return result;
    struct subscribing again = *work;
    again.list = &list;
    result = subscribe_clear_note(&again, NULL, &changed, why);
    subscriptions_free(&list);
    return result;
}

static enum close_result subscribe_try_create(const struct subscribing *work, const char *body, const char *url,
                                              char id[static KEYRING_ID], int64_t *created_ms, struct error *why)
{
    bool lost = false;
    enum close_result result = CLOSE_INDETERMINATE;
    for (unsigned tries = 0; tries < TRIES && result == CLOSE_INDETERMINATE; tries++) {
        struct subscriptions made;
        result = subscriptions_create(work->client, body, &made, why);
        if (result == CLOSE_DONE) {
            result = subscribe_keep_made(work, &made, url, id, created_ms, why);
            subscriptions_free(&made);
            break;
        }
        if (result != CLOSE_INDETERMINATE)
            break;
        lost = true;
        enum close_result looked = subscribe_find_made(work, id, created_ms, why);
        if (looked != CLOSE_DONE || id[0] != '\0')
            result = looked == CLOSE_DONE ? CLOSE_DONE : CLOSE_INDETERMINATE;
        if (looked != CLOSE_DONE)
            break;
    }
    if (result == CLOSE_INDETERMINATE) {
        error_prefix(why, "whether Close has made the subscription is not known; run subscribe again, which looks: ");
        return result;
    }
    struct error reason = {0};
    bool tidy = lost ? subscribe_tidy_up(work, &reason) == CLOSE_DONE
                     : kept_remove(work->lock, work->directory, PENDING, &reason);
    if (!tidy)
        log_write(LEVEL_WARN, "msg=not_tidied_up source=%s reason=\"%s\"", work->source->name, reason.text);
    return result;
}

enum close_result subscribe_create(const struct subscribing *work, const char *body, const char *url,
                                   char id[static KEYRING_ID], int64_t *created_ms, struct error *why)
{
    sigset_t ending, before;
    sigemptyset(&ending);
    sigaddset(&ending, SIGINT);
    sigaddset(&ending, SIGTERM);
    sigaddset(&ending, SIGHUP);
    id[0] = '\0';
    if (!pending_note_write(work, url, why))
        return CLOSE_FAILED;
    pthread_sigmask(SIG_BLOCK, &ending, &before);
    enum close_result result = subscribe_try_create(work, body, url, id, created_ms, why);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return result;
}

/* ---- the note of a rotation ---- */

bool rotation_read(const char *directory, struct rotation *rotation)
{
    char *text = files_read(directory, ROTATING, NULL, NULL);
    if (text == NULL)
        return false;
    bool good = files_value(text, "from", rotation->from, sizeof rotation->from) &&
                files_value(text, "to", rotation->to, sizeof rotation->to);
    rotation->created_us = files_number(text, "created_us", 0);
    files_free(text);
    return good;
}

bool rotation_intend(const struct subscribing *work, const struct subscription *old, struct error *why)
{
    char text[NOTE_BYTES];
    size_t at = (size_t)snprintf(text, sizeof text, "from = %s\nurl = %.2000s\n", old->id, old->url);
    print_before(work, old->url, text, at);
    return kept_put(work->lock, work->directory, ROTATING, text, why);
}

bool rotation_write(struct kept *lock, const char *directory, const struct rotation *rotation, struct error *why)
{
    char text[400];
    snprintf(text, sizeof text, "from = %s\nto = %s\ncreated_us = %lld\n", rotation->from, rotation->to,
             (long long)rotation->created_us);
    return kept_put(lock, directory, ROTATING, text, why);
}

bool rotation_forget(struct kept *lock, const char *directory, struct error *why)
{
    return kept_remove(lock, directory, ROTATING, why);
}

/* ---- whether the API key and the subscriptions of a source are in order, for `closecrm.fcgi check`. Changes
 * nothing. ---- */

#define PATIENCE_MS 5000

/* ", of which NEW is taking the place of OLD" while a rotation is under way, else "". Returns out. */
#define ROTATION_WORDS (2 * KEYRING_ID + 50)
static const char *rotation_words(const struct config *config, const struct source *source,
                                  char out[static ROTATION_WORDS])
{
    char directory[FILES_PATH];
    struct rotation rotation;
    out[0] = '\0';
    snprintf(directory, sizeof directory, "%.3800s/closeapi/%.200s", config->state_dir, source->name);
    if (rotation_read(directory, &rotation))
        snprintf(out, ROTATION_WORDS, ", of which %s is taking the place of %s", rotation.to, rotation.from);
    return out;
}

static bool are_subscriptions_active(const struct config *config, const struct source *source,
                                     const struct coverage *coverage, struct error *why)
{
    char words[COMPLETENESS_WORDS], line[OWN_COMMAND], rotation[ROTATION_WORDS];
    struct completeness complete;
    for (size_t i = 0; i < coverage->count; i++) {
        const struct subscription *one = coverage->at[i];
        if (!subscription_is_paused(one))
            continue;
        error_set(why, "subscription %s is paused%s%.60s: `%s` activates it and fills the gap", one->id,
                  one->pause_reason[0] == '\0' ? "" : " for ", one->pause_reason,
                  own_command(line, config, source->name, "resume %s", one->id));
        return false;
    }
    if (!closeapi_completeness(config, source, &complete, why))
        return false;
    error_set(why, "the API key is good, %zu subscription%s%s; %s", coverage->count, text_plural(coverage->count),
              rotation_words(config, source, rotation), completeness_words(&complete, words));
    completeness_free(&complete);
    return true;
}

static bool are_keys_held(const struct coverage *coverage, const struct subscriptions *list,
                          const struct source *source, const struct keyring *held, struct error *why)
{
    const struct subscription *keyless = coverage_keyless(coverage, list, source, held);
    if (keyless != NULL)
        coverage_keyless_words(keyless, source, why);
    return keyless == NULL;
}

/* The URL may have a write key behind its `?`, or a password before its `@`. */
static void note_address(const struct coverage *coverage, char address[static CLOSE_ADDRESS])
{
    const char *url = coverage->count > 0 ? coverage->at[0]->url : "";
    if (strchr(url, '@') == NULL)
        snprintf(address, CLOSE_ADDRESS, "%.*s", (int)strcspn(url, "?#"), url);
}

bool closeapi_check(const struct config *config, const struct source *source, char address[static CLOSE_ADDRESS],
                    struct error *why)
{
    static const struct close_options options = {.patience_ms = PATIENCE_MS, .stop_fd = -1};
    struct subscriptions list;
    struct keyring held;
    struct coverage coverage;
    bool good = false;
    address[0] = '\0';
    if (closeapi_is_stopped(config, source, why))
        return false;
    struct close_client *client = close_client_new(config, source, &options, why);
    if (client == NULL)
        return false;
    if (subscriptions_list(client, &list, why) == CLOSE_DONE) {
        if (kept_keys_read(config, &held, why)) {
            good = coverage_find(&coverage, &list, source, config->sources, &held, why);
            note_address(&coverage, address);
            good = good && are_keys_held(&coverage, &list, source, &held, why) &&
                   are_subscriptions_active(config, source, &coverage, why);
            keyring_free(&held);
        }
        subscriptions_free(&list);
    }
    close_client_free(client);
    return good;
}
