/* Appending: a group is one transaction with one number. Where its commit is unknown the same number is tried again on
 * a new connection, so that no event is stored twice, until nobody waits for it any more. */
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "queue/postgresql/store.h"

#define GROUP_MOST 256
#define GROUP_BYTES ((size_t)8 << 20)
#define STACK_SIZE ((size_t)256 * 1024)
#define PAUSE_MS 100       /* between two tries of a group */
#define NOTIFY_EVERY_MS 20 /* each notification is a transaction of its own */
#define LOOK_MS 5000       /* how full the queue is, is asked so often */
#define SLICE_MS 250       /* a stop deadline may come while somebody waits */

struct waiting_append {
    struct waiting_append *next;
    const char *source;
    size_t length;
    bool taken; /* by the writer, to whom it belongs */
    bool given_up;
    bool done;
    enum queue_result result; /* once done */
    struct error why;
    pthread_cond_t answered;
    char body[]; /* a copy, so that the appender can give up while it is being committed */
};

struct appends {
    const struct config *config;
    pthread_mutex_t lock; /* protects what follows */
    struct waiting_append *first, **end;
    pthread_cond_t not_empty;
    bool started, ending;
    struct error failed; /* why the group that is being written was not yet stored */
    _Atomic moment stop_by;
    pthread_t thread;

    pthread_mutex_t use; /* held while the session is used; protects what follows */
    struct pg_session session;
    int64_t writer, n; /* the group's number */
    moment notified, looked;
    bool owes_notification;
    struct queue_room room; /* as it was looked at last */
};

static const struct pg_settings appending = {"appends", ANSWER_MS, 0};

struct appends *appends_new(const struct config *config)
{
    struct appends *appends = calloc(1, sizeof *appends);
    uint64_t writer = 0;
    if (appends == NULL || getrandom(&writer, sizeof writer, 0) != (ssize_t)sizeof writer) {
        free(appends);
        return NULL;
    }
    appends->config = config;
    appends->end = &appends->first;
    appends->writer = (int64_t)(writer >> 1);
    atomic_init(&appends->stop_by, MOMENT_NEVER);
    pthread_mutex_init(&appends->lock, NULL);
    pthread_mutex_init(&appends->use, NULL);
    pthread_cond_init(&appends->not_empty, NULL);
    pg_session_init(&appends->session, config, &appending);
    return appends;
}

void appends_free(struct appends *appends)
{
    if (appends == NULL)
        return;
    pthread_mutex_lock(&appends->lock);
    appends->ending = true;
    pthread_cond_signal(&appends->not_empty);
    pthread_mutex_unlock(&appends->lock);
    if (appends->started)
        pthread_join(appends->thread, NULL);
    pg_session_close(&appends->session);
    pthread_cond_destroy(&appends->not_empty);
    pthread_mutex_destroy(&appends->use);
    pthread_mutex_destroy(&appends->lock);
    free(appends);
}

/* ---- how full the queue is ---- */

enum pg_outcome room_read(struct pg_session *session, const struct config *config, struct queue_room *room)
{
    PGresult *figures = NULL;
    enum pg_outcome result = pg_session_run(session, STATEMENT_FULLNESS, NULL, &figures);
    *room = (struct queue_room){.share = (uint64_t)config->queue_max_bytes / 4};
    if (result == PG_DONE) {
        room->letters = (uint64_t)result_int(figures, 0, 2);
        room->used = (uint64_t)(result_int(figures, 0, 0) + result_int(figures, 0, 1)) + room->letters;
    }
    PQclear(figures);
    return result;
}

bool room_is_full(const struct queue_room *room, const struct config *config, struct error *why)
{
    uint64_t most = (uint64_t)config->queue_max_bytes;
    if (room->used < most || (room->letters > room->share && room->used - room->letters < most - room->share))
        return false;
    error_set(why,
              "queue_max_bytes (%llu MiB) is reached: about %llu MiB of events that wait or are known, %llu MiB of "
              "dead letters: the data plane must take what waits%s",
              (unsigned long long)most >> 20, (unsigned long long)(room->used - room->letters) >> 20,
              (unsigned long long)room->letters >> 20,
              room->letters >> 20 == 0 ? ""
                                       : "; `closecrm.fcgi dead list` shows the dead letters, and `closecrm.fcgi dead "
                                         "drop` throws away those that you name");
    return true;
}

