/* Events that are held: parked ones, at each of which the data plane fails, alone; those set aside, refused alone (see
 * search.c); and behind them those with the same ordering keys, so that a lead's events keep their order. Others pass.
 */
#include "forward/forward_private.h"

void hold_init(struct hold *hold)
{
    pending_list_init(&hold->aside);
    pending_list_init(&hold->parked);
    pending_list_init(&hold->behind);
}

void hold_free(struct hold *hold)
{
    pending_list_free(&hold->aside);
    pending_list_free(&hold->parked);
    pending_list_free(&hold->behind);
}

/* ---- by ordering key ---- */

static bool holds_key(const struct hold *hold, uint64_t ordering_key)
{
    for (size_t i = 0; i < hold->key_count; i++) {
        if (hold->keys[i] == ordering_key)
            return true;
    }
    return false;
}

bool hold_behind(struct source_pipeline *pipeline, struct pending *pending)
{
    struct hold *hold = &pipeline->hold;
    if (!holds_key(hold, pending->ordering_key))
        return false;
    pending_push(&hold->behind, pending);
    return true;
}

/* Events with this one's ordering key wait until it has ended: takes those out of its lane. */
static void hold_key(struct source_pipeline *pipeline, struct pending *pending)
{
    struct hold *hold = &pipeline->hold;
    if (pending->holds || hold->key_count == HOLD_KEYS_MOST)
        return;
    pending->holds = true;
    hold->keys[hold->key_count++] = pending->ordering_key;
    pending_move_key(&hold->behind, &source_lane(pipeline, pending)->waiting, pending->ordering_key);
}

void hold_release(struct source_pipeline *pipeline, const struct pending *pending)
{
    struct hold *hold = &pipeline->hold;
    struct pending_list free_now;
    if (!pending->holds)
        return;
    pending_list_init(&free_now);
    for (size_t i = 0; i < hold->key_count; i++) {
        if (hold->keys[i] == pending->ordering_key) {
            hold->keys[i] = hold->keys[--hold->key_count];
            break;
        }
    }
    notes_changed(pipeline);
    pending_move_key(&free_now, &hold->behind, pending->ordering_key);
    pending_prepend(&source_lane(pipeline, pending)->waiting, &free_now);
}

/* ---- parked ---- */

static void park_since(struct source_pipeline *pipeline, struct pending *pending, int64_t since_ms)
{
    pending->parked_ms = since_ms;
    pending->accepted = pipeline->data_plane.sent;
    pipeline->hold.parked_at = pipeline->data_plane.sent;
    notes_changed(pipeline);
    hold_key(pipeline, pending);
    pending_push(&pipeline->hold.parked, pending);
}

void hold_park(struct lane *lane, struct pending *pending, moment until)
{
    pending->until = until;
    lane_put_back(lane);
    park_since(lane->pipeline, pending, clock_unix_ms());
}

void hold_park_again(struct hold *hold, struct pending *pending, moment until)
{
    pending->until = until;
    pending_push(&hold->parked, pending);
}

bool hold_has_room(const struct source_pipeline *pipeline)
{
    return pipeline->hold.key_count < NOTES_PARKED;
}

bool hold_may_park(const struct source_pipeline *pipeline)
{
    const struct hold *hold = &pipeline->hold;
    return hold->key_count == 0 || (hold_has_room(pipeline) && pipeline->data_plane.accepted > hold->parked_at);
}

void hold_hurry_parked(struct source_pipeline *pipeline)
{
    moment until = clock_now();
    for (struct pending *p = pipeline->hold.parked.first; p != NULL; p = p->next) {
        if (!p->unproven)
            continue;
        p->unproven = false;
        until += pipeline->pauses->backoff_ms;
        if (p->until > until)
            p->until = until;
    }
}

bool hold_was_parked(struct source_pipeline *pipeline, struct pending *pending)
{
    const struct notes *notes = &pipeline->notes.recalled;
    const struct hold *hold = &pipeline->hold;
    if (!hold_has_room(pipeline) || holds_key(hold, pending->ordering_key))
        return false;
    for (uint32_t i = 0; i < notes->parked_count; i++) {
        if (notes->parked[i].id == pending->id) {
            pending->recalled = true;
            park_since(pipeline, pending, notes->parked[i].since_ms);
            return true;
        }
    }
    return false;
}

