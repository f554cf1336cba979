/* The small files of a state directory beside the queue: records of lost events, and what a backup has of
 * them. See inspect.h. */
#include "queue/inspect.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/files.h"
#include "base/times.h"

/* ---- records of lost events ---- */

#define DIRECTORY "loss"

static bool name_of(const char *source, char out[static 256], struct error *why)
{
    int length = snprintf(out, 256, DIRECTORY "/%s", source);
    if (length > 0 && length < 256 && source[0] != '\0' && strchr(source, '/') == NULL && source[0] != '.')
        return true;
    error_set(why, "\"%.60s\" is no name of a source", source);
    return false;
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Merges the record before into `into`, so that nothing of either is lost. */
static void merge_losses(struct loss *into, const struct loss *before)
{
    into->from_ms = earlier(into->from_ms, before->from_ms);
    into->until_ms = into->until_ms > before->until_ms ? into->until_ms : before->until_ms;
    into->identities_kept = into->identities_kept && before->identities_kept;
    into->mark_ms = earlier(into->mark_ms, before->mark_ms);
    if (strstr(before->words, into->words) != NULL) {
        memcpy(into->words, before->words, sizeof into->words);
    } else if (before->words[0] != '\0') {
        char words[LOSS_WORDS];
        snprintf(words, sizeof words, "%.190s; before: %.190s", into->words, before->words);
        memcpy(into->words, words, sizeof into->words);
    }
}

static void make_one_line(char *words)
{
    for (; *words != '\0'; words++) {
        if ((unsigned char)*words < ' ')
            *words = ' ';
    }
}

bool loss_note(const char *state_dir, const char *source, const struct loss *loss, struct error *why)
{
    struct loss all = *loss, before;
    bool any;
    char name[256], directory[FILES_PATH], text[LOSS_WORDS + 200];
    if (!name_of(source, name, why) || !loss_read(state_dir, source, &before, &any, why))
        return false;
    if (all.mark_ms == 0)
        all.mark_ms = delivered_mark(state_dir, source);
    if (any)
        merge_losses(&all, &before);
    make_one_line(all.words);
    snprintf(text, sizeof text, "from_ms = %lld\nuntil_ms = %lld\nidentities_kept = %d\nmark_ms = %lld\nwords = %s\n",
             (long long)all.from_ms, (long long)all.until_ms, all.identities_kept, (long long)all.mark_ms, all.words);
    return files_make_directory(directory, state_dir, DIRECTORY, why) && files_replace(state_dir, name, text, why) &&
           files_sync(directory, why);
}

bool loss_read(const char *state_dir, const char *source, struct loss *loss, bool *any, struct error *why)
{
    bool missing;
    char name[256];
    *any = false;
    *loss = (struct loss){.from_ms = 0};
    if (!name_of(source, name, why))
        return false;
    char *text = files_read(state_dir, name, &missing, why);
    if (text == NULL)
        return missing;
    *any = true;
    loss->from_ms = files_number(text, "from_ms", 0);
    loss->until_ms = files_number(text, "until_ms", INT64_MAX);
    loss->identities_kept = files_number(text, "identities_kept", 0) == 1;
    loss->mark_ms = files_number(text, "mark_ms", 0);
    files_value(text, "words", loss->words, sizeof loss->words);
    files_free(text);
    return true;
}

bool loss_clear(const char *state_dir, const char *source, struct error *why)
{
    bool missing;
    char name[256];
    if (!name_of(source, name, why))
        return false;
    char *text = files_read(state_dir, name, &missing, why);
    if (text == NULL)
        return missing;
    files_free(text);
    return files_remove(state_dir, name, why);
}

/* ---- the delivered mark, in a small file ---- */

#define NAME "delivered"
#define LINE_MOST 128

int64_t delivered_mark(const char *state_dir, const char *source)
{
    char *text = files_read(state_dir, NAME, NULL, NULL);
    int64_t mark = text == NULL ? 0 : files_number(text, source, 0);
    files_free(text);
    return mark > 0 ? mark : 0;
}

bool delivered_write(const char *state_dir, const struct delivered *marks, size_t count, struct error *why)
{
    size_t size = count * LINE_MOST + 1, at = 0;
    char *text = size <= FILES_READ_MAX ? calloc(1, size) : NULL;
    if (text == NULL) {
        error_set(why, "too many sources for the delivered mark");
        return false;
    }
    for (size_t i = 0; i < count; i++)
        at += (size_t)snprintf(text + at, LINE_MOST, "%.79s = %lld\n", marks[i].source, (long long)marks[i].mark_ms);
    bool good = files_replace(state_dir, NAME, text, why);
    free(text);
    return good;
}

/* ---- the date in an unparsed body ---- */

struct text {
    const char *at, *end;
};

/* Skips the string that begins here; returns its raw bytes between the quotes. */
static const char *take_string(struct text *text, size_t *length)
{
    const char *begin = ++text->at;
    while (text->at < text->end && *text->at != '"')
        text->at += *text->at == '\\' && text->at + 1 < text->end ? 2 : 1;
    *length = (size_t)(text->at - begin);
    if (text->at < text->end)
        text->at++;
    return begin;
}

static void skip_to_value(struct text *text)
{
    while (text->at < text->end && strchr(" \t\r\n:", *text->at) != NULL && *text->at != '\0')
        text->at++;
}

/* The member is two levels deep: {"event": {"date_updated": "..."}}. */
int64_t delivered_date_of(const char *body, size_t length)
{
    static const char wanted[] = "date_updated";
    struct text text = {body, body + length};
    unsigned depth = 0;
    while (text.at < text.end) {
        if (*text.at != '"') {
            depth += *text.at == '{' || *text.at == '[';
            depth -= depth > 0 && (*text.at == '}' || *text.at == ']');
            text.at++;
            continue;
        }
        size_t n;
        const char *name = take_string(&text, &n);
        if (depth != 2 || n != sizeof wanted - 1 || memcmp(name, wanted, n) != 0)
            continue;
        skip_to_value(&text);
        if (text.at >= text.end || *text.at != '"')
            continue;
        const char *date = take_string(&text, &n);
        return times_read(date, n);
    }
    return DATE_UNREADABLE;
}

/* ---- the small files of a backup. Listed by folder, so that no other files of the state directory get into one: the
 * status page's secret, locks, counters. ---- */

#define NAME_MOST 400 /* bytes of a name within the state directory */
#define CLOSE_SIDE "closeapi"

static const char *const folders[] = {"keys", "used", "signed", "loss"};
#define FOLDERS (sizeof folders / sizeof *folders)

static const char alone[] = "delivered"; /* a file in no folder */

/* Excludes locks, incomplete files and temporary ones. */
static bool is_kept(const char *name)
{
    static const char *const ends[] = {".lock", ".new"};
    size_t length = strlen(name);
    if (length == 0 || length > 255 || name[0] == '.' || strncmp(name, "spool.", 6) == 0 || strchr(name, '/') != NULL)
        return false;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        size_t end = strlen(ends[i]);
        if (length >= end && strcmp(name + length - end, ends[i]) == 0)
            return false;
    }
    return true;
}

