/* Parked events: the data plane fails at each of them, alone. Others pass, but for those about the same person, which
 * are held behind it, so that a lead's events keep their order. */
#include "forward/lane.h"
#include "forward/steps.h"

static void park(struct traffic *traffic, struct pending *pending, int64_t since_ms)
{
    pending->parked_ms = since_ms;
    pending->accepted = traffic->sent;
    traffic->parked_at = traffic->sent;
    traffic->notes_differ = true;
    traffic_hold(traffic, pending);
    pending_push(&traffic->parked, pending);
}

void traffic_park(struct lane *lane, struct pending *pending)
{
    lane_put_back(lane);
    park(lane->traffic, pending, clock_unix_ms());
}

bool traffic_was_parked(struct traffic *traffic, struct pending *pending)
{
    const struct notes *notes = &traffic->recalled;
    if (traffic->holding_count >= NOTES_PARKED || traffic_holds(traffic, pending->person))
        return false;
    for (uint32_t i = 0; i < notes->parked_count; i++) {
        if (notes->parked[i].id == pending->id) {
            park(traffic, pending, notes->parked[i].since_ms);
            return true;
        }
    }
    return false;
}

/* It goes alone, before all that waits in its lane. */
static void try_again(struct traffic *traffic, struct pending *pending)
{
    struct lane *lane = traffic_lane(traffic, pending);
    lane_put_back(lane);
    pending_push_first(&lane->waiting, pending);
    lane->limit = 1;
}

void traffic_parked_due(struct traffic *traffic)
{
    if (traffic->parked.count == 0)
        return;
    struct pending_list all;
    struct pending *pending;
    moment now = clock_now();
    pending_move(&all, &traffic->parked);
    while ((pending = pending_pop(&all)) != NULL) {
        const struct lane *lane = traffic_lane(traffic, pending);
        bool alone = lane->sending.count == 0 && (lane->waiting.first == NULL || lane->waiting.first->parked_ms == 0);
        if (traffic_expire(traffic, pending))
            continue;
        if (alone && pending->until <= now && lane_due(lane) <= now)
            try_again(traffic, pending);
        else
            pending_push(&traffic->parked, pending);
    }
}
