/* What the configuration says of requests, as http/ takes it. */
#ifndef LIFE_LIMITS_H
#define LIFE_LIMITS_H

#include "config/config.h"
#include "http/http.h"

#define BODIES_IN_HAND ((size_t)64 * 1024 * 1024) /* bytes of all bodies together */

static inline struct http_limits limits_of(const struct config *config)
{
    return (struct http_limits){
        .max_body = (size_t)config->max_body,
        .max_bodies = BODIES_IN_HAND,
        .request_timeout_ms = config->request_timeout_ms,
        .threads = (size_t)config->request_threads,
    };
}

#endif
