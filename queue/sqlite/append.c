/* Group commit: appends are committed by one writer thread, which commits all that queued up while the last group was
 * being synced. Under FastCGI no thread waits for that: who appended is told (store_append_start). A single event is
 * committed at once. Under load the writer pauses between two groups, so that clients answered just now are in the next
 * group with their next requests: half as many syncs.
 *
 * Measured, 32 threads behind lighttpd, against appenders that take turns as leader and wake each other by semaphores:
 * a fifth more requests for three quarters of the CPU time, and equally many with the data plane away. Most of that
 * comes from the constant writer (a change of leader costs a context switch per group in which nothing is committed),
 * some from waking with one broadcast, some from the pause. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "queue/sqlite/files.h"
#include "queue/sqlite/store.h"

#define GROUP_MOST 256
#define GROUP_BYTES ((size_t)32 * 1024 * 1024)
#define GROUP_OF_LOAD 8 /* events in a group that mean load */
#define NOTE_AGAIN_MS 5000
#define REST_NS 200000L /* the pause under load; a commit takes two or three times as long */
#define STACK_SIZE ((size_t)256 * 1024)

/* Queued until the writer takes it. Freed by its appender, or by the writer if the appender has given up. */
struct waiting_append {
    struct waiting_append *next;
    uint32_t number; /* of the source */
    size_t length;
    unsigned round; /* number of its group */
    bool taken;     /* by the writer: it may have been committed */
    bool given_up;
    bool done;
    append_done *tell; /* NULL: its appender waits for `done` */
    void *context;
    enum queue_result result; /* once done */
    struct error why;
    char body[]; /* a copy, so that the appender can give up while it is being committed */
};

bool group_init(struct group *group)
{
    group->end = &group->first;
    group->wake_fd = -1;
    return pthread_mutex_init(&group->lock, NULL) == 0 && pthread_cond_init(&group->not_empty, NULL) == 0 &&
           pthread_cond_init(&group->committed[0], NULL) == 0 && pthread_cond_init(&group->committed[1], NULL) == 0;
}

void group_free(struct group *group)
{
    pthread_cond_destroy(&group->committed[0]);
    pthread_cond_destroy(&group->committed[1]);
    pthread_cond_destroy(&group->not_empty);
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
    return append;
}

/* ---- the list of waiting appends; all with the lock held ---- */

static void enqueue_append(struct group *group, struct waiting_append *append)
{
    append->round = group->round;
    *group->end = append;
    group->end = &append->next;
}

/* Takes the next group off the list, limited to a reasonable transaction; the rest belongs to the next round. Returns
 * the first append of the group; *taken: how many. */
static struct waiting_append *take_group(struct group *group, size_t *taken)
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
    group->round++;
    for (struct waiting_append *a = group->first; a != NULL; a = a->next)
        a->round = group->round;
    *taken = count;
    return first;
}

static void dequeue_append(struct group *group, struct waiting_append *append)
{
    struct waiting_append **link = &group->first;
    while (*link != append)
        link = &(*link)->next;
    *link = append->next;
    if (group->end == &append->next)
        group->end = link;
}

/* Leaves an undecided append to its group; one that no group has taken is withdrawn. */
static void leave_append(struct group *group, struct waiting_append *append, struct error *why)
{
    error_set(why, "the disk has not taken the event in time");
    append->given_up = true;
    if (append->taken)
        return;
    dequeue_append(group, append);
    free(append);
}

/* ---- committing ---- */

/* Counts used pages, as deleted events leave free pages in the file. Dead letters are looked up only when the limit is
 * reached: within their share they count like events; what they use beyond it does not make the queue full. */
