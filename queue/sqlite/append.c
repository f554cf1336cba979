/* Appending, many threads at once: a leader commits what has gathered while the last group was being synced, and hands
 * leadership to one of those that gathered meanwhile. Nobody waits for a group to fill. */
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "queue/sqlite/store.h"

#define GROUP_MOST 256
#define GROUP_BYTES ((size_t)32 * 1024 * 1024)

/* In the list until a leader takes it. Freed by its appender, or by the leader when its appender has given up. */
struct waiting_append {
    struct waiting_append *next;
    uint32_t number; /* of the source */
    size_t length;
    bool taken; /* by a leader: it may be committed */
    bool leads; /* its thread is to lead now */
    bool done;
    bool given_up;
    enum queue_result result; /* once done */
    struct why why;
    pthread_cond_t changed;
    char body[]; /* a copy: who gives up leaves it to the group */
};

bool group_init(struct group *group)
{
    group->end = &group->first;
    group->wake_fd = -1;
    return pthread_mutex_init(&group->lock, NULL) == 0;
}

void group_free(struct group *group)
{
    pthread_mutex_destroy(&group->lock);
    if (group->wake_fd >= 0)
        close(group->wake_fd);
}

static struct waiting_append *append_new(uint32_t number, const char *body, size_t length)
{
    struct waiting_append *append = malloc(sizeof *append + length);
    pthread_condattr_t monotonic;
    if (append == NULL)
        return NULL;
    memset(append, 0, sizeof *append);
    append->number = number;
    append->length = length;
    memcpy(append->body, body, length);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&append->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    return append;
}

static void append_free(struct waiting_append *append)
{
    pthread_cond_destroy(&append->changed);
    free(append);
}

static void gather(struct group *group, struct waiting_append *append)
{
    *group->end = append;
    group->end = &append->next;
}

/* Takes what has gathered out of the list, up to what one transaction should have. */
static struct waiting_append *take_group(struct group *group)
{
    struct waiting_append *first = group->first, *last = NULL;
    size_t count = 0, bytes = 0;
    for (struct waiting_append *a = first; a != NULL; a = a->next) {
        if (count > 0 && (count == GROUP_MOST || bytes + a->length > GROUP_BYTES))
            break;
        a->taken = true;
        count++;
        bytes += a->length;
        last = a;
    }
    group->first = last->next;
    if (group->first == NULL)
        group->end = &group->first;
    last->next = NULL;
    return first;
}

static void withdraw(struct group *group, struct waiting_append *append)
{
    struct waiting_append **link = &group->first;
    while (*link != append)
        link = &(*link)->next;
    *link = append->next;
    if (group->end == &append->next)
        group->end = link;
}

/* Size is what is used, not what the file holds: deleted events leave free pages. */
static bool is_too_full(struct store *store, enum database_result *result)
{
    struct database *database = &store->group.database;
    int64_t pages = database_number(database, STATEMENT_PAGES, result);
    int64_t unused = *result == DATABASE_DONE ? database_number(database, STATEMENT_FREE_PAGES, result) : 0;
    if (*result != DATABASE_DONE || (pages - unused) * 16384 < store->config->queue_max_bytes)
        return false;
    why_set(&database->why, "queue_max_bytes is reached: the data plane must take what waits first");
    return true;
}

static enum database_result insert_all(struct store *store, const struct waiting_append *first)
{
    struct database *database = &store->group.database;
    int64_t now = clock_unix_ms();
    for (const struct waiting_append *a = first; a != NULL; a = a->next) {
        sqlite3_stmt *append = database_statement(database, STATEMENT_APPEND, a->number);
        if (append != NULL) {
            sqlite3_bind_int64(append, 1, now);
            sqlite3_bind_blob64(append, 2, a->body, a->length, SQLITE_STATIC);
        }
        enum database_result result = database_run(database, append);
        if (result != DATABASE_DONE)
            return result;
    }
    return DATABASE_DONE;
}

