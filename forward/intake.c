/* From the queue into the lanes: reads events, tells duplicates apart, picks each one's lane. And what is in flight:
 * see pending.h. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/text.h"
#include "forward/forward_private.h"
#include "forward/pending.h"

#define LIVE_MS ((int64_t)5 * 60 * 1000) /* Close sends within seconds; reconciling reads until five minutes ago */
#define CHUNK_BYTES ((size_t)4 * 1024 * 1024)
#define RETRY_MS 1000

/* Spreads leads over lanes, the same way in every process. */
static uint64_t hash_ordering_key(const char *key)
{
    uint64_t hash = text_hash(TEXT_HASH, key, strlen(key));
    return hash ^ (hash >> 32);
}

/* ---- the window ---- */

bool intake_init(struct intake *intake)
{
    return pending_table_init(&intake->by_identity);
}

void intake_free(struct intake *intake)
{
    pending_table_free(&intake->by_identity);
    events_free(&intake->events);
}

void intake_rest(struct intake *intake)
{
    events_free(&intake->events);
}

void intake_resume(struct intake *intake)
{
    if (intake->due <= clock_now())
        intake->due = 0;
}

void intake_leave(struct intake *intake)
{
    intake->in_flight--;
}

void intake_settled(struct intake *intake, const struct pending *pending)
{
    pending_table_remove(&intake->by_identity, pending);
}

bool intake_forget(struct lane *lane, struct pending *pending)
{
    struct source_pipeline *pipeline = lane->pipeline;
    struct pending *duplicate = pending->duplicates;
    pending_table_remove(&pipeline->intake.by_identity, pending);
    search_forget(&pipeline->search, pending);
    if (duplicate == NULL) {
        hold_release(pipeline, pending);
    } else {
        duplicate->holds = pending->holds;
        pending_table_add(&pipeline->intake.by_identity, duplicate);
        pending_push_first(&lane->waiting, duplicate);
    }
    pipeline->intake.in_flight--;
    free(pending);
    return duplicate != NULL;
}

/* ---- reading ---- */

int intake_read_again(struct source_pipeline *pipeline, const uint64_t *ids, size_t count, size_t *asked,
                      struct error *why)
{
    return queue_again(pipeline->queue, pipeline->source->name, ids, count, BATCH_BYTES, &pipeline->intake.events,
                       asked, why);
}

static void end_unusable(struct source_pipeline *pipeline, const struct event *event, const char *reason)
{
    char words[LOG_QUOTED];
    log_write(LEVEL_WARN, "msg=unusable source=%s id=%llu reason=%s", pipeline->source->name,
              (unsigned long long)event->id, log_quote_reason(words, reason));
    outbox_end_at_once(pipeline, event, VERDICT_DEAD, reason);
}

/* The same event, or a newer one, is in flight, or has ended a moment ago: this one ends as that one does. */
static void join_duplicate(struct source_pipeline *pipeline, const struct event *event, struct pending *first,
                           struct pending *duplicate)
{
    if (first->settling) {
        intake_leave(&pipeline->intake);
        outbox_end_at_once(pipeline, event, VERDICT_DUPLICATE, NULL);
        free(duplicate);
        return;
    }
    duplicate->duplicates = first->duplicates;
    first->duplicates = duplicate;
    if (first->deferred_reported)
        outbox_defer(pipeline, duplicate,
                     first->until > 0 ? first->until : lane_put_off_until(source_lane(pipeline, first)),
                     first->until > 0, pipeline->data_plane.why.text);
}

/* Into the batch that is being built, if nothing waits before it; else it waits, to be read again in its turn. */
static void enter_lane(struct source_pipeline *pipeline, struct pending *pending, struct parsed *parsed)
{
    struct lane *lane = source_lane(pipeline, pending);
    if (source_expire(pipeline, pending))
        return;
    if (hold_was_parked(pipeline, pending))
        return;
    if (hold_behind(pipeline, pending))
        return;
    enum lane_built built = lane_has_room(lane) ? lane_build(lane, pending, parsed) : LANE_NO_ROOM;
    if (built == LANE_BUILT)
        return;
    if (built == LANE_DROPPED) {
        source_end(pipeline, pending, VERDICT_DROPPED, NULL);
        return;
    }
    pending_push(&lane->waiting, pending);
    if (lane_put_off_until(lane) > clock_now())
        outbox_defer(pipeline, pending, lane_put_off_until(lane), false, pipeline->data_plane.why.text);
}

/* Reconciling and backfills bring what is older, and dead letters may be replayed at any time: how long these took
 * tells nothing of the way. */
static bool is_live(const struct event *event, const struct identity *identity)
{
    int64_t received_ms = event->received_ms > 0 ? event->received_ms : clock_unix_ms();
    return !event->replay && identity->updated_us > 0 && received_ms - identity->updated_us / 1000 < LIVE_MS;
}

/* Since when it waits, by which it may be too old. A replay's letter may be as old as that already, and the operator
 * wants it tried: it has all of queue_retention again, from when it is read. */
