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
#define PAUSE_MS 100          /* between two tries of a group */
#define NOTIFY_EVERY_MS 20    /* each notification is a transaction of its own */
#define LOOK_MS 5000          /* how full the queue is, is asked so often */
#define REST_MS 10000         /* then an idle writer gives up its connection */
#define LOOK_FOR_OWNER_MS 500 /* for what the writer does besides to end */

/* Queued until the writer takes it. Freed by its appender, or by the writer if the appender has given up. */
struct waiting_append {
    struct waiting_append *next;
    const char *source;
    size_t length;
    bool taken; /* by the writer: it may have been stored */
    bool given_up;
    bool done;
    append_done *tell;
    void *context;
    char body[]; /* a copy, so that the appender can give up while it is being committed */
};

struct appends {
    const struct config *config;
    pthread_mutex_t lock; /* protects what follows */
    struct waiting_append *first, **end;
    pthread_cond_t not_empty;
    struct waiting_append *group; /* that is being written */
    bool started, ending;
    bool in_use; /* the session, by the writer or by who asks for the owner */
    pthread_cond_t unused;
    struct error failed;   /* why the last try of a group failed; "": it did not */
    atomic_bool abandoned; /* nobody waits for the group any more: its session need not be waited for */
    pthread_t thread;

    /* of who uses the session: */
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
    pthread_mutex_init(&appends->lock, NULL);
    clock_condition_init(&appends->not_empty);
    clock_condition_init(&appends->unused);
    pg_session_init(&appends->session, config, &appending);
    appends->session.stop = &appends->abandoned;
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
    pthread_cond_destroy(&appends->unused);
    pthread_mutex_destroy(&appends->lock);
    free(appends);
}

