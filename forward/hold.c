/* Events that are held: parked ones, at each of which the data plane fails, alone; those set aside, refused alone
 * (search.c says when); and those about the same persons, which wait behind them, so that a lead's events keep their
 * order. Others pass. */
#include "forward/forward_private.h"

bool traffic_holds(const struct traffic *traffic, uint64_t person)
{
    for (size_t i = 0; i < traffic->holding_count; i++) {
        if (traffic->holding[i] == person)
            return true;
    }
    return false;
}

void traffic_hold(struct traffic *traffic, struct pending *pending)
{
    if (pending->holds || traffic->holding_count == HOLDING_MOST)
        return;
    pending->holds = true;
    traffic->holding[traffic->holding_count++] = pending->person;
    pending_move_person(&traffic->held, &traffic_lane(traffic, pending)->waiting, pending->person);
}

/* It has ended: those behind it go on. */
void traffic_release(struct traffic *traffic, const struct pending *pending)
{
    struct pending_list free_now;
    if (!pending->holds)
        return;
    pending_list_init(&free_now);
    for (size_t i = 0; i < traffic->holding_count; i++) {
        if (traffic->holding[i] == pending->person) {
            traffic->holding[i] = traffic->holding[--traffic->holding_count];
            break;
        }
    }
    traffic->notes_differ = true;
    pending_move_person(&free_now, &traffic->held, pending->person);
    pending_prepend(&traffic_lane(traffic, pending)->waiting, &free_now);
}

void traffic_return(struct traffic *traffic, struct pending_list *from)
{
    struct pending_list reversed;
    struct pending *pending;
    pending_list_init(&reversed);
    while ((pending = pending_pop(from)) != NULL)
        pending_push_first(&reversed, pending);
    while ((pending = pending_pop(&reversed)) != NULL) {
        pending->until = 0;
        pending_push_first(&traffic_lane(traffic, pending)->waiting, pending);
    }
}

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
