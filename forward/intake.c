/* From the queue into the lanes: reads events, tells duplicates apart, picks each one's lane. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/text.h"
#include "forward/crash_guard.h"
#include "forward/forward_private.h"

#define CHUNK 64 /* events read, and asked about, at once */
#define CHUNK_BYTES ((size_t)4 * 1024 * 1024)
#define RETRY_MS 1000

/* Spreads leads over lanes, the same way in every process. */
static uint64_t hash_ordering_key(const char *key)
{
    uint64_t hash = text_hash(TEXT_HASH, key, strlen(key));
    return hash ^ (hash >> 32);
}

/* An event that needs nothing sent: it ends at once. */
static void settle_at_once(struct source_pipeline *pipeline, uint64_t id, enum verdict_kind kind, const char *reason)
{
    struct verdict verdict = {.id = id, .kind = kind};
    if (reason != NULL)
        verdict.reason = verdicts_reason(&pipeline->verdicts, reason);
    verdicts_add(&pipeline->verdicts, &verdict);
    samples_verdict(&pipeline->samples, &verdict, false);
    if (kind == VERDICT_DUPLICATE)
        pipeline->duplicates++;
    else
        pipeline->dead++;
}

static void end_unusable(struct source_pipeline *pipeline, uint64_t id, const char *reason)
{
    char words[LOG_QUOTED];
    log_write(LEVEL_WARN, "msg=unusable source=%s id=%llu reason=%s", pipeline->source->name, (unsigned long long)id,
              log_quote(words, reason, strlen(reason)));
    settle_at_once(pipeline, id, VERDICT_DEAD, reason);
}

/* The same event, or a newer one, is in flight, or has ended a moment ago: this one ends as that one does. */
static void join_duplicate(struct source_pipeline *pipeline, struct pending *first, struct pending *duplicate)
{
    if (first->settling) {
        pipeline->in_flight--;
        settle_at_once(pipeline, duplicate->id, VERDICT_DUPLICATE, NULL);
        free(duplicate);
        return;
    }
    duplicate->duplicates = first->duplicates;
    first->duplicates = duplicate;
    if (first->deferred_reported)
        outbox_defer(pipeline, duplicate,
                     first->until > 0 ? first->until : lane_put_off_until(source_lane(pipeline, first)),
                     first->until > 0, pipeline->why.text);
}

/* Into the batch that is being built, if nothing waits before it; else it waits, to be read again in its turn. */
static void enter_lane(struct source_pipeline *pipeline, struct pending *pending, struct parsed *parsed)
{
    struct lane *lane = source_lane(pipeline, pending);
    if (source_expire(pipeline, pending))
        return;
    if (hold_was_parked(pipeline, pending))
        return;
    if (hold_has_key(pipeline, pending->ordering_key)) {
        pending_push(&pipeline->held, pending);
        return;
    }
    enum lane_built built = lane_has_room(lane) ? lane_build(lane, pending, parsed) : LANE_NO_ROOM;
    if (built == LANE_BUILT)
        return;
    if (built == LANE_DROPPED) {
        source_end(pipeline, pending, VERDICT_DROPPED, NULL);
        return;
    }
    pending_push(&lane->waiting, pending);
    if (lane_put_off_until(lane) > clock_now())
        outbox_defer(pipeline, pending, lane_put_off_until(lane), false, pipeline->why.text);
}

/* Returns false when memory is out: the event is to be read again. */
static bool take_one(struct source_pipeline *pipeline, const struct event *event, struct parsed *parsed,
                     const struct known *known)
{
    const struct identity *identity = transform_identity(parsed);
    bool is_known = known->delivered && identity->updated_us <= known->delivered_us;
    /* A dead letter that an operator sent on its way again is not the duplicate of itself. */
    bool is_dead = !event->replay && known->dead && identity->updated_us <= known->dead_us;
    if (is_known || is_dead) {
        settle_at_once(pipeline, event->id, VERDICT_DUPLICATE, NULL);
        return true;
    }
    struct pending *pending = calloc(1, sizeof *pending);
    if (pending == NULL)
        return false;
    pending->id = event->id;
    pending->identity = *identity;
    pending->received_ms = event->received_ms;
    pending->ordering_key = hash_ordering_key(transform_person(parsed));
    pending->newer = known->delivered;
    pipeline->in_flight++;

    struct pending *first = pending_table_find(&pipeline->by_identity, identity);
    if (first != NULL && identity->updated_us <= first->identity.updated_us) {
        join_duplicate(pipeline, first, pending);
        return true;
    }
    pending->newer |= first != NULL && (!first->settling || first->delivered);
    pending_table_add(&pipeline->by_identity, pending);
    enter_lane(pipeline, pending, parsed);
    return true;
}

