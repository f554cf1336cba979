/* Waiting events by their number: see find_event.h. */
#include "commands/find_event.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define EVENT_BYTES ((size_t)1 << 20) /* the first always comes */

int find_event(struct queue *queue, const char *source, uint64_t id, struct events *events, struct error *why)
{
    int found = queue_list(queue, source, id - 1, 1, EVENT_BYTES, events, why);
    return found <= 0 ? found : events->at[0].id == id;
}

const char *find_event_source(struct queue *queue, uint64_t id, const struct strings *names, const char *wanted,
                              struct events *events, struct error *why)
{
    char several[200] = "";
    const char *source = NULL;
    size_t having = 0;
    for (size_t i = 0; i < names->count; i++) {
        int found =
            wanted == NULL || strcmp(names->at[i], wanted) == 0 ? find_event(queue, names->at[i], id, events, why) : 0;
        if (found < 0)
            return NULL;
        if (found == 0)
            continue;
        having++;
        source = names->at[i];
        size_t length = strlen(several);
        snprintf(several + length, sizeof several - length, " %s", source);
    }
    if (having == 1)
        return source;
    if (having == 0)
        error_set(why, "no event %" PRIu64 " waits%s%.64s: `closecrm.fcgi queue list` shows what does", id,
                  wanted == NULL ? "" : " in source ", wanted == NULL ? "" : wanted);
    else
        error_set(why, "several sources have an event %" PRIu64 ": say which, with --source:%s", id, several);
    return NULL;
}
