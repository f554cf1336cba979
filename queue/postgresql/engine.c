/* The engine `postgresql`: the queue in a database that several machines share. Opening it loads libpq and connects to
 * nothing: each part does when it is first used, and again after it was lost. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "queue/postgresql/store.h"

#define SLICE_MS 250 /* a stop deadline may come while a thread waits for its append */

static const struct pg_settings looking = {"looks", INSPECT_MS, 0};

static void pg_close(void *state)
{
    struct pg_queue *queue = state;
    pg_release(queue);
    appends_free(queue->appends);
    pg_session_close(&queue->look);
    if (queue->wake_fd >= 0)
        close(queue->wake_fd);
    if (queue->timer_fd >= 0)
        close(queue->timer_fd);
    free(queue);
}

static bool make_wake(struct pg_queue *queue, struct error *why)
{
    struct epoll_event event = {.events = EPOLLIN};
    queue->wake_fd = epoll_create1(EPOLL_CLOEXEC);
    queue->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (queue->wake_fd >= 0 && queue->timer_fd >= 0 &&
        epoll_ctl(queue->wake_fd, EPOLL_CTL_ADD, queue->timer_fd, &event) == 0)
        return true;
    error_set(why, "cannot wait for the database: %s", strerror(errno));
    return false;
}

static void *pg_open(const struct config *config, struct error *why)
{
    bool made;
    if (!libpq_load(why) || !state_place_make(config->state_dir, &made, why))
        return NULL;
    struct pg_queue *queue = calloc(1, sizeof *queue);
    if (queue == NULL) {
        error_set(why, "out of memory");
        return NULL;
    }
    queue->config = config;
    queue->wake_fd = queue->timer_fd = -1;
    atomic_init(&queue->is_steady, false);
    atomic_init(&queue->stop_by, MOMENT_NEVER);
    pg_session_init(&queue->look, config, &looking);
    bool good = owner_init(queue);
    queue->appends = appends_new(config);
    good = good && queue->appends != NULL;
    if (!good)
        error_set(why, "out of memory");
    if (good && make_wake(queue, why))
        return queue;
    pg_close(queue);
    return NULL;
}

static struct waiting_append *pg_append_start(void *state, const char *source, const char *body, size_t length,
                                              append_done *done, void *context)
{
    struct pg_queue *queue = state;
    return appends_begin(queue->appends, source, body, length, done, context, NULL);
}

static bool pg_append_give_up(void *state, struct waiting_append *append, struct error *why)
{
    struct pg_queue *queue = state;
    return appends_give_up(queue->appends, append, why);
}

/* Who waits for its append in its own thread. */
struct waiter {
    pthread_mutex_t lock; /* protects what follows */
    pthread_cond_t answered;
    bool done;
    enum queue_result result; /* once done */
    struct error *why;
};

static void note_answer(void *context, enum queue_result result, const struct error *why)
{
    struct waiter *waiter = context;
    pthread_mutex_lock(&waiter->lock);
    waiter->done = true;
    waiter->result = result;
    if (result != QUEUE_STORED && waiter->why != NULL)
        *waiter->why = *why;
    pthread_cond_signal(&waiter->answered);
    pthread_mutex_unlock(&waiter->lock);
}

/* Returns false at the deadline, or that of a stop (MOMENT_NEVER: none), which may come meanwhile. */
static bool await_answer(struct waiter *waiter, moment deadline, const _Atomic moment *stop_by)
{
    pthread_mutex_lock(&waiter->lock);
    for (moment now = clock_now(); !waiter->done; now = clock_now()) {
        moment stop = atomic_load(stop_by), until = deadline < stop ? deadline : stop;
        if (now >= until)
            break;
        clock_condition_wait(&waiter->answered, &waiter->lock, until - now > SLICE_MS ? now + SLICE_MS : until);
    }
    bool done = waiter->done;
    pthread_mutex_unlock(&waiter->lock);
    return done;
}

static enum queue_result pg_append(void *state, const char *source, const char *body, size_t length, moment deadline,
                                   struct error *why)
{
    static const _Atomic moment never = MOMENT_NEVER;
    struct pg_queue *queue = state;
    struct waiter waiter = {.lock = PTHREAD_MUTEX_INITIALIZER, .result = QUEUE_BROKEN, .why = why};
    clock_condition_init(&waiter.answered);
    struct waiting_append *append = appends_begin(queue->appends, source, body, length, note_answer, &waiter, why);
    if (append != NULL && !await_answer(&waiter, deadline, &queue->stop_by) &&
        appends_give_up(queue->appends, append, why)) {
        waiter.result = QUEUE_UNKNOWN;
    } else if (append != NULL) {
        await_answer(&waiter, MOMENT_NEVER, &never); /* what could not be given up is just being answered */
        appends_end(append);
    }
    pthread_cond_destroy(&waiter.answered);
    pthread_mutex_destroy(&waiter.lock);
    return waiter.result;
}

static void pg_start_writer(void *state)
{
    struct pg_queue *queue = state;
    appends_start(queue->appends);
}

static void pg_set_stop_deadline(void *state, moment deadline)
{
    struct pg_queue *queue = state;
    atomic_store(&queue->stop_by, deadline);
}

static bool pg_has_reader(void *state, const char *source)
{
    struct pg_queue *queue = state;
    return appends_see_owner(queue->appends, source);
}

/* There are no files that could be replaced; each connection looks at the version of the tables. */
static bool pg_must_reopen(void *state)
{
    (void)state;
    return false;
}

static bool pg_settles_in_bulk(void *state)
{
    (void)state;
    return true;
}

static void pg_library(char out[static QUEUE_LIBRARY])
{
    out[0] = '\0';
    if (libpq_load(NULL))
        snprintf(out, QUEUE_LIBRARY, "libpq %d.%d", PQlibVersion() / 10000, PQlibVersion() % 10000);
}

const struct engine queue_engine_postgresql = {
    .open = pg_open,
    .try = pg_try,
    .append = pg_append,
    .append_start = pg_append_start,
    .append_give_up = pg_append_give_up,
    .append_end = appends_end,
    .start_writer = pg_start_writer,
    .set_stop_deadline = pg_set_stop_deadline,
    .join = pg_join,
    .is_lost = pg_is_lost,
    .tenure = pg_tenure,
    .should_yield = pg_should_yield,
    .yield = pg_yield,
    .claim = pg_claim,
    .next = pg_next,
    .again = pg_again,
    .known = pg_known,
    .settle = pg_settle,
    .note = pg_note,
    .take_request = pg_take_request,
    .answer_request = pg_answer_request,
    .wake_fd = pg_wake_fd,
    .clear_wakeup = pg_clear_wakeup,
    .has_reader = pg_has_reader,
    .is_steady = pg_is_steady,
    .must_reopen = pg_must_reopen,
    .close = pg_close,
    .library = pg_library,
    .settles_in_bulk = pg_settles_in_bulk,
    .reads = QUEUE_READS_MOST, /* with what is known of them: two round trips */
    .inspection = &postgresql_inspection,
};