/* PG_FULL: nothing was sent. */
static enum pg_outcome look_whether_full(struct appends *appends)
{
    if (appends->looked == 0 || clock_now() - appends->looked >= LOOK_MS) {
        enum pg_outcome result = room_read(&appends->session, appends->config, &appends->room);
        if (result != PG_DONE)
            return result;
        appends->looked = clock_now();
    }
    return room_is_full(&appends->room, appends->config, &appends->session.why) ? PG_FULL : PG_DONE;
}

/* ---- a group ---- */

static bool is_first_of_source(const struct waiting_append *first, const struct waiting_append *append)
{
    while (first != append && strcmp(first->source, append->source) != 0)
        first = first->next;
    return first == append;
}

/* Sends it. Returns PG_DONE, or why it was not sent. */
static enum pg_outcome send_group(struct appends *appends, const struct waiting_append *first)
{
    struct pg_session *session = &appends->session;
    struct array sources = {.type = TYPE_INT4}, bodies = {.type = TYPE_BYTEA};
    struct array numbers = {.type = TYPE_INT4}, names = {.type = TYPE_TEXT};
    struct params mark = {.count = 0}, events = {.count = 0};
    int64_t now = clock_unix_ms();
    enum pg_outcome result = PG_DONE;
    for (const struct waiting_append *a = first; a != NULL && result == PG_DONE; a = a->next) {
        int32_t number;
        result = pg_session_number(session, a->source, true, &number);
        array_int4(&sources, number);
        array_add(&bodies, a->body, a->length);
        if (is_first_of_source(first, a)) {
            array_int4(&numbers, number);
            array_add(&names, a->source, strlen(a->source));
        }
    }
    params_int8(&mark, appends->writer);
    params_int8(&mark, appends->n);
    params_int8(&mark, now);
    bool good = params_array(&events, &sources);
    params_int8(&events, now);
    good = params_array(&events, &bodies) && params_array(&events, &numbers) && params_array(&events, &names) && good;
    if (result == PG_DONE && !good)
        result = pg_session_lose(session, "out of memory");
    if (result == PG_DONE) {
        pg_session_send(session, STATEMENT_MARK_GROUP, &mark);
        pg_session_send(session, STATEMENT_APPEND, &events);
    }
    buffer_free(&sources.bytes);
    buffer_free(&bodies.bytes);
    buffer_free(&numbers.bytes);
    buffer_free(&names.bytes);
    return result;
}

/* The group's number is there, as far as this server knows: but it may be one that is no longer the primary, or whose
 * standby has not got it. The log has one order: when a row that is written now is confirmed, so is all before it. */
static enum pg_outcome prove_group(struct appends *appends)
{
    struct params params = {.count = 0};
    params_int8(&params, appends->writer);
    params_int8(&params, -appends->n);
    params_int8(&params, clock_unix_ms());
    return pg_session_run(&appends->session, STATEMENT_PROVE, &params, NULL);
}

static enum pg_outcome try_group(struct appends *appends, const struct waiting_append *first)
{
    enum pg_outcome result = pg_session_open(&appends->session);
    if (result == PG_DONE)
        result = look_whether_full(appends);
    if (result == PG_DONE)
        result = send_group(appends, first);
    if (result == PG_DONE)
        result = pg_session_finish(&appends->session, NULL);
    return result == PG_TWICE ? prove_group(appends) : result;
}

/* Whether somebody waits for the group, who is told why that takes so long. */
static bool is_awaited(struct appends *appends, const struct waiting_append *first, const struct error *why)
{
    bool awaited = false;
    pthread_mutex_lock(&appends->lock);
    appends->failed = *why;
    for (const struct waiting_append *a = first; a != NULL; a = a->next)
        awaited |= !a->given_up;
    awaited = awaited && !appends->ending;
    pthread_mutex_unlock(&appends->lock);
    return awaited;
}

