/* Deadlines of connections: see deadlines.h. */
#include "http/deadlines.h"

#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "base/clock.h"

/* Cuts one connection if it waits beyond now, once. Returns until when it may wait. */
static moment cut_if_late(struct watched *watched, moment now)
{
    moment deadline = MOMENT_NEVER;
    pthread_mutex_lock(&watched->lock);
    if (watched->waiting != WAITING_NOT && watched->deadline <= now) {
        shutdown(watched->fd, watched->waiting == WAITING_READ ? SHUT_RD : SHUT_RDWR);
        watched->waiting = WAITING_NOT;
    }
    if (watched->waiting != WAITING_NOT)
        deadline = watched->deadline;
    pthread_mutex_unlock(&watched->lock);
    return deadline;
}

/* Cuts all whose deadline is not after now. Returns the earliest deadline that is. */
static moment cut_late(struct guard *guard, moment now)
{
    moment earliest = MOMENT_NEVER;
    for (size_t i = 0; i < guard->count; i++) {
        moment deadline = cut_if_late(&guard->watched[i], now);
        if (deadline < earliest)
            earliest = deadline;
    }
    return earliest;
}

/* Sleeps until the moment, or until somebody may not wait that long. Called and returns with the lock held. */
static void sleep_until(struct guard *guard, moment until)
{
    while (!guard->woken && !guard->ending) {
        if (!clock_condition_wait(&guard->wake, &guard->lock, until))
            return;
    }
}

/* While it looks, its plan is "never", so that whoever begins to wait meanwhile wakes it: nobody is overlooked. */
static void *run(void *argument)
{
    struct guard *guard = argument;
    pthread_mutex_lock(&guard->lock);
    while (!guard->ending) {
        guard->woken = false;
        atomic_store(&guard->planned, MOMENT_NEVER);
        pthread_mutex_unlock(&guard->lock);
        moment earliest = cut_late(guard, clock_now());
        pthread_mutex_lock(&guard->lock);
        atomic_store(&guard->planned, earliest);
        sleep_until(guard, earliest);
    }
    pthread_mutex_unlock(&guard->lock);
    return NULL;
}

static bool prepare(struct guard *guard)
{
    return clock_condition_init(&guard->wake) && pthread_mutex_init(&guard->lock, NULL) == 0;
}

bool guard_start(struct guard *guard, struct watched *watched, size_t count, struct error *why)
{
    *guard = (struct guard){.watched = watched, .count = count, .planned = MOMENT_NEVER};
    pthread_attr_t small;
    if (!prepare(guard) || pthread_attr_init(&small) != 0) {
        error_set(why, "out of memory");
        return false;
    }
    pthread_attr_setstacksize(&small, (size_t)64 * 1024);
    int error = pthread_create(&guard->thread, &small, run, guard);
    pthread_attr_destroy(&small);
    if (error != 0)
        error_set(why, "no thread to guard time-outs: %s", strerror(error));
    return error == 0;
}

static void wake(struct guard *guard)
{
    pthread_mutex_lock(&guard->lock);
    guard->woken = true;
    pthread_cond_signal(&guard->wake);
    pthread_mutex_unlock(&guard->lock);
}

void guard_watch(struct guard *guard, struct watched *watched, enum waiting waiting, int fd, moment deadline)
{
    pthread_mutex_lock(&watched->lock);
    watched->waiting = waiting;
    watched->fd = fd;
    watched->deadline = deadline;
    pthread_mutex_unlock(&watched->lock);
    if (waiting != WAITING_NOT && deadline < atomic_load(&guard->planned))
        wake(guard);
}

void guard_cut(struct guard *guard)
{
    cut_late(guard, MOMENT_NEVER);
}

void guard_stop(struct guard *guard)
{
    pthread_mutex_lock(&guard->lock);
    guard->ending = true;
    pthread_cond_signal(&guard->wake);
    pthread_mutex_unlock(&guard->lock);
    pthread_join(guard->thread, NULL);
    pthread_cond_destroy(&guard->wake);
    pthread_mutex_destroy(&guard->lock);
}
