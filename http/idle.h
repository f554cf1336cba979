/* Connections without a request: kept open by the web server (FCGI_KEEP_CONN), or new and still silent. They wait in
 * epoll, so that none occupies a thread, and in a list, so that they can be handed over to the program executed next.
 * Any thread. */
#ifndef HTTP_IDLE_H
#define HTTP_IDLE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

struct idle_connection;

struct idle {
    int epoll; /* borrowed */
    pthread_mutex_t lock;
    struct idle_connection *first;
    bool closed;         /* connections are no longer watched */
    atomic_size_t fresh; /* connections parked before their first byte */
};

/* Initializes it. Connections are watched by this epoll descriptor; their events carry a struct idle_connection. */
bool idle_init(struct idle *idle, int epoll);

/* Takes ownership of a connection until it becomes readable; closes it on failure. fresh: it has sent nothing yet. */
void idle_park(struct idle *idle, int fd, bool fresh);

/* Whether there are fresh connections, whose first request may be on its way. */
bool idle_has_fresh(struct idle *idle);

/* Returns ownership of a readable connection to the caller. Only one caller may do so for each epoll event. */
int idle_take(struct idle *idle, struct idle_connection *connection);

/* Re-arms epoll for a connection that became readable. */
void idle_watch_again(struct idle *idle, struct idle_connection *connection);

/* From now on parked connections are kept for the hand-over and not watched, except fresh ones. */
void idle_stop(struct idle *idle);

/* Makes all connections inheritable and names them in the environment. The struct must not be used any more. */
void idle_hand_over(struct idle *idle);

/* Adopts the connections that a predecessor named in the environment, and removes that variable. Call before threads
 * start. */
void idle_take_over(struct idle *idle);

/* Closes all connections and frees them. The struct must not be used any more. */
void idle_free(struct idle *idle);

#endif
