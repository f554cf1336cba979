/* A machine's copies of what several machines share: see copies.h.
 *
 * The record is written before files are made that it does not name yet, and again behind all of them: a file that it
 * does not name was never copied, wherever a process is killed. */
#include "kept/copies.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/files.h"
#include "config/keyring.h"

#define RECORD "kept"
#define LOCK "kept.lock"
#define PATH_MOST 400
#define KEYS "keys/"
#define TOLD "told" /* what people were told already */

/* ---- paths ---- */

/* Of a file that is shared: no lock, nothing half-written, nothing that only its process knows. */
static bool is_name(const char *name, size_t length)
{
    static const char *const ends[] = {".lock", ".new"};
    bool good = length > 0 && length < 256 && name[0] != '.' && strncmp(name, "spool.", 6) != 0;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        size_t end = strlen(ends[i]);
        good = good && (length < end || strncmp(name + length - end, ends[i], end) != 0);
    }
    for (size_t i = 0; good && i < length; i++)
        good = (unsigned char)name[i] > ' ' && name[i] != '/';
    return good;
}

bool copies_may_be(const char *path)
{
    static const struct {
        const char *folder;
        int names;
    } folders[] = {{KEYS, 1}, {"used/", 1}, {TOLD "/", 1}, {"closeapi/", 2}};
    int names = 0;
    for (size_t i = 0; i < sizeof folders / sizeof *folders && names == 0; i++) {
        size_t length = strlen(folders[i].folder);
        names = strncmp(path, folders[i].folder, length) == 0 ? folders[i].names : 0;
        path += names > 0 ? length : 0;
    }
    bool good = names > 0;
    for (; good && names > 0; names--) {
        size_t length = strcspn(path, "/");
        good = is_name(path, length) && (path[length] == '/') == (names > 1);
        path += length + (names > 1);
    }
    return good;
}

/* Divides it into the file's directory, below the state directory, and its name. */
static const char *divide(const struct copies *copies, const char *path, char folder[static PATH_MOST],
                          char directory[static FILES_PATH])
{
    const char *slash = strrchr(path, '/');
    snprintf(folder, PATH_MOST, "%.*s", (int)(slash - path), path);
    snprintf(directory, FILES_PATH, "%.3500s/%s", copies->state_dir, folder);
    return slash + 1;
}

/* ---- the record ---- */

bool copies_begin(struct copies *copies, const char *state_dir, int64_t wait_ms, struct error *why)
{
    char path[FILES_PATH];
    bool missing;
    *copies = (struct copies){.state_dir = state_dir, .lock = -1};
    snprintf(path, sizeof path, "%.4000s/" LOCK, state_dir);
    int error = lock_take_within(&copies->lock, path, wait_ms);
    if (error != 0) {
        error_set(why, "cannot lock %.300s: %s", path, strerror(error));
        return false;
    }
    char *text = files_read(state_dir, RECORD, &missing, why);
    if (text == NULL && !missing) {
        copies_end(copies);
        return false;
    }
    char *paths = text == NULL ? NULL : strstr(text, "\n\n");
    if (paths != NULL && files_value(text, "origin", copies->origin, sizeof copies->origin))
        copies->version = files_number(text, "version", 0);
    copies->known = strdup(paths == NULL ? "\n" : paths + 1);
    free(text);
    if (copies->known != NULL)
        return true;
    error_set(why, "out of memory");
    copies_end(copies);
    return false;
}

void copies_end(struct copies *copies)
{
    free(copies->known);
    copies->known = NULL;
    if (copies->lock >= 0)
        close(copies->lock);
    copies->lock = -1;
}

static bool is_known(const struct copies *copies, const char *path)
{
    char line[PATH_MOST + 2];
    snprintf(line, sizeof line, "\n%s\n", path);
    return strstr(copies->known, line) != NULL;
}

void copies_compare(struct copies *copies, const char *origin, int64_t version)
{
    if (strcmp(copies->origin, origin) == 0 && copies->version <= version)
        return;
    copies->origin[0] = '\0';
    copies->version = 0;
    copies->known[1] = '\0';
}

/* version 0: what is known now besides, for the files are being made. */
static bool write_record(const struct copies *copies, const char *origin, int64_t version,
                         const struct original *originals, size_t count, struct error *why)
{
    struct buffer text = {0};
    char head[100];
    snprintf(head, sizeof head, "origin = %s\nversion = %lld\n\n", origin, (long long)version);
    buffer_text(&text, head);
    if (version == 0)
        buffer_text(&text, copies->known + 1);
    for (size_t i = 0; i < count; i++) {
        if (!copies_may_be(originals[i].path) || (version == 0 && is_known(copies, originals[i].path)))
            continue;
        buffer_text(&text, originals[i].path);
        buffer_text(&text, "\n");
    }
    buffer_append(&text, "", 1);
    bool good = !text.failed && text.length <= FILES_READ_MAX;
    if (!good)
        error_set(why, text.failed ? "out of memory" : "there are too many keys and notes of Close's subscriptions");
    good = good && files_replace(copies->state_dir, RECORD, text.data, why);
    buffer_free(&text);
    return good;
}

void copies_touch(const struct copies *copies)
{
    char path[FILES_PATH];
    snprintf(path, sizeof path, "%.4000s/" RECORD, copies->state_dir);
    utimensat(AT_FDCWD, path, NULL, 0);
}

static bool record_status(const char *state_dir, struct stat *status)
{
    char path[FILES_PATH];
    snprintf(path, sizeof path, "%.4000s/" RECORD, state_dir);
    return stat(path, status) == 0;
}

