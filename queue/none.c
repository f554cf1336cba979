/* The engine `none`: nothing on disk. An append waits until the forwarder has settled its event, so that Close keeps
 * what could not be delivered. An identical body joins the wait; an event whose last waiter gave up is withdrawn unless
 * it is in flight. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "queue/engine.h"

#define REMEMBERED 65536 /* identities: 4 MiB once that many were delivered */

/* A waiting event. In the list from append until it is settled or withdrawn; freed when no append waits for it. */
struct entry {
    struct entry *next;
    uint64_t id;
    uint32_t source;
    char *body;
    size_t length;
    unsigned waiters;
    bool listed;
    bool on_its_way; /* in flight: the forwarder has read it and not given VERDICT_LATER since */
    moment next_try; /* after LATER; 0 before */
    bool settled;
    enum queue_result result; /* once settled */
    struct error why;         /* of the result, or of the last LATER */
    pthread_cond_t changed;
};

struct none {
    const struct config *config;
    pthread_mutex_t lock; /* protects all that follows */
    struct entry *first;
    struct entry **end;
    uint64_t last_id;
    int64_t bytes;  /* of the bodies in the list */
    moment hurried; /* the stop deadline: no append waits beyond it */
    struct identities *identities;
    int wake_fd;
};

static void none_close(void *state)
{
    struct none *none = state;
    while (none->first != NULL) {
        struct entry *entry = none->first;
        none->first = entry->next;
        pthread_cond_destroy(&entry->changed);
        free(entry->body);
        free(entry);
    }
    identities_free(none->identities);
    if (none->wake_fd >= 0)
        close(none->wake_fd);
    pthread_mutex_destroy(&none->lock);
    free(none);
}

static void *none_open(const struct config *config, struct error *why)
{
    struct none *none = calloc(1, sizeof *none);
    if (none == NULL) {
        error_set(why, "out of memory");
        return NULL;
    }
    none->config = config;
    none->end = &none->first;
    none->hurried = MOMENT_NEVER;
    pthread_mutex_init(&none->lock, NULL);
    none->identities = identities_new(REMEMBERED, config->dedupe_window_ms);
    none->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (none->identities == NULL || none->wake_fd < 0) {
        error_set(why, "cannot open the queue in memory: %s", strerror(errno));
        none_close(none);
        return NULL;
    }
    return none;
}

static uint32_t source_number(const struct none *none, const char *name)
{
    const struct source *source = config_source(none->config, name);
    return source == NULL ? UINT32_MAX : (uint32_t)(source - none->config->source);
}

static void unlist(struct none *none, struct entry *entry)
{
    struct entry **link = &none->first;
    while (*link != entry)
        link = &(*link)->next;
    *link = entry->next;
    if (none->end == &entry->next)
        none->end = link;
    entry->listed = false;
    none->bytes -= (int64_t)entry->length;
}

/* Frees an entry that is not in the list and that no append waits for. */
static void release_entry(struct entry *entry)
{
    if (entry->waiters > 0 || entry->listed)
        return;
    pthread_cond_destroy(&entry->changed);
    free(entry->body);
    free(entry);
}

/* Finds a waiting event with an identical body. */
static struct entry *find_same(const struct none *none, uint32_t source, const char *body, size_t length)
{
    for (struct entry *e = none->first; e != NULL; e = e->next) {
        if (e->source == source && e->length == length && memcmp(e->body, body, length) == 0)
            return e;
    }
    return NULL;
}

static struct entry *add_entry(struct none *none, uint32_t source, const char *body, size_t length)
{
    struct entry *entry = calloc(1, sizeof *entry);
    char *copy = malloc(length > 0 ? length : 1);
    if (entry == NULL || copy == NULL) {
        free(entry);
        free(copy);
        return NULL;
    }
    memcpy(copy, body, length);
    entry->id = ++none->last_id;
    entry->source = source;
    entry->body = copy;
    entry->length = length;
    entry->listed = true;
    clock_condition_init(&entry->changed);
    *none->end = entry;
    none->end = &entry->next;
    none->bytes += (int64_t)length;
    return entry;
}

