/* queue.h: passes each call to the engine that the configuration names. */
#include "queue/queue.h"

#include "queue/engine.h"
#include "queue/state_place.h"

#include <stdlib.h>
#include <string.h>

static const struct engine *const engines[] = {
    [QUEUE_SQLITE] = &queue_engine_sqlite,
    [QUEUE_NONE] = &queue_engine_none,
};

struct queue *queue_open(const struct config *config, struct error *why)
{
    if (!state_place_may_open(config, why))
        return NULL;
    struct queue *queue = malloc(sizeof *queue);
    if (queue == NULL) {
        error_set(why, "out of memory");
        return NULL;
    }
    queue->engine = engines[config->queue];
    queue->config = config;
    queue->state = queue->engine->open(config, why);
    if (queue->state == NULL) {
        free(queue);
        return NULL;
    }
    state_place_note(config);
    return queue;
}

void queue_library(const struct config *config, char out[static QUEUE_LIBRARY])
{
    out[0] = '\0';
    if (engines[config->queue]->library != NULL)
        engines[config->queue]->library(out);
}

enum queue_result queue_append(struct queue *queue, const char *source, const char *body, size_t length,
                               moment deadline, struct error *why)
{
    return queue->engine->append(queue->state, source, body, length, deadline, why);
}

void queue_set_stop_deadline(struct queue *queue, moment deadline)
{
    queue->engine->set_stop_deadline(queue->state, deadline);
}

bool queue_claim(struct queue *queue, struct error *why)
{
    return queue->engine->claim(queue->state, why);
}

int queue_next(struct queue *queue, const char *source, uint64_t after, size_t max_count, size_t max_bytes,
               struct events *found, struct error *why)
{
    return queue->engine->next(queue->state, source, after, max_count, max_bytes, found, why);
}

int queue_again(struct queue *queue, const char *source, const uint64_t *ids, size_t count, size_t max_bytes,
                struct events *found, size_t *asked, struct error *why)
{
    return queue->engine->again(queue->state, source, ids, count, max_bytes, found, asked, why);
}

bool queue_known(struct queue *queue, const char *source, const struct identity *identities, size_t count,
                 struct known *known, struct error *why)
{
    return queue->engine->known(queue->state, source, identities, count, known, why);
}

bool queue_settle(struct queue *queue, const char *source, const struct verdict *verdicts, size_t count,
                  struct error *why)
{
    return queue->engine->settle(queue->state, source, verdicts, count, why);
}

bool queue_can_settle(struct queue *queue, const char *source, const struct verdict *verdicts, size_t count,
                      struct error *why)
{
    return queue->engine->can_settle == NULL || queue->engine->can_settle(queue->state, source, verdicts, count, why);
}

bool queue_note(struct queue *queue, const char *source, struct notes *notes, bool put, struct error *why)
{
    return queue->engine->note(queue->state, source, notes, put, why);
}

bool queue_take_request(struct queue *queue, struct queue_request *request)
{
    return queue->engine->take_request != NULL && queue->engine->take_request(queue->state, request);
}

void queue_answer_request(struct queue *queue, int64_t number, bool done, const char *words)
{
    queue->engine->answer_request(queue->state, number, done, words);
}

int queue_wake_fd(struct queue *queue)
{
    return queue->engine->wake_fd(queue->state);
}

void queue_clear_wakeup(struct queue *queue)
{
    queue->engine->clear_wakeup(queue->state);
}

bool queue_settles_in_bulk(const struct queue *queue)
{
    return queue->engine->settles_in_bulk != NULL && queue->engine->settles_in_bulk(queue->state);
}

bool queue_is_steady(struct queue *queue)
{
    return queue->engine->is_steady(queue->state);
}

bool queue_must_reopen(struct queue *queue)
{
    /* after queue_rest the next look opens it in any case */
    return queue->state != NULL && queue->engine->must_reopen(queue->state);
}

void queue_close(struct queue *queue)
{
    if (queue == NULL)
        return;
    if (queue->state != NULL)
        queue->engine->close(queue->state);
    free(queue);
}

/* ---- Events and dead letters read from the queue: copied into one buffer, so that they are independent of the engine
 * ---- */

void events_clear(struct events *found)
{
    found->count = 0;
    buffer_clear(&found->bodies);
}

bool events_add(struct events *found, const struct event *event)
{
    if (found->count == found->capacity) {
        size_t capacity = found->capacity == 0 ? 64 : found->capacity * 2;
        struct event *at = realloc(found->at, capacity * sizeof *at);
        if (at == NULL)
            return false;
        found->at = at;
        found->capacity = capacity;
    }
    buffer_append(&found->bodies, event->body, event->length);
    if (found->bodies.failed)
        return false;
    found->at[found->count++] = *event;
    return true;
}

void events_finish(struct events *found)
{
    size_t offset = 0;
    for (size_t i = 0; i < found->count; i++) {
        found->at[i].body = found->bodies.data + offset;
        offset += found->at[i].length;
    }
}

void events_free(struct events *events)
{
    free(events->at);
    buffer_free(&events->bodies);
    *events = (struct events){0};
}

void letters_clear(struct letters *found)
{
    found->count = 0;
    buffer_clear(&found->texts);
}

bool letters_add(struct letters *found, const struct letter *letter)
{
    if (found->count == found->capacity) {
        size_t capacity = found->capacity == 0 ? 64 : found->capacity * 2;
        struct letter *at = realloc(found->at, capacity * sizeof *at);
        if (at == NULL)
            return false;
        found->at = at;
        found->capacity = capacity;
    }
    buffer_append(&found->texts, letter->source, strlen(letter->source) + 1);
    buffer_append(&found->texts, letter->reason, strlen(letter->reason) + 1);
    buffer_append(&found->texts, letter->body, letter->length);
    if (found->texts.failed)
        return false;
    found->at[found->count++] = *letter;
    return true;
}

void letters_finish(struct letters *found)
{
    const char *text = found->texts.data;
    for (size_t i = 0; i < found->count; i++) {
        struct letter *letter = &found->at[i];
        letter->source = text;
        letter->reason = letter->source + strlen(letter->source) + 1;
        letter->body = letter->reason + strlen(letter->reason) + 1;
        text = letter->body + letter->length;
    }
}

void letters_free(struct letters *letters)
{
    free(letters->at);
    buffer_free(&letters->texts);
    *letters = (struct letters){0};
}
