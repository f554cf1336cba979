/* What the files of the client share. */
#ifndef CLOSEAPI_CLIENT_PRIVATE_H
#define CLOSEAPI_CLIENT_PRIVATE_H

#include <curl/curl.h>

#include "base/clock.h"
#include "base/http_request.h"
#include "closeapi/client.h"

struct close_client {
    CURLM *multi;
    struct http_request request;
    const char *base;
    struct close_options options;
    moment not_before; /* the rate limit says so */
    uint64_t requests;

    struct close_answer *answer; /* of the request in hand */
    int64_t reset_ms;            /* of RateLimit; -1: it was not said */
    bool none_remain;
    int64_t retry_after_ms; /* -1: it was not said */
};

/* client.c: sends once. answer->status is 0 where there was no whole answer, and *code says why. Returns false when all
 * is to end. */
bool client_send_once(struct close_client *client, const char *method, const char *url, const char *body,
                      struct close_answer *answer, CURLcode *code);

/* Waits; says so first when it is long. Returns false when all is to end. */
bool client_wait(struct close_client *client, int64_t ms, const char *reason);

#endif
