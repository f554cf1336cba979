/* What was written and synced, and what a power cut leaves of it: see disk_vfs.h. */
#include "tests/support/disk_record.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/disk_vfs.h"
#include "tests/support/temporary.h"

const char *const disk_names[DISK_FILES] = {"queue.db", "queue.db-wal"};

enum deed { DEED_WRITE, DEED_TRUNCATE, DEED_SYNC, DEED_MARK };

struct entry {
    enum deed deed;
    size_t number; /* of the file, or the promise */
    size_t at;     /* offset, size, or how much of the record a sync covers */
    size_t length; /* of a write */
    char *bytes;
};

/* What a file holds. */
struct image {
    char *bytes;
    size_t length;
    size_t room;
};

static struct {
    pthread_mutex_t lock; /* over all below */
    bool recording;
    struct entry *entry;
    size_t count, room;
    struct image before[DISK_FILES];
} record = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* Takes its bytes. Kept while it is recorded, of a file that survives, or a promise. */
static void add(struct entry entry)
{
    pthread_mutex_lock(&record.lock);
    if (record.recording && (entry.deed == DEED_MARK || entry.number < DISK_FILES)) {
        if (record.count == record.room) {
            record.room = record.room == 0 ? 1024 : record.room * 2;
            record.entry = reallocarray(record.entry, record.room, sizeof *record.entry);
            if (record.entry == NULL)
                abort();
        }
        record.entry[record.count++] = entry;
        entry.bytes = NULL;
    }
    pthread_mutex_unlock(&record.lock);
    free(entry.bytes);
}

void disk_record_write(size_t number, const void *bytes, size_t length, size_t at)
{
    char *copy = malloc(length == 0 ? 1 : length);
    if (copy == NULL)
        abort();
    memcpy(copy, bytes, length);
    add((struct entry){DEED_WRITE, number, at, length, copy});
}

void disk_record_truncate(size_t number, size_t size)
{
    add((struct entry){DEED_TRUNCATE, number, size, 0, NULL});
}

void disk_record_sync(size_t number, size_t covered)
{
    add((struct entry){DEED_SYNC, number, covered, 0, NULL});
}

void disk_mark(unsigned promise)
{
    add((struct entry){DEED_MARK, promise, 0, 0, NULL});
}

size_t disk_record_length(void)
{
    pthread_mutex_lock(&record.lock);
    size_t count = record.count;
    pthread_mutex_unlock(&record.lock);
    return count;
}

static void image_write(struct image *image, size_t at, const char *bytes, size_t length)
{
    if (at + length > image->room) {
        image->room = (at + length) * 2;
        image->bytes = realloc(image->bytes, image->room);
        if (image->bytes == NULL)
            abort();
    }
    if (at > image->length)
        memset(image->bytes + image->length, 0, at - image->length);
    memcpy(image->bytes + at, bytes, length);
    image->length = at + length > image->length ? at + length : image->length;
}

void disk_record(const char *directory)
{
    for (size_t i = 0; i < DISK_FILES; i++) {
        char path[PATH_SIZE], block[4096];
        size_t got;
        path_join(path, directory, disk_names[i]);
        FILE *file = fopen(path, "re");
        while (file != NULL && (got = fread(block, 1, sizeof block, file)) > 0)
            image_write(&record.before[i], record.before[i].length, block, got);
        if (file != NULL)
            fclose(file);
    }
    pthread_mutex_lock(&record.lock);
    record.recording = true;
    pthread_mutex_unlock(&record.lock);
}

size_t disk_recorded(void)
{
    pthread_mutex_lock(&record.lock);
    record.recording = false;
    size_t count = record.count;
    pthread_mutex_unlock(&record.lock);
    return count;
}

/* How much of the record is surely on the disk, of one file. */
static size_t synced_up_to(size_t number, size_t cut)
{
    size_t synced = 0;
    for (size_t i = 0; i < cut; i++) {
        const struct entry *entry = &record.entry[i];
        if (entry->deed == DEED_SYNC && entry->number == number && entry->at > synced)
            synced = entry->at;
    }
    return synced;
}

/* Of what was not synced each write arrives whole, in its first half, or not at all. */
static void apply(struct image *image, const struct entry *entry, bool sure, unsigned *random)
{
    unsigned chance = sure ? 0 : (unsigned)rand_r(random) % 3;
    if (entry->deed == DEED_WRITE && chance < 2)
        image_write(image, entry->at, entry->bytes, chance == 0 ? entry->length : entry->length / 2);
    else if (entry->deed == DEED_TRUNCATE && chance == 0 && image->length > entry->at)
        image->length = entry->at;
}

void disk_after_cut(const char *directory, size_t cut, unsigned random)
{
    for (size_t number = 0; number < DISK_FILES; number++) {
        struct image image = {NULL, 0, 0};
        size_t synced = synced_up_to(number, cut);
        image_write(&image, 0, record.before[number].bytes, record.before[number].length);
        for (size_t i = 0; i < cut; i++) {
            const struct entry *entry = &record.entry[i];
            if (entry->number == number && (entry->deed == DEED_WRITE || entry->deed == DEED_TRUNCATE))
                apply(&image, entry, i < synced, &random);
        }
        temporary_write(directory, disk_names[number], 0600, image.bytes, image.length);
        free(image.bytes);
    }
}

bool disk_promised(size_t cut, unsigned promise)
{
    for (size_t i = 0; i < cut; i++) {
        if (record.entry[i].deed == DEED_MARK && record.entry[i].number == promise)
            return true;
    }
    return false;
}

void disk_forget(void)
{
    for (size_t i = 0; i < record.count; i++)
        free(record.entry[i].bytes);
    for (size_t i = 0; i < DISK_FILES; i++) {
        free(record.before[i].bytes);
        record.before[i] = (struct image){NULL, 0, 0};
    }
    free(record.entry);
    record.entry = NULL;
    record.count = record.room = 0;
}
