/* One source's events on their way: their beginning, their ends, and what is told of them to the queue. See source.h.
 */
#include "forward/source.h"

#include <stdlib.h>
#include <string.h>

#include "forward/answer.h"
#include "forward/file_sink.h"

static bool init_lane(struct lane *lane, struct traffic *traffic, struct poster *poster, struct error *why)
{
    lane->traffic = traffic;
    pending_list_init(&lane->waiting);
    pending_list_init(&lane->built);
    pending_list_init(&lane->sending);
    lane->batch.form = traffic->file != NULL ? &batch_for_file : &batch_for_data_plane;
    lane->limit = (size_t)traffic->config->batch_events;
    if (traffic->file != NULL)
        return true;
    lane->post = post_new(poster, traffic->config, traffic->source, lane, why);
    return lane->post != NULL;
}

bool traffic_init(struct traffic *traffic, const struct config *config, const struct source *source,
                  struct queue *queue, struct poster *poster, struct gzip *gzip, struct error *why)
{
    *traffic = (struct traffic){
        .config = config,
        .source = source,
        .queue = queue,
        .gzip = gzip,
        .starved_ms = STARVED_MS,
        .backoff_ms = BACKOFF_FIRST_MS,
        .file = file_sink_path(source->data_plane_url),
        .rules = {.keep = source->keep.at,
                  .keeps = source->keep.count,
                  .drop = source->drop.at,
                  .drops = source->drop.count,
                  .remove = source->remove.at,
                  .removes = source->remove.count},
    };
    pending_list_init(&traffic->aside);
    pending_list_init(&traffic->parked);
    pending_list_init(&traffic->held);
    pending_list_init(&traffic->ended);
    traffic->lanes = (size_t)config->lanes;
    traffic->lane = calloc(traffic->lanes + 1, sizeof *traffic->lane);
    if (traffic->lane == NULL || !in_hand_init(&traffic->in_hand)) {
        error_set(why, "out of memory");
        return false;
    }
    for (size_t i = 0; i <= traffic->lanes; i++) {
        if (!init_lane(&traffic->lane[i], traffic, poster, why))
            return false;
    }
    return true;
}

void traffic_free(struct traffic *traffic)
{
    for (size_t i = 0; traffic->lane != NULL && i <= traffic->lanes; i++) {
        struct lane *lane = &traffic->lane[i];
        if (lane->traffic == NULL)
            break;
        post_free(lane->post);
        pending_list_free(&lane->waiting);
        pending_list_free(&lane->built);
        pending_list_free(&lane->sending);
        buffer_free(&lane->batch.text);
        buffer_free(&lane->compressed);
    }
    free(traffic->lane);
    pending_list_free(&traffic->aside);
    pending_list_free(&traffic->parked);
    pending_list_free(&traffic->held);
    pending_list_free(&traffic->ended);
    in_hand_free(&traffic->in_hand);
    events_free(&traffic->events);
    verdicts_free(&traffic->verdicts);
    watched_free(&traffic->watched);
}

struct lane *traffic_lane(struct traffic *traffic, const struct pending *pending)
{
    return &traffic->lane[pending->person % traffic->lanes];
}

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
static void release(struct traffic *traffic, const struct pending *pending)
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

static void count_end(struct traffic *traffic, enum verdict_kind kind)
{
    switch (kind) {
    case VERDICT_DELIVERED:
        traffic->delivered++;
        break;
    case VERDICT_DUPLICATE:
        traffic->duplicates++;
        break;
    case VERDICT_DROPPED:
        traffic->dropped++;
        break;
    case VERDICT_DEAD:
        traffic->dead++;
        break;
    case VERDICT_LATER:
        break;
    }
}

/* Room for the verdict was made when the event was taken in. */
static void add_verdict(struct traffic *traffic, const struct pending *pending, enum verdict_kind kind,
                        const char *reason)
{
    struct verdict verdict = {
        .id = pending->id,
        .kind = kind,
        .identity = pending->identity,
        .remember = kind != VERDICT_DUPLICATE && traffic->file == NULL,
        .reason = reason,
    };
    verdicts_add(&traffic->verdicts, &verdict);
    watched_verdict(&traffic->watched, &verdict, pending->newer);
    count_end(traffic, kind);
}

void traffic_end(struct traffic *traffic, struct pending *pending, enum verdict_kind kind, const char *reason)
{
    const char *kept = reason == NULL ? NULL : verdicts_reason(&traffic->verdicts, reason);
    release(traffic, pending);
    traffic->search.suspects -= pending->suspected ? 1 : 0;
    add_verdict(traffic, pending, kind, kept);
    while (pending->twins != NULL) {
        struct pending *twin = pending->twins;
        pending->twins = twin->twins;
        add_verdict(traffic, twin, kind == VERDICT_DELIVERED ? VERDICT_DUPLICATE : kind, kept);
        traffic->on_their_way--;
        free(twin);
    }
    traffic->on_their_way--;
    pending->ended = true;
    pending->delivered = kind == VERDICT_DELIVERED;
    pending_push(&traffic->ended, pending); /* the queue does not know it yet: here it can be found until then */
}

bool traffic_forget(struct lane *lane, struct pending *pending)
{
    struct traffic *traffic = lane->traffic;
    struct pending *twin = pending->twins;
    in_hand_remove(&traffic->in_hand, pending);
    traffic->search.suspects -= pending->suspected ? 1 : 0;
    if (twin == NULL) {
        release(traffic, pending);
    } else {
        twin->holds = pending->holds;
        in_hand_add(&traffic->in_hand, twin);
        pending_push_first(&lane->waiting, twin);
    }
    traffic->on_their_way--;
    free(pending);
    return twin != NULL;
}

void traffic_tell_later(struct traffic *traffic, struct pending *pending, moment next, bool refused, const char *reason)
{
    const char *kept = NULL;
    for (struct pending *p = pending; p != NULL; p = p->twins) {
        if (p->told)
            continue;
        if (kept == NULL)
            kept = verdicts_reason(&traffic->verdicts, reason);
        struct verdict verdict = {.id = p->id, .kind = VERDICT_LATER, .refused = refused, .next = next, .reason = kept};
        verdicts_add(&traffic->verdicts, &verdict);
        p->told = true;
    }
}
