/* The FastCGI server in a process of its own, started as a spawner would: descriptor 0 listens. */
#ifndef TESTS_SUPPORT_HTTP_SERVER_H
#define TESTS_SUPPORT_HTTP_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Its routes: "" and "/echo" read the body and answer `LENGTH SUM` ; "/hold" reads the body, says so by a byte through
 * told, and answers after a byte through let; "/blind" answers 401 without reading the body; "/large" answers a
 * megabyte. */
struct http_server {
    char folder[64]; /* holds the socket and the log */
    char socket[96];
    int port; /* instead of the socket, when it was asked for; else 0 */
    pid_t pid;
    int told; /* from the server: 'R' it is ready, 'H' a request is held */
    int let;  /* to the server */
};

struct http_server_settings {
    size_t threads;
    size_t max_body;
    size_t max_bodies;
    int timeout_ms;
    bool tcp;           /* a port of 127.0.0.1 instead of a Unix socket */
    const char *allows; /* FCGI_WEB_SERVER_ADDRS; NULL: not set */
};

/* Starts it and waits until it is ready. Returns false when that fails. */
bool http_server_start(struct http_server *server, const struct http_server_settings *settings);

/* Waits for a byte that the server tells. */
bool http_server_tells(const struct http_server *server, char what);

/* Asks it to stop. */
void http_server_stop(const struct http_server *server);

/* Waits for its end and removes its folder. Returns its exit status: 0 when all threads ended, 3 when not, -1 when it
 * was killed. */
int http_server_end(struct http_server *server);

/* In the process that is to be the server: runs it and exits. Elsewhere: returns. */
void http_server_if_asked(void);

/* What "/echo" answers to a body. */
void http_server_echo(char *out, size_t size, const char *body, size_t length);

#endif
