/* Appending, many threads at once: a leader commits what has gathered while the last group was being synced, and hands
 * leadership to one of those that gathered meanwhile. Nobody waits for a group to fill. */
#include <errno.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "queue/sqlite/store.h"

#define GROUP_MOST 256
#define GROUP_BYTES ((size_t)32 * 1024 * 1024)

enum append_state { APPEND_WAITS, APPEND_LEADS, APPEND_DONE };

/* In the list until a leader takes it. Freed by its appender, or by the leader when its appender has given up. */
struct waiting_append {
    struct waiting_append *next;
    uint32_t number; /* of the source */
    size_t length;
    bool taken; /* by a leader: it may be committed */
    bool given_up;
    _Atomic enum append_state state; /* written with the lock held, and the last that is written before it is told */
    sem_t told;                      /* posted once, when it leads or is done */
    enum queue_result result;        /* once done */
    struct why why;
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
    if (append == NULL)
        return NULL;
    memset(append, 0, sizeof *append);
    append->number = number;
    append->length = length;
    memcpy(append->body, body, length);
    sem_init(&append->told, 0, 0);
    return append;
}

static void append_free(struct waiting_append *append)
{
    sem_destroy(&append->told);
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
    struct waiting_append *first = group->first, **end = &first;
    size_t count = 0, bytes = 0;
    for (struct waiting_append *a = first; a != NULL; a = a->next) {
        if (count > 0 && (count == GROUP_MOST || bytes + a->length > GROUP_BYTES))
            break;
        a->taken = true;
        count++;
        bytes += a->length;
        end = &a->next;
    }
    group->first = *end;
    if (group->first == NULL)
        group->end = &group->first;
    *end = NULL;
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

/* Notes each one's result. Returns how many are to be told, and which: all but the leader's own and those whose
 * appender has given up. */
static size_t finish_group(struct waiting_append *first, const struct waiting_append *own, enum queue_result result,
                           const struct why *why, struct waiting_append *told[static GROUP_MOST])
{
    struct waiting_append *next;
    size_t count = 0;
    for (struct waiting_append *a = first; a != NULL; a = next) {
        next = a->next;
        a->result = result;
        if (result != QUEUE_STORED)
            a->why = *why;
        if (a->given_up) {
            append_free(a);
            continue;
        }
        if (a != own)
            told[count++] = a;
        atomic_store(&a->state, APPEND_DONE);
    }
    return count;
}

/* Commits one group, in which the leader's own append is; then the next leader is one of those that gathered. They are
 * told without the lock, and need none to go on: else each one woken would wait for it at once. The next leader last,
 * for those told before it may gather again meanwhile: larger groups, fewer syncs. */
static void lead(struct store *store, const struct waiting_append *own)
{
    struct group *group = &store->group;
    struct waiting_append *told[GROUP_MOST];
    pthread_mutex_lock(&group->lock);
    struct waiting_append *first = take_group(group);
    pthread_mutex_unlock(&group->lock);
    enum queue_result result = commit_group(store, first);
    if (result == QUEUE_STORED)
        wake_send(store->directory, &group->wake_fd);
    pthread_mutex_lock(&group->lock);
    size_t count = finish_group(first, own, result, &group->database.why, told);
    struct waiting_append *leader = group->first;
    group->led = leader != NULL;
    if (leader != NULL)
        atomic_store(&leader->state, APPEND_LEADS);
    pthread_mutex_unlock(&group->lock);
    for (size_t i = 0; i < count; i++)
        sem_post(&told[i]->told); /* from here on its thread may free it */
    if (leader != NULL)
        sem_post(&leader->told);
}

/* Waits to be told that it leads or is done. Returns false when it has given up, and the append is not its own any
 * more. */
static bool wait_for_group(struct group *group, struct waiting_append *append, moment deadline)
{
    struct timespec t = {.tv_sec = deadline / 1000, .tv_nsec = (long)(deadline % 1000) * 1000000};
    int failed;
    do {
        failed = sem_clockwait(&append->told, CLOCK_MONOTONIC, &t);
    } while (failed != 0 && errno == EINTR);
    if (failed == 0)
        return true;
    pthread_mutex_lock(&group->lock);
    bool late = atomic_load(&append->state) != APPEND_WAITS; /* it is being told just now */
    append->given_up = !late;
    if (!late && !append->taken) {
        withdraw(group, append);
        append_free(append);
    }
    pthread_mutex_unlock(&group->lock);
    while (late && sem_wait(&append->told) != 0)
        ;
    return late;
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
    bool leads = !group->led;
    group->led = true;
    if (leads)
        atomic_store(&append->state, APPEND_LEADS);
    pthread_mutex_unlock(&group->lock);
    if (!leads && !wait_for_group(group, append, deadline)) {
        why_set(why, "the disk has not taken the event in time");
        return QUEUE_UNKNOWN;
    }
    if (atomic_load(&append->state) == APPEND_LEADS) /* it is the first of what has gathered */
        lead(store, append);
    enum queue_result result = append->result;
    if (result != QUEUE_STORED && why != NULL)
        *why = append->why;
    append_free(append);
    return result;
}

void store_hurry(void *state, moment deadline)
{
    (void)state; /* an append takes a sync, not a delivery */
    (void)deadline;
}
