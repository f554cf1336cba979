/* Events that are held: parked ones, at each of which the data plane fails, alone; those set aside, refused alone
 * (search.c says when); and those about the same ordering keys, which wait behind them, so that a lead's events keep
 * their order. Others pass. */
#include "forward/forward_private.h"

bool hold_has_key(const struct source_pipeline *pipeline, uint64_t ordering_key)
{
    for (size_t i = 0; i < pipeline->holding_count; i++) {
        if (pipeline->holding[i] == ordering_key)
            return true;
    }
    return false;
}

void hold_by_key(struct source_pipeline *pipeline, struct pending *pending)
{
    if (pending->holds || pipeline->holding_count == HOLDING_MOST)
        return;
    pending->holds = true;
    pipeline->holding[pipeline->holding_count++] = pending->ordering_key;
    pending_move_key(&pipeline->held, &source_lane(pipeline, pending)->waiting, pending->ordering_key);
}

/* It has ended: those behind it go on. */
void hold_release(struct source_pipeline *pipeline, const struct pending *pending)
{
    struct pending_list free_now;
    if (!pending->holds)
        return;
    pending_list_init(&free_now);
    for (size_t i = 0; i < pipeline->holding_count; i++) {
        if (pipeline->holding[i] == pending->ordering_key) {
            pipeline->holding[i] = pipeline->holding[--pipeline->holding_count];
            break;
        }
    }
    pipeline->notes_differ = true;
    pending_move_key(&free_now, &pipeline->held, pending->ordering_key);
    pending_prepend(&source_lane(pipeline, pending)->waiting, &free_now);
}

void hold_return(struct source_pipeline *pipeline, struct pending_list *from)
{
    struct pending_list reversed;
    struct pending *pending;
    pending_list_init(&reversed);
    while ((pending = pending_pop(from)) != NULL)
        pending_push_first(&reversed, pending);
    while ((pending = pending_pop(&reversed)) != NULL) {
        pending->until = 0;
        pending_push_first(&source_lane(pipeline, pending)->waiting, pending);
    }
}

static void park_since(struct source_pipeline *pipeline, struct pending *pending, int64_t since_ms)
{
    pending->parked_ms = since_ms;
    pending->accepted = pipeline->sent;
    pipeline->parked_at = pipeline->sent;
    pipeline->notes_differ = true;
    hold_by_key(pipeline, pending);
    pending_push(&pipeline->parked, pending);
}

void hold_park(struct lane *lane, struct pending *pending)
{
    lane_put_back(lane);
    park_since(lane->pipeline, pending, clock_unix_ms());
}

bool hold_was_parked(struct source_pipeline *pipeline, struct pending *pending)
{
    const struct notes *notes = &pipeline->recalled;
    if (pipeline->holding_count >= NOTES_PARKED || hold_has_key(pipeline, pending->ordering_key))
        return false;
    for (uint32_t i = 0; i < notes->parked_count; i++) {
        if (notes->parked[i].id == pending->id) {
            park_since(pipeline, pending, notes->parked[i].since_ms);
            return true;
        }
    }
    return false;
}

/* It goes alone, before all that waits in its lane. */
static void try_parked_alone(struct source_pipeline *pipeline, struct pending *pending)
{
    struct lane *lane = source_lane(pipeline, pending);
    lane_put_back(lane);
    pending_push_first(&lane->waiting, pending);
    lane->limit = 1;
}

void hold_try_parked(struct source_pipeline *pipeline)
{
    if (pipeline->parked.count == 0)
        return;
    struct pending_list all;
    struct pending *pending;
    moment now = clock_now();
    pending_move(&all, &pipeline->parked);
    while ((pending = pending_pop(&all)) != NULL) {
        const struct lane *lane = source_lane(pipeline, pending);
        bool alone = lane->sending.count == 0 && (lane->waiting.first == NULL || lane->waiting.first->parked_ms == 0);
        if (source_expire(pipeline, pending))
            continue;
        if (alone && pending->until <= now && lane_due(lane) <= now)
            try_parked_alone(pipeline, pending);
        else
            pending_push(&pipeline->parked, pending);
    }
}