static enum queue_result commit_group(struct appends *appends, const struct waiting_append *first, struct error *why)
{
    const struct timespec pause = {.tv_nsec = PAUSE_MS * 1000000L};
    appends->n++;
    enum pg_outcome result = try_group(appends, first);
    while (result == PG_LOST && is_awaited(appends, first, &appends->session.why)) {
        clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
        result = try_group(appends, first);
    }
    *why = appends->session.why;
    return result == PG_DONE   ? QUEUE_STORED
           : result == PG_FULL ? QUEUE_FULL
           : result == PG_LOST ? QUEUE_UNKNOWN
                               : QUEUE_BROKEN;
}

/* ---- the owner is told ---- */

/* Never in the transaction that appends: a notification locks the whole server until that is confirmed. */
void notify_owner(struct pg_session *session, bool asks)
{
    pg_session_text(session,
                    asks ? "BEGIN; SET LOCAL synchronous_commit = off; NOTIFY closecrm, 'asks'; COMMIT"
                         : "BEGIN; SET LOCAL synchronous_commit = off; NOTIFY closecrm; COMMIT",
                    ANSWER_MS);
}

static void notify(struct appends *appends, bool rests)
{
    moment now = clock_now();
    if (!appends->owes_notification || (!rests && now - appends->notified < NOTIFY_EVERY_MS))
        return;
    appends->owes_notification = false;
    appends->notified = now;
    notify_owner(&appends->session, false); /* one that fails is made up for by the owner, who looks each second */
}

bool appends_see_owner(struct appends *appends, const char *source)
{
    PGresult *owner = NULL;
    struct params params = {.count = 0};
    int32_t number;
    pthread_mutex_lock(&appends->use);
    bool seen = pg_session_open(&appends->session) == PG_DONE &&
                pg_session_number(&appends->session, source, false, &number) == PG_DONE && number != 0;
    if (seen) {
        params_int8(&params, LOCK_SOURCE + (int64_t)number);
        seen =
            pg_session_run(&appends->session, STATEMENT_HAS_OWNER, &params, &owner) == PG_DONE && PQntuples(owner) > 0;
    }
    PQclear(owner);
    pthread_mutex_unlock(&appends->use);
    return seen;
}

/* ---- the writer ---- */

/* With the lock held. */
static struct waiting_append *take_group(struct appends *appends)
{
    struct waiting_append *first = appends->first, **end = &appends->first;
    size_t count = 0, bytes = 0;
    while (*end != NULL && (count == 0 || (count < GROUP_MOST && bytes + (*end)->length <= GROUP_BYTES))) {
        (*end)->taken = true;
        count++;
        bytes += (*end)->length;
        end = &(*end)->next;
    }
    appends->failed.text[0] = '\0';
    appends->first = *end;
    *end = NULL;
    if (appends->first == NULL)
        appends->end = &appends->first;
    return first;
}

/* With the lock held. */
static void finish_group(struct waiting_append *first, enum queue_result result, const struct error *why)
{
    struct waiting_append *next;
    for (struct waiting_append *a = first; a != NULL; a = next) {
        next = a->next;
        a->result = result;
        a->why = *why;
        a->done = true;
        if (a->given_up) {
            pthread_cond_destroy(&a->answered);
            free(a);
        } else
            pthread_cond_signal(&a->answered);
    }
}

/* Called and returns with the lock held. */
static void write_group(struct appends *appends)
{
    struct error why;
    struct waiting_append *first = take_group(appends);
    pthread_mutex_unlock(&appends->lock);
    pthread_mutex_lock(&appends->use);
    enum queue_result result = commit_group(appends, first, &why);
    appends->owes_notification |= result == QUEUE_STORED;
    pthread_mutex_lock(&appends->lock);
    finish_group(first, result, &why);
    bool rests = appends->first == NULL;
    pthread_mutex_unlock(&appends->lock);
    notify(appends, rests);
    pthread_mutex_unlock(&appends->use);
    pthread_mutex_lock(&appends->lock);
}

