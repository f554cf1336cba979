/* Every reason for which a webhook is not taken: what is answered, and one line in the log for each, but not for each
 * of a thousand. */
#ifndef WEBHOOK_REFUSALS_H
#define WEBHOOK_REFUSALS_H

#include <pthread.h>
#include <stdbool.h>

#include "base/clock.h"
#include "base/error.h"
#include "http/request.h"
#include "telemetry/counters.h"

/* Their numbers are counted in a file that outlives a release: only add at the end. */
enum refusal {
    REFUSAL_NONE,
    REFUSED_METHOD,
    REFUSED_UNKNOWN_SOURCE,
    REFUSED_UNCLEAR_SOURCE,
    REFUSED_NO_WRITE_KEY,
    REFUSED_WRITE_KEY,
    REFUSED_NO_SIGNATURE,
    REFUSED_SIGNATURE_FORM,
    REFUSED_SIGNATURE_TIME,
    REFUSED_SIGNATURE,
    REFUSED_EMPTY_BODY,
    REFUSED_SHORT_BODY,
    REFUSED_LARGE_BODY,
    REFUSED_NO_MEMORY,
    REFUSED_UNUSABLE,
    REFUSED_QUEUE_FULL,
    REFUSED_QUEUE_SLOW,
    REFUSED_QUEUE_BROKEN,
    REFUSED_NO_KEY,
    REFUSALS, /* how many */
};

/* What was logged of one reason lately. */
struct refusal_count {
    moment since;     /* when its period began */
    unsigned written; /* lines in this period */
    unsigned left_out;
};

struct refusal_log {
    pthread_mutex_t lock;
    struct refusal_count of[REFUSALS];
    struct counters *counters; /* NULL: nobody counts. Borrowed */
};

#define REFUSAL_LINES 5         /* of one reason ... */
#define REFUSAL_PERIOD_MS 10000 /* ... in this time */

/* The word for it in logs, counts and on the status page: "wrong_signature". NULL: not one of them. */
const char *refusal_word(unsigned refusal);

void refusal_log_init(struct refusal_log *log);

/* Whether a line may be written now. *left_out: how many were left out in the period that has ended, if it had any;
 * else 0. Any thread. */
bool refusal_log_may(struct refusal_log *log, enum refusal refusal, moment now, unsigned *left_out);

/* Writes what was left out and not yet said. */
void refusal_log_free(struct refusal_log *log);

/* Answers the request with its refusal, counts and logs it. source is its name when it is known, or NULL. why holds
 * what is known of the reason; "": nothing. What strangers must not read of it (names of subscriptions, advice to the
 * operator) stands in the log only. */
void refuse(struct refusal_log *log, struct request *request, enum refusal refusal, const char *source,
            const struct error *why);

/* Which refusal an answer of this program is, by its status and its sentence (the `error` of its JSON). REFUSAL_NONE:
 * none that can be told. */
enum refusal refusal_of(long status, const char *sentence);

#endif