static void wake_forwarder(const struct none *none)
{
    uint64_t one = 1;
    ssize_t n = write(none->wake_fd, &one, sizeof one);
    (void)n; /* EAGAIN: readable already */
}

/* Waits for the verdict until the deadline, or until the next try is known to come after it. */
static void wait_for_verdict(struct none *none, struct entry *entry, moment deadline)
{
    while (!entry->settled) {
        moment until = deadline < none->hurried ? deadline : none->hurried;
        if (clock_now() >= until || (entry->next_try > until && !entry->on_its_way))
            return;
        clock_condition_wait(&entry->changed, &none->lock, until);
    }
}

static enum queue_result none_append(void *state, const char *source, const char *body, size_t length, moment deadline,
                                     struct error *why)
{
    struct none *none = state;
    uint32_t number = source_number(none, source);
    pthread_mutex_lock(&none->lock);
    struct entry *entry = find_same(none, number, body, length);
    if (entry == NULL && none->bytes + (int64_t)length > none->config->queue_max_bytes) {
        pthread_mutex_unlock(&none->lock);
        error_set(why, "events worth queue_max_bytes (%lld bytes) are waiting",
                  (long long)none->config->queue_max_bytes);
        return QUEUE_FULL;
    }
    if (entry == NULL) {
        entry = add_entry(none, number, body, length);
        wake_forwarder(none);
    }
    if (entry == NULL) {
        pthread_mutex_unlock(&none->lock);
        error_set(why, "out of memory");
        return QUEUE_FULL;
    }
    entry->waiters++;
    wait_for_verdict(none, entry, deadline);
    entry->waiters--;

    enum queue_result result = entry->settled ? entry->result : QUEUE_UNKNOWN;
    if (why != NULL)
        *why = entry->why;
    if (result == QUEUE_UNKNOWN && entry->why.text[0] == '\0')
        error_set(why, "the data plane has not answered in time");
    if (entry->waiters == 0 && entry->listed && !entry->on_its_way)
        unlist(none, entry); /* withdrawn: Close keeps the event */
    release_entry(entry);
    pthread_mutex_unlock(&none->lock);
    return result;
}

static void none_set_stop_deadline(void *state, moment deadline)
{
    struct none *none = state;
    pthread_mutex_lock(&none->lock);
    none->hurried = deadline;
    for (struct entry *e = none->first; e != NULL; e = e->next)
        pthread_cond_broadcast(&e->changed);
    pthread_mutex_unlock(&none->lock);
}

static bool none_claim(void *state, struct error *why)
{
    (void)state; /* no other process can read this process's memory */
    (void)why;
    return true;
}

/* Copies an event out. Returns 1; 0 when it would go beyond max_bytes; -1 when memory is out. */
static int take_entry(struct entry *entry, size_t max_bytes, struct events *found)
{
    if (found->count > 0 && found->bodies.length + entry->length > max_bytes)
        return 0;
    struct event event = {.id = entry->id, .body = entry->body, .length = entry->length};
    if (!events_add(found, &event))
        return -1;
    entry->on_its_way = true;
    return 1;
}

static int finish_taking(struct none *none, struct events *found, int took, struct error *why)
{
    pthread_mutex_unlock(&none->lock);
    if (took < 0 && found->count == 0) {
        error_set(why, "out of memory");
        return -1;
    }
    events_finish(found);
    return (int)found->count;
}

static int none_next(void *state, const char *source, uint64_t after, size_t max_count, size_t max_bytes,
                     struct events *found, struct error *why)
{
    struct none *none = state;
    uint32_t number = source_number(none, source);
    int took = 1;
    events_clear(found);
    pthread_mutex_lock(&none->lock);
    for (struct entry *e = none->first; e != NULL && took > 0 && found->count < max_count; e = e->next) {
        if (e->source == number && e->id > after)
            took = take_entry(e, max_bytes, found);
    }
    return finish_taking(none, found, took, why);
}

static struct entry *find_id(const struct none *none, uint64_t id)
{
    struct entry *e = none->first;
    while (e != NULL && e->id != id)
        e = e->next;
    return e;
}