static void *run_writer(void *context)
{
    struct appends *appends = context;
    pthread_mutex_lock(&appends->lock);
    while (appends->first != NULL || !appends->ending) {
        if (appends->first == NULL)
            pthread_cond_wait(&appends->not_empty, &appends->lock);
        else
            write_group(appends);
    }
    pthread_mutex_unlock(&appends->lock);
    return NULL;
}

/* With the lock held. Other threads handle signals. */
static bool start_writer(struct appends *appends)
{
    pthread_attr_t small;
    sigset_t all, before;
    if (appends->started || pthread_attr_init(&small) != 0)
        return appends->started;
    sigfillset(&all);
    sigdelset(&all, SIGBUS); /* see base/files.h */
    pthread_attr_setstacksize(&small, STACK_SIZE);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    appends->started = pthread_create(&appends->thread, &small, run_writer, appends) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&small);
    return appends->started;
}

void appends_start(struct appends *appends)
{
    pthread_mutex_lock(&appends->lock);
    start_writer(appends);
    pthread_mutex_unlock(&appends->lock);
}

void appends_stop_by(struct appends *appends, moment deadline)
{
    atomic_store(&appends->stop_by, deadline);
}

/* ---- appending ---- */

static struct waiting_append *append_new(const struct config *config, const char *source, const char *body,
                                         size_t length, struct error *why)
{
    const struct source *of = config_source(config, source);
    struct waiting_append *append = of == NULL ? NULL : calloc(1, sizeof *append + length);
    if (append == NULL) {
        error_set(why, of == NULL ? "the source is not configured" : "out of memory");
        return NULL;
    }
    append->source = of->name;
    append->length = length;
    memcpy(append->body, body, length);
    clock_condition_init(&append->answered);
    return append;
}

static void dequeue(struct appends *appends, struct waiting_append *append)
{
    struct waiting_append **link = &appends->first;
    while (*link != append)
        link = &(*link)->next;
    *link = append->next;
    if (appends->end == &append->next)
        appends->end = link;
}

/* Waits until the writer has answered. Returns false at the deadline: then the append is the writer's, or gone. With
 * the lock held. */
static bool await_answer(struct appends *appends, struct waiting_append *append, moment deadline)
{
    for (moment now = clock_now(); !append->done; now = clock_now()) {
        moment stop_by = atomic_load(&appends->stop_by), until = deadline < stop_by ? deadline : stop_by;
        if (now >= until)
            break;
        clock_condition_wait(&append->answered, &appends->lock, until - now > SLICE_MS ? now + SLICE_MS : until);
    }
    if (append->done)
        return true;
    append->given_up = append->taken;
    if (!append->taken) {
        dequeue(appends, append);
        pthread_cond_destroy(&append->answered);
        free(append);
    }
    return false;
}

enum queue_result appends_put(struct appends *appends, const char *source, const char *body, size_t length,
                              moment deadline, struct error *why)
{
    struct waiting_append *append = append_new(appends->config, source, body, length, why);
    if (append == NULL)
        return QUEUE_BROKEN;
    pthread_mutex_lock(&appends->lock);
    bool started = start_writer(appends);
    *appends->end = append;
    appends->end = &append->next;
    pthread_cond_signal(&appends->not_empty);
    bool done = await_answer(appends, append, started ? deadline : 0);
    if (!done && started)
        error_set(why, "the database has not taken the event in time%s%.400s",
                  appends->failed.text[0] == '\0' ? "" : ": ", appends->failed.text);
    else if (!done)
        error_set(why, "no thread can be started");
    pthread_mutex_unlock(&appends->lock);
    if (!done)
        return QUEUE_UNKNOWN;
    enum queue_result result = append->result;
    if (result != QUEUE_STORED && why != NULL)
        *why = append->why;
    pthread_cond_destroy(&append->answered);
    free(append);
    return result;
}
