/* What happened lately: the last batches of each lane, and a ring of recent events. A record is written in one piece
 * with checksums, so that a reader detects and skips one that is being written or is incomplete after a crash. */
#include "telemetry/telemetry.h"

#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/text.h"

/* ---- the last batches of each lane ---- */

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

/* ---- recent events ---- */

/* The layout before this one is deleted: it holds bodies, and nothing would delete them after a day. */
#define RECENT_FILE "recent.2"
#define ROOM_LEFT ((uint64_t)64 << 20) /* bytes of the disk: with less it is nearly full (health/findings) */
#define RECENT_FILE_BEFORE "recent.1"

struct slot {
    uint64_t head_sum; /* checksum of whole.event */
    uint64_t body_sum;
    struct recent_whole whole;
};

#define SLOT_HEAD (offsetof(struct slot, whole) + sizeof(struct recent_event))

struct recent {
    pthread_mutex_t lock;
    int fd;             /* -1: in memory */
    struct slot *slots; /* the slots in memory; NULL before the first event */
    struct slot *spare; /* the slot being written */
    uint64_t last;      /* number of the last event; 0: not read yet */
    int64_t second;     /* the second that `added` counts */
    unsigned added;
};

static uint64_t body_sum_of(const struct recent_whole *whole)
{
    uint64_t sum = text_hash(TEXT_HASH, whole->attempt, sizeof whole->attempt);
    sum = text_hash(sum, &whole->attempts, sizeof whole->attempts);
    sum = text_hash(sum, whole->incoming, whole->event.incoming_length);
    return text_hash(sum, whole->message, whole->event.message_length);
}

struct recent *recent_open(const char *state_dir)
{
    struct recent *recent = calloc(1, sizeof *recent);
    if (recent == NULL)
        return NULL;
    recent->fd = -1;
    if (state_dir != NULL) {
        char path[PATH_MAX];
        snprintf(path, sizeof path, "%s/" RECENT_FILE_BEFORE, state_dir);
        unlink(path);
        snprintf(path, sizeof path, "%s/" RECENT_FILE, state_dir);
        recent->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    }
    pthread_mutex_init(&recent->lock, NULL);
    return recent;
}

void recent_close(struct recent *recent)
{
    if (recent == NULL)
        return;
    if (recent->fd >= 0)
        close(recent->fd);
    free(recent->slots);
    free(recent->spare);
    pthread_mutex_destroy(&recent->lock);
    free(recent);
}

static off_t slot_offset(uint64_t number)
{
    return (off_t)(number % RECENT_COUNT * sizeof(struct slot));
}

/* Reads the first length bytes of a slot. */
static bool read_slot(const struct recent *recent, uint64_t number, struct slot *slot, size_t length)
{
    if (recent->fd >= 0)
        return pread(recent->fd, slot, length, slot_offset(number)) == (ssize_t)length;
    if (recent->slots == NULL)
        return false;
    memcpy(slot, &recent->slots[number % RECENT_COUNT], length);
    return true;
}

/* Reads an event without its bodies. Returns false when the slot is empty, invalid or too old. */
static bool read_slot_head(const struct recent *recent, uint64_t number, int64_t now_ms, struct slot *slot)
{
    if (!read_slot(recent, number, slot, SLOT_HEAD))
        return false;
    const struct recent_event *event = &slot->whole.event;
    return event->number != 0 && slot->head_sum == text_hash(TEXT_HASH, event, sizeof *event) &&
           event->ended_ms > now_ms - RECENT_AGE_MS && event->incoming_length <= RECENT_BODY &&
           event->message_length <= RECENT_BODY;
}

/* Finds the last number that earlier processes used, and erases events that are too old to be kept. */
static void find_last(struct recent *recent, int64_t now_ms)
{
    static const struct slot empty;
    for (uint64_t i = 0; i < RECENT_COUNT; i++) {
        struct slot *slot = recent->spare;
        if (read_slot_head(recent, i, now_ms, slot)) {
            if (slot->whole.event.number > recent->last)
                recent->last = slot->whole.event.number;
        } else if (recent->fd >= 0 && lseek(recent->fd, 0, SEEK_END) > slot_offset(i)) {
            ssize_t n = pwrite(recent->fd, &empty, sizeof empty, slot_offset(i));
            (void)n; /* without space the old event stays */
        }
    }
}

bool recent_may_add(struct recent *recent, int64_t now_ms)
{
    if (recent == NULL)
        return false;
    pthread_mutex_lock(&recent->lock);
    if (recent->second != now_ms / 1000) {
        recent->second = now_ms / 1000;
        recent->added = 0;
    }
    bool may = recent->added < RECENT_A_SECOND;
    if (may)
        recent->added++;
    pthread_mutex_unlock(&recent->lock);
    return may;
}

static uint32_t put_body(char out[static RECENT_BODY], const char *body, size_t length, bool *cut)
{
    *cut = body != NULL && length > RECENT_BODY;
    size_t kept = body == NULL ? 0 : length < RECENT_BODY ? length : RECENT_BODY;
    if (kept > 0)
        memcpy(out, body, kept);
    return (uint32_t)kept;
}

/* Whether the file may grow: what a full disk has left is for the queue, which must note what was delivered. */
static bool may_grow(int fd)
{
    struct statvfs status;
    return fstatvfs(fd, &status) != 0 || (uint64_t)status.f_bavail * status.f_frsize >= ROOM_LEFT;
}

