/* What cron has told: see cron_told.h. */
#include "commands/cron_told.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/files.h"
#include "base/lock_file.h"
#include "base/text.h"

#define TOLD_FILE "cron-told.1" /* the number is of the layout */
#define LOCK_MS 2000            /* for another run that reports just now */

static uint64_t checksum(const struct told_record *record)
{
    return text_hash(TEXT_HASH, record->entry, sizeof record->entry);
}

/* Opens and locks the record in a folder. Returns its descriptor; -1: none. */
static int open_record(const char *directory, char path[static PATH_MAX])
{
    int fd = -1;
    if (!files_is_own_directory(directory) || snprintf(path, PATH_MAX, "%s/" TOLD_FILE, directory) >= PATH_MAX)
        return -1;
    return lock_take_within(&fd, path, LOCK_MS) == 0 ? fd : -1;
}

/* Half a record counts as none. */
static bool read_record(int fd, struct told_record *record)
{
    return pread(fd, record, sizeof *record, 0) == (ssize_t)sizeof *record && record->sum == checksum(record);
}

static struct told_entry *find_entry(struct cron_told *told, uint64_t key)
{
    struct told_entry *empty = NULL, *oldest = NULL;
    for (size_t i = 0; i < TOLD_ENTRIES; i++) {
        struct told_entry *entry = &told->record.entry[i];
        if (entry->key == key)
            return entry;
        if (entry->key == 0 && empty == NULL)
            empty = entry;
        if (!told->seen[i] && (oldest == NULL || entry->told_ms < oldest->told_ms))
            oldest = entry;
    }
    if (empty == NULL)
        empty = oldest;
    if (empty != NULL)
        memset(empty, 0, sizeof *empty);
    return empty;
}

/* What was told while the state directory could not be used goes on in its record. */
static void take_over(struct cron_told *told, const char *beside)
{
    char path[PATH_MAX];
    struct told_record other;
    if (!files_is_own_directory(beside) || snprintf(path, sizeof path, "%s/" TOLD_FILE, beside) >= (int)sizeof path)
        return;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return;
    for (size_t i = 0; read_record(fd, &other) && i < TOLD_ENTRIES; i++) {
        struct told_entry *entry = other.entry[i].key == 0 ? NULL : find_entry(told, other.entry[i].key);
        if (entry != NULL)
            *entry = other.entry[i];
    }
    close(fd);
    snprintf(told->elsewhere, sizeof told->elsewhere, "%s", path);
}

void cron_told_open(struct cron_told *told, const char *state_dir, const char *beside)
{
    char path[PATH_MAX];
    memset(told, 0, sizeof *told);
    told->fd = state_dir == NULL ? -1 : open_record(state_dir, path);
    bool in_state = told->fd >= 0;
    if (!in_state && beside != NULL)
        told->fd = open_record(beside, path);
    if (told->fd >= 0 && !read_record(told->fd, &told->record))
        memset(&told->record, 0, sizeof told->record);
    if (in_state && beside != NULL && strcmp(beside, state_dir) != 0)
        take_over(told, beside);
}

uint64_t cron_told_key(enum told_kind kind, const char *source, const char *words)
{
    unsigned char first = (unsigned char)kind;
    uint64_t key = text_hash(TEXT_HASH, &first, 1);
    key = text_hash_without_digits(text_hash(key, source, strlen(source) + 1), words, strlen(words));
    return key == 0 ? 1 : key;
}

bool cron_told_is_due(struct cron_told *told, const struct told_entry *entry, int64_t now_ms)
{
    struct told_entry *kept = find_entry(told, entry->key);
    if (kept == NULL)
        return true; /* too many at once: each is told again rather than none */
    int64_t told_ms = kept->told_ms, since_ms = kept->since_ms;
    bool due = told_ms == 0 || now_ms - told_ms >= entry->period_ms || told_ms > now_ms;
    told->seen[kept - told->record.entry] = true;
    if (since_ms == 0 || due)
        *kept = *entry;
    kept->since_ms = since_ms == 0 ? now_ms : since_ms;
    kept->told_ms = due ? now_ms : told_ms;
    return due;
}

bool cron_told_is_over(struct cron_told *told, size_t i, int64_t now_ms)
{
    struct told_entry *entry = &told->record.entry[i];
    bool is_told = entry->since_ms != 0 && entry->told_ms >= entry->since_ms;
    entry->since_ms = 0;
    if (now_ms - entry->told_ms >= entry->period_ms || entry->told_ms > now_ms)
        entry->key = 0;
    return is_told;
}

/* Over the old one: there may be no room for a new file. */
void cron_told_close(struct cron_told *told)
{
    if (told->fd < 0)
        return;
    told->record.sum = checksum(&told->record);
    ssize_t n = pwrite(told->fd, &told->record, sizeof told->record, 0);
    if (n == (ssize_t)sizeof told->record && told->elsewhere[0] != '\0')
        unlink(told->elsewhere);
    close(told->fd);
    told->fd = -1;
}
