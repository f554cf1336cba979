/* An event that needs more memory than there is: tried alone some times, while there is memory for ordinary ones, and
 * then given up, for it would hold up all that come after it. */
#include <stdlib.h>

#include "forward/steps.h"

#define STARVED_MOST 5                       /* tries */
#define ORDINARY_BYTES ((size_t)1024 * 1024) /* what an ordinary event may need */

/* Whether memory is short for this event only, and not for all. */
static bool is_there_memory(void)
{
    void *volatile bytes = malloc(ORDINARY_BYTES); /* volatile: else the compiler may do without it */
    bool good = bytes != NULL;
    free(bytes);
    return good;
}

bool traffic_starved(unsigned char *tries)
{
    if (is_there_memory())
        (*tries)++;
    return *tries >= STARVED_MOST;
}

int64_t traffic_starved_pause(const struct traffic *traffic, unsigned tries)
{
    return traffic->starved_ms << (tries == 0 ? 0 : tries - 1);
}

void traffic_starved_reason(struct error *why, const char *what)
{
    error_set(why, "it needs more memory than there is: %.300s; it was tried %d times alone, while others had enough",
              what, STARVED_MOST);
}
