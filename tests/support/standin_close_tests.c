/* What tests ask of the stand-in Close, and tell it. */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/support/standin_close_internal.h"

const char *standin_close_url(const struct standin_close *close)
{
    return close->url;
}

void standin_close_set(struct standin_close *close, const struct standin_close_options *options)
{
    pthread_mutex_lock(&close->mutex);
    close->options = *options;
    pthread_mutex_unlock(&close->mutex);
}

void standin_close_fail(struct standin_close *close, const struct close_fault *fault)
{
    pthread_mutex_lock(&close->mutex);
    if (close->fault_count == FAULTS_MOST)
        abort();
    close->faults[close->fault_count++] = *fault;
    pthread_mutex_unlock(&close->mutex);
}

void standin_close_heal(struct standin_close *close)
{
    pthread_mutex_lock(&close->mutex);
    close->fault_count = 0;
    close->healed++;
    pthread_cond_broadcast(&close->changed);
    pthread_mutex_unlock(&close->mutex);
}

void standin_close_move_clock(struct standin_close *close, int64_t ms)
{
    pthread_mutex_lock(&close->mutex);
    close->clock_ms += ms;
    pthread_mutex_unlock(&close->mutex);
}

size_t standin_close_subscriptions(struct standin_close *close)
{
    pthread_mutex_lock(&close->mutex);
    size_t count = close->subscription_count;
    pthread_mutex_unlock(&close->mutex);
    return count;
}

static const char *copy_of(struct standin_close *close, size_t at, size_t offset, char out[static 80])
{
    pthread_mutex_lock(&close->mutex);
    out[0] = '\0';
    if (at < close->subscription_count)
        snprintf(out, 80, "%s", (const char *)&close->subscriptions[at] + offset);
    pthread_mutex_unlock(&close->mutex);
    return out;
}

const char *standin_close_id(struct standin_close *close, size_t at, char out[static 80])
{
    return copy_of(close, at, offsetof(struct subscribed, id), out);
}

const char *standin_close_status(struct standin_close *close, size_t at, char out[static 80])
{
    return copy_of(close, at, offsetof(struct subscribed, status), out);
}

const char *standin_close_key(struct standin_close *close, size_t at, char out[static 80])
{
    return copy_of(close, at, offsetof(struct subscribed, key), out);
}

void standin_close_pause(struct standin_close *close, size_t at, const char *reason)
{
    pthread_mutex_lock(&close->mutex);
    if (at < close->subscription_count)
        subscription_pause(close, &close->subscriptions[at], reason);
    pthread_mutex_unlock(&close->mutex);
}

struct standin_close_counts standin_close_counts(struct standin_close *close)
{
    pthread_mutex_lock(&close->mutex);
    struct standin_close_counts counts = close->counts;
    pthread_mutex_unlock(&close->mutex);
    return counts;
}

typedef bool reached_function(const struct standin_close *close, size_t wanted);

static bool wait_until(struct standin_close *close, reached_function *reached, size_t wanted, int64_t ms)
{
    struct timespec then;
    clock_gettime(CLOCK_MONOTONIC, &then);
    then.tv_sec += ms / 1000 + 1;
    pthread_mutex_lock(&close->mutex);
    while (!reached(close, wanted) && pthread_cond_timedwait(&close->changed, &close->mutex, &then) == 0)
        ;
    bool is = reached(close, wanted);
    pthread_mutex_unlock(&close->mutex);
    return is;
}

static bool is_idle(const struct standin_close *close, size_t wanted)
{
    return close->counts.waiting == wanted;
}

static bool has_pages(const struct standin_close *close, size_t wanted)
{
    return close->counts.pages >= wanted;
}

static bool is_held(const struct standin_close *close, size_t wanted)
{
    return close->held >= wanted;
}

static bool is_paused(const struct standin_close *close, size_t at)
{
    return at < close->subscription_count && strcmp(close->subscriptions[at].status, "paused") == 0;
}

bool standin_close_wait_idle(struct standin_close *close, int64_t ms)
{
    return wait_until(close, is_idle, 0, ms);
}

bool standin_close_wait_pages(struct standin_close *close, size_t pages, int64_t ms)
{
    return wait_until(close, has_pages, pages, ms);
}

bool standin_close_wait_held(struct standin_close *close, int64_t ms)
{
    return wait_until(close, is_held, 1, ms);
}

bool standin_close_wait_paused(struct standin_close *close, size_t at, int64_t ms)
{
    return wait_until(close, is_paused, at, ms);
}