static void write_slot(struct recent *recent, const struct slot *slot)
{
    if (recent->fd >= 0) {
        off_t end = lseek(recent->fd, 0, SEEK_END);
        if (end < slot_offset(slot->whole.event.number) + (off_t)sizeof *slot && !may_grow(recent->fd))
            return;
        ssize_t n = pwrite(recent->fd, slot, sizeof *slot, slot_offset(slot->whole.event.number));
        (void)n; /* without space the sample is lost */
        return;
    }
    if (recent->slots == NULL)
        recent->slots = calloc(RECENT_COUNT, sizeof *recent->slots);
    if (recent->slots != NULL)
        memcpy(&recent->slots[slot->whole.event.number % RECENT_COUNT], slot, sizeof *slot);
}

static bool prepare_recent(struct recent *recent, int64_t now_ms)
{
    if (recent->spare != NULL)
        return true;
    recent->spare = calloc(1, sizeof *recent->spare);
    if (recent->spare == NULL)
        return false;
    find_last(recent, now_ms);
    return true;
}

void recent_add(struct recent *recent, const struct recent_event *event, const struct recent_bodies *bodies)
{
    pthread_mutex_lock(&recent->lock);
    if (prepare_recent(recent, event->ended_ms)) {
        struct slot *slot = recent->spare;
        memset(slot, 0, sizeof *slot); /* padding too: the checksum includes it */
        struct recent_event *kept = &slot->whole.event;
        memcpy(kept, event, sizeof *kept);
        kept->number = ++recent->last;
        kept->incoming_length =
            put_body(slot->whole.incoming, bodies->incoming, bodies->incoming_length, &kept->incoming_cut);
        kept->message_length =
            put_body(slot->whole.message, bodies->message, bodies->message_length, &kept->message_cut);
        slot->whole.attempts = bodies->attempts;
        if (bodies->attempts > 0)
            memcpy(slot->whole.attempt, bodies->attempt, bodies->attempts * sizeof *bodies->attempt);
        slot->head_sum = text_hash(TEXT_HASH, kept, sizeof *kept);
        slot->body_sum = body_sum_of(&slot->whole);
        write_slot(recent, slot);
    }
    pthread_mutex_unlock(&recent->lock);
}

static int newest_first(const void *a, const void *b)
{
    const struct recent_event *left = a, *right = b;
    return left->number < right->number ? 1 : left->number > right->number ? -1 : 0;
}

size_t recent_list(struct recent *recent, uint64_t after, int64_t now_ms, struct recent_event *out, size_t most)
{
    struct recent_event *all = recent == NULL ? NULL : calloc(RECENT_COUNT, sizeof *all);
    struct slot *slot = all == NULL ? NULL : calloc(1, sizeof *slot);
    size_t count = 0;
    if (slot != NULL) {
        pthread_mutex_lock(&recent->lock);
        for (uint64_t i = 0; i < RECENT_COUNT; i++) {
            if (read_slot_head(recent, i, now_ms, slot) && slot->whole.event.number > after)
                all[count++] = slot->whole.event;
        }
        pthread_mutex_unlock(&recent->lock);
        qsort(all, count, sizeof *all, newest_first);
        count = count < most ? count : most;
        memcpy(out, all, count * sizeof *all);
    }
    free(slot);
    free(all);
    return count;
}

bool recent_get(struct recent *recent, uint64_t number, int64_t now_ms, struct recent_whole *out)
{
    struct slot *slot = recent == NULL || number == 0 ? NULL : calloc(1, sizeof *slot);
    if (slot == NULL)
        return false;
    pthread_mutex_lock(&recent->lock);
    bool found = read_slot_head(recent, number, now_ms, slot) && slot->whole.event.number == number &&
                 read_slot(recent, number, slot, sizeof *slot) && slot->whole.event.number == number &&
                 slot->whole.attempts <= ATTEMPTS_KEPT && slot->body_sum == body_sum_of(&slot->whole);
    pthread_mutex_unlock(&recent->lock);
    if (found)
        *out = slot->whole;
    free(slot);
    return found;
}

size_t recent_forget(struct recent *recent, const char *source, const char *lead, bool dry_run)
{
    static const struct slot empty;
    struct slot *slot = recent == NULL ? NULL : calloc(1, sizeof *slot);
    size_t count = 0;
    if (slot == NULL)
        return 0;
    pthread_mutex_lock(&recent->lock);
    for (uint64_t i = 0; i < RECENT_COUNT; i++) {
        const struct recent_event *event = &slot->whole.event;
        /* Also what is too old to be shown, and a damaged slot whose lead can be read. */
        if (!read_slot(recent, i, slot, SLOT_HEAD) || strncmp(event->lead, lead, sizeof event->lead - 1) != 0 ||
            (source != NULL && strncmp(event->source, source, sizeof event->source - 1) != 0))
            continue;
        count++;
        if (dry_run)
            continue;
        if (recent->fd < 0)
            memset(&recent->slots[i], 0, sizeof recent->slots[i]);
        else if (pwrite(recent->fd, &empty, sizeof empty, slot_offset(i)) != (ssize_t)sizeof empty)
            count--;
    }
    pthread_mutex_unlock(&recent->lock);
    free(slot);
    return count;
}
