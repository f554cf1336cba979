/* The keys that subscribe obtained: see keyring.h. */
#include "config/keyring.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/files.h"
#include "base/log.h"
#include "base/text.h"
#include "config/signed.h"

#define HALF_S 60       /* a file that is being written is younger */
#define SETTLED_MS 2000 /* far longer than the granularity of file times */

static bool directory_of(char out[static FILES_PATH], const char *state_dir)
{
    int length = snprintf(out, FILES_PATH, "%s/keys", state_dir);
    return length > 0 && length < FILES_PATH;
}

bool keyring_changed(const char *state_dir, struct keyring_look *look)
{
    char path[FILES_PATH];
    struct stat status;
    if (state_dir == NULL || !directory_of(path, state_dir))
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

static bool decode_key(const char *hex, unsigned char out[static KEYRING_BYTES])
{
    return strlen(hex) == (size_t)2 * KEYRING_BYTES && text_hex_decode(hex, (size_t)2 * KEYRING_BYTES, out);
}

static bool read_key(const char *directory, const char *name, struct held_key *key, struct error *why)
{
    char hex[2 * KEYRING_BYTES + 2];
    char *text = files_read(directory, name, NULL, why);
    if (text == NULL)
        return false;
    *key = (struct held_key){.created_ms = files_number(text, "created_ms", 0)};
    bool good = files_value(text, "source", key->source, sizeof key->source) &&
                files_value(text, "subscription", key->subscription, sizeof key->subscription) &&
                files_value(text, "signature_key", hex, sizeof hex) && decode_key(hex, key->bytes);
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
    if (state_dir == NULL || !directory_of(path, state_dir))
        return true;
    DIR *directory = opendir(path);
    if (directory == NULL) {
        if (errno == ENOENT)
            return true;
        error_set(why, "cannot read %.300s: %s", path, strerror(errno));
        return false;
    }
    bool good = true;
    for (const struct dirent *entry; good && (entry = readdir(directory)) != NULL;) {
        struct held_key key;
        struct error reason = {0};
        if (!is_key_name(entry->d_name))
            continue;
        if (!read_key(path, entry->d_name, &key, &reason)) {
            log_write(LEVEL_WARN, "msg=key_left_out reason=%s", log_quote(words, reason.text, strlen(reason.text)));
            continue;
        }
        good = add_key(keyring, &key);
        explicit_bzero(&key, sizeof key);
    }
    closedir(directory);
    if (!good) {
        error_set(why, "out of memory");
        keyring_free(keyring);
    }
    return good;
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

static bool name_of(char out[static 256], const char *source, const char *subscription, struct error *why)
{
    if (!keyring_id_is_good(subscription) || strlen(source) > 127) {
        error_set(why, "%.80s cannot be the id of a subscription", subscription);
        return false;
    }
    snprintf(out, 256, "%s-%s.key", source, subscription);
    return true;
}

bool keyring_store(const char *state_dir, const struct held_key *key, const char *hex, const char *url,
                   struct error *why)
{
    char directory[FILES_PATH], name[256], text[3000];
    unsigned char bytes[KEYRING_BYTES];
    if (!decode_key(hex, bytes)) {
        error_set(why, "Close gave a signature_key that is not %d hexadecimal digits", 2 * KEYRING_BYTES);
        return false;
    }
    explicit_bzero(bytes, sizeof bytes);
    if (!name_of(name, key->source, key->subscription, why) ||
        !files_make_directory(directory, state_dir, "keys", why) ||
        !signed_note(state_dir, key->source, key->subscription, why))
        return false;
    snprintf(text, sizeof text,
             "source = %s\nsubscription = %s\ncreated_ms = %lld\nsignature_key = %s\nurl = %.2000s\n", key->source,
             key->subscription, (long long)key->created_ms, hex, url);
    bool good = files_replace(directory, name, text, why);
    explicit_bzero(text, sizeof text);
    return good;
}

/* Whether the file exists and holds a different key. */
static bool holds_another(const char *directory, const char *name, const struct held_key *key)
{
    struct held_key there;
    struct error why;
    char path[FILES_PATH + 256];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    if (access(path, F_OK) != 0)
        return false;
    bool same = read_key(directory, name, &there, &why) && memcmp(there.bytes, key->bytes, KEYRING_BYTES) == 0;
    explicit_bzero(&there, sizeof there);
    return !same;
}

bool keyring_rename(const char *state_dir, const struct held_key *key, const char *to, bool *taken, struct error *why)
{
    char directory[FILES_PATH], old_name[256], new_name[256], hex[2 * KEYRING_BYTES + 2], url[2100];
    struct held_key renamed = *key;
    *taken = false;
    if (!directory_of(directory, state_dir) || !name_of(old_name, key->source, key->subscription, why) ||
        !name_of(new_name, to, key->subscription, why))
        return false;
    if (holds_another(directory, new_name, key)) {
        *taken = true;
        return true;
    }
    char *text = files_read(directory, old_name, NULL, why);
    if (text == NULL)
        return false;
    files_value(text, "signature_key", hex, sizeof hex);
    files_value(text, "url", url, sizeof url);
    files_free(text);
    snprintf(renamed.source, sizeof renamed.source, "%s", to);
    bool good = keyring_store(state_dir, &renamed, hex, url, why) &&
                keyring_remove(state_dir, key->source, key->subscription, why);
    explicit_bzero(hex, sizeof hex);
    explicit_bzero(&renamed, sizeof renamed);
    return good;
}

void keyring_tidy(const char *state_dir)
{
    static const char half[] = ".key.new";
    char path[FILES_PATH];
    struct stat status;
    DIR *directory = directory_of(path, state_dir) ? opendir(path) : NULL;
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

bool keyring_remove(const char *state_dir, const char *source, const char *subscription, struct error *why)
{
    char directory[FILES_PATH], name[256];
    return name_of(name, source, subscription, why) && files_make_directory(directory, state_dir, "keys", why) &&
           files_remove(directory, name, why) && signed_forget(state_dir, source, subscription, why);
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
    char path[FILES_PATH];
    int length = snprintf(path, sizeof path, "%s/used/%s", state_dir, subscription);
    return length > 0 && length < FILES_PATH && access(path, F_OK) == 0;
}
