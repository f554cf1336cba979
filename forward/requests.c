/* What operators' commands ask of the forwarder: that a waiting event is set aside as a dead letter. It is found
 * wherever it waits in memory, and what is held behind it goes on at once. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "forward/forward_private.h"

#define REASON "set aside by an operator"

/* Where an event is. */
struct place {
    struct pending *pending;   /* the event, or the one that it is the same as; NULL: it is not in memory */
    struct pending_list *list; /* in which that is */
    struct lane *lane;         /* of the list; NULL: it is no lane's */
    bool in_flight;
};

static struct pending *find_in(const struct pending_list *list, uint64_t id)
{
    for (struct pending *pending = list->first; pending != NULL; pending = pending->next) {
        for (const struct pending *twin = pending; twin != NULL; twin = twin->twins) {
            if (twin->id == id)
                return pending;
        }
    }
    return NULL;
}

static bool look_in(struct place *place, struct lane *lane, struct pending_list *list, uint64_t id)
{
    place->pending = find_in(list, id);
    place->list = list;
    place->lane = lane;
    return place->pending != NULL;
}

static struct place find(struct traffic *traffic, uint64_t id)
{
    struct place place = {.pending = NULL};
    struct pending_list *const lists[] = {&traffic->aside, &traffic->parked, &traffic->held};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        if (look_in(&place, NULL, lists[i], id))
            return place;
    }
    for (size_t i = 0; i < traffic->lanes; i++) {
        struct lane *lane = &traffic->lane[i];
        if (look_in(&place, lane, &lane->waiting, id) || look_in(&place, lane, &lane->built, id))
            return place;
        place.in_flight = look_in(&place, lane, &lane->sending, id);
        if (place.in_flight)
            return place;
    }
    return (struct place){.pending = NULL};
}

/* Takes it out of where it waits, and ends it. */
static bool end_pending(struct traffic *traffic, const struct place *place, struct error *words)
{
    struct pending_list *list = place->list;
    if (place->lane != NULL && list == &place->lane->built) { /* its message is in the next batch: that is built anew */
        list = &place->lane->waiting;
        pending_prepend(list, &place->lane->built);
        batch_clear(&place->lane->batch);
    }
    pending_remove(list, place->pending);
    traffic_end(traffic, place->pending, VERDICT_DEAD, REASON);
    error_set(words, "it is a dead letter now");
    if (traffic_tell_now(traffic))
        return true;
    error_set(words, "it becomes a dead letter as soon as the queue takes it: see the log");
    return true;
}

/* One that is not in memory: not read yet, or of a source that is not configured. */
static bool end_in_queue(struct queue *queue, struct traffic *traffic, const struct queue_request *request,
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
    if (traffic != NULL) {
        traffic->dead++;
        watched_verdict(&traffic->watched, &verdict, false);
    }
    error_set(words, "it is a dead letter now");
    return true;
}

static bool set_aside(struct queue *queue, struct traffic *traffic, const struct queue_request *request,
                      struct error *words)
{
    struct place place = {.pending = NULL};
    if (traffic != NULL)
        place = find(traffic, request->event);
    if (place.in_flight) {
        error_set(words, "it is with the data plane at this very moment: try again when that has answered");
        return false;
    }
    if (place.pending != NULL)
        return end_pending(traffic, &place, words);
    if (traffic != NULL && !traffic_tell_now(traffic)) { /* it may be among what the queue is to be told */
        error_set(words, "the queue cannot be written now: see the log, and try again");
        return false;
    }
    return end_in_queue(queue, traffic, request, words);
}

void requests_serve(struct queue *queue, struct traffic *traffic, size_t traffics)
{
    struct queue_request request;
    while (queue_take_request(queue, &request)) {
        struct error words = {0};
        struct traffic *of = NULL;
        for (size_t i = 0; i < traffics; i++) {
            if (strcmp(traffic[i].source->name, request.source) == 0)
                of = &traffic[i];
        }
        bool done = set_aside(queue, of, &request, &words);
        log_write(LEVEL_INFO, "msg=%s source=%.64s id=%llu", done ? "set_aside" : "not_set_aside", request.source,
                  (unsigned long long)request.event);
        queue_answer_request(queue, request.number, done, words.text);
    }
}
