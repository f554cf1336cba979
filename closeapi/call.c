/* Asking Close: what is tried again, after which wait, and when that is enough. See client.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "closeapi/client_private.h"

#define FIRST_WAIT_MS 250
#define MOST_WAIT_MS 30000
#define LIMIT_WAIT_MOST_MS 900000 /* however long a rate limit is said to last, it is asked again by then */
#define LIMITED_MOST 100          /* in a row: something is wrong */
#define REFUSALS 3                /* a good key sometimes gets a 401: so often it must come to be believed */
#define MALFORMED 3               /* likewise for an answer that is no JSON */

/* How a request goes: what was tried, and since when it fails. */
struct course {
    bool changes; /* the request is none to be repeated when it may have been done */
    unsigned tries;
    unsigned refused;
    moment failing_since; /* 0: it does not fail */
};

static int64_t back_off(unsigned tries)
{
    int64_t most = tries >= 8 ? MOST_WAIT_MS : (int64_t)FIRST_WAIT_MS << tries;
    uint32_t random = 0;
    most = most < MOST_WAIT_MS ? most : MOST_WAIT_MS;
    if (getrandom(&random, sizeof random, GRND_NONBLOCK) != (ssize_t)sizeof random)
        return most;
    return most / 2 + (int64_t)(random % (uint32_t)(most / 2 + 1));
}

static int64_t rate_limit_wait(const struct close_client *client, unsigned tries)
{
    int64_t wait = client->reset_ms >= 0 ? client->reset_ms : client->retry_after_ms;
    if (wait <= 0)
        wait = back_off(tries);
    return wait < LIMIT_WAIT_MOST_MS ? wait : LIMIT_WAIT_MOST_MS;
}

/* Whether nothing of the request can have reached Close. */
static bool never_arrived(CURLcode code)
{
    return code == CURLE_COULDNT_RESOLVE_HOST || code == CURLE_COULDNT_CONNECT || code == CURLE_COULDNT_RESOLVE_PROXY ||
           close_failure_is_lasting((int)code);
}

enum verdict { VERDICT_END, VERDICT_AGAIN, VERDICT_LIMITED };

/* What becomes of an answer, or of none. */
static enum verdict judge(const struct close_client *client, struct course *course, const struct close_answer *answer,
                          CURLcode code, enum close_result *result, struct error *why)
{
    if (answer->status >= 200 && answer->status < 300) {
        *result = CLOSE_DONE;
        return VERDICT_END;
    }
    if (answer->status == 0)
        close_failure_words(why, (int)code, client->request.error, client->base);
    else
        close_words(why, answer->status, answer->body.data, answer->body.length);
    if (answer->status == 429)
        return VERDICT_LIMITED;
    if (answer->status == 401) {
        *result = CLOSE_REFUSED;
        return ++course->refused < REFUSALS ? VERDICT_AGAIN : VERDICT_END;
    }
    bool unclear = answer->status == 0 || answer->status == 408 || answer->status >= 500;
    if (!unclear) {
        *result = answer->status == 404 ? CLOSE_MISSING : CLOSE_REFUSED;
        return VERDICT_END;
    }
    if (answer->status == 0 && never_arrived(code)) {
        *result = CLOSE_FAILED;
        return close_failure_is_lasting((int)code) ? VERDICT_END : VERDICT_AGAIN;
    }
    *result = CLOSE_UNKNOWN;
    return course->changes ? VERDICT_END : VERDICT_AGAIN;
}

/* Waits for the next try. Returns false when none is to come: patience is over, or all is to end. */
static bool may_try_again(struct close_client *client, struct course *course, enum verdict verdict,
                          enum close_result *result, const struct error *why)
{
    int64_t wait;
    if (verdict == VERDICT_LIMITED) {
        wait = rate_limit_wait(client, course->tries);
        if (course->tries >= LIMITED_MOST)
            return false;
    } else {
        wait = back_off(course->tries);
        if (course->failing_since == 0)
            course->failing_since = clock_now();
        if (clock_now() + wait - course->failing_since > client->options.patience_ms)
            return false;
    }
    course->tries++;
    if (client_wait(client, wait, why->text))
        return true;
    *result = CLOSE_STOPPED;
    return false;
}

/* Close says that no request is left for now: the next one waits. */
static void note_limit(struct close_client *client)
{
    if (client->none_remain && client->reset_ms > 0 && client->reset_ms < LIMIT_WAIT_MOST_MS)
        client->not_before = clock_now() + client->reset_ms;
}

static enum close_result call(struct close_client *client, const char *method, const char *url, const char *body,
                              struct close_answer *answer, struct error *why)
{
    struct course course = {.changes = strcmp(method, "POST") == 0};
    enum close_result result = CLOSE_FAILED;
    for (;;) {
        CURLcode code = CURLE_OK;
        int64_t wait = client->not_before - clock_now();
        if ((wait > 0 && !client_wait(client, wait, "Close's rate limit")) ||
            !client_send_once(client, method, url, body, answer, &code)) {
            error_set(why, "stopped");
            return CLOSE_STOPPED;
        }
        note_limit(client);
        enum verdict verdict = judge(client, &course, answer, code, &result, why);
        if (verdict == VERDICT_END || !may_try_again(client, &course, verdict, &result, why))
            return result;
    }
}

enum close_result close_call(struct close_client *client, const char *method, const char *path, const char *body,
                             struct close_answer *answer, struct error *why)
{
    char *url = NULL;
    if (asprintf(&url, "%s%s", client->base, path) < 0) {
        error_set(why, "out of memory");
        return CLOSE_FAILED;
    }
    enum close_result result = call(client, method, url, body, answer, why);
    free(url);
    return result;
}

enum close_result close_call_json(struct close_client *client, const char *method, const char *path, const char *body,
                                  struct close_answer *answer, struct json_document *document, struct error *why)
{
    *document = (struct json_document){.root = NULL};
    for (unsigned tries = 1;; tries++) {
        bool out_of_memory = false;
        struct error reason = {0};
        enum close_result result = close_call(client, method, path, body, answer, why);
        if (result != CLOSE_DONE)
            return result;
        if (json_read(answer->body.data, answer->body.length, NULL, document, &out_of_memory, &reason)) {
            if (json_object_is_type(document->root, json_type_object))
                return CLOSE_DONE;
            json_document_free(document);
            error_set(&reason, "it is no object");
        }
        error_set(why, "answered %d with what is no answer of Close's API (%.200s): is close_api_url right?",
                  answer->status, reason.text);
        bool again = strcmp(method, "GET") == 0 && tries < MALFORMED;
        if (!again)
            return strcmp(method, "POST") == 0 ? CLOSE_UNKNOWN : CLOSE_REFUSED;
        if (!client_wait(client, back_off(tries), why->text))
            return CLOSE_STOPPED;
    }
}
