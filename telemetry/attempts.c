/* What was tried lately: the last batches of each lane. A record is written in one piece with checksums, so that a
 * reader detects and skips one that is being written or is incomplete after a crash. */
#include "telemetry/telemetry.h"

#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/text.h"

/* The layout of the file. Whoever changes anything here increments the number: another layout is another file. */
#define ATTEMPTS_FILE "attempts.1"

struct record_head {
    uint64_t sum; /* checksum of all that follows, ids included */
    char source[72];
    struct attempt attempt;
    uint64_t count; /* of ids */
};

struct record {
    struct record_head head;
    uint64_t id[ATTEMPTS_EVENTS];
};

/* The records of a lane stand together. */
struct attempts {
    pthread_mutex_t lock;
    int fd; /* -1: in memory */
    char (*name)[72];
    size_t sources, lanes;
    unsigned char *next;    /* by lane of all sources: where its next record goes, plus one; 0: not known yet */
    struct record *records; /* those in memory; NULL before the first one */
    struct record *spare;   /* the one being written or read */
};

static size_t records_most(const struct attempts *attempts)
{
    return attempts->sources * attempts->lanes * ATTEMPTS_KEPT;
}

static bool take_memory(struct attempts *attempts, const char *const *names)
{
    attempts->name = calloc(attempts->sources + 1, sizeof *attempts->name);
    attempts->next = calloc(attempts->sources * attempts->lanes + 1, 1);
    attempts->spare = calloc(1, sizeof *attempts->spare);
    for (size_t i = 0; attempts->name != NULL && i < attempts->sources; i++)
        snprintf(attempts->name[i], sizeof attempts->name[i], "%s", names[i]);
    return attempts->name != NULL && attempts->next != NULL && attempts->spare != NULL;
}

struct attempts *attempts_open(const char *state_dir, const char *const *names, size_t count, size_t lanes)
{
    struct attempts *attempts = calloc(1, sizeof *attempts);
    if (attempts == NULL)
        return NULL;
    *attempts = (struct attempts){.fd = -1, .sources = count, .lanes = lanes};
    pthread_mutex_init(&attempts->lock, NULL);
    if (!take_memory(attempts, names)) {
        attempts_close(attempts);
        return NULL;
    }
    if (state_dir != NULL) {
        char path[PATH_MAX];
        snprintf(path, sizeof path, "%s/" ATTEMPTS_FILE, state_dir);
        attempts->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    }
    return attempts;
}

void attempts_close(struct attempts *attempts)
{
    if (attempts == NULL)
        return;
    if (attempts->fd >= 0)
        close(attempts->fd);
    free(attempts->name);
    free(attempts->next);
    free(attempts->records);
    free(attempts->spare);
    pthread_mutex_destroy(&attempts->lock);
    free(attempts);
}

static off_t record_offset(size_t number)
{
    return (off_t)(number * sizeof(struct record));
}

static size_t record_bytes(const struct record_head *head)
{
    return sizeof *head + (size_t)head->count * sizeof(uint64_t);
}

static uint64_t record_sum(const struct record *record)
{
    size_t from = sizeof record->head.sum;
    return text_hash(TEXT_HASH, (const char *)record + from, record_bytes(&record->head) - from);
}

static bool read_bytes(const struct attempts *attempts, size_t number, size_t length, struct record *record)
{
    if (attempts->fd >= 0)
        return pread(attempts->fd, record, length, record_offset(number)) == (ssize_t)length;
    if (attempts->records == NULL || number >= records_most(attempts))
        return false;
    memcpy(record, &attempts->records[number], length);
    return true;
}

/* Reads a record's head; its ids and their checksum are not looked at yet. Returns false when there is none. */
static bool read_record_head(const struct attempts *attempts, size_t number, struct record *record)
{
    struct record_head *head = &record->head;
    if (!read_bytes(attempts, number, sizeof *head, record))
        return false;
    head->source[sizeof head->source - 1] = '\0';
    return head->attempt.sent_ms > 0 && head->count > 0 && head->count <= ATTEMPTS_EVENTS;
}

