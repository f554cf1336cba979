/* A request without a web server: variables and body from the test, the answer into memory. */
#ifndef TESTS_SUPPORT_HTTP_FAKE_H
#define TESTS_SUPPORT_HTTP_FAKE_H

#include "http/http_private.h"

struct fake_variable {
    const char *name;
    const char *value;
};

struct fake_request {
    struct request request;
    const struct fake_variable *variables; /* ends with a NULL name */
    const char *body;
    size_t length;
    size_t piece;      /* bytes that come at once; 0: all */
    size_t at;         /* bytes that were read */
    bool broken;       /* the connection breaks after the body's last byte */
    bool gone;         /* the client takes no answer */
    char text[131072]; /* the answer */
    size_t written;
    int finished; /* how often */
    struct http_limits limits;
    struct body_budget budget;
};

/* Makes a request of these variables and this body, all borrowed. */
void fake_init(struct fake_request *fake, const struct fake_variable *variables, const char *body, size_t length);

/* Gives back what it took. */
void fake_end(struct fake_request *fake);

/* The status of the answer; 0: there is none. */
int fake_status(const struct fake_request *fake);

/* What follows the answer's headers. */
const char *fake_body(const struct fake_request *fake);

#endif
