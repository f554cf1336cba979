/* Room for other threads, where the system allows fewer than wished: the request threads must not take it all. */
#ifndef HTTP_ROOM_H
#define HTTP_ROOM_H

#include <pthread.h>
#include <stddef.h>

/* For the forwarder, the queue's writer and housekeeper, the reconciler, alerts, a resolver, the check before a reload.
 */
#define ROOM 7

struct room {
    pthread_mutex_t lock;
    pthread_t threads[ROOM];
    size_t count;
};

/* Holds the room with threads that do nothing. */
void room_take(struct room *room);

/* Ends them. */
void room_leave(struct room *room);

#endif