/* Whether a name is one that a backup contains: restoring writes no other. */
static bool backup_file_is_good(const char *name)
{
    if (strcmp(name, alone) == 0)
        return true;
    const char *slash = strchr(name, '/');
    size_t length = slash == NULL ? 0 : (size_t)(slash - name);
    for (size_t i = 0; i < FOLDERS && slash != NULL; i++) {
        if (strlen(folders[i]) == length && memcmp(name, folders[i], length) == 0)
            return is_kept(slash + 1);
    }
    if (slash == NULL || length != sizeof CLOSE_SIDE - 1 || memcmp(name, CLOSE_SIDE, length) != 0)
        return false;
    const char *second = strchr(slash + 1, '/');
    return second != NULL && second != slash + 1 && slash[1] != '.' && is_kept(second + 1) && strlen(name) < NAME_MOST;
}

bool backup_files_add(struct backup_files *files, const char *name, const void *bytes, size_t length)
{
    struct backup_file *more = realloc(files->at, (files->count + 1) * sizeof *more);
    if (more == NULL)
        return false;
    files->at = more;
    struct backup_file *file = &more[files->count];
    *file = (struct backup_file){strdup(name), malloc(length + 1), length};
    if (file->name == NULL || file->bytes == NULL) {
        free(file->name);
        free(file->bytes);
        return false;
    }
    if (length > 0)
        memcpy(file->bytes, bytes, length);
    file->bytes[length] = '\0';
    files->count++;
    return true;
}

