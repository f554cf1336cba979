/* The keys that subscribe obtained, and the record of who had one: see keyring.h. */
#include "config/keyring.h"

#include "base/clock.h"
#include "base/files.h"
#include "base/log.h"
#include "base/text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define HALF_S 60       /* a file that is being written is younger */
#define SETTLED_MS 2000 /* far longer than the granularity of file times */

static bool directory_of(char out[static FILES_PATH], const char *state_dir, const char *name)
{
    int length = snprintf(out, FILES_PATH, "%s/%s", state_dir, name);
    return length > 0 && length < FILES_PATH;
}

bool keyring_changed(const char *state_dir, struct keyring_look *look)
{
    char path[FILES_PATH];
    struct stat status;
    if (state_dir == NULL || !directory_of(path, state_dir, "keys"))
        return false;
    struct keyring_look before = *look;
    look->there = stat(path, &status) == 0;
    if (!look->there) {
        look->settled = true;
        return before.there ||
               (errno != ENOENT && errno != ENOTDIR); /* an unreadable directory is read again next time */
    }
    look->changed = status.st_mtim;
    int64_t age = clock_unix_ms() - clock_timespec_ms(status.st_mtim);
    look->settled = age > SETTLED_MS;
    return !before.there || !before.settled || before.changed.tv_sec != look->changed.tv_sec ||
           before.changed.tv_nsec != look->changed.tv_nsec;
}

bool keyring_decode(const char *hex, unsigned char out[static KEYRING_BYTES])
{
    return strlen(hex) == (size_t)2 * KEYRING_BYTES && text_hex_decode(hex, (size_t)2 * KEYRING_BYTES, out);
}

bool keyring_read_key(const char *directory, const char *name, struct held_key *key, struct error *why)
{
    char hex[2 * KEYRING_BYTES + 2];
    char *text = files_read(directory, name, NULL, why);
    if (text == NULL)
        return false;
    *key = (struct held_key){.created_ms = files_number(text, "created_ms", 0)};
    bool good = files_value(text, "source", key->source, sizeof key->source) &&
                files_value(text, "subscription", key->subscription, sizeof key->subscription) &&
                files_value(text, "signature_key", hex, sizeof hex) && keyring_decode(hex, key->bytes);
    if (!good)
        error_set(why, "%.200s/%.100s holds no signature key", directory, name);
    explicit_bzero(hex, sizeof hex);
    files_free(text);
    return good;
}

static bool is_key_name(const char *name)
{
    size_t length = strlen(name);
    return length > 4 && strcmp(name + length - 4, ".key") == 0;
}

static bool add_key(struct keyring *keyring, const struct held_key *key)
{
    /* not realloc, which would leave a copy of the keys in freed memory */
    struct held_key *more = malloc((keyring->count + 1) * sizeof *more);
    if (more == NULL)
        return false;
    if (keyring->count > 0)
        memcpy(more, keyring->at, keyring->count * sizeof *more);
    more[keyring->count] = *key;
    struct keyring before = *keyring;
    keyring->at = more;
    keyring->count = before.count + 1;
    keyring_free(&before);
    return true;
}

bool keyring_read(const char *state_dir, struct keyring *keyring, struct error *why)
{
    char path[FILES_PATH], words[LOG_QUOTED];
    *keyring = (struct keyring){NULL, 0};
    if (state_dir == NULL || !directory_of(path, state_dir, "keys"))
        return true;
    DIR *directory = opendir(path);
    if (directory == NULL) {
        if (errno == ENOENT)
            return true;
        error_set(why, "cannot read %.300s: %s", path, strerror(errno));
        return false;
    }
    bool good = true;
    int error = errno = 0; /* else the end of the folder and an error look alike */
    for (const struct dirent *entry; good && (entry = readdir(directory)) != NULL; errno = 0) {
        struct held_key key;
        struct error reason = {0};
        if (!is_key_name(entry->d_name))
            continue;
        if (!keyring_read_key(path, entry->d_name, &key, &reason)) {
            log_write(LEVEL_WARN, "msg=key_left_out reason=%s", log_quote_reason(words, reason.text));
            continue;
        }
        good = add_key(keyring, &key);
        explicit_bzero(&key, sizeof key);
    }
    if (good)
        error = errno;
    closedir(directory);
    if (!good)
        error_set(why, "out of memory");
    if (error != 0)
        error_set(why, "cannot read %.300s: %s", path, strerror(error));
    if (!good || error != 0)
        keyring_free(keyring);
    return good && error == 0;
}

