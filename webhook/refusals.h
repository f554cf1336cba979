/* Refusals of webhooks: the HTTP answer for each reason, and a rate-limited log line. */
#ifndef WEBHOOK_REFUSALS_H
#define WEBHOOK_REFUSALS_H

#include <pthread.h>
#include <stdbool.h>

#include "base/clock.h"
#include "base/error.h"
#include "http/request.h"
#include "telemetry/telemetry.h"

/* The numbers are stored in a file that outlives a release: append only. */
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
    REFUSALS, /* number of values */
};

/* Rate limit of one reason's log lines. */
struct refusal_count {
    moment since;     /* start of the current period */
    unsigned written; /* lines written in this period */
    unsigned left_out;
};

struct refusal_log {
    pthread_mutex_t lock;
    struct refusal_count of[REFUSALS];
    struct counters *counters; /* NULL: not counted. Borrowed */
};

#define REFUSAL_LINES 5 /* lines per reason and period */
#define REFUSAL_PERIOD_MS 10000

/* The reason's name in logs, counters and on the status page: "wrong_signature". NULL: not a reason. */
const char *refusal_word(unsigned refusal);

void refusal_log_init(struct refusal_log *log);

/* Whether a line may be written now. *left_out: lines suppressed in a period that has just ended, else 0. Any
 * thread. */
bool refusal_log_may(struct refusal_log *log, enum refusal refusal, moment now, unsigned *left_out);

/* Logs the numbers of suppressed lines not yet reported. */
void refusal_log_free(struct refusal_log *log);

/* Answers the request with a refusal, counts and logs it. source: the source's name or NULL. why: details; "": none.
 * Details that strangers must not see (subscription ids, advice to the operator) are only logged. */
void refuse(struct refusal_log *log, struct request *request, enum refusal refusal, const char *source,
            const struct error *why);

/* Recognizes a refusal of this program by the answer's status and sentence (the `error` of its JSON). REFUSAL_NONE: not
 * recognized. */
enum refusal refusal_of(long status, const char *sentence);

#endif
