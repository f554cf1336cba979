/* Connections without a request at the moment: kept open by the web server (FCGI_KEEP_CONN), or fresh and still
 * silent. They wait in epoll, so that none holds a thread, and in a list, so that they can be handed over to the
 * program that is executed in this one's place. Any thread. */
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
    bool closed;         /* no connection is watched any more */
    atomic_size_t fresh; /* connections that were parked before they sent anything */
};

/* Prepares it; connections are watched in this epoll descriptor, whose events carry a struct idle_connection. */
bool idle_init(struct idle *idle, int epoll);

/* Takes over a connection until it becomes readable; closes it when it cannot be kept. fresh: it has sent nothing yet.
 */
void idle_park(struct idle *idle, int fd, bool fresh);

/* Whether there are connections that were made just now, perhaps, and whose first request is on its way. */
bool idle_has_fresh(struct idle *idle);

/* Gives a connection that became readable back to the caller. Each event of epoll is for one caller only. */
int idle_take(struct idle *idle, struct idle_connection *connection);

/* Lets another event come for a connection that became readable. */
void idle_watch_again(struct idle *idle, struct idle_connection *connection);

/* Watches no connection that is parked from now on, but for fresh ones: it waits for the hand over. */
void idle_stop(struct idle *idle);

/* Makes all inheritable and names them in the environment. Nobody may use kept any more. */
void idle_hand_over(struct idle *idle);

/* Takes over what a predecessor named in the environment, and forgets the name. Call before threads start. */
void idle_take_over(struct idle *idle);

/* Closes all. Nobody may use kept any more. */
void idle_free(struct idle *idle);

#endif
