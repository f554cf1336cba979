/* Where it is in doubt that anything can be written, a process that has not settled anything yet shows before each
 * batch that it could settle it. Else events would be sent, and sent again by the next process, and the next: with each
 * restart as many as are in flight at once. */
#include "base/log.h"
#include "forward/lane.h"
#include "forward/steps.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_MS 1000 /* until the next try; it doubles */
#define MOST_MS 8000

/* All of the batch as delivered: other ends need hardly less room. */
static bool ask(struct lane *lane, struct error *why)
{
    struct traffic *traffic = lane->traffic;
    struct verdict *verdicts = calloc(lane->built.count, sizeof *verdicts);
    size_t count = 0;
    error_set(why, "out of memory");
    if (verdicts == NULL)
        return false;
    for (const struct pending *p = lane->built.first; p != NULL; p = p->next)
        verdicts[count++] = (struct verdict){
            .id = p->id, .kind = VERDICT_DELIVERED, .identity = p->identity, .remember = traffic->file == NULL};
    bool good = queue_can_settle(traffic->queue, traffic->source->name, verdicts, count, why);
    free(verdicts);
    return good;
}

bool traffic_can_settle(struct lane *lane)
{
    struct traffic *traffic = lane->traffic;
    struct error why;
    char words[LOG_QUOTED];
    if (ask(lane, &why)) {
        traffic->unsettled = 0;
        return true;
    }
    size_t count = lane->built.count;
    lane_put_back(lane);
    lane->limit = (count + 1) / 2;
    if (count > 1)
        return false; /* perhaps less of it can */
    int64_t pause_ms = FIRST_MS << traffic->unsettled;
    traffic->unsettled += pause_ms < MOST_MS ? 1 : 0;
    traffic->settle_due = clock_now() + pause_ms;
    log_write(LEVEL_ERROR,
              "msg=nothing_is_sent source=%s next_seconds=%.1f reason=%s advice=\"what is sent now could not be noted "
              "as delivered, and would be sent again after each start; it waits\"",
              traffic->source->name, (double)pause_ms / 1000, log_quote(words, why.text, strlen(why.text)));
    return false;
}
