/* The owner's session, as long as which its consumer locks live (spread.c). The server ends a session that says nothing
 * for three seconds, so a process that stood still has lost its sources, and its next statement says so: it cannot
 * settle what another one may be forwarding. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/log.h"
#include "queue/postgresql/store.h"

#define IDLE_MS 3000
#define BEAT_MS 1000 /* how often the owner says something, and looks without being told */

static const struct pg_settings owning = {"forwards", ANSWER_MS, IDLE_MS};

bool owner_init(struct pg_queue *queue)
{
    pg_session_init(&queue->own, queue->config, &owning);
    queue->source = calloc(queue->config->sources + 1, sizeof *queue->source);
    return queue->source != NULL;
}

/* ---- waking ---- */

static void set_timer(const struct pg_queue *queue, int64_t first_ms)
{
    struct itimerspec times = {.it_interval = {.tv_sec = BEAT_MS / 1000},
                               .it_value = {.tv_sec = first_ms / 1000, .tv_nsec = first_ms % 1000 * 1000000 + 1}};
    timerfd_settime(queue->timer_fd, 0, first_ms < 0 ? &(struct itimerspec){.it_value = {0}} : &times, NULL);
}

int pg_wake_fd(void *state)
{
    const struct pg_queue *queue = state;
    return queue->wake_fd;
}

/* ---- owning ---- */

bool pg_is_lost(void *state)
{
    const struct pg_queue *queue = state;
    return queue->lost;
}

static void end_owning(struct pg_queue *queue)
{
    struct error why = queue->own.why;
    keeper_stop(queue->keeper);
    queue->keeper = NULL;
    pg_session_close(&queue->own);
    queue->own.why = why;
    gaps_free(queue);
    spread_forget(queue);
    queue->owned = false;
    set_timer(queue, -1);
}

void pg_release(struct pg_queue *queue)
{
    if (queue->entered) /* the server would notice the end of the session a little later */
        pg_session_text(&queue->own, "SELECT pg_advisory_unlock_all()", ANSWER_MS);
    if (queue->owned)
        end_owning(queue);
    pg_session_close(&queue->own);
    free(queue->source);
    queue->source = NULL;
}

bool pg_owned_done(struct pg_queue *queue, enum pg_outcome result, struct error *why)
{
    char words[LOG_QUOTED];
    if (queue->own.notified)
        set_timer(queue, 0); /* the socket may be silent now */
    queue->own.notified = false;
    if (result == PG_DONE)
        return true;
    pg_session_failed(&queue->own, why);
    if (result == PG_LOST && queue->owned) {
        log_write(LEVEL_WARN, "msg=queue_lost reason=%s", log_quote_reason(words, queue->own.why.text));
        end_owning(queue);
        queue->lost = true;
    }
    return false;
}

/* ---- claiming ---- */

/* Once the first source is claimed. */
static bool begin_owning(struct pg_queue *queue, struct error *why)
{
    struct epoll_event event = {.events = EPOLLIN};
    if (pg_session_text(&queue->own, "LISTEN closecrm", ANSWER_MS) != PG_DONE)
        return pg_session_failed(&queue->own, why);
    if (epoll_ctl(queue->wake_fd, EPOLL_CTL_ADD, PQsocket(queue->own.connection), &event) != 0) {
        error_set(why, "cannot wait for the database: %s", strerror(errno));
        return false;
    }
    queue->owned = queue->asked = true;
    queue->lost = false;
    set_timer(queue, BEAT_MS);
    queue->keeper = keeper_start(queue->config, &queue->is_steady);
    return true;
}

/* Returns whether a source is owned. */
static bool try_claim(struct pg_queue *queue, struct error *why)
{
    bool may = true;
    queue->entered = queue->entered && queue->own.connection != NULL;
    enum pg_outcome result = pg_session_open(&queue->own);
    if (result == PG_DONE && !queue->entered)
        result = spread_enter(queue, &may);
    if (result == PG_DONE && may)
        result = spread_beat(queue);
    if (result != PG_DONE)
        return pg_session_failed(&queue->own, why);
    if (queue->owns == 0)
        error_set_kind(why, ERROR_BUSY, "another process forwards"); /* on this machine or another one */
    return queue->owns > 0 && begin_owning(queue, why);
}

bool pg_claim(void *state, struct error *why)
{
    struct pg_queue *queue = state;
    if (queue->owned || try_claim(queue, why))
        return true;
    bool waits = queue->joined && queue->entered && queue->owns == 0 && queue->own.connection != NULL;
    if (!waits) { /* who stays is counted, and needs its session for that */
        spread_forget(queue);
        pg_session_close(&queue->own);
    }
    return false;
}

void pg_clear_wakeup(void *state)
{
    struct pg_queue *queue = state;
    uint64_t times;
    ssize_t n = read(queue->timer_fd, &times, sizeof times);
    (void)n; /* EAGAIN: it was the other one */
    if (!queue->owned)
        return;
    pg_session_take_in(&queue->own);
    queue->own.notified = false; /* what it tells of is read after this */
    queue->asked |= queue->own.asked;
    queue->own.asked = false;
    if (queue->own.connection == NULL || clock_now() - queue->beaten >= BEAT_MS / 2)
        pg_owned_done(queue, spread_beat(queue), NULL);
}

bool pg_is_steady(void *state)
{
    struct pg_queue *queue = state;
    return atomic_load(&queue->is_steady);
}
