/* From the queue into the lanes: reads events, tells duplicates apart, picks each one's lane. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/text.h"
#include "forward/crash_guard.h"
#include "forward/lane.h"
#include "forward/steps.h"

#define CHUNK 64 /* events read, and asked about, at once */
#define CHUNK_BYTES ((size_t)4 * 1024 * 1024)
#define RETRY_MS 1000

/* Spreads leads over lanes, the same way in every process. */
static uint64_t hash_person(const char *person)
{
    uint64_t hash = text_hash(TEXT_HASH, person, strlen(person));
    return hash ^ (hash >> 32);
}

/* An event that needs nothing sent: it ends at once. */
static void settle_at_once(struct traffic *traffic, uint64_t id, enum verdict_kind kind, const char *reason)
{
    struct verdict verdict = {.id = id, .kind = kind};
    if (reason != NULL)
        verdict.reason = verdicts_reason(&traffic->verdicts, reason);
    verdicts_add(&traffic->verdicts, &verdict);
    watched_verdict(&traffic->watched, &verdict, false);
    if (kind == VERDICT_DUPLICATE)
        traffic->duplicates++;
    else
        traffic->dead++;
}

static void unusable(struct traffic *traffic, uint64_t id, const char *reason)
{
    char words[LOG_QUOTED];
    log_write(LEVEL_WARN, "msg=unusable source=%s id=%llu reason=%s", traffic->source->name, (unsigned long long)id,
              log_quote(words, reason, strlen(reason)));
    settle_at_once(traffic, id, VERDICT_DEAD, reason);
}

/* The same event, or a newer one, is on its way, or has ended a moment ago: this one ends as that one does. */
static void join_twin(struct traffic *traffic, struct pending *first, struct pending *twin)
{
    if (first->ended) {
        traffic->on_their_way--;
        settle_at_once(traffic, twin->id, VERDICT_DUPLICATE, NULL);
        free(twin);
        return;
    }
    twin->twins = first->twins;
    first->twins = twin;
    if (first->told)
        traffic_tell_later(traffic, twin,
                           first->until > 0 ? first->until : lane_put_off_until(traffic_lane(traffic, first)),
                           first->until > 0, traffic->why.text);
}

/* Into the batch that is being built, if nothing waits before it; else it waits, to be read again in its turn. */
static void enter_lane(struct traffic *traffic, struct pending *pending, struct parsed *parsed)
{
    struct lane *lane = traffic_lane(traffic, pending);
    if (traffic_expire(traffic, pending))
        return;
    if (traffic_was_parked(traffic, pending))
        return;
    if (traffic_holds(traffic, pending->person)) {
        pending_push(&traffic->held, pending);
        return;
    }
    enum lane_built built = lane_has_room(lane) ? lane_build(lane, pending, parsed) : LANE_NO_ROOM;
    if (built == LANE_BUILT)
        return;
    if (built == LANE_DROPPED) {
        traffic_end(traffic, pending, VERDICT_DROPPED, NULL);
        return;
    }
    pending_push(&lane->waiting, pending);
    if (lane_put_off_until(lane) > clock_now())
        traffic_tell_later(traffic, pending, lane_put_off_until(lane), false, traffic->why.text);
}

/* Returns false when memory is out: the event is to be read again. */
static bool take_one(struct traffic *traffic, const struct event *event, struct parsed *parsed,
                     const struct known *known)
{
    const struct identity *identity = transform_identity(parsed);
    bool is_known = known->delivered && identity->updated_us <= known->delivered_us;
    /* A dead letter that an operator sent on its way again is not the duplicate of itself. */
    bool is_dead = !event->replay && known->dead && identity->updated_us <= known->dead_us;
    if (is_known || is_dead) {
        settle_at_once(traffic, event->id, VERDICT_DUPLICATE, NULL);
        return true;
    }
    struct pending *pending = calloc(1, sizeof *pending);
    if (pending == NULL)
        return false;
    pending->id = event->id;
    pending->identity = *identity;
    pending->received_ms = event->received_ms;
    pending->person = hash_person(transform_ordering_key(parsed));
    pending->newer = known->delivered;
    traffic->on_their_way++;

    struct pending *first = in_hand_find(&traffic->in_hand, identity);
    if (first != NULL && identity->updated_us <= first->identity.updated_us) {
        join_twin(traffic, first, pending);
        return true;
    }
    pending->newer |= first != NULL && (!first->ended || first->delivered);
    in_hand_add(&traffic->in_hand, pending);
    enter_lane(traffic, pending, parsed);
    return true;
}

