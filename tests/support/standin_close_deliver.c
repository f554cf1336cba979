/* The stand-in Close's deliveries: signed, 5 s to connect and 15 s to answer, tried again ever later, paused and
 * cleared when too much fails or waits. */
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "tests/support/signature.h"
#include "tests/support/standin_close_internal.h"

static bool covers(const struct subscribed *one, const struct logged *event)
{
    for (size_t i = 0; i < json_object_array_length(one->events); i++) {
        struct json_object *covered = json_object_array_get_idx(one->events, i);
        const char *type = json_object_get_string(json_object_object_get(covered, "object_type"));
        const char *action = json_object_get_string(json_object_object_get(covered, "action"));
        if (type != NULL && action != NULL && strcmp(type, event->object_type) == 0 &&
            strcmp(action, event->action) == 0)
            return true;
    }
    return false;
}

static size_t backlog(const struct standin_close *close, const char *subscription)
{
    size_t count = 0;
    for (const struct delivery_job *job = close->jobs; job != NULL; job = job->next)
        count += strcmp(job->subscription, subscription) == 0;
    return count;
}

static void put(struct standin_close *close, const struct subscribed *one, const struct logged *event)
{
    for (struct delivery_job *job = close->jobs; job != NULL; job = job->next) {
        if (!job->taken && strcmp(job->id, event->id) == 0 && strcmp(job->subscription, one->id) == 0)
            return; /* what waits already brings the newest version */
    }
    struct delivery_job *job = calloc(1, sizeof *job);
    if (job == NULL)
        abort();
    snprintf(job->subscription, sizeof job->subscription, "%s", one->id);
    snprintf(job->id, sizeof job->id, "%s", event->id);
    job->due_ms = clock_now() + close->options.hold_ms;
    *close->jobs_end = job;
    close->jobs_end = &job->next;
    close->counts.waiting++;
}

void deliver_event(struct standin_close *close, const struct logged *event)
{
    size_t most = close->options.backlog_most > 0 ? close->options.backlog_most : 100000;
    for (size_t i = 0; i < close->subscription_count; i++) {
        struct subscribed *one = &close->subscriptions[i];
        if (strcmp(one->status, "active") != 0 || !covers(one, event))
            continue;
        put(close, one, event);
        if (close->options.backlog_most > 0 && backlog(close, one->id) > most)
            subscription_pause(close, one, "too_many_events");
    }
    pthread_cond_broadcast(&close->changed);
}

static void unlink_job(struct standin_close *close, struct delivery_job *job)
{
    struct delivery_job **at = &close->jobs;
    while (*at != job)
        at = &(*at)->next;
    *at = job->next;
    if (close->jobs_end == &job->next)
        close->jobs_end = at;
    close->counts.waiting--;
    free(job);
}

void deliver_clear(struct standin_close *close, const char *subscription)
{
    for (struct delivery_job *job = close->jobs, *next; job != NULL; job = next) {
        next = job->next;
        if (strcmp(job->subscription, subscription) != 0 || job->taken)
            continue;
        unlink_job(close, job);
        close->counts.cleared++;
    }
}

static struct delivery_job *take(struct standin_close *close)
{
    moment now = clock_now();
    for (struct delivery_job *job = close->jobs; job != NULL; job = job->next) {
        if (!job->taken && job->due_ms <= now) {
            job->taken = true;
            return job;
        }
    }
    return NULL;
}

static size_t ignore(char *data, size_t size, size_t count, void *context)
{
    (void)data;
    (void)context;
    return size * count;
}

/* One try. Without the mutex. */
static bool post(CURL *curl, const char *url, const char *key, const struct buffer *body, int64_t seconds)
{
    struct signature signature = signature_make(key, (struct slice){body->data, body->length}, seconds);
    struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");
    headers = curl_slist_append(headers, "Expect:");
    headers = curl_slist_append(headers, signature.hash);
    headers = curl_slist_append(headers, signature.timestamp);
    long status = 0;
    curl_easy_reset(curl);
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, 5000L);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, 15000L);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, ignore);
    curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body->data);
    curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body->length);
    bool good = curl_easy_perform(curl) == CURLE_OK &&
                curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status) == CURLE_OK && status == 200;
    curl_slist_free_all(headers);
    return good;
}

static void settle(struct standin_close *close, struct delivery_job *job, bool good)
{
    struct subscribed *one = subscription_find(close, job->subscription);
    int64_t first = close->options.retry_ms > 0 ? close->options.retry_ms : 100;
    job->taken = false;
    if (good)
        close->counts.delivered++;
    else
        close->counts.failed++;
    if (good || one == NULL || strcmp(one->status, "active") != 0) {
        close->counts.cleared += !good;
        if (one != NULL)
            one->failures = 0;
        unlink_job(close, job);
        return;
    }
    job->due_ms = clock_now() + (first << (job->tries < 6 ? job->tries : 6));
    job->tries++;
    if (close->options.failures_most > 0 && ++one->failures >= close->options.failures_most)
        subscription_pause(close, one, "delivery_failed");
}

static void deliver(struct standin_close *close, CURL *curl, struct delivery_job *job, struct buffer *body)
{
    char url[600], key[80];
    const struct subscribed *one = subscription_find(close, job->subscription);
    const struct logged *event = log_find(close, job->id);
    if (one == NULL || event == NULL) {
        settle(close, job, false);
        return;
    }
    snprintf(url, sizeof url, "%s", one->url);
    snprintf(key, sizeof key, "%s", one->key);
    buffer_clear(body);
    buffer_text(body, "{\"subscription_id\": \"");
    buffer_text(body, one->id);
    buffer_text(body, "\", \"event\": ");
    log_write_event(close, event, true, body);
    buffer_text(body, "}");
    int64_t seconds = close_now_us(close) / 1000000;
    pthread_mutex_unlock(&close->mutex);
    bool good = post(curl, url, key, body, seconds);
    pthread_mutex_lock(&close->mutex);
    settle(close, job, good);
    pthread_cond_broadcast(&close->changed);
}

static void wait_a_little(struct standin_close *close)
{
    struct timespec then;
    clock_gettime(CLOCK_MONOTONIC, &then);
    then.tv_nsec += 20000000;
    if (then.tv_nsec >= 1000000000) {
        then.tv_sec++;
        then.tv_nsec -= 1000000000;
    }
    pthread_cond_timedwait(&close->changed, &close->mutex, &then);
}

static void *send_all(void *context)
{
    struct standin_close *close = context;
    CURL *curl = curl_easy_init();
    struct buffer body = {.data = NULL};
    pthread_mutex_lock(&close->mutex);
    while (!close->stopping) {
        struct delivery_job *job = take(close);
        if (job != NULL)
            deliver(close, curl, job, &body);
        else
            wait_a_little(close);
    }
    pthread_mutex_unlock(&close->mutex);
    buffer_free(&body);
    curl_easy_cleanup(curl);
    return NULL;
}

void deliver_start(struct standin_close *close)
{
    close->jobs_end = &close->jobs;
    for (size_t i = 0; i < SENDERS; i++) {
        if (pthread_create(&close->senders[i], NULL, send_all, close) != 0)
            abort();
    }
}

void deliver_stop(struct standin_close *close)
{
    for (size_t i = 0; i < SENDERS; i++)
        pthread_join(close->senders[i], NULL);
    while (close->jobs != NULL)
        unlink_job(close, close->jobs);
}