bool copies_are_fresh(const char *state_dir, int64_t ms)
{
    struct stat status;
    if (!record_status(state_dir, &status))
        return false;
    int64_t age = clock_unix_ms() - clock_timespec_ms(status.st_mtim);
    return age >= 0 && age < ms;
}

bool copies_are_known(const char *state_dir)
{
    struct stat status;
    return record_status(state_dir, &status);
}

bool copies_origin(const char *state_dir, char origin[static ORIGIN])
{
    char *text = files_read(state_dir, RECORD, NULL, NULL);
    bool good = text != NULL && files_value(text, "origin", origin, ORIGIN) && origin[0] != '\0';
    free(text);
    return good;
}

/* ---- files that are not copies ---- */

struct finding {
    const struct copies *copies;
    bool (*put)(void *context, const char *path, const char *text);
    void *context;
    struct error *why;
};

static bool take_new(const struct finding *finding, const char *path)
{
    char folder[PATH_MOST], directory[FILES_PATH];
    bool missing;
    if (!copies_may_be(path) || is_known(finding->copies, path))
        return true;
    const char *name = divide(finding->copies, path, folder, directory);
    char *text = files_read(directory, name, &missing, finding->why);
    if (text == NULL)
        return missing;
    bool good = finding->put(finding->context, path, text);
    files_free(text);
    return good;
}

/* deeper: of the folders in it. */
static bool find_in(const struct finding *finding, const char *folder, bool deeper)
{
    char path[FILES_PATH], below[PATH_MOST];
    snprintf(path, sizeof path, "%.3500s/%.300s", finding->copies->state_dir, folder);
    DIR *listing = opendir(path);
    if (listing == NULL && (errno == ENOENT || errno == ENOTDIR))
        return true;
    bool good = listing != NULL;
    errno = good ? 0 : errno; /* else the end of the folder and an error look alike */
    for (const struct dirent *entry; good && (entry = readdir(listing)) != NULL; errno = 0) {
        int length = snprintf(below, sizeof below, "%.127s/%.255s", folder, entry->d_name);
        if (entry->d_name[0] == '.' || length >= (int)sizeof below)
            continue;
        good = deeper ? find_in(finding, below, false) : take_new(finding, below);
        if (!good && listing != NULL) {
            closedir(listing);
            return false;
        }
    }
    if (errno != 0)
        error_set(finding->why, "cannot read %.300s: %s", path, strerror(errno));
    good = good && errno == 0;
    if (listing != NULL)
        closedir(listing);
    return good;
}

bool copies_find_new(const struct copies *copies, bool (*put)(void *context, const char *path, const char *text),
                     void *context, struct error *why)
{
    const struct finding finding = {copies, put, context, why};
    return find_in(&finding, "keys", false) && find_in(&finding, "used", false) && find_in(&finding, TOLD, false) &&
           find_in(&finding, "closeapi", true);
}

/* ---- copying ---- */

static bool copy_one(const struct copies *copies, const struct original *original, struct error *why)
{
    char folder[PATH_MOST], directory[FILES_PATH], made[FILES_PATH];
    const char *name = divide(copies, original->path, folder, directory);
    char *there = files_read(directory, name, NULL, NULL), *text = strndup(original->text, original->length);
    bool same = there != NULL && text != NULL && strcmp(there, text) == 0;
    bool good = text != NULL;
    if (!good)
        error_set(why, "out of memory");
    good = good && (same || (files_make_directory(made, copies->state_dir, folder, why) &&
                             files_replace(directory, name, text, why)));
    files_free(there);
    files_free(text);
    return good;
}

/* A key that is gone on purpose is none that this machine has lost. */
static bool remove_one(const struct copies *copies, const char *path, struct error *why)
{
    char folder[PATH_MOST], directory[FILES_PATH];
    struct held_key key;
    struct stat status;
    const char *name = divide(copies, path, folder, directory);
    bool is_key = strncmp(path, KEYS, sizeof KEYS - 1) == 0 && keyring_read_key(directory, name, &key, NULL);
    bool good = stat(directory, &status) != 0 || files_remove(directory, name, why);
    if (good && is_key)
        good = signed_forget(copies->state_dir, key.source, key.subscription, why);
    explicit_bzero(&key, sizeof key);
    return good;
}

static bool is_original(const char *path, const struct original *originals, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(originals[i].path, path) == 0)
            return true;
    }
    return false;
}

static bool remove_gone(const struct copies *copies, const struct original *originals, size_t count, struct error *why)
{
    char path[PATH_MOST];
    for (const char *line = copies->known + 1; *line != '\0'; line += strcspn(line, "\n") + 1) {
        snprintf(path, sizeof path, "%.*s", (int)strcspn(line, "\n"), line);
        if (copies_may_be(path) && !is_original(path, originals, count) && !remove_one(copies, path, why))
            return false;
    }
    return true;
}

bool copies_take(struct copies *copies, const char *origin, int64_t version, const struct original *originals,
                 size_t count, struct error *why)
{
    char made[FILES_PATH];
    bool all_known = copies->origin[0] != '\0', good = true;
    for (size_t i = 0; i < count; i++)
        all_known = all_known && is_known(copies, originals[i].path);
    /* made also where there is no key, for who reads them looks whether the folder changes */
    good = files_make_directory(made, copies->state_dir, "keys", why) &&
           (all_known || write_record(copies, origin, 0, originals, count, why));
    for (size_t i = 0; good && i < count; i++)
        good = !copies_may_be(originals[i].path) || copy_one(copies, &originals[i], why);
    return good && remove_gone(copies, originals, count, why) &&
           write_record(copies, origin, version, originals, count, why);
}
