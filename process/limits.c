/* What the configuration and the system say of requests: see limits.h. */
#include "process/limits.h"

#include <malloc.h>
#include <stdbool.h>
#include <sys/resource.h>

#define BODIES_IN_HAND ((size_t)64 * 1024 * 1024) /* bytes of all bodies together, at most */
#define LARGE (128 * 1024)                        /* bytes: memory of that size is given back when it is freed */

/* The limit of the address space; false: there is none. */
static bool address_space(size_t *bytes)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
        return false;
    *bytes = (size_t)limit.rlim_cur;
    return true;
}

/* At most a quarter of the addresses there are: each body is there twice while the queue writes it. */
static size_t bodies_in_hand(void)
{
    size_t space;
    return address_space(&space) && space / 4 < BODIES_IN_HAND ? space / 4 : BODIES_IN_HAND;
}

struct http_limits limits_of(const struct config *config)
{
    return (struct http_limits){
        .max_body = (size_t)config->max_body,
        .max_bodies = bodies_in_hand(),
        .request_timeout_ms = config->request_timeout_ms,
        .threads = (size_t)config->request_threads,
    };
}

void limits_spare_memory(void)
{
    size_t space;
    if (!address_space(&space))
        return;
    mallopt(M_ARENA_MAX, 1);
    mallopt(M_MMAP_THRESHOLD, LARGE); /* set, it does not grow with what is freed */
    mallopt(M_TRIM_THRESHOLD, LARGE);
}
