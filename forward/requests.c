/* What operators' commands ask of the forwarder: that a waiting event is set aside as a dead letter. It is found
 * wherever it waits in memory, and what is held behind it goes on at once. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "forward/forward_private.h"

#define REASON "set aside by an operator"

/* Where an event is. */
struct waiting_place {
    struct pending *pending; /* the event, or the one that it is the same as; NULL: it is not in memory */
    struct lane *lane;       /* in which that is; NULL: it is held */
    bool in_flight;
};

static struct waiting_place find_event(struct source_pipeline *pipeline, uint64_t id)
{
    struct waiting_place place = {.pending = hold_find(&pipeline->hold, id)};
    for (size_t i = 0; place.pending == NULL && i < pipeline->lanes; i++) {
        place.lane = &pipeline->lane[i];
        place.pending = lane_find(place.lane, id, &place.in_flight);
    }
    return place;
}

/* Takes it out of where it waits, and ends it. */
static bool end_pending(struct source_pipeline *pipeline, const struct waiting_place *place, struct error *words)
{
    if (place->lane != NULL)
        lane_remove(place->lane, place->pending);
    else
        hold_remove(&pipeline->hold, place->pending);
    source_end(pipeline, place->pending, VERDICT_DEAD, REASON);
    error_set(words, "it is a dead letter now");
    if (outbox_settle_now(pipeline))
        return true;
    error_set(words, "it becomes a dead letter as soon as the queue takes it: see the log");
    return true;
}

/* One that is not in memory: not read yet, or of a source that is not configured. */
static bool end_in_queue(struct queue *queue, struct source_pipeline *pipeline, const struct queue_request *request,
                         struct error *words)
{
    struct events found = {0};
    size_t asked;
    struct verdict verdict = {.id = request->event,
                              .kind = VERDICT_DEAD,
                              .identity = request->identity,
                              .remember = request->remember,
                              .reason = REASON};
    int count = queue_again(queue, request->source, &request->event, 1, 1, &found, &asked, words);
    events_free(&found);
    if (count == 0)
        error_set(words, "it does not wait any more: it was delivered or settled just now");
    if (count <= 0 || !queue_settle(queue, request->source, &verdict, 1, words))
        return false;
    if (pipeline != NULL)
        outbox_count(pipeline, &verdict, &(struct ended_event){0}, NULL);
    error_set(words, "it is a dead letter now");
    return true;
}

static bool set_event_dead(struct queue *queue, struct source_pipeline *pipeline, const struct queue_request *request,
                           struct error *words)
{
    struct waiting_place place = {.pending = NULL};
    if (pipeline != NULL)
        place = find_event(pipeline, request->event);
    if (place.in_flight) {
        error_set(words, "it is with the data plane at this very moment: try again when that has answered");
        return false;
    }
    if (place.pending != NULL)
        return end_pending(pipeline, &place, words);
    if (pipeline != NULL && !outbox_settle_now(pipeline)) { /* its verdict may be in the outbox */
        error_set(words, "the queue cannot be written now: see the log, and try again");
        return false;
    }
    return end_in_queue(queue, pipeline, request, words);
}

void requests_serve(struct queue *queue, struct source_pipeline *pipeline, size_t pipelines)
{
    struct queue_request request;
    while (queue_take_request(queue, &request)) {
        struct error words = {0};
        struct source_pipeline *of = NULL;
        for (size_t i = 0; i < pipelines; i++) {
            if (strcmp(pipeline[i].source->name, request.source) == 0)
                of = &pipeline[i];
        }
        bool done = set_event_dead(queue, of, &request, &words);
        log_write(LEVEL_INFO, "msg=%s source=%.64s id=%llu", done ? "set_aside" : "not_set_aside", request.source,
                  (unsigned long long)request.event);
        queue_answer_request(queue, request.number, done, words.text);
    }
}
