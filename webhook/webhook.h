/* The webhook endpoint: authenticate a request, append its body to the queue, answer. */
#ifndef WEBHOOK_WEBHOOK_H
#define WEBHOOK_WEBHOOK_H

#include <pthread.h>
#include <stdbool.h>

#include "base/clock.h"
#include "base/error.h"
#include "config/config.h"
#include "http/http.h"
#include "queue/queue.h"
#include "telemetry/telemetry.h"

/* ---- refusals.c: Refusals of webhooks: the HTTP answer for each reason, and a rate-limited log line. ---- */

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

/* The reason's name in logs, counters and on the status page: "wrong_signature". NULL: not a reason. */
const char *refusal_word(unsigned refusal);

void refusal_log_init(struct refusal_log *log);

/* Whether a line may be written now. *left_out: lines suppressed in a period that has just ended, else 0. Any
 * thread. */
bool refusal_log_may(struct refusal_log *log, enum refusal refusal, moment now, unsigned *left_out);

/* Logs the numbers of suppressed lines not yet reported. */
void refusal_log_free(struct refusal_log *log);

/* Answers the request with a refusal, counts and logs it. source: the source's name or NULL. why: details; "": none.
 * Details that strangers must not see are only logged: of each 5xx, for they name paths and hosts; subscription ids. */
void refuse(struct refusal_log *log, struct request *request, enum refusal refusal, const char *source,
            const struct error *why);

/* Recognizes a refusal of this program by the answer's status and sentence (the `error` of its JSON). REFUSAL_NONE: not
 * recognized. */
enum refusal refusal_of(long status, const char *sentence);

/* ---- the way of a webhook ---- */

struct webhook;

/* The start of the body that `subscribe --probe` sends: signed like any webhook, answered, and discarded. */
#define WEBHOOK_PROBE "{\"closecrm_probe\":"
#define WEBHOOK_PROBE_ANSWER "ok: a probe, not kept"

/* The start of the sentence that a GET of an address for webhooks is answered, by which `subscribe` knows it. */
#define WEBHOOK_GREETING "this is the address that Close posts its webhooks to, and it works"
/* What `send-test --no-forward` and the page's `Send test` send, the whole body: a probe also for a source without a
 * signature key, whose write key anybody may have. Close's events begin with another member, so none is taken for it.
 */
#define WEBHOOK_TEST WEBHOOK_PROBE " \"send-test --no-forward\"}"

/* config and queue are borrowed and must outlive the webhook. Returns NULL with the reason. */
struct webhook *webhook_new(const struct config *config, struct queue *queue, struct error *why);

/* Sets the counters of accepted and refused requests. Borrowed until webhook_free. Call before requests are handled. */
void webhook_count(struct webhook *webhook, struct counters *counters);

/* Has keys that several machines share looked for (kept_catch_up) before a request is refused for want of one: where no
 * kept_watch does, and a request may wait. Call likewise. */
void webhook_catches_up(struct webhook *webhook);

/* Handles one request: authenticates, appends, answers. Any thread. */
void webhook_handle(struct webhook *webhook, struct request *request);

/* Whether a request whose body has not come yet may be accepted when it has (http_limits.wants_body). Any thread. */
bool webhook_wants_body(struct webhook *webhook, struct request *request);

void webhook_free(struct webhook *webhook);

/* Like queue_append; queue is the argument of webhook_new_with. */
typedef enum queue_result append_function(void *queue, const char *source, const char *body, size_t length,
                                          moment deadline, struct error *why);

/* As webhook_new, with the function that stores an event. */
struct webhook *webhook_new_with(const struct config *config, append_function *append, void *queue, struct error *why);

#endif