static int64_t waits_since(const struct event *event)
{
    return event->replay ? clock_unix_ms() : event->received_ms;
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
        outbox_end_at_once(pipeline, event, VERDICT_DUPLICATE, NULL);
        return true;
    }
    struct pending *pending = calloc(1, sizeof *pending);
    if (pending == NULL)
        return false;
    pending->id = event->id;
    pending->identity = *identity;
    pending->received_ms = waits_since(event);
    pending->replay = event->replay;
    pending->live = is_live(event, identity);
    pending->ordering_key = hash_ordering_key(transform_ordering_key(parsed));
    /* The data plane may have stored an earlier version that is a dead letter now: after a broken connection, say. */
    pending->newer = known->delivered || (known->dead && known->dead_first_us < identity->updated_us);
    pipeline->intake.in_flight++;

    struct pending *first = pending_table_find(&pipeline->intake.by_identity, identity);
    if (first != NULL && identity->updated_us <= first->identity.updated_us) {
        join_duplicate(pipeline, event, first, pending);
        return true;
    }
    pending->newer |= first != NULL;
    pending_table_add(&pipeline->intake.by_identity, pending);
    enter_lane(pipeline, pending, parsed);
    return true;
}

/* Parses what was read. Returns how many of the events are done with or parsed; fewer than all: memory is out.
 * Unusable ones are NULL. */
static size_t parse_all(struct source_pipeline *pipeline, struct parsed *parsed[], struct identity identities[],
                        struct error *why)
{
    for (size_t i = 0; i < pipeline->intake.events.count; i++) {
        const struct event *event = &pipeline->intake.events.at[i];
        bool out_of_memory = false;
        parsed[i] =
            crash_guard_parse(pipeline->guard, pipeline->source->name, &pipeline->rules, event, &out_of_memory, why);
        if (parsed[i] == NULL && out_of_memory)
            return i;
        if (parsed[i] == NULL)
            end_unusable(pipeline, event, why->text);
        identities[i] = parsed[i] == NULL ? (struct identity){.updated_us = 0} : *transform_identity(parsed[i]);
    }
    return pipeline->intake.events.count;
}

/* Reads no more for a while. */
static void pause_reading(struct source_pipeline *pipeline, const struct error *why)
{
    char words[LOG_QUOTED];
    pipeline->intake.due = clock_now() + RETRY_MS;
    if (!source_is_owned(pipeline))
        return; /* nothing is wrong: the queue has said that it is lost */
    log_write(LEVEL_ERROR, "msg=cannot_read_queue source=%s reason=%s", pipeline->source->name,
              log_quote_reason(words, why->text));
}

/* Memory was out for this event. alone: nothing else was read with it; else it is read again, alone, at once. */
static void event_starved(struct source_pipeline *pipeline, const struct event *event, bool alone,
                          const struct error *why)
{
    struct error reason;
    bool give_up = source_is_too_old(pipeline, waits_since(event), &reason);
    if (pipeline->intake.starved.id != event->id)
        pipeline->intake.starved.tries = 0;
    pipeline->intake.starved.id = event->id;
    if (!give_up && alone) {
        give_up = source_starved(&pipeline->intake.starved.tries, why->text, &reason);
        pause_reading(pipeline, why);
        pipeline->intake.due = clock_now() + source_starved_pause(pipeline, pipeline->intake.starved.tries);
    }
    if (!give_up)
        return;
    end_unusable(pipeline, event, reason.text);
    pipeline->intake.last_id = event->id;
    pipeline->intake.starved.id = 0;
    pipeline->intake.due = 0;
}

bool intake_read(struct source_pipeline *pipeline)
{
    struct parsed *parsed[QUEUE_READS_MOST] = {NULL};
    struct identity identities[QUEUE_READS_MOST];
    struct known known[QUEUE_READS_MOST];
    struct error why = {.text = "out of memory"};
    size_t chunk = queue_reads_at_once(pipeline->queue);
    /* Until verdicts are settled, an event may be deferred once and end once. */
    if (!outbox_reserve(&pipeline->outbox, 2 * pipeline->intake.in_flight + chunk)) {
        pause_reading(pipeline, &why);
        return false;
    }
    if (pipeline->intake.starved.id != 0)
        chunk = 1;
    int found = queue_next(pipeline->queue, pipeline->source->name, pipeline->intake.last_id, chunk, CHUNK_BYTES,
                           &pipeline->intake.events, &why);
    if (found < 0)
        pause_reading(pipeline, &why);
    if (found <= 0)
        return false;

    struct error starving;
    crash_guard_expect_events(pipeline->guard, pipeline->source->name, &pipeline->intake.events);
    size_t count = parse_all(pipeline, parsed, identities, &starving);
    crash_guard_rest(pipeline->guard); /* the queue is asked now */
    bool good = queue_known(pipeline->queue, pipeline->source->name, identities, count, known, &why);
    size_t taken = 0;
    while (good && taken < count) {
        const struct event *event = &pipeline->intake.events.at[taken];
        good = parsed[taken] == NULL || take_one(pipeline, event, parsed[taken], &known[taken]);
        if (good) {
            pipeline->intake.last_id = event->id;
            pipeline->intake.starved.id = 0;
            taken++;
        }
    }
    crash_guard_rest(pipeline->guard);
    for (size_t i = 0; i < count; i++)
        parsed_free(parsed[i]);
    if (taken < count)
        pause_reading(pipeline, &why);
    else if (count < (size_t)found)
        event_starved(pipeline, &pipeline->intake.events.at[count], count == 0, &starving);
    return true;
}

