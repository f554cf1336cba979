/* The consumer lock: a session advisory lock, which lives as long as the owner's session. The server ends a session
 * that says nothing for three seconds, so a process that stood still has lost the queue, and its next statement says
 * so: it cannot settle what another one may be forwarding. */
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
#define DAY_MS INT64_C(86400000)

static const struct pg_settings owning = {"forwards", ANSWER_MS, IDLE_MS};

void owner_init(struct pg_queue *queue)
{
    pg_session_init(&queue->own, queue->config, &owning);
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
    queue->owned = false;
    set_timer(queue, -1);
}

void pg_release(struct pg_queue *queue)
{
    if (queue->owned) /* the server would notice the end of the session a little later */
        pg_session_text(&queue->own, "SELECT pg_advisory_unlock_all()", ANSWER_MS);
    if (queue->owned)
        end_owning(queue);
    pg_session_close(&queue->own);
}

bool pg_may_own(struct pg_queue *queue, struct error *why)
{
    if (queue->owned)
        return true;
    error_set(why, "this process does not forward any more: %.400s", queue->own.why.text);
    return false;
}

bool pg_owned_done(struct pg_queue *queue, enum pg_outcome result, struct error *why)
{
    if (queue->own.notified)
        set_timer(queue, 0); /* the socket may be silent now */
    queue->own.notified = false;
    if (result == PG_DONE)
        return true;
    pg_session_failed(&queue->own, why);
    if (result == PG_LOST && queue->owned) {
        log_write(LEVEL_WARN, "msg=queue_lost reason=\"%.400s\"", queue->own.why.text);
        end_owning(queue);
        queue->lost = true;
    }
    return false;
}

static enum pg_outcome beat(struct pg_queue *queue)
{
    PGresult *answer = NULL;
    enum pg_outcome result = pg_session_run(&queue->own, STATEMENT_BEAT, NULL, &answer);
    if (result == PG_DONE) {
        int64_t apart = clock_unix_ms() - result_int(answer, 0, 0);
        bool steady = apart > -DAY_MS && apart < DAY_MS;
        if (!steady && atomic_load(&queue->is_steady))
            log_write(
                LEVEL_WARN,
                "msg=clock_differs hours=%lld advice=\"set the clock of this machine, or of the database's: nothing "
                "is called too old until then\"",
                (long long)apart / 3600000);
        atomic_store(&queue->is_steady, steady);
        queue->asked |= result_int(answer, 0, 1) != 0;
    }
    PQclear(answer);
    return result;
}

static enum pg_outcome begin_owning(struct pg_queue *queue, bool *got)
{
    PGresult *claimed = NULL;
    enum pg_outcome result = pg_session_run(&queue->own, STATEMENT_CLAIM, NULL, &claimed);
    *got = result == PG_DONE && result_int(claimed, 0, 0) != 0;
    queue->any_letter = *got && result_int(claimed, 0, 1) != 0;
    PQclear(claimed);
    if (!*got)
        return result;
    result = pg_session_text(&queue->own, "LISTEN closecrm", ANSWER_MS);
    return result == PG_DONE ? beat(queue) : result;
}

bool pg_claim(void *state, struct error *why)
{
    struct pg_queue *queue = state;
    bool got = false;
    if (queue->owned)
        return true;
    enum pg_outcome result = pg_session_open(&queue->own);
    if (result == PG_DONE)
        result = begin_owning(queue, &got);
    if (result != PG_DONE) {
        pg_session_failed(&queue->own, why);
        pg_session_close(&queue->own);
        return false;
    }
    if (!got) {
        error_set_kind(why, ERROR_BUSY, "another process forwards"); /* on this machine or another one */
        pg_session_close(&queue->own);
        return false;
    }
    struct epoll_event event = {.events = EPOLLIN};
    if (epoll_ctl(queue->wake_fd, EPOLL_CTL_ADD, PQsocket(queue->own.connection), &event) != 0) {
        error_set(why, "cannot wait for the database: %s", strerror(errno));
        pg_session_close(&queue->own);
        return false;
    }
    queue->owned = queue->asked = true;
    queue->lost = false;
    set_timer(queue, BEAT_MS);
    queue->keeper = keeper_start(queue->config, &queue->is_steady);
    return true;
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
    if (queue->own.connection == NULL || clock_now() - queue->own.answered >= BEAT_MS / 2)
        pg_owned_done(queue, beat(queue), NULL);
}

bool pg_is_steady(void *state)
{
    struct pg_queue *queue = state;
    return atomic_load(&queue->is_steady);
}
