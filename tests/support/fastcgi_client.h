/* A web server's side of FastCGI, byte by byte, so that tests can do what no good web server does. */
#ifndef TESTS_SUPPORT_FASTCGI_CLIENT_H
#define TESTS_SUPPORT_FASTCGI_CLIENT_H

#include <stdbool.h>
#include <stddef.h>

/* What came back. */
struct fastcgi_answer {
    char *text; /* STDOUT: headers and body, NUL-terminated; free with fastcgi_answer_free */
    size_t length;
    int status;       /* of the Status line; 0: none came */
    const char *body; /* behind the headers; "" when there is none */
    bool ended;       /* END_REQUEST came, ... */
    int protocol;     /* ... with this protocolStatus */
    bool closed;      /* the connection was closed before that */
};

/* A parameter; a list of them ends with a NULL name. */
struct fastcgi_parameter {
    const char *name;
    const char *value;
};

/* Connects to a Unix socket. Returns -1 when that fails. */
int fastcgi_connect(const char *path);

/* Connects to a port of 127.0.0.1. Returns -1 when that fails. */
int fastcgi_connect_port(int port);

/* Sends one record. Returns false when the server has gone. */
bool fastcgi_record(int fd, int type, const void *data, size_t length);

/* Begins a request and sends its parameters, and their end. */
bool fastcgi_begin(int fd, bool keep, const struct fastcgi_parameter *parameters);

/* Sends a piece of the body; an empty one is its end. */
bool fastcgi_body(int fd, const void *data, size_t length);

/* The parameters of a POST to a path; length is CONTENT_LENGTH, NULL for none. parameters holds at least 5. */
void fastcgi_post(struct fastcgi_parameter *parameters, const char *path, const char *length);

/* Sends a whole POST: with its length, and its end. */
bool fastcgi_send(int fd, bool keep, const char *path, const void *body, size_t length);

/* Reads one answer, up to END_REQUEST, for at most so many milliseconds. Returns whether all of it came. */
bool fastcgi_read(int fd, struct fastcgi_answer *answer, int timeout_ms);

void fastcgi_answer_free(struct fastcgi_answer *answer);

/* Whether the server closes the connection within so many milliseconds. */
bool fastcgi_closes(int fd, int timeout_ms);

#endif
