/* A data plane that answers as a test says: too much, too early, late, cut. */
#ifndef TESTS_SUPPORT_ODD_PLANE_H
#define TESTS_SUPPORT_ODD_PLANE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#define MOST 1024 /* connections, and POSTs */

#define ANSWER(status, body_length, body) "HTTP/1.1 " status " Words\r\nContent-Length: " body_length "\r\n\r\n" body
#define CHUNKED(status, body_length, body)                                                                             \
    "HTTP/1.1 " status " Words\r\nTransfer-Encoding: chunked\r\n\r\n" body_length "\r\n" body "\r\n0\r\n\r\n"
#define OK ANSWER("200", "2", "ok")

/* What a request is answered. */
struct turn {
    const char *early;  /* before the request is read */
    int hold_ms;        /* then, before the answer */
    const char *answer; /* NULL: as the number in the body says */
    int late_ms;        /* between the answer and what follows */
    const char *late;   /* NULL: nothing */
    const char *next;   /* said when the next request begins on this connection */
    bool cut;           /* the connection ends behind the answer */
};

struct plane {
    const struct turn *turns; /* one for each request, in their order; then the last one again */
    int turn_count;
    int listening;
    char url[64];
    pthread_t thread;
    pthread_mutex_t lock;
    int fds[MOST];
    atomic_int connections, living, requests;
    atomic_int pipelined; /* requests that came before the one before was answered */
    atomic_bool stored[MOST];
};

/* On a free port of 127.0.0.1; turns are borrowed. stop: ends its connections and threads. */
void plane_start(struct plane *plane, const struct turn *turns, int count);
void plane_stop(struct plane *plane);

#endif
