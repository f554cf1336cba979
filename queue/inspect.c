/* inspect.h: passes each call to the engine, if that stores anything. */
#include "queue/inspect.h"

#include "queue/engine.h"

#include <stdlib.h>

void queue_rest(struct queue *queue)
{
    if (queue->engine->inspection == NULL || queue->state == NULL)
        return;
    queue->engine->close(queue->state);
    queue->state = NULL;
}

/* Returns the engine's functions, or NULL with the reason. Opens the queue again after queue_rest. */
static const struct inspection *inspection_of(struct queue *queue, struct error *why)
{
    struct error reason = {0};
    if (queue->engine->inspection == NULL) {
        error_set(why,
                  "queue = none keeps nothing that could be looked at: events wait in memory until they are answered");
        return NULL;
    }
    if (queue->state == NULL) {
        queue->state = queue->engine->open(queue->config, &reason);
        if (queue->state == NULL)
            error_set(why, "%s", reason.text);
    }
    return queue->state == NULL ? NULL : queue->engine->inspection;
}

bool queue_names(struct queue *queue, struct strings *names, struct error *why)
{
    const struct inspection *inspection = inspection_of(queue, why);
    *names = (struct strings){NULL, 0};
    return inspection != NULL && inspection->names(queue->state, names, why);
}

void queue_names_free(struct strings *names)
{
    for (size_t i = 0; i < names->count; i++)
        free(names->at[i]);
    free(names->at);
    *names = (struct strings){NULL, 0};
}

bool queue_count(struct queue *queue, const char *source, struct counts *counts, struct error *why)
{
    const struct inspection *inspection = inspection_of(queue, why);
    return inspection != NULL && inspection->count(queue->state, source, counts, why);
}

bool queue_room(struct queue *queue, struct queue_room *room, struct error *why)
{
    const struct inspection *inspection = inspection_of(queue, why);
    *room = (struct queue_room){.used = 0};
    return inspection != NULL && inspection->room(queue->state, room, why);
}

bool queue_look_known(struct queue *queue, const char *source, const struct identity *identities, size_t count,
                      struct known *known, struct error *why)
{
    const struct inspection *inspection = inspection_of(queue, why);
    return inspection != NULL && inspection->look_known(queue->state, source, identities, count, known, why);
}

bool queue_notes(struct queue *queue, const char *source, struct notes *notes, struct error *why)
{
    const struct inspection *inspection = inspection_of(queue, why);
    return inspection != NULL && inspection->notes(queue->state, source, notes, why);
}

bool queue_is_owned(struct queue *queue, bool *owned, struct error *words, struct error *why)
{
    const struct inspection *inspection = inspection_of(queue, why);
    return inspection != NULL && inspection->is_owned(queue->state, owned, words, why);
}

bool queue_stands(struct queue *queue, struct error *words)
{
    struct error why;
    const struct inspection *inspection = inspection_of(queue, &why);
    return inspection == NULL || inspection->stands(queue->state, words);
}

bool queue_has_room(struct queue *queue, struct error *words)
{
    struct error why;
    const struct inspection *inspection = inspection_of(queue, &why);
    return inspection == NULL || inspection->has_room(queue->state, words);
}

bool queue_can_be_settled(struct queue *queue, struct error *words)
{
    struct error why;
    const struct inspection *inspection = inspection_of(queue, &why);
    return inspection == NULL || inspection->can_be_settled(queue->state, words);
}

int queue_list(struct queue *queue, const char *source, uint64_t after, size_t max_count, size_t max_bytes,
               struct events *found, struct error *why)
{
    const struct inspection *inspection = inspection_of(queue, why);
    return inspection == NULL ? -1 : inspection->list(queue->state, source, after, max_count, max_bytes, found, why);
}

int queue_letters(struct queue *queue, const char *source, uint64_t after, size_t max_count, size_t max_bytes,
                  struct letters *found, struct error *why)
{
    const struct inspection *inspection = inspection_of(queue, why);
    return inspection == NULL ? -1 : inspection->letters(queue->state, source, after, max_count, max_bytes, found, why);
}

bool queue_replay(struct queue *queue, const uint64_t *ids, size_t count, size_t *done, struct error *why)
{
    const struct inspection *inspection = inspection_of(queue, why);
    return inspection != NULL && inspection->replay(queue->state, ids, count, done, why);
}

bool queue_discard(struct queue *queue, const uint64_t *ids, size_t count, size_t *done, struct error *why)
{
    const struct inspection *inspection = inspection_of(queue, why);
    return inspection != NULL && inspection->discard(queue->state, ids, count, done, why);
}

bool queue_ask(struct queue *queue, const struct queue_request *request, int64_t *number, struct error *why)
{
    const struct inspection *inspection = inspection_of(queue, why);
    return inspection != NULL && inspection->ask(queue->state, request, number, why);
}

void queue_remind(struct queue *queue)
{
    struct error why;
    const struct inspection *inspection = inspection_of(queue, &why);
    if (inspection != NULL)
        inspection->remind(queue->state);
}

bool queue_answer(struct queue *queue, int64_t number, enum queue_answer *answer, struct error *words,
                  struct error *why)
{
    const struct inspection *inspection = inspection_of(queue, why);
    return inspection != NULL && inspection->answer(queue->state, number, answer, words, why);
}

bool queue_withdraw(struct queue *queue, int64_t number, bool always, bool *withdrawn, struct error *why)
{
    const struct inspection *inspection = inspection_of(queue, why);
    return inspection != NULL && inspection->withdraw(queue->state, number, always, withdrawn, why);
}

bool queue_move(struct queue *queue, const char *from, const char *to, struct moved *moved, struct error *why)
{
    const struct inspection *inspection = inspection_of(queue, why);
    return inspection != NULL && inspection->move(queue->state, from, to, moved, why);
}

bool queue_check(struct queue *queue, void (*report)(void *context, const char *fault), void *context, size_t *faults,
                 struct error *why)
{
    const struct inspection *inspection = inspection_of(queue, why);
    return inspection != NULL && inspection->check(queue->state, report, context, faults, why);
}

bool queue_backup(struct queue *queue, const char *path, const struct backup_files *files, int64_t made_ms,
                  struct error *why)
{
    const struct inspection *inspection = inspection_of(queue, why);
    return inspection != NULL && inspection->backup(queue->state, path, files, made_ms, why);
}

void queue_wake(struct queue *queue)
{
    struct error why;
    const struct inspection *inspection = inspection_of(queue, &why);
    if (inspection != NULL)
        inspection->wake(queue->state);
}

bool queue_scrub(struct queue *queue, struct error *why)
{
    const struct inspection *inspection = inspection_of(queue, why);
    return inspection != NULL && inspection->scrub(queue->state, why);
}

bool queue_probe(struct queue *queue, bool serves, struct error *why)
{
    const struct inspection *inspection = inspection_of(queue, why);
    return inspection != NULL && inspection->probe(queue->state, serves, why);
}
