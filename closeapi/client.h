/* Close's API over HTTP: one request after another, with the API key, certificates verified, rate limits obeyed, and
 * tried again as long as that may help. One thread for one client. */
#ifndef CLOSEAPI_CLIENT_H
#define CLOSEAPI_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/json_reader.h"
#include "config/config.h"

struct close_client;

struct close_options {
    int64_t patience_ms; /* for how long one request is tried again, rate limits not counted */
    int stop_fd;         /* readable once all is to end; -1: none */

    /* Called before a wait of some seconds, with the reason; NULL: nobody wants to know. */
    void (*waits)(void *context, int64_t ms, const char *reason);
    void *context;
};

enum close_result {
    CLOSE_DONE,    /* answered 2xx */
    CLOSE_MISSING, /* 404 */
    CLOSE_REFUSED, /* answered otherwise, and trying again would not help */
    CLOSE_UNKNOWN, /* no answer, however often it was asked: what it should change may have been changed */
    CLOSE_FAILED,  /* no answer, and nothing was changed */
    CLOSE_STOPPED, /* stop_fd */
};

/* All zero is empty; reuse it, free it with close_answer_free. */
struct close_answer {
    int status;
    struct buffer body; /* a zero byte follows */
    int64_t date_ms;    /* Close's clock, from Date; 0: it did not say */
};

/* A client with the key of this source, which must have one. config and source must outlive it. Returns NULL with the
 * reason. */
struct close_client *close_client_new(const struct config *config, const struct source *source,
                                      const struct close_options *options, struct error *why);

/* Asks for a path below close_api_url ("/me/"). method: GET, POST, PUT or DELETE; body: JSON, or NULL. What may have
 * been done is not done again: without an answer a POST is UNKNOWN. On anything but DONE the reason is one line that
 * says what to do, and has no secret in it. */
enum close_result close_call(struct close_client *client, const char *method, const char *path, const char *body,
                             struct close_answer *answer, struct error *why);

/* The same, and reads the answer, which must be JSON and an object; one that is not is asked for again before it is
 * believed (GET), and REFUSED then. Free the document with json_document_free when DONE. */
enum close_result close_call_json(struct close_client *client, const char *method, const char *path, const char *body,
                                  struct close_answer *answer, struct json_document *document, struct error *why);

/* How many requests were sent, tries included. */
uint64_t close_client_requests(const struct close_client *client);

void close_answer_free(struct close_answer *answer);
void close_client_free(struct close_client *client);

/* errors.c: what an answer other than 2xx means, as one line that says what to do. ERROR_REJECTED: it was 400. */
void close_words(struct error *why, int status, const char *body, size_t length);

/* Whether the error is of a kind that trying again does not mend (a certificate, a URL); and what to do. code is
 * libcurl's. */
bool close_failure_is_lasting(int code);
void close_failure_words(struct error *why, int code, const char *error, const char *url);

#endif
