/* A sample of recent events: a ring. A record is written in one piece with checksums, so that a reader detects and
 * skips one that is being written or is incomplete after a crash. */
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

struct recent *recent_open_file(const char *path)
{
    struct recent *recent = calloc(1, sizeof *recent);
    if (recent == NULL)
        return NULL;
    recent->fd = path == NULL ? -1 : open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    pthread_mutex_init(&recent->lock, NULL);
    return recent;
}

struct recent *recent_open(const char *state_dir)
{
    char path[PATH_MAX];
    if (state_dir == NULL)
        return recent_open_file(NULL);
    snprintf(path, sizeof path, "%s/" RECENT_FILE_BEFORE, state_dir);
    unlink(path);
    snprintf(path, sizeof path, "%s/" RECENT_FILE, state_dir);
    return recent_open_file(path);
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

static void sign_and_write(struct recent *recent, struct slot *slot)
{
    slot->head_sum = text_hash(TEXT_HASH, &slot->whole.event, sizeof slot->whole.event);
    slot->body_sum = body_sum_of(&slot->whole);
    write_slot(recent, slot);
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
        sign_and_write(recent, slot);
    }
    pthread_mutex_unlock(&recent->lock);
}

void recent_put(struct recent *recent, const struct recent_whole *whole, int64_t now_ms)
{
    pthread_mutex_lock(&recent->lock);
    if (prepare_recent(recent, now_ms)) {
        recent->spare->whole = *whole;
        sign_and_write(recent, recent->spare);
    }
    pthread_mutex_unlock(&recent->lock);
}

void recent_erase(struct recent *recent, uint64_t number)
{
    static const struct slot empty;
    if (recent->fd < 0 || lseek(recent->fd, 0, SEEK_END) <= slot_offset(number))
        return;
    ssize_t n = pwrite(recent->fd, &empty, sizeof empty, slot_offset(number));
    (void)n; /* it is too old within a day */
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

size_t recent_forget_with(struct recent *recent, bool (*meant)(const void *context, const struct recent_event *event),
                          const void *context, bool dry_run, bool erased[RECENT_COUNT])
{
    static const struct slot empty;
    struct slot *slot = recent == NULL ? NULL : calloc(1, sizeof *slot);
    size_t count = 0;
    if (slot == NULL)
        return 0;
    pthread_mutex_lock(&recent->lock);
    for (uint64_t i = 0; i < RECENT_COUNT; i++) {
        struct recent_event *event = &slot->whole.event;
        /* Also what is too old to be shown, and a damaged slot whose lead can be read. */
        bool found = read_slot(recent, i, slot, SLOT_HEAD);
        event->source[sizeof event->source - 1] = event->lead[sizeof event->lead - 1] = '\0';
        found = found && meant(context, event);
        if (erased != NULL)
            erased[i] = found;
        if (!found)
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

bool recent_is_of(const void *context, const struct recent_event *event)
{
    const struct recent_lead *lead = context;
    return strncmp(event->lead, lead->lead, sizeof event->lead - 1) == 0 &&
           (lead->source == NULL || strncmp(event->source, lead->source, sizeof event->source - 1) == 0);
}

size_t recent_forget(struct recent *recent, const char *source, const char *lead, bool dry_run)
{
    return recent_forget_with(recent, recent_is_of, &(struct recent_lead){source, lead}, dry_run, NULL);
}
