/* HTTP as Close speaks it, over libcurl; and half of it, over a bare socket. */
#ifndef TESTS_SUPPORT_CLIENT_H
#define TESTS_SUPPORT_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "tests/support/slice.h"

struct client;

#define CLIENT_HEADERS 4

struct client_request {
    const char *method; /* NULL: POST */
    const char *url;
    const char *headers[CLIENT_HEADERS]; /* whole lines; NULL: none */
    struct slice body;                   /* none: no body */
    bool chunked;                        /* without a Content-Length */
    const char *user;                    /* of HTTP Basic, with an empty password; NULL: none */
    int64_t timeout_ms;                  /* 0: a minute */
    struct buffer *whole;                /* takes the answer's whole body too; NULL: not */
};

struct client_answer {
    int status;    /* 0: none came */
    bool complete; /* and it came to its end, with no error of the connection */
    char body[1024];
    char retry_after[32];
    char allow[32];
};

/* One connection, kept alive; one thread at a time. Never NULL. */
struct client *client_new(void);
void client_free(struct client *client);

/* Sends one request and waits for its answer. Returns the status; 0 when there was none. */
int client_send(struct client *client, const struct client_request *request, struct client_answer *answer);

/* Sends these bytes to a port of 127.0.0.1, says that no more will come, and reads what is answered until the end of
 * the connection or the milliseconds. Returns the HTTP status of the answer, 0 when there was none, -1 when there was
 * no end either. */
int raw_exchange(uint16_t port, struct slice bytes, int64_t ms);

/* Writes all bytes to a descriptor. Returns false when the other side does not take them. */
bool raw_write(int fd, struct slice bytes);

#endif