void backup_files_free(struct backup_files *files)
{
    for (size_t i = 0; i < files->count; i++) {
        explicit_bzero(files->at[i].bytes, files->at[i].length);
        free(files->at[i].bytes);
        free(files->at[i].name);
    }
    free(files->at);
    *files = (struct backup_files){NULL, 0};
}

static bool report_backup_file(const char *what, const char *path, struct error *why)
{
    error_set(why, "cannot %s %.300s: %s", what, path, strerror(errno));
    return false;
}

/* Adds one file; one that was removed meanwhile is skipped. */
static bool gather_file(const char *state_dir, const char *name, struct backup_files *files, struct error *why)
{
    bool missing;
    char *text = files_read(state_dir, name, &missing, why);
    if (text == NULL)
        return missing;
    bool good = backup_files_add(files, name, text, strlen(text));
    if (!good)
        error_set(why, "out of memory");
    files_free(text);
    return good;
}

/* Adds the files of a folder; deeper: those of the folders in it. */
static bool gather_folder(const char *state_dir, const char *folder, bool deeper, struct backup_files *files,
                          struct error *why)
{
    char path[FILES_PATH], name[NAME_MOST + 300];
    bool good = true;
    snprintf(path, sizeof path, "%.3500s/%.400s", state_dir, folder);
    DIR *directory = opendir(path);
    if (directory == NULL)
        return errno == ENOENT || report_backup_file("read", path, why);
    errno = 0; /* else the end of the folder and an error look alike */
    for (const struct dirent *entry; good && (entry = readdir(directory)) != NULL; errno = 0) {
        snprintf(name, sizeof name, "%.300s/%.255s", folder, entry->d_name);
        if (deeper && entry->d_name[0] != '.')
            good = gather_folder(state_dir, name, false, files, why);
        else if (!deeper && backup_file_is_good(name))
            good = gather_file(state_dir, name, files, why);
    }
    if (good && errno != 0)
        good = report_backup_file("read", path, why);
    closedir(directory);
    return good;
}

bool backup_files_gather(const char *state_dir, struct backup_files *files, struct error *why)
{
    *files = (struct backup_files){NULL, 0};
    bool good = gather_file(state_dir, alone, files, why);
    for (size_t i = 0; i < FOLDERS && good; i++)
        good = gather_folder(state_dir, folders[i], false, files, why);
    good = good && gather_folder(state_dir, CLOSE_SIDE, true, files, why);
    if (!good)
        backup_files_free(files);
    return good;
}

bool backup_file_put(const char *state_dir, const struct backup_file *file, bool *there, struct error *why)
{
    char folder[NAME_MOST], path[FILES_PATH];
    *there = false;
    if (!backup_file_is_good(file->name)) {
        error_set(why, "the backup holds a file %.100s, which is none of a state directory", file->name);
        return false;
    }
    snprintf(path, sizeof path, "%.3500s/%.400s", state_dir, file->name);
    *there = access(path, F_OK) == 0;
    if (*there)
        return true;
    snprintf(folder, sizeof folder, "%s", file->name);
    char *slash = strrchr(folder, '/');
    if (slash == NULL)
        return files_replace(state_dir, file->name, file->bytes, why);
    *slash = '\0';
    return files_make_directory(path, state_dir, folder, why) && files_replace(path, slash + 1, file->bytes, why);
}
