/* Refusing webhooks: see webhook.h. The sentences are for whoever inspects failed deliveries in Close: they say what
 * to do and nothing that helps to guess a key. Where the program cannot take an event the reason is the operator's: it
 * names paths, hosts and roles, and goes to the log only. */
#include "webhook/webhook.h"

#include "base/log.h"

#include <string.h>

#define REFUSAL_LINES 5 /* lines per reason and period */
#define REFUSAL_PERIOD_MS 10000

static const char allow_post[] = "Allow: POST\r\n";
static const char retry_later[] = "Retry-After: 30\r\n";
static const char log_says[] = ": the program's log says why. Send it again later";

static const struct {
    int status;
    const char *reason;  /* name in the log */
    const char *headers; /* NULL: none */
    const char *start;   /* the prefix of every answer of this kind and of no other; NULL: none */
    const char *rest;    /* rest of the sentence without details */
    const char *inside;  /* text for the log without details, which are for the log only; "": as answered. NULL: details
                            go to the client, too, unless the status is 5xx */
} kinds[REFUSALS] = {
    [REFUSED_METHOD] = {405, "method", allow_post, NULL, "only POST is taken at this address", NULL},
    [REFUSED_UNKNOWN_SOURCE] = {404, "unknown_source", NULL, "no source has this name",
                                ": the end of the address must be the NAME of a [source NAME] in the configuration",
                                NULL},
    [REFUSED_UNCLEAR_SOURCE] = {401, "unclear_source", NULL, "several sources are configured",
                                ", and this request does not say which is meant: put its name at the end of the "
                                "address (/NAME), or its write key (?writeKey=...), or sign the request",
                                NULL},
    [REFUSED_NO_WRITE_KEY] = {401, "no_write_key", NULL, "the write key is missing",
                              ": add ?writeKey=... to the address of the subscription, or give it as the user name of "
                              "HTTP Basic authentication",
                              NULL},
    [REFUSED_WRITE_KEY] = {401, "wrong_write_key", NULL, "this write key is not the one of the source",
                           ": compare it with write_key in the configuration", NULL},
    [REFUSED_NO_SIGNATURE] = {401, "no_signature", NULL,
                              "the headers close-sig-hash and close-sig-timestamp are missing",
                              ": this source takes only requests that Close has signed. Does something in between "
                              "remove them?",
                              NULL},
    [REFUSED_SIGNATURE_FORM] = {401, "malformed_signature", NULL, "close-sig-hash must be 64 hexadecimal digits",
                                ", and close-sig-timestamp a unix time in seconds", NULL},
    [REFUSED_SIGNATURE_TIME] = {401, "signature_time", NULL, "close-sig-timestamp is",
                                " too far from this machine's time: check its clock", NULL},
    [REFUSED_SIGNATURE] = {401, "wrong_signature", NULL, "the signature does not match",
                           ": is signature_key the one that Close's POST /webhook/ returned for this very "
                           "subscription? It is hex-decoded before use. Does something in between change the body?",
                           ""},
    [REFUSED_EMPTY_BODY] = {400, "empty_body", NULL, "the body is empty", "", NULL},
    [REFUSED_SHORT_BODY] = {400, "short_body", NULL, "the body is incomplete", "", NULL},
    [REFUSED_LARGE_BODY] = {413, "large_body", NULL, "the body is larger than", " max_body", NULL},
    [REFUSED_NO_MEMORY] = {503, "no_memory", retry_later, "too much at once", ": send it again later", NULL},
    [REFUSED_UNUSABLE] = {400, "unusable", NULL, NULL, "the body holds no usable event", NULL},
    [REFUSED_QUEUE_FULL] = {503, "queue_full", retry_later, "there is no room for the event", log_says, NULL},
    [REFUSED_QUEUE_SLOW] = {503, "queue_slow", retry_later, "the event was not stored in time", log_says, NULL},
    [REFUSED_QUEUE_BROKEN] = {503, "queue_broken", retry_later, "the queue does not work", log_says, NULL},
    [REFUSED_NO_KEY] = {503, "no_signature_key", retry_later, "nothing is taken here at the moment",
                        ": send it again later",
                        "a signature key is not held here any more: `closecrm.fcgi check` says which and what to do"},
};

