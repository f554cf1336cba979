/* The engine `postgresql`: the queue in a database that several machines share. Opening it loads libpq and connects to
 * nothing: each part does when it is first used, and again after it was lost. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "queue/postgresql/store.h"

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

static enum queue_result pg_append(void *state, const char *source, const char *body, size_t length, moment deadline,
                                   struct error *why)
{
    struct pg_queue *queue = state;
    return appends_put(queue->appends, source, body, length, deadline, why);
}

static void pg_start_writer(void *state)
{
    struct pg_queue *queue = state;
    appends_start(queue->appends);
}

static void pg_set_stop_deadline(void *state, moment deadline)
{
    struct pg_queue *queue = state;
    appends_stop_by(queue->appends, deadline);
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
    .inspection = &postgresql_inspection,
};