static bool is_too_full(struct store *store, enum database_result *result)
{
    struct database *database = &store->group.database;
    int64_t most = store->config->queue_max_bytes;
    int64_t pages = database_number(database, STATEMENT_PAGES, result);
    int64_t unused = *result == DATABASE_DONE ? database_number(database, STATEMENT_FREE_PAGES, result) : 0;
    if (*result != DATABASE_DONE)
        return false;
    *result = store_check_size(store, pages, unused);
    if (*result != DATABASE_DONE)
        return false;
    int64_t used = (pages - unused) * DATABASE_PAGE;
    if (used < most)
        return false;
    int64_t letters = letters_bytes(database, result), share = letters_share(most);
    if (*result != DATABASE_DONE || (letters > share && used - letters < most - share))
        return false;
    letters_why_full(used, letters, most, &database->why);
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

/* For all processes; at most every NOTE_AGAIN_MS. */
static void note_no_room(struct store *store, int error)
{
    moment now = clock_now();
    if (store->group.noted_room > 0 && now - store->group.noted_room < NOTE_AGAIN_MS)
        return;
    store->group.noted_room = now;
    no_room_note(store->directory, error);
}

static enum queue_result answer_for(struct store *store, enum database_result result)
{
    struct database *database = &store->group.database;
    if (result == DATABASE_DONE) {
        /* A process that stores its first event ends what another one noted: under CGI that one has ended. */
        if (store->group.noted_room > 0 || (!store->group.has_stored && no_room_of(store->directory) != 0))
            no_room_note(store->directory, 0);
        store->group.noted_room = 0;
        store->group.has_stored = true;
        return QUEUE_STORED;
    }
    if (result == DATABASE_FULL)
        note_no_room(store, database->error);
    store_failed(store, result, &database->why);
    return result == DATABASE_FULL ? QUEUE_FULL : QUEUE_BROKEN;
}

/* Whether there is room, as far as is known before writing. */
static bool may_write(struct store *store)
{
    struct error *why = &store->group.database.why;
    if (access(store->reserve, F_OK) == 0)
        return true;
    if (!store_is_in_place(store, why))
        return false; /* all files are gone, the reserve among them: not a full disk */
    int error = no_room_of(store->directory);
    if (error == 0 && store_replace_reserve(store, &store->group.database, why))
        return true;
    wake_send(store->directory, &store->group.wake_fd); /* without a reserve: the owner creates it again */
    if (error == 0)
        return false;
    error_set(why, "%s: %s", no_room_words(error), no_room_advice(error));
    note_no_room(store, error);
    store_failed(store, DATABASE_FULL, why);
    return false;
}

/* Commits a group in one transaction with one sync. */
static enum queue_result commit_group(struct store *store, const struct waiting_append *first)
{
    struct database *database = &store->group.database;
    if (!may_write(store))
        return store_is_in_place(store, &database->why) ? QUEUE_FULL : QUEUE_BROKEN;
    if (atomic_load(&store->must_reopen)) {
        if (store_is_in_place(store, &database->why)) /* else the reason says which file was moved */
            error_set(&database->why, "the queue must be opened anew");
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
    result = database_commit(database);
    atomic_store(&store->committed_ms, clock_unix_ms());
    if (result == DATABASE_DONE && !store_is_in_place(store, &database->why))
        return QUEUE_BROKEN; /* committed into files that no other process sees */
    return answer_for(store, result);
}

/* Sets the result of each append of the group. With the lock held. Returns those whose appenders are to be told. */
static struct waiting_append *finish_group(struct waiting_append *first, enum queue_result result,
                                           const struct error *why)
{
    struct waiting_append *next, *told = NULL, **end = &told;
    for (struct waiting_append *a = first; a != NULL; a = next) {
        next = a->next;
        a->result = result;
        if (result != QUEUE_STORED)
            a->why = *why;
        a->done = true;
        if (a->given_up) {
            free(a);
        } else if (a->tell != NULL) {
            *end = a;
            end = &a->next;
        }
    }
    *end = NULL;
    return told;
}

/* Without the lock. Who is told may free its append. */
static void tell_appenders(struct waiting_append *first)
{
    struct waiting_append *next;
    for (struct waiting_append *a = first; a != NULL; a = next) {
        next = a->next;
        a->tell(a->context, a->result, &a->why);
    }
}

/* ---- the writer ---- */

/* Commits the next group and wakes its appenders. Called and returns with the lock held. Returns the group's size. */
static size_t write_group(struct store *store)
{
    struct group *group = &store->group;
    size_t count;
    unsigned round = group->round;
    struct waiting_append *first = take_group(group, &count);
    pthread_mutex_unlock(&group->lock);
    enum queue_result result = commit_group(store, first);
    if (result == QUEUE_STORED)
        wake_send(store->directory, &group->wake_fd);
    pthread_mutex_lock(&group->lock);
    struct waiting_append *told = finish_group(first, result, &group->database.why);
    pthread_mutex_unlock(&group->lock); /* else each woken thread would block on it at once */
    pthread_cond_broadcast(&group->committed[round % 2]);
    tell_appenders(told);
    pthread_mutex_lock(&group->lock);
    return count;
}

static void *run_writer(void *context)
{
    static const struct timespec rest = {.tv_nsec = REST_NS};
    struct store *store = context;
    struct group *group = &store->group;
    pthread_mutex_lock(&group->lock);
    while (group->first != NULL || !group->ending) {
        group->sleeps = group->first == NULL && !group->must_save;
        if (group->must_save) {
            group->must_save = false;
            pthread_mutex_unlock(&group->lock);
            store_save(store, false);
            pthread_mutex_lock(&group->lock);
        } else if (group->sleeps) {
            pthread_cond_wait(&group->not_empty, &group->lock);
        } else if (write_group(store) >= GROUP_OF_LOAD) {
            pthread_mutex_unlock(&group->lock);
            clock_nanosleep(CLOCK_MONOTONIC, 0, &rest, NULL);
            pthread_mutex_lock(&group->lock);
        }
    }
    pthread_mutex_unlock(&group->lock);
    return NULL;
}

/* Starts the writer, at the first append, since many processes open a queue and never append. Other threads handle
 * signals. With the lock held. Where no thread can be started, each append tries again. */
static bool start_writer(struct store *store)
{
    struct group *group = &store->group;
    pthread_attr_t small;
    sigset_t all, before;
    int error = pthread_attr_init(&small);
    if (error == 0) {
        sigfillset(&all);
        sigdelset(&all, SIGBUS); /* see base/files.h */
        pthread_attr_setstacksize(&small, STACK_SIZE);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        error = pthread_create(&group->writer, &small, run_writer, store);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        pthread_attr_destroy(&small);
    }
    group->started = error == 0;
    return group->started;
}

void store_start_writer(void *state)
{
    struct store *store = state;
    struct group *group = &store->group;
    pthread_mutex_lock(&group->lock);
    if (!group->started && !group->appender_writes && !group->ending)
        start_writer(store);
    pthread_mutex_unlock(&group->lock);
}

/* Without a writer the files are saved when the store is closed. */
void store_ask_writer_to_save(struct store *store)
{
    struct group *group = &store->group;
    pthread_mutex_lock(&group->lock);
    if (!group->ending && (group->started || (!group->appender_writes && start_writer(store))))
        group->must_save = true;
    else
        atomic_store(&store->must_reopen, true);
    pthread_cond_signal(&group->not_empty);
    pthread_mutex_unlock(&group->lock);
}

void store_stop_writer(struct store *store)
{
    struct group *group = &store->group;
    pthread_mutex_lock(&group->lock);
    bool started = group->started;
    group->ending = true;
    pthread_cond_signal(&group->not_empty);
    pthread_mutex_unlock(&group->lock);
    if (started)
        pthread_join(group->writer, NULL);
}

/* ---- appending ---- */

/* Wakes the writer if it sleeps, once per sleep. With the lock held. */
static void wake_writer(struct group *group)
{
    if (!group->sleeps)
        return;
    group->sleeps = false;
    pthread_cond_signal(&group->not_empty);
}

/* Commits a group in place of the missing writer; this append is among the first. Then one of the appenders that queued
 * up meanwhile goes on. With the lock held. */
static void write_as_appender(struct store *store)
{
    struct group *group = &store->group;
    group->appender_writes = true;
    write_group(store);
    group->appender_writes = false;
    pthread_cond_broadcast(&group->committed[group->round % 2]);
}

/* Waits until the append is done. Returns false at the deadline: then the append belongs to the writer. With the lock
 * held. */
static bool wait_for_writer(struct store *store, struct waiting_append *append, moment deadline, struct error *why)
{
    struct group *group = &store->group;
    const struct timespec t = clock_timespec(deadline);
    int error = 0;
    while (!append->done && error != ETIMEDOUT) {
        if (!group->started && !group->appender_writes && !append->taken)
            write_as_appender(store);
        else
            error = pthread_cond_clockwait(&group->committed[append->round % 2], &group->lock, CLOCK_MONOTONIC, &t);
    }
    if (append->done)
        return true;
    leave_append(group, append, why);
    return false;
}

/* Queues an append for the writer and waits. Returns whether it is done. */
static bool wait_for_commit(struct store *store, struct waiting_append *append, moment deadline, struct error *why)
{
    struct group *group = &store->group;
    pthread_mutex_lock(&group->lock);
    if (!group->started && !group->appender_writes) /* two appenders writing at once would share a connection */
        start_writer(store);
    enqueue_append(group, append);
    wake_writer(group);
    bool done = wait_for_writer(store, append, deadline, why);
    pthread_mutex_unlock(&group->lock);
    return done;
}

enum queue_result store_append(void *state, const char *source, const char *body, size_t length, moment deadline,
                               struct error *why)
{
    struct store *store = state;
    struct waiting_append *append = append_new(store_number(store, source), body, length);
    if (append == NULL) {
        error_set(why, "out of memory");
        return QUEUE_FULL;
    }
    if (!wait_for_commit(store, append, deadline, why))
        return QUEUE_UNKNOWN;
    enum queue_result result = append->result;
    if (result != QUEUE_STORED && why != NULL)
        *why = append->why;
    free(append);
    return result;
}

struct waiting_append *store_append_start(void *state, const char *source, const char *body, size_t length,
                                          append_done *done, void *context)
{
    struct store *store = state;
    struct group *group = &store->group;
    struct waiting_append *append = append_new(store_number(store, source), body, length);
    if (append == NULL)
        return NULL;
    append->tell = done;
    append->context = context;
    pthread_mutex_lock(&group->lock);
    bool written = group->started || (!group->appender_writes && start_writer(store));
    if (written) {
        enqueue_append(group, append);
        wake_writer(group);
    }
    pthread_mutex_unlock(&group->lock);
    if (written)
        return append;
    free(append);
    return NULL;
}

bool store_append_give_up(void *state, struct waiting_append *append, struct error *why)
{
    struct store *store = state;
    pthread_mutex_lock(&store->group.lock);
    bool decided = append->done;
    if (!decided)
        leave_append(&store->group, append, why);
    pthread_mutex_unlock(&store->group.lock);
    return !decided;
}

void store_append_end(struct waiting_append *append)
{
    free(append);
}

void store_set_stop_deadline(void *state, moment deadline)
{
    (void)state; /* an append waits for a sync only, never for a delivery */
    (void)deadline;
}