const char *refusal_word(unsigned refusal)
{
    return refusal < REFUSALS ? kinds[refusal].reason : NULL;
}

void refusal_log_init(struct refusal_log *log)
{
    *log = (struct refusal_log){0};
    pthread_mutex_init(&log->lock, NULL);
}

bool refusal_log_may(struct refusal_log *log, enum refusal refusal, moment now, unsigned *left_out)
{
    struct refusal_count *count = &log->of[refusal];
    *left_out = 0;
    pthread_mutex_lock(&log->lock);
    if (count->written == 0 || now - count->since >= REFUSAL_PERIOD_MS) {
        *left_out = count->left_out;
        *count = (struct refusal_count){.since = now};
    }
    bool may = count->written < REFUSAL_LINES;
    if (may)
        count->written++;
    else
        count->left_out++;
    pthread_mutex_unlock(&log->lock);
    return may;
}

static void say_left_out(enum refusal refusal, unsigned left_out)
{
    if (left_out > 0)
        log_write(LEVEL_WARN, "msg=refused_more_often kind=%s left_out=%u", kinds[refusal].reason, left_out);
}

void refusal_log_free(struct refusal_log *log)
{
    for (int i = 0; i < REFUSALS; i++)
        say_left_out((enum refusal)i, log->of[i].left_out);
    pthread_mutex_destroy(&log->lock);
}

/* Writes one log line; everything from the request is quoted. */
static void write_line(struct refusal_log *log, const struct request *request, enum refusal refusal, const char *source,
                       const char *words)
{
    unsigned left_out;
    bool may = refusal_log_may(log, refusal, clock_now(), &left_out);
    say_left_out(refusal, left_out);
    if (!may)
        return;
    char quoted_words[LOG_QUOTED], quoted_remote[LOG_QUOTED];
    const char *remote = request_variable(request, "REMOTE_ADDR");
    if (remote == NULL)
        remote = "";
    log_write(LEVEL_WARN, "msg=refused kind=%s status=%d source=%s remote=%s reason=%s", kinds[refusal].reason,
              kinds[refusal].status, source == NULL ? "-" : source, log_quote(quoted_remote, remote, strlen(remote)),
              log_quote_reason(quoted_words, words));
}

/* Composes a sentence: the prefix of its kind, and the details or ("") the default rest. */
static void compose_sentence(enum refusal refusal, const char *details, struct error *words)
{
    const char *start = kinds[refusal].start == NULL ? "" : kinds[refusal].start;
    if (details[0] == '\0')
        error_set(words, "%s%s", start, kinds[refusal].rest);
    else if (strncmp(details, start, strlen(start)) == 0)
        error_set(words, "%s", details);
    else
        error_set(words, "%s: %s", start, details);
}

void refuse(struct refusal_log *log, struct request *request, enum refusal refusal, const char *source,
            const struct error *why)
{
    struct error words, logged;
    bool details_are_inside = kinds[refusal].inside != NULL || kinds[refusal].status >= 500;
    compose_sentence(refusal, details_are_inside ? "" : why->text, &words);
    if (kinds[refusal].inside != NULL && why->text[0] != '\0')
        logged = *why;
    else if (kinds[refusal].inside != NULL && kinds[refusal].inside[0] != '\0')
        error_set(&logged, "%s", kinds[refusal].inside);
    else
        compose_sentence(refusal, why->text, &logged);
    counters_refused(counters_of(log->counters, source), refusal, clock_unix_ms());
    write_line(log, request, refusal, source, logged.text);
    request_refuse(request, kinds[refusal].status, kinds[refusal].headers, words.text);
}

enum refusal refusal_of(long status, const char *sentence)
{
    for (unsigned i = 0; i < REFUSALS; i++) {
        if (kinds[i].status == status && kinds[i].start != NULL &&
            strncmp(sentence, kinds[i].start, strlen(kinds[i].start)) == 0)
            return (enum refusal)i;
    }
    return REFUSAL_NONE;
}
