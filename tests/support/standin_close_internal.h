/* What the files of the stand-in Close share. */
#ifndef TESTS_SUPPORT_STANDIN_CLOSE_INTERNAL_H
#define TESTS_SUPPORT_STANDIN_CLOSE_INTERNAL_H

#include <json-c/json_object.h>
#include <pthread.h>

#include "tests/support/standin_close.h"

struct MHD_Daemon;

#define FAULTS_MOST 16
#define SENDERS 8

/* An event of the log. */
struct logged {
    char id[48];
    char lead[48];
    char object_type[40];
    char action[24];
    int64_t updated_us;
    uint64_t sequence; /* tells apart what has the same date */
    size_t filler;
    char note[64];
};

struct subscribed {
    char id[80];
    char key[80];
    char url[600];
    char status[20];
    char pause_reason[60];
    struct json_object *events;
    unsigned failures; /* in a row */
};

/* A delivery that waits. */
struct delivery_job {
    struct delivery_job *next;
    char subscription[80];
    char id[48];
    int64_t due_ms; /* monotonic */
    unsigned tries;
    bool taken;
};

struct standin_close {
    struct MHD_Daemon *daemon;
    char url[80];
    pthread_mutex_t mutex; /* over all that follows */
    pthread_cond_t changed;
    bool stopping;
    unsigned healed;
    size_t held;
    struct standin_close_options options;
    int64_t clock_ms; /* ahead of the real one */
    struct close_fault faults[FAULTS_MOST];
    size_t fault_count;
    struct standin_close_counts counts;
    unsigned random;
    size_t cursors;

    struct logged *log; /* by date, the oldest first */
    size_t log_count, log_capacity;
    uint64_t sequence;

    struct subscribed *subscriptions;
    size_t subscription_count;
    unsigned made;

    struct delivery_job *jobs;
    struct delivery_job **jobs_end;
    pthread_t senders[SENDERS];
};

/* All under the mutex, unless said otherwise. */

int64_t close_now_us(const struct standin_close *close);

/* log.c */
struct logged *log_find(struct standin_close *close, const char *id);
void log_write_event(const struct standin_close *close, const struct logged *event, bool shown, struct buffer *out);
/* Writes an answer of GET /event/ for a query; returns the HTTP status. get: a parameter, or NULL. */
typedef const char *log_parameter(void *context, const char *name);
int log_answer(struct standin_close *close, log_parameter *get, void *context, struct buffer *out);

/* deliver.c */
void deliver_start(struct standin_close *close);
void deliver_stop(struct standin_close *close); /* without the mutex */
void deliver_event(struct standin_close *close, const struct logged *event);
void deliver_clear(struct standin_close *close, const char *subscription);

/* standin_close.c */
struct subscribed *subscription_find(struct standin_close *close, const char *id);
void subscription_pause(struct standin_close *close, struct subscribed *one, const char *reason);

#endif
