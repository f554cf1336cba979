/* The record that a source had a signature key: see signed.h. */
#include "config/signed.h"

#include "base/clock.h"
#include "base/files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define DIRECTORY "signed"
#define LIST_SIZE 8192 /* blank-separated subscription ids */

static void directory_of(char out[static FILES_PATH], const char *state_dir)
{
    snprintf(out, FILES_PATH, "%.4000s/" DIRECTORY, state_dir);
}

/* Whether the list contains the id; *at: its position. */
static bool is_listed(const char *list, const char *id, const char **at)
{
    size_t length = strlen(id);
    for (const char *word = list; *word != '\0'; word += strcspn(word, " "), word += *word == ' ') {
        if (strncmp(word, id, length) == 0 && (word[length] == ' ' || word[length] == '\0')) {
            *at = word;
            return true;
        }
    }
    return false;
}

enum note { NOTE_THERE, NOTE_MISSING, NOTE_UNREADABLE };

static enum note read_note(const char *state_dir, const char *source, char list[static LIST_SIZE])
{
    char directory[FILES_PATH];
    bool missing;
    struct error why;
    list[0] = '\0';
    directory_of(directory, state_dir);
    char *text = files_read(directory, source, &missing, &why);
    if (text == NULL)
        return missing ? NOTE_MISSING : NOTE_UNREADABLE;
    files_value(text, "subscriptions", list, LIST_SIZE);
    files_free(text);
    return NOTE_THERE;
}

static bool write_note(const char *state_dir, const char *source, const char *list, struct error *why)
{
    char directory[FILES_PATH], text[LIST_SIZE + 200];
    snprintf(text, sizeof text, "noted_ms = %lld\nsubscriptions = %s\n", (long long)clock_unix_ms(), list);
    return files_make_directory(directory, state_dir, DIRECTORY, why) && files_replace(directory, source, text, why);
}

/* Serializes changes of records by several processes. Returns -1 when the lock is not available; changes then go on
 * without it. */
static int lock_notes(const char *state_dir)
{
    char directory[FILES_PATH];
    directory_of(directory, state_dir);
    int lock = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    while (lock >= 0 && flock(lock, LOCK_EX) != 0 && errno == EINTR)
        ;
    return lock;
}

static void unlock_notes(int lock)
{
    if (lock >= 0)
        close(lock);
}

/* Whether the record must change; reads the current list. */
static bool needs_note(const char *state_dir, const char *source, const char *subscription, char list[static LIST_SIZE],
                       bool *is_new)
{
    const char *at;
    enum note note = read_note(state_dir, source, list);
    *is_new = subscription != NULL && subscription[0] != '\0' && !is_listed(list, subscription, &at);
    return note != NOTE_THERE || *is_new;
}

bool signed_note(const char *state_dir, const char *source, const char *subscription, struct error *why)
{
    char list[LIST_SIZE], directory[FILES_PATH];
    bool is_new, good = true;
    if (state_dir == NULL || access(state_dir, F_OK) != 0 ||
        !needs_note(state_dir, source, subscription, list, &is_new))
        return true;
    if (!files_make_directory(directory, state_dir, DIRECTORY, why))
        return false;
    int lock = lock_notes(state_dir);
    if (needs_note(state_dir, source, subscription, list, &is_new)) {
        size_t length = strlen(list);
        if (is_new && length + strlen(subscription) + 2 < sizeof list)
            snprintf(list + length, sizeof list - length, "%s%s", length > 0 ? " " : "", subscription);
        good = write_note(state_dir, source, list, why);
    }
    unlock_notes(lock);
    return good;
}

static void take_out(char *list, const char *at, const char *subscription)
{
    char *from = list + (at - list);
    size_t length = strlen(subscription);
    if (from[length] == ' ')
        length++; /* with the blank after it, or for the last one the blank before it */
    else if (from > list) {
        from--;
        length++;
    }
    memmove(from, from + length, strlen(from + length) + 1);
}

bool signed_forget(const char *state_dir, const char *source, const char *subscription, struct error *why)
{
    char list[LIST_SIZE];
    const char *at;
    bool good = true;
    if (state_dir == NULL)
        return true;
    int lock = lock_notes(state_dir);
    if (read_note(state_dir, source, list) == NOTE_THERE && is_listed(list, subscription, &at)) {
        take_out(list, at, subscription);
        good = write_note(state_dir, source, list, why);
    }
    unlock_notes(lock);
    return good;
}

bool signed_is_noted(const char *state_dir, const char *source)
{
    char directory[FILES_PATH], path[FILES_PATH + 200];
    directory_of(directory, state_dir);
    snprintf(path, sizeof path, "%s/%.190s", directory, source);
    return access(path, F_OK) == 0 || (errno != ENOENT && errno != ENOTDIR);
}

