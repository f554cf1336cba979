/* What the configuration and the system say of requests, as http/ takes it. */
#ifndef PROCESS_LIMITS_H
#define PROCESS_LIMITS_H

#include "config/config.h"
#include "http/http.h"

struct http_limits limits_of(const struct config *config);

/* Where the address space is limited, keeps malloc from reserving some for each thread, and from keeping what large
 * bodies have left. Call before threads start. */
void limits_spare_memory(void);

#endif
