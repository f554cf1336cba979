/* Room for other threads, where the system allows fewer than wished: the request threads must not take it all. */
#ifndef HTTP_SPARE_H
#define HTTP_SPARE_H

#include <pthread.h>
#include <stddef.h>

/* For the forwarder, the queue's writer and housekeeper, the reconciler, alerts, a resolver, the check before a reload.
 */
#define SPARE_THREADS 7

struct spare {
    pthread_mutex_t lock;
    pthread_t threads[SPARE_THREADS];
    size_t count;
};

/* Holds the room with threads that do nothing. */
void spare_take(struct spare *spare);

/* Ends them. */
void spare_leave(struct spare *spare);

#endif