bool signed_rename(const char *state_dir, const char *from, const char *to, struct error *why)
{
    char list[LIST_SIZE], directory[FILES_PATH], *rest = NULL;
    enum note note = read_note(state_dir, from, list);
    if (note == NOTE_MISSING)
        return true;
    if (!signed_note(state_dir, to, NULL, why))
        return false;
    for (const char *id = strtok_r(list, " ", &rest); id != NULL; id = strtok_r(NULL, " ", &rest)) {
        if (!signed_note(state_dir, to, id, why))
            return false;
    }
    directory_of(directory, state_dir);
    return files_remove(directory, from, why);
}

bool signed_retain(const char *state_dir, const char *source, bool (*is_there)(const void *context, const char *id),
                   const void *context, struct error *why)
{
    char list[LIST_SIZE], *rest = NULL;
    if (state_dir == NULL || read_note(state_dir, source, list) != NOTE_THERE)
        return true;
    for (const char *id = strtok_r(list, " ", &rest); id != NULL; id = strtok_r(NULL, " ", &rest)) {
        if (!is_there(context, id) && !signed_forget(state_dir, source, id, why))
            return false;
    }
    return true;
}

/* ---- how it is ---- */

static bool is_held(const struct keyring *held, const char *source, const char *id)
{
    for (size_t i = 0; held != NULL && i < held->count; i++) {
        if (strcmp(held->at[i].source, source) == 0 && (id == NULL || strcmp(held->at[i].subscription, id) == 0))
            return true;
    }
    return false;
}

/* The first subscription in the list whose key is missing; NULL: none. */
static const char *first_missing(char *list, const struct keyring *held, const char *source)
{
    char *rest = NULL;
    for (const char *id = strtok_r(list, " ", &rest); id != NULL; id = strtok_r(NULL, " ", &rest)) {
        if (!is_held(held, source, id))
            return id;
    }
    return NULL;
}

/* Whether the record covers all keys that the source has now. */
static bool note_has_all(enum note note, const char *list, const struct keyring *held, const struct source *source)
{
    const char *at;
    bool all = note != NOTE_MISSING || (source->signature_keys == 0 && !is_held(held, source->name, NULL));
    for (size_t i = 0; i < held->count; i++) {
        if (strcmp(held->at[i].source, source->name) == 0 && held->at[i].subscription[0] != '\0')
            all = all && is_listed(list, held->at[i].subscription, &at);
    }
    return all;
}

static void say_lost(const struct source *source, const char *missing, struct error *words)
{
    if (missing != NULL)
        error_set(
            words,
            "source %.64s takes only what Close has signed, and the key of its subscription %.79s is not held here: "
            "closecrm.fcgi rotate --source %.64s %.79s makes a new one; signature_key = none would let in whoever "
            "knows the write key",
            source->name, missing, source->name, missing);
    else
        error_set(
            words,
            "source %.64s takes only what Close has signed, and has no signature key any more: put its "
            "signature_key back into the configuration, or make a new subscription: closecrm.fcgi subscribe --source "
            "%.64s --url URL; signature_key = none would let in whoever knows the write key",
            source->name, source->name);
}

enum signed_state signed_judge(const struct config *config, const struct source *source, const struct keyring *held,
                               const struct error *unread, bool *unnoted, struct error *words)
{
    char list[LIST_SIZE] = "";
    *unnoted = false;
    if (source->signature_none)
        return SIGNED_NEVER;
    if (held == NULL) {
        error_set(words, "the signature keys of source %.64s cannot be read, so that nothing is let in by them: %.300s",
                  source->name, unread->text);
        return source->signature_keys > 0 ? SIGNED_PART : SIGNED_LOST;
    }
    enum note note = config->state_dir == NULL ? NOTE_MISSING : read_note(config->state_dir, source->name, list);
    *unnoted = !note_has_all(note, list, held, source);
    const char *missing = note == NOTE_THERE ? first_missing(list, held, source->name) : NULL;
    bool has = source->signature_keys > 0 || is_held(held, source->name, NULL);
    if (!has && note == NOTE_MISSING)
        return SIGNED_NEVER;
    if (!has) {
        say_lost(source, missing, words);
        return SIGNED_LOST;
    }
    if (missing == NULL)
        return SIGNED_HELD;
    error_set(words,
              "the key of subscription %.79s of source %.64s is not held here, so that what Close signs with it is "
              "refused: closecrm.fcgi rotate --source %.64s %.79s makes a new one",
              missing, source->name, source->name, missing);
    return SIGNED_PART;
}

enum signed_state signed_look(const struct config *config, const struct source *source, struct error *words)
{
    struct keyring held;
    struct error unread = {0};
    bool unnoted, is_read = keyring_read(config->state_dir, &held, &unread);
    enum signed_state state = signed_judge(config, source, is_read ? &held : NULL, &unread, &unnoted, words);
    if (is_read)
        keyring_free(&held);
    return state;
}