/* Parses what was read. Returns how many of the events are done with or parsed; fewer than all: memory is out.
 * Unusable ones are NULL. */
static size_t parse_all(struct source_pipeline *pipeline, struct parsed *parsed[], struct identity identities[],
                        struct error *why)
{
    for (size_t i = 0; i < pipeline->events.count; i++) {
        const struct event *event = &pipeline->events.at[i];
        bool out_of_memory = false;
        parsed[i] =
            crash_guard_parse(pipeline->guard, pipeline->source->name, &pipeline->rules, event, &out_of_memory, why);
        if (parsed[i] == NULL && out_of_memory)
            return i;
        if (parsed[i] == NULL)
            end_unusable(pipeline, event->id, why->text);
        identities[i] = parsed[i] == NULL ? (struct identity){.updated_us = 0} : *transform_identity(parsed[i]);
    }
    return pipeline->events.count;
}

/* Reads no more for a while. */
static void pause_reading(struct source_pipeline *pipeline, const struct error *why)
{
    char words[LOG_QUOTED];
    pipeline->intake_due = clock_now() + RETRY_MS;
    log_write(LEVEL_ERROR, "msg=cannot_read_queue source=%s reason=%s", pipeline->source->name,
              log_quote(words, why->text, strlen(why->text)));
}

/* Memory was out for this event. alone: nothing else was read with it; else it is read again, alone, at once. */
static void event_starved(struct source_pipeline *pipeline, const struct event *event, bool alone, struct error *why)
{
    struct error reason;
    bool give_up = source_is_too_old(pipeline, event->received_ms, &reason);
    if (pipeline->starved.id != event->id)
        pipeline->starved.tries = 0;
    pipeline->starved.id = event->id;
    if (!give_up && alone) {
        give_up = source_starved(&pipeline->starved.tries);
        source_starved_reason(&reason, why->text);
        pause_reading(pipeline, why);
        pipeline->intake_due = clock_now() + source_starved_pause(pipeline, pipeline->starved.tries);
    }
    if (!give_up)
        return;
    end_unusable(pipeline, event->id, reason.text);
    pipeline->last_id = event->id;
    pipeline->starved.id = 0;
    pipeline->intake_due = 0;
}

bool intake_read(struct source_pipeline *pipeline)
{
    struct parsed *parsed[CHUNK] = {NULL};
    struct identity identities[CHUNK];
    struct known known[CHUNK];
    struct error why = {.text = "out of memory"};
    /* Until they are told, an event may be put off once and end once. */
    if (!verdicts_reserve(&pipeline->verdicts, 2 * pipeline->in_flight + CHUNK)) {
        pause_reading(pipeline, &why);
        return false;
    }
    size_t chunk = pipeline->starved.id != 0 ? 1 : CHUNK;
    int found = queue_next(pipeline->queue, pipeline->source->name, pipeline->last_id, chunk, CHUNK_BYTES,
                           &pipeline->events, &why);
    if (found < 0)
        pause_reading(pipeline, &why);
    if (found <= 0)
        return false;

    struct error starving;
    crash_guard_expect_events(pipeline->guard, pipeline->source->name, &pipeline->events);
    size_t count = parse_all(pipeline, parsed, identities, &starving);
    crash_guard_rest(pipeline->guard); /* the queue is asked now */
    bool good = queue_known(pipeline->queue, pipeline->source->name, identities, count, known, &why);
    size_t taken = 0;
    while (good && taken < count) {
        const struct event *event = &pipeline->events.at[taken];
        good = parsed[taken] == NULL || take_one(pipeline, event, parsed[taken], &known[taken]);
        if (good) {
            pipeline->last_id = event->id;
            pipeline->starved.id = 0;
            taken++;
        }
    }
    crash_guard_rest(pipeline->guard);
    for (size_t i = 0; i < count; i++)
        parsed_free(parsed[i]);
    if (taken < count)
        pause_reading(pipeline, &why);
    else if (count < (size_t)found)
        event_starved(pipeline, &pipeline->events.at[count], count == 0, &starving);
    return true;
}