void hold_try_parked(struct source_pipeline *pipeline)
{
    struct hold *hold = &pipeline->hold;
    if (hold->parked.count == 0)
        return;
    struct pending_list all;
    struct pending *pending;
    moment now = clock_now();
    pending_move(&all, &hold->parked);
    while ((pending = pending_pop(&all)) != NULL) {
        struct lane *lane = source_lane(pipeline, pending);
        bool alone = lane->sending.count == 0 && (lane->waiting.first == NULL || lane->waiting.first->parked_ms == 0);
        if (source_expire(pipeline, pending))
            continue;
        if (alone && pending->until <= now && lane_due(lane) <= now)
            lane_send_alone(lane, pending);
        else
            pending_push(&hold->parked, pending);
    }
}

moment hold_parked_due(const struct source_pipeline *pipeline)
{
    moment due = MOMENT_NEVER;
    for (const struct pending *p = pipeline->hold.parked.first; p != NULL; p = p->next) {
        if (source_lane(pipeline, p)->sending.count == 0 && p->until < due)
            due = p->until;
    }
    return due;
}

/* ---- set aside ---- */

void hold_set_aside(struct source_pipeline *pipeline, struct pending *pending)
{
    hold_key(pipeline, pending);
    pending_push(&pipeline->hold.aside, pending);
}

void hold_return_aside(struct source_pipeline *pipeline, bool alone)
{
    struct hold *hold = &pipeline->hold;
    struct pending_list reversed;
    struct pending *pending;
    for (const struct pending *p = hold->aside.first; alone && p != NULL; p = p->next) {
        struct lane *lane = source_lane(pipeline, p);
        if (lane->sending.count == 0)
            lane_put_back(lane);
        lane->limit = 1;
    }
    pending_list_init(&reversed);
    while ((pending = pending_pop(&hold->aside)) != NULL)
        pending_push_first(&reversed, pending);
    while ((pending = pending_pop(&reversed)) != NULL) {
        pending->until = 0;
        pending_push_first(&source_lane(pipeline, pending)->waiting, pending);
    }
}

moment hold_aside_due(const struct source_pipeline *pipeline)
{
    const struct pending *first = pipeline->hold.aside.first;
    moment blocked_until = pipeline->data_plane.blocked_until;
    if (first == NULL || source_is_sending(pipeline) || (pipeline->search.one_only && source_has_waiting(pipeline)))
        return MOMENT_NEVER;
    return first->until > blocked_until ? first->until : blocked_until;
}

void hold_try_aside(struct source_pipeline *pipeline)
{
    struct hold *hold = &pipeline->hold;
    struct pending_list all;
    struct pending *pending;
    moment now = clock_now();
    if (hold_aside_due(pipeline) > now)
        return;
    pending_move(&all, &hold->aside);
    while ((pending = pending_pop(&all)) != NULL) {
        if (source_expire(pipeline, pending))
            continue;
        pending->until = now + OPERATOR_MS;
        pending_push(&hold->aside, pending);
    }
    pending = pending_pop(&hold->aside);
    if (pending == NULL)
        return;
    pending->until = 0;
    lane_send_alone(source_lane(pipeline, pending), pending);
}

void hold_hurry_aside(struct hold *hold)
{
    for (struct pending *p = hold->aside.first; p != NULL; p = p->next)
        p->until = 0;
}

/* ---- found by id ---- */

struct pending *hold_find(const struct hold *hold, uint64_t id)
{
    struct pending *found = pending_find(&hold->aside, id);
    if (found == NULL)
        found = pending_find(&hold->parked, id);
    return found != NULL ? found : pending_find(&hold->behind, id);
}

void hold_remove(struct hold *hold, const struct pending *pending)
{
    if (!pending_remove(&hold->aside, pending) && !pending_remove(&hold->parked, pending))
        pending_remove(&hold->behind, pending);
}
