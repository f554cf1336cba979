/* Deadlines of connections: see worker.h. */
#include "http/worker.h"

#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "base/clock.h"

/* Cuts one connection, once, if its deadline has passed. Returns its deadline. */
static moment cut_if_late(struct watched *watched, moment now)
{
    moment deadline = MOMENT_NEVER;
    pthread_mutex_lock(&watched->lock);
    if (watched->waiting != NOT_WAITING && watched->deadline <= now) {
        shutdown(watched->fd, watched->waiting == WAITING_READ ? SHUT_RD : SHUT_RDWR);
        watched->waiting = NOT_WAITING;
    }
    if (watched->waiting != NOT_WAITING)
        deadline = watched->deadline;
    pthread_mutex_unlock(&watched->lock);
    return deadline;
}

/* Cuts all connections whose deadline has passed. Returns the earliest remaining deadline. */
static moment cut_late(struct deadlines *deadlines, moment now)
{
    moment earliest = MOMENT_NEVER;
    for (size_t i = 0; i < deadlines->count; i++) {
        moment deadline = cut_if_late(&deadlines->watched[i], now);
        if (deadline < earliest)
            earliest = deadline;
    }
    return earliest;
}

/* Sleeps until the moment, or until a thread registers an earlier deadline. With the lock held on entry and return. */
static void sleep_until(struct deadlines *deadlines, moment until)
{
    while (!deadlines->woken && !deadlines->ending) {
        if (!clock_condition_wait(&deadlines->wake, &deadlines->lock, until))
            return;
    }
}

/* While scanning, `planned` is "never", so that a thread that registers a deadline meanwhile wakes this one: none is
 * missed. */
static void *run_deadlines(void *argument)
{
    struct deadlines *deadlines = argument;
    pthread_mutex_lock(&deadlines->lock);
    while (!deadlines->ending) {
        deadlines->woken = false;
        atomic_store(&deadlines->planned, MOMENT_NEVER);
        pthread_mutex_unlock(&deadlines->lock);
        moment earliest = cut_late(deadlines, clock_now());
        pthread_mutex_lock(&deadlines->lock);
        atomic_store(&deadlines->planned, earliest);
        sleep_until(deadlines, earliest);
    }
    pthread_mutex_unlock(&deadlines->lock);
    return NULL;
}

static bool prepare_deadlines(struct deadlines *deadlines)
{
    return clock_condition_init(&deadlines->wake) && pthread_mutex_init(&deadlines->lock, NULL) == 0;
}

bool deadlines_start(struct deadlines *deadlines, struct watched *watched, size_t count, struct error *why)
{
    *deadlines = (struct deadlines){.watched = watched, .count = count, .planned = MOMENT_NEVER};
    pthread_attr_t small;
    if (!prepare_deadlines(deadlines) || pthread_attr_init(&small) != 0) {
        error_set(why, "out of memory");
        return false;
    }
    pthread_attr_setstacksize(&small, (size_t)64 * 1024);
    int error = pthread_create(&deadlines->thread, &small, run_deadlines, deadlines);
    pthread_attr_destroy(&small);
    if (error != 0)
        error_set(why, "no thread to watch over time-outs: %s", strerror(error));
    return error == 0;
}

static void wake_deadlines(struct deadlines *deadlines)
{
    pthread_mutex_lock(&deadlines->lock);
    deadlines->woken = true;
    pthread_cond_signal(&deadlines->wake);
    pthread_mutex_unlock(&deadlines->lock);
}

void deadlines_watch(struct deadlines *deadlines, struct watched *watched, enum waiting waiting, int fd,
                     moment deadline)
{
    pthread_mutex_lock(&watched->lock);
    watched->waiting = waiting;
    watched->fd = fd;
    watched->deadline = deadline;
    pthread_mutex_unlock(&watched->lock);
    if (waiting != NOT_WAITING && deadline < atomic_load(&deadlines->planned))
        wake_deadlines(deadlines);
}

void deadlines_cut(struct deadlines *deadlines)
{
    cut_late(deadlines, MOMENT_NEVER);
}

void deadlines_stop(struct deadlines *deadlines)
{
    pthread_mutex_lock(&deadlines->lock);
    deadlines->ending = true;
    pthread_cond_signal(&deadlines->wake);
    pthread_mutex_unlock(&deadlines->lock);
    pthread_join(deadlines->thread, NULL);
    pthread_cond_destroy(&deadlines->wake);
    pthread_mutex_destroy(&deadlines->lock);
}
