/* Room in memory for libfcgi. It ends the process when it cannot allocate, so it is given a connection only while there
 * is memory; who is not is answered 503 without it. */
#ifndef HTTP_HEADROOM_H
#define HTTP_HEADROOM_H

#include <stdatomic.h>
#include <stdbool.h>

struct headroom {
    atomic_bool watched; /* memory is limited, or was missing once */
};

/* Finds out whether memory is limited. */
void headroom_init(struct headroom *headroom);

/* Whether there is memory for a request's beginning in every thread. Costs nothing where memory is not limited. Any
 * thread. */
bool headroom_is_there(struct headroom *headroom);

/* Memory could not be had: from now on it is looked for before each request. Any thread. */
void headroom_was_missing(struct headroom *headroom);

/* Answers 503 to the FastCGI request that begins on this connection, without any memory. Closes nothing. */
void headroom_refuse(int fd);

#endif