/* Parses what was read. Returns how many of the events are done with or parsed; fewer than all: memory is out.
 * Unusable ones are NULL. */
static size_t parse_all(struct traffic *traffic, struct parsed *parsed[], struct identity identities[],
                        struct error *why)
{
    for (size_t i = 0; i < traffic->events.count; i++) {
        const struct event *event = &traffic->events.at[i];
        bool out_of_memory = false;
        parsed[i] = traffic_parse(traffic, event, &out_of_memory, why);
        if (parsed[i] == NULL && out_of_memory)
            return i;
        if (parsed[i] == NULL)
            unusable(traffic, event->id, why->text);
        identities[i] = parsed[i] == NULL ? (struct identity){.updated_us = 0} : *transform_identity(parsed[i]);
    }
    return traffic->events.count;
}

/* Reads no more for a while. */
static void pause_reading(struct traffic *traffic, const struct error *why)
{
    char words[LOG_QUOTED];
    traffic->intake_due = clock_now() + RETRY_MS;
    log_write(LEVEL_ERROR, "msg=cannot_read_queue source=%s reason=%s", traffic->source->name,
              log_quote(words, why->text, strlen(why->text)));
}

/* Memory was out for this event. alone: nothing else was read with it; else it is read again, alone, at once. */
static void starved(struct traffic *traffic, const struct event *event, bool alone, struct error *why)
{
    struct error reason;
    bool give_up = traffic_is_too_old(traffic, event->received_ms, &reason);
    if (traffic->starved.id != event->id)
        traffic->starved.tries = 0;
    traffic->starved.id = event->id;
    if (!give_up && alone) {
        give_up = traffic_starved(&traffic->starved.tries);
        traffic_starved_reason(&reason, why->text);
        pause_reading(traffic, why);
        traffic->intake_due = clock_now() + traffic_starved_pause(traffic, traffic->starved.tries);
    }
    if (!give_up)
        return;
    unusable(traffic, event->id, reason.text);
    traffic->last_id = event->id;
    traffic->starved.id = 0;
    traffic->intake_due = 0;
}

bool traffic_take_in(struct traffic *traffic)
{
    struct parsed *parsed[CHUNK] = {NULL};
    struct identity identities[CHUNK];
    struct known known[CHUNK];
    struct error why = {.text = "out of memory"};
    /* Until they are told, an event may be put off once and end once. */
    if (!verdicts_reserve(&traffic->verdicts, 2 * traffic->on_their_way + CHUNK)) {
        pause_reading(traffic, &why);
        return false;
    }
    size_t chunk = traffic->starved.id != 0 ? 1 : CHUNK;
    int found =
        queue_next(traffic->queue, traffic->source->name, traffic->last_id, chunk, CHUNK_BYTES, &traffic->events, &why);
    if (found < 0)
        pause_reading(traffic, &why);
    if (found <= 0)
        return false;

    struct error starving;
    traffic_expect(traffic);
    size_t count = parse_all(traffic, parsed, identities, &starving);
    crumb_rest(traffic->crumb); /* the queue is asked now */
    bool good = queue_known(traffic->queue, traffic->source->name, identities, count, known, &why);
    size_t taken = 0;
    while (good && taken < count) {
        const struct event *event = &traffic->events.at[taken];
        good = parsed[taken] == NULL || take_one(traffic, event, parsed[taken], &known[taken]);
        if (good) {
            traffic->last_id = event->id;
            traffic->starved.id = 0;
            taken++;
        }
    }
    crumb_rest(traffic->crumb);
    for (size_t i = 0; i < count; i++)
        parsed_free(parsed[i]);
    if (taken < count)
        pause_reading(traffic, &why);
    else if (count < (size_t)found)
        starved(traffic, &traffic->events.at[count], count == 0, &starving);
    return true;
}