/* After a start a lane goes on behind its newest record. */
static size_t next_of(const struct attempts *attempts, size_t lane)
{
    int64_t newest_ms = 0;
    size_t next = 0;
    if (attempts->next[lane] > 0)
        return attempts->next[lane] - 1U;
    for (size_t i = 0; i < ATTEMPTS_KEPT; i++) {
        if (!read_record_head(attempts, lane * ATTEMPTS_KEPT + i, attempts->spare))
            continue;
        if (attempts->spare->head.attempt.sent_ms >= newest_ms) {
            newest_ms = attempts->spare->head.attempt.sent_ms;
            next = (i + 1) % ATTEMPTS_KEPT;
        }
    }
    return next;
}

static void write_record(struct attempts *attempts, size_t number)
{
    size_t length = record_bytes(&attempts->spare->head);
    if (attempts->fd >= 0) {
        ssize_t n = pwrite(attempts->fd, attempts->spare, length, record_offset(number));
        (void)n; /* without space the record is lost */
        return;
    }
    if (attempts->records == NULL)
        attempts->records = calloc(records_most(attempts), sizeof *attempts->records);
    if (attempts->records != NULL)
        memcpy(&attempts->records[number], attempts->spare, length);
}

void attempts_add(struct attempts *attempts, const char *source, size_t lane, const struct attempt *attempt,
                  const uint64_t *ids, size_t count)
{
    size_t place = 0;
    while (attempts != NULL && place < attempts->sources && strcmp(attempts->name[place], source) != 0)
        place++;
    if (attempts == NULL || place == attempts->sources || lane >= attempts->lanes || count == 0)
        return;
    place = place * attempts->lanes + lane;
    pthread_mutex_lock(&attempts->lock);
    size_t next = next_of(attempts, place);
    struct record *record = attempts->spare;
    memset(&record->head, 0, sizeof record->head); /* padding too: the checksum includes it */
    snprintf(record->head.source, sizeof record->head.source, "%s", source);
    memcpy(&record->head.attempt, attempt, sizeof *attempt);
    record->head.count = count < ATTEMPTS_EVENTS ? count : ATTEMPTS_EVENTS;
    memcpy(record->id, ids, (size_t)record->head.count * sizeof *ids);
    record->head.sum = record_sum(record);
    write_record(attempts, place * ATTEMPTS_KEPT + next);
    attempts->next[place] = (unsigned char)((next + 1) % ATTEMPTS_KEPT + 1);
    pthread_mutex_unlock(&attempts->lock);
}

static bool has_id(const struct record *record, uint64_t id)
{
    for (size_t i = 0; i < record->head.count; i++) {
        if (record->id[i] == id)
            return true;
    }
    return false;
}

/* Puts it in order of time; of more than are kept the oldest one goes. Returns how many there are then. */
static size_t insert_attempt(struct attempt out[static ATTEMPTS_KEPT], size_t count, const struct attempt *attempt)
{
    size_t i = count;
    if (count == ATTEMPTS_KEPT) {
        if (attempt->sent_ms < out[0].sent_ms)
            return count;
        memmove(&out[0], &out[1], (count - 1) * sizeof *out);
        i = --count;
    }
    for (; i > 0 && out[i - 1].sent_ms > attempt->sent_ms; i--)
        out[i] = out[i - 1];
    out[i] = *attempt;
    out[i].words[sizeof out[i].words - 1] = '\0';
    return count + 1;
}

/* How many records there may be: also those of another configuration, at other places. */
static size_t records_there(const struct attempts *attempts)
{
    off_t end = attempts->fd < 0 ? record_offset(records_most(attempts)) : lseek(attempts->fd, 0, SEEK_END);
    return end <= 0 ? 0 : ((size_t)end + sizeof(struct record) - 1) / sizeof(struct record);
}

size_t attempts_of(struct attempts *attempts, const char *source, uint64_t id, int64_t since_ms,
                   struct attempt out[static ATTEMPTS_KEPT])
{
    size_t count = 0;
    if (attempts == NULL)
        return 0;
    pthread_mutex_lock(&attempts->lock);
    struct record *record = attempts->spare;
    for (size_t i = 0, there = records_there(attempts); i < there; i++) {
        if (!read_record_head(attempts, i, record) || strcmp(record->head.source, source) != 0 ||
            record->head.attempt.sent_ms < since_ms)
            continue;
        if (read_bytes(attempts, i, record_bytes(&record->head), record) && record->head.count <= ATTEMPTS_EVENTS &&
            record->head.sum == record_sum(record) && has_id(record, id))
            count = insert_attempt(out, count, &record->head.attempt);
    }
    pthread_mutex_unlock(&attempts->lock);
    return count;
}