static int none_again(void *state, const char *source, const uint64_t *ids, size_t count, size_t max_bytes,
                      struct events *found, size_t *asked, struct error *why)
{
    struct none *none = state;
    int took = 1;
    (void)source; /* the id suffices */
    events_clear(found);
    pthread_mutex_lock(&none->lock);
    for (*asked = 0; *asked < count; ++*asked) {
        struct entry *entry = find_id(none, ids[*asked]);
        took = entry == NULL ? 1 : take_entry(entry, max_bytes, found);
        if (took <= 0)
            break;
    }
    return finish_taking(none, found, took, why);
}

static bool none_known(void *state, const char *source, const struct identity *identities, size_t count,
                       struct known *known, struct error *why)
{
    struct none *none = state;
    (void)why; /* memory does not fail */
    uint32_t number = source_number(none, source);
    moment now = clock_now();
    pthread_mutex_lock(&none->lock);
    for (size_t i = 0; i < count; i++)
        known[i] = identities_find(none->identities, number, &identities[i], now);
    pthread_mutex_unlock(&none->lock);
    return true;
}

static void end_entry(struct none *none, struct entry *entry, enum queue_result result)
{
    entry->settled = true;
    entry->result = result;
    unlist(none, entry);
    pthread_cond_broadcast(&entry->changed);
    release_entry(entry);
}

static void put_off(struct none *none, struct entry *entry, const struct verdict *verdict)
{
    entry->on_its_way = false;
    entry->next_try = verdict->next;
    if (verdict->refused) {
        end_entry(none, entry, QUEUE_UNUSABLE);
    } else if (entry->waiters == 0) {
        unlist(none, entry);
        release_entry(entry);
    } else {
        pthread_cond_broadcast(&entry->changed);
    }
}

static void settle_one(struct none *none, uint32_t source, const struct verdict *verdict, moment now)
{
    bool dead = verdict->kind == VERDICT_DEAD;
    /* Dead letters are not stored here, nor their identities: Close may send the event again. */
    if (verdict->remember && (verdict->kind == VERDICT_DELIVERED || verdict->kind == VERDICT_DROPPED))
        identities_add(none->identities, source, &verdict->identity, now);
    struct entry *entry = find_id(none, verdict->id);
    if (entry == NULL)
        return;
    error_set(&entry->why, "%s", verdict->reason == NULL ? "" : verdict->reason);
    if (verdict->kind == VERDICT_LATER)
        put_off(none, entry, verdict);
    else
        end_entry(none, entry, dead ? QUEUE_UNUSABLE : QUEUE_STORED);
}

static bool none_settle(void *state, const char *source, const struct verdict *verdicts, size_t count,
                        struct error *why)
{
    struct none *none = state;
    (void)why; /* memory does not fail */
    uint32_t number = source_number(none, source);
    moment now = clock_now();
    pthread_mutex_lock(&none->lock);
    for (size_t i = 0; i < count; i++)
        settle_one(none, number, &verdicts[i], now);
    pthread_mutex_unlock(&none->lock);
    return true;
}

static bool none_note(void *state, const char *source, struct notes *notes, bool put, struct error *why)
{
    (void)state; /* nothing outlives the process: there are no notes */
    (void)source;
    (void)why;
    if (!put)
        memset(notes, 0, sizeof *notes);
    return true;
}

static bool none_is_steady(void *state)
{
    (void)state; /* no event waits long enough for its age to matter */
    return false;
}

static bool none_must_reopen(void *state)
{
    (void)state;
    return false;
}

static int none_wake_fd(void *state)
{
    const struct none *none = state;
    return none->wake_fd;
}

static void none_clear_wakeup(void *state)
{
    const struct none *none = state;
    uint64_t count;
    ssize_t n = read(none->wake_fd, &count, sizeof count);
    (void)n; /* EAGAIN: nothing to read */
}

const struct engine queue_engine_none = {
    .open = none_open,
    .append = none_append,
    .set_stop_deadline = none_set_stop_deadline,
    .claim = none_claim,
    .next = none_next,
    .again = none_again,
    .known = none_known,
    .settle = none_settle,
    .note = none_note,
    .wake_fd = none_wake_fd,
    .clear_wakeup = none_clear_wakeup,
    .is_steady = none_is_steady,
    .must_reopen = none_must_reopen,
    .close = none_close,
    .reads = 64,
};