void keyring_free(struct keyring *keyring)
{
    if (keyring->at != NULL)
        explicit_bzero(keyring->at, keyring->count * sizeof *keyring->at);
    free(keyring->at);
    *keyring = (struct keyring){NULL, 0};
}

bool keyring_id_is_good(const char *id)
{
    size_t length = strlen(id);
    return length > 0 && length < KEYRING_ID &&
           strspn(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") == length;
}

bool keyring_name(char out[static KEYRING_NAME], const char *source, const char *subscription, struct error *why)
{
    if (!keyring_id_is_good(subscription) || strlen(source) > 127) {
        error_set(why, "%.80s cannot be the id of a subscription", subscription);
        return false;
    }
    snprintf(out, 256, "%s-%s.key", source, subscription);
    return true;
}

void keyring_tidy(const char *state_dir)
{
    static const char half[] = ".key.new";
    char path[FILES_PATH];
    struct stat status;
    DIR *directory = directory_of(path, state_dir, "keys") ? opendir(path) : NULL;
    for (const struct dirent *entry; directory != NULL && (entry = readdir(directory)) != NULL;) {
        size_t length = strlen(entry->d_name), end = sizeof half - 1;
        if (length < end || strcmp(entry->d_name + length - end, half) != 0)
            continue;
        if (fstatat(dirfd(directory), entry->d_name, &status, 0) == 0 &&
            clock_unix_ms() / 1000 - status.st_mtim.tv_sec > HALF_S)
            unlinkat(dirfd(directory), entry->d_name, 0);
    }
    if (directory != NULL)
        closedir(directory);
}

void keyring_mark_used(const char *state_dir, const char *subscription)
{
    char directory[FILES_PATH];
    struct error why;
    if (!keyring_id_is_good(subscription) || keyring_was_used(state_dir, subscription))
        return;
    if (!files_make_directory(directory, state_dir, "used", &why) || !files_replace(directory, subscription, "", &why))
        log_write(LEVEL_WARN, "msg=not_noted subscription=%s reason=\"%s\"", subscription, why.text);
}

bool keyring_was_used(const char *state_dir, const char *subscription)
{
    char path[FILES_PATH], name[FILES_PATH];
    snprintf(name, sizeof name, "used/%.200s", subscription);
    return directory_of(path, state_dir, name) && access(path, F_OK) == 0;
}

/* ---- the record that a source had a signature key ---- */

#define DIRECTORY "signed"
#define LIST_SIZE 8192 /* blank-separated subscription ids */

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
    directory_of(directory, state_dir, DIRECTORY);
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

/* Serializes changes of records by several processes. Returns -1 when there is no lock: changes go on without. */
static int lock_notes(const char *state_dir)
{
    char directory[FILES_PATH];
    directory_of(directory, state_dir, DIRECTORY);
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
    directory_of(directory, state_dir, DIRECTORY);
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
    directory_of(directory, state_dir, DIRECTORY);
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
            "signature_key back into the configuration; or, where Close has the subscription, closecrm.fcgi rotate "
            "--source "
            "%.64s ID (closecrm.fcgi subscriptions shows it), else closecrm.fcgi subscribe --source %.64s --url URL; "
            "signature_key = none would let in whoever knows the write key",
            source->name, source->name, source->name);
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