/* Whether the queue is full, as it was looked at last. PG_FULL: nothing was sent. */
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
    bool good = params_array(&events, &sources);
    params_int8(&events, now);
    good = params_array(&events, &bodies) && params_array(&events, &numbers) && params_array(&events, &names) && good;
    if (result == PG_DONE && !good)
        result = pg_session_lose(session, "out of memory");
    if (result == PG_DONE) {
        pg_session_prepare(session, STATEMENT_APPEND, &events);
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

/* Whether somebody waits for the group. With the lock held. */
static bool is_awaited(const struct appends *appends)
{
    bool awaited = false;
    for (const struct waiting_append *a = appends->group; a != NULL; a = a->next)
        awaited |= !a->given_up;
    return awaited && !appends->ending;
}

/* The same, and who waits is told why that takes so long. */
static bool is_tried_again(struct appends *appends)
{
    pthread_mutex_lock(&appends->lock);
    bool awaited = is_awaited(appends);
    if (awaited)
        appends->failed = appends->session.why;
    pthread_mutex_unlock(&appends->lock);
    return awaited;
}

static enum queue_result commit_group(struct appends *appends, const struct waiting_append *first, struct error *why)
{
    const struct timespec pause = {.tv_nsec = PAUSE_MS * 1000000L};
    appends->n++;
    enum pg_outcome result = try_group(appends, first);
    while (result == PG_LOST && is_tried_again(appends)) {
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

/* Returns false when it is used by somebody else until the deadline. With the lock held. */
static bool take_session(struct appends *appends, moment deadline)
{
    while (appends->in_use && clock_condition_wait(&appends->unused, &appends->lock, deadline))
        ;
    bool taken = !appends->in_use;
    appends->in_use = true;
    return taken;
}

/* With the lock held. */
static void give_session_back(struct appends *appends)
{
    appends->in_use = false;
    pthread_cond_signal(&appends->unused);
}

static bool see_owner(struct appends *appends, const char *source)
{
    PGresult *owner = NULL;
    struct params params = {.count = 0};
    int32_t number;
    bool seen = pg_session_open(&appends->session) == PG_DONE &&
                pg_session_number(&appends->session, source, false, &number) == PG_DONE && number != 0;
    if (seen) {
        params_int8(&params, LOCK_SOURCE + (int64_t)number);
        seen =
            pg_session_run(&appends->session, STATEMENT_HAS_OWNER, &params, &owner) == PG_DONE && PQntuples(owner) > 0;
    }
    PQclear(owner);
    return seen;
}

/* Where the writer has a group that does not come to its end nothing is known of an owner, either. */
bool appends_see_owner(struct appends *appends, const char *source)
{
    bool seen = false;
    pthread_mutex_lock(&appends->lock);
    if (take_session(appends, clock_now() + LOOK_FOR_OWNER_MS)) {
        pthread_mutex_unlock(&appends->lock);
        seen = see_owner(appends, source);
        pthread_mutex_lock(&appends->lock);
        give_session_back(appends);
    }
    pthread_mutex_unlock(&appends->lock);
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
    appends->first = *end;
    *end = NULL;
    if (appends->first == NULL)
        appends->end = &appends->first;
    appends->group = first;
    return first;
}

/* With the lock held. Returns those whose appenders are to be told. */
static struct waiting_append *finish_group(struct appends *appends, enum queue_result result)
{
    struct waiting_append *next, *told = NULL, **end = &told;
    for (struct waiting_append *a = appends->group; a != NULL; a = next) {
        next = a->next;
        a->done = true;
        if (a->given_up) {
            free(a);
        } else {
            *end = a;
            end = &a->next;
        }
    }
    *end = NULL;
    appends->group = NULL;
    atomic_store(&appends->abandoned, false);
    if (result != QUEUE_UNKNOWN)
        appends->failed.text[0] = '\0';
    return told;
}

/* Without the lock. Who is told may free its append. */
static void tell_appenders(struct waiting_append *first, enum queue_result result, const struct error *why)
{
    struct waiting_append *next;
    for (struct waiting_append *a = first; a != NULL; a = next) {
        next = a->next;
        a->tell(a->context, result, why);
    }
}

/* Called and returns with the lock held. */
static void write_group(struct appends *appends)
{
    struct error why;
    take_session(appends, MOMENT_NEVER);
    const struct waiting_append *first = take_group(appends);
    pthread_mutex_unlock(&appends->lock);
    enum queue_result result = commit_group(appends, first, &why);
    appends->owes_notification |= result == QUEUE_STORED;
    pthread_mutex_lock(&appends->lock);
    struct waiting_append *told = finish_group(appends, result);
    bool rests = appends->first == NULL;
    pthread_mutex_unlock(&appends->lock);
    tell_appenders(told, result, &why);
    notify(appends, rests);
    pthread_mutex_lock(&appends->lock);
    give_session_back(appends);
}

/* Until there is something to write. Processes that rest leave the server's connections to those that do not. Called
 * and returns with the lock held. */
static void rest(struct appends *appends)
{
    bool woken = clock_condition_wait(&appends->not_empty, &appends->lock, clock_now() + REST_MS);
    if (!woken && appends->first == NULL && !appends->in_use)
        pg_session_close(&appends->session);
}

static void *run_writer(void *context)
{
    struct appends *appends = context;
    pthread_mutex_lock(&appends->lock);
    while (appends->first != NULL || !appends->ending) {
        if (appends->first != NULL)
            write_group(appends);
        else
            rest(appends);
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

/* ---- appending ---- */

static struct waiting_append *append_new(const struct config *config, const char *source, const char *body,
                                         size_t length, struct error *why)
{
    const struct source *of = config_source(config, source);
    struct waiting_append *append = of == NULL ? NULL : malloc(sizeof *append + length);
    if (append == NULL) {
        error_set(why, of == NULL ? "the source is not configured" : "out of memory");
        return NULL;
    }
    *append = (struct waiting_append){.source = of->name, .length = length};
    memcpy(append->body, body, length);
    return append;
}

struct waiting_append *appends_begin(struct appends *appends, const char *source, const char *body, size_t length,
                                     append_done *done, void *context, struct error *why)
{
    struct waiting_append *append = append_new(appends->config, source, body, length, why);
    if (append == NULL)
        return NULL;
    append->tell = done;
    append->context = context;
    pthread_mutex_lock(&appends->lock);
    bool started = start_writer(appends);
    if (started) {
        *appends->end = append;
        appends->end = &append->next;
        pthread_cond_signal(&appends->not_empty);
    }
    pthread_mutex_unlock(&appends->lock);
    if (started)
        return append;
    error_set(why, "no thread can be started");
    free(append);
    return NULL;
}

/* With the lock held. */
static void dequeue(struct appends *appends, struct waiting_append *append)
{
    struct waiting_append **link = &appends->first;
    while (*link != append)
        link = &(*link)->next;
    *link = append->next;
    if (appends->end == &append->next)
        appends->end = link;
}

bool appends_give_up(struct appends *appends, struct waiting_append *append, struct error *why)
{
    pthread_mutex_lock(&appends->lock);
    bool decided = append->done;
    if (!decided) {
        error_set(why, "the database has not taken the event in time%s%.400s",
                  appends->failed.text[0] == '\0' ? "" : ": ", appends->failed.text);
        append->given_up = true;
        if (append->taken) {
            atomic_store(&appends->abandoned, !is_awaited(appends));
        } else {
            dequeue(appends, append);
            free(append);
        }
    }
    pthread_mutex_unlock(&appends->lock);
    return !decided;
}

void appends_end(struct waiting_append *append)
{
    free(append);
}
