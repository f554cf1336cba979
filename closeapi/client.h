/* Client of Close's API: one request at a time, authenticated with the API key, certificates verified, rate limits
 * respected, retried as long as that may help. A client belongs to one thread. */
#ifndef CLOSEAPI_CLIENT_H
#define CLOSEAPI_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/json.h"
#include "config/config.h"

struct close_client;

struct close_options {
    int64_t patience_ms; /* for how long a failing request is retried; waiting for the rate limit does not count */
    int stop_fd;         /* readable once requests and waits are to be cut short; -1: none */

    /* Called before a wait of at least 2 seconds, with the reason; may be NULL. */
    void (*waits)(void *context, int64_t ms, const char *reason);
    void *context;
};

enum close_result {
    CLOSE_DONE,          /* answered 2xx */
    CLOSE_MISSING,       /* answered 404 */
    CLOSE_REFUSED,       /* answered otherwise, and retrying would not help */
    CLOSE_INDETERMINATE, /* no response after all retries; a write may have taken effect */
    CLOSE_FAILED,        /* the request never reached Close */
    CLOSE_STOPPED,       /* cut short by stop_fd */
};

/* All zero is empty; reuse it, free it with close_answer_free. */
struct close_answer {
    int status;
    struct buffer body; /* a zero byte follows */
    int64_t date_ms;    /* Close's clock, from the header Date; Unix time; 0: there was none */
};

/* A client with the key of this source, which must have one. config and source must outlive it. Returns NULL with the
 * reason. */
struct close_client *close_client_new(const struct config *config, const struct source *source,
                                      const struct close_options *options, struct error *why);

/* Sends a request for a path below close_api_url ("/me/"). method: GET, POST, PUT or DELETE; body: JSON, or NULL. A
 * POST that may have taken effect is not repeated: it is INDETERMINATE. On anything but DONE the reason is one line
 * that says what to do, and has no secret in it. */
enum close_result close_call(struct close_client *client, const char *method, const char *path, const char *body,
                             struct close_answer *answer, struct error *why);

/* The same, and parses the answer, which must be a JSON object. One that is not is REFUSED, a GET's after some retries,
 * a POST's INDETERMINATE. Free the document with json_document_free when DONE. */
enum close_result close_call_json(struct close_client *client, const char *method, const char *path, const char *body,
                                  struct close_answer *answer, struct json_document *document, struct error *why);

/* How many requests were sent, retries included. */
uint64_t close_client_requests(const struct close_client *client);

void close_answer_free(struct close_answer *answer);
void close_client_free(struct close_client *client);

#endif