static enum queue_result answer_for(struct store *store, enum database_result result)
{
    struct database *database = &store->group.database;
    if (result == DATABASE_DONE)
        return QUEUE_STORED;
    store_failed(store, result, &database->why);
    return result == DATABASE_FULL ? QUEUE_FULL : QUEUE_BROKEN;
}

/* Commits a group: one transaction, one sync. */
static enum queue_result commit_group(struct store *store, const struct waiting_append *first)
{
    struct database *database = &store->group.database;
    if (!reserve_is_there(store->directory)) { /* whoever forwards makes it again */
        why_set(&database->why, "the disk is full");
        return QUEUE_FULL;
    }
    if (atomic_load(&store->must_reopen)) {
        why_set(&database->why, "the queue must be opened anew");
        return QUEUE_BROKEN;
    }
    enum database_result result = database_begin(database);
    if (result != DATABASE_DONE)
        return answer_for(store, result);
    bool full = is_too_full(store, &result);
    if (!full && result == DATABASE_DONE)
        result = insert_all(store, first);
    if (full || result != DATABASE_DONE) {
        database_rollback(database);
        return full ? QUEUE_FULL : answer_for(store, result);
    }
    return answer_for(store, database_commit(database));
}

/* Tells each of a group; the leader's own append is among them. */
static void tell_group(struct waiting_append *first, enum queue_result result, const struct why *why)
{
    struct waiting_append *next;
    for (struct waiting_append *a = first; a != NULL; a = next) {
        next = a->next;
        a->result = result;
        if (result != QUEUE_STORED)
            a->why = *why;
        a->done = true;
        if (a->given_up)
            append_free(a);
        else
            pthread_cond_signal(&a->changed);
    }
}

/* Commits one group, in which the leader's own append is; then the next leader is one of those that gathered. */
static void lead(struct store *store)
{
    struct group *group = &store->group;
    struct waiting_append *first = take_group(group);
    pthread_mutex_unlock(&group->lock);
    enum queue_result result = commit_group(store, first);
    if (result == QUEUE_STORED)
        wake_send(store->directory, &group->wake_fd);
    pthread_mutex_lock(&group->lock);
    tell_group(first, result, &group->database.why);
    group->led = group->first != NULL;
    if (group->led) {
        group->first->leads = true;
        pthread_cond_signal(&group->first->changed);
    }
}

/* Waits to be told, or to lead. */
static void wait_for_group(struct group *group, struct waiting_append *append, moment deadline)
{
    struct timespec t = {.tv_sec = deadline / 1000, .tv_nsec = (long)(deadline % 1000) * 1000000};
    while (!append->done && !append->leads) {
        if (pthread_cond_timedwait(&append->changed, &group->lock, &t) != 0 && clock_now() >= deadline)
            return;
    }
}

enum queue_result store_append(void *state, const char *source, const char *body, size_t length, moment deadline,
                               struct why *why)
{
    struct store *store = state;
    struct group *group = &store->group;
    struct waiting_append *append = append_new(store_number(store, source), body, length);
    if (append == NULL) {
        why_set(why, "out of memory");
        return QUEUE_FULL;
    }
    pthread_mutex_lock(&group->lock);
    gather(group, append);
    if (group->led)
        wait_for_group(group, append, deadline);
    else
        group->led = append->leads = true;
    if (!append->done && append->leads) /* it is the first of what has gathered */
        lead(store);

    enum queue_result result = QUEUE_UNKNOWN;
    if (append->done) {
        result = append->result;
        if (result != QUEUE_STORED && why != NULL)
            *why = append->why;
        append_free(append);
    } else {
        why_set(why, "the disk has not taken the event in time");
        append->given_up = true;
        if (!append->taken) {
            withdraw(group, append);
            append_free(append);
        }
    }
    pthread_mutex_unlock(&group->lock);
    return result;
}

void store_hurry(void *state, moment deadline)
{
    (void)state; /* an append takes a sync, not a delivery */
    (void)deadline;
}