/* ---- lists of events in flight ---- */

bool pending_toggle_person(struct pending *pending)
{
    pending->track_only = pending->has_person && !pending->track_only;
    return pending->track_only;
}

void pending_list_init(struct pending_list *list)
{
    list->first = NULL;
    list->end = &list->first;
    list->count = 0;
}

void pending_push(struct pending_list *list, struct pending *pending)
{
    pending->next = NULL;
    *list->end = pending;
    list->end = &pending->next;
    list->count++;
}

struct pending *pending_pop(struct pending_list *list)
{
    struct pending *pending = list->first;
    if (pending == NULL)
        return NULL;
    list->first = pending->next;
    if (list->first == NULL)
        list->end = &list->first;
    list->count--;
    return pending;
}

void pending_push_first(struct pending_list *list, struct pending *pending)
{
    pending->next = list->first;
    if (list->first == NULL)
        list->end = &pending->next;
    list->first = pending;
    list->count++;
}

bool pending_remove(struct pending_list *list, const struct pending *pending)
{
    struct pending **link = &list->first;
    while (*link != NULL && *link != pending)
        link = &(*link)->next;
    if (*link == NULL)
        return false;
    *link = pending->next;
    if (list->end == &pending->next)
        list->end = link;
    list->count--;
    return true;
}

struct pending *pending_find(const struct pending_list *list, uint64_t id)
{
    for (struct pending *pending = list->first; pending != NULL; pending = pending->next) {
        for (const struct pending *p = pending; p != NULL; p = p->duplicates) {
            if (p->id == id)
                return pending;
        }
    }
    return NULL;
}

void pending_prepend(struct pending_list *list, struct pending_list *from)
{
    if (from->first == NULL)
        return;
    *from->end = list->first;
    if (list->first == NULL)
        list->end = from->end;
    list->first = from->first;
    list->count += from->count;
    pending_list_init(from);
}

void pending_move_key(struct pending_list *list, struct pending_list *from, uint64_t ordering_key)
{
    struct pending_list all;
    struct pending *pending;
    pending_move(&all, from);
    while ((pending = pending_pop(&all)) != NULL)
        pending_push(pending->ordering_key == ordering_key ? list : from, pending);
}

void pending_move(struct pending_list *list, struct pending_list *from)
{
    pending_list_init(list);
    pending_prepend(list, from);
}

void pending_list_free(struct pending_list *list)
{
    struct pending *pending;
    while ((pending = pending_pop(list)) != NULL) {
        while (pending->duplicates != NULL) {
            struct pending *duplicate = pending->duplicates;
            pending->duplicates = duplicate->duplicates;
            free(duplicate);
        }
        free(pending);
    }
}

/* ---- the table of events in flight, by identity ---- */

#define BUCKETS 16384 /* for the 65,536 events that may be on their way: short chains, 128 KiB */

bool pending_table_init(struct pending_table *table)
{
    table->buckets = BUCKETS;
    table->bucket = calloc(BUCKETS, sizeof(struct pending *));
    return table->bucket != NULL;
}

void pending_table_free(struct pending_table *table)
{
    free(table->bucket);
    table->bucket = NULL;
}

/* The key is a hash already. */
static struct pending **bucket_of(const struct pending_table *table, const struct identity *identity)
{
    uint64_t hash;
    memcpy(&hash, identity->key, sizeof hash);
    return &table->bucket[hash & (table->buckets - 1)];
}

struct pending *pending_table_find(const struct pending_table *table, const struct identity *identity)
{
    struct pending *newest = NULL;
    for (struct pending *p = *bucket_of(table, identity); p != NULL; p = p->hashed) {
        if (memcmp(p->identity.key, identity->key, sizeof identity->key) == 0 &&
            (newest == NULL || p->identity.updated_us > newest->identity.updated_us))
            newest = p;
    }
    return newest;
}

void pending_table_add(struct pending_table *table, struct pending *pending)
{
    struct pending **bucket = bucket_of(table, &pending->identity);
    pending->hashed = *bucket;
    *bucket = pending;
}

void pending_table_remove(struct pending_table *table, const struct pending *pending)
{
    struct pending **link = bucket_of(table, &pending->identity);
    while (*link != NULL && *link != pending)
        link = &(*link)->hashed;
    if (*link != NULL)
        *link = pending->hashed;
}
